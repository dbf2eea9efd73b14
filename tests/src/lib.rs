//! Tests of Basin over the wire, and of the tree itself.
//!
//! What stands here is shared by the end-to-end tests, the crash and power-cut runs and the benchmarks: an SMTP
//! client that reads strictly, the real server as a child process, letters that can be recognised octet for
//! octet, and the ledger of what was acknowledged. Nothing here knows the server's code; it sees what a client,
//! an operator and the kernel see.

pub mod client;
pub mod contest;
pub mod generator;
pub mod http;
pub mod ledger;
pub mod letter;
pub mod maildir;
pub mod next_hop;
pub mod null;
pub mod patience;
pub mod powercut;
pub mod process;
pub mod random;
pub mod relay;
pub mod server;
pub mod settings;
pub mod storm;
pub mod tally;
pub mod tls;
pub mod wait;
