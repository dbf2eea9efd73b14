//! The control socket: how `basin queue` and `basin sink` talk to a running server.
//!
//! A Unix socket in the spool directory, mode 0600: whoever may read the spool may ask, nobody else, and no
//! port of the network is involved. HTTP/1.1 with JSON, so that `curl --unix-socket` works too.

pub mod activity;
pub mod client;
pub mod queue;
pub mod report;
pub mod server;
pub mod sink_state;
pub mod state;

pub use activity::{Activity, BindingActivity, Call, Difference, FailureSeen, ShadowActivity};
pub use client::{Client, ClientError};
pub use server::{SocketError, bind, serve};
pub use state::{QueueState, ServerState, Soon};

/// The socket of the server whose spool directory that is.
pub fn socket_path(spool: &std::path::Path) -> std::path::PathBuf {
    spool.join("control.sock")
}
