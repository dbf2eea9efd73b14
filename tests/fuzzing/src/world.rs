//! The server that the machines are told they belong to.

use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::smtp::{Connection, ListenerPolicy};
use basin_core::time::Timestamp;
use basin_core::transport::{Directory, Tables};

/// The time, which stands still.
pub const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// Largest message, in octets; small, so that inputs pass it.
pub const MESSAGE_BYTES_MAX: u64 = 200;

/// Most recipients of a message.
pub const RECIPIENTS_MAX: usize = 3;

/// The policy of a listener with small limits; `errors_max` says how many errors one session may make.
pub fn policy(errors_max: u32) -> ListenerPolicy {
    let address = |text: &str| Address::parse(text).expect("valid");
    let tables = Tables {
        domains: vec!["basin.example".into()],
        mailboxes: ["alice", "bob"].map(|name| (address(&format!("{name}@basin.example")), name.into())).to_vec(),
        postmaster: "alice".into(),
        ..Tables::default()
    };
    let directory = Directory::new(tables).expect("the tables are right");
    let mut policy = ListenerPolicy::new("mx", "basin.example", Arc::new(directory));
    policy.message_bytes_max = MESSAGE_BYTES_MAX;
    policy.recipients_max = RECIPIENTS_MAX;
    policy.errors_max = errors_max;
    policy.idle_commands_max = errors_max;
    policy
}

/// A client from outside.
pub fn connection() -> Connection {
    Connection {
        id: "s".into(),
        client: "192.0.2.7:4".parse().expect("an address"),
        server: "192.0.2.1:25".parse().expect("an address"),
        started: NOW,
        random: 1,
    }
}
