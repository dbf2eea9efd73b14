//! The server that the machines are told they belong to.

use std::sync::{Arc, OnceLock};

use basin_core::addr::Address;
use basin_core::limits::SCRAM_ITERATIONS_MIN;
use basin_core::mail::TlsFacts;
use basin_core::network::Network;
use basin_core::smtp::{Accounts, AuthPolicy, Channel, Connection, ListenerPolicy, Secured, StoredKeys, TlsPolicy};
use basin_core::time::Timestamp;
use basin_core::transport::{Directory, Tables};

/// The time, which stands still.
pub const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// Largest message, in octets; small, so that inputs pass it.
pub const MESSAGE_BYTES_MAX: u64 = 200;

/// Most recipients of a message.
pub const RECIPIENTS_MAX: usize = 3;

/// Failed logins of one session; the next AUTH ends it.
pub const ATTEMPTS_MAX: u32 = 3;

/// The only user, and the password.
pub const USER: (&str, &str) = ("alice", "rabbit hole");

/// What a listener offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offers {
    /// STARTTLS.
    pub has_tls: bool,
    /// No mail before it.
    pub needs_tls: bool,
    /// AUTH.
    pub has_auth: bool,
    /// AUTH only under TLS.
    pub auth_needs_tls: bool,
    /// XCLIENT, for the client that there is.
    pub has_xclient: bool,
}

impl Offers {
    /// All of it, each where it should be.
    pub const ALL: Self =
        Self { has_tls: true, needs_tls: false, has_auth: true, auth_needs_tls: true, has_xclient: true };
}

/// The policy of a listener with small limits; `errors_max` says how many errors one session may make.
pub fn policy(offers: Offers, errors_max: u32) -> ListenerPolicy {
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
    policy.tls = offers.has_tls.then_some(TlsPolicy { is_required: offers.needs_tls });
    policy.xclient_from = Vec::from_iter(offers.has_xclient.then(|| Network::parse("192.0.2.7").expect("an address")));
    policy.auth = offers.has_auth.then(|| AuthPolicy {
        needs_tls: offers.auth_needs_tls,
        attempts_max: ATTEMPTS_MAX,
        ..AuthPolicy::new(accounts())
    });
    policy
}

/// The users; made once, because a password costs some milliseconds.
pub fn accounts() -> Arc<Accounts> {
    static MADE: OnceLock<Arc<Accounts>> = OnceLock::new();
    let make = || {
        let (user, password) = USER;
        let keys = StoredKeys::derive(password, b"0123456789abcdef", SCRAM_ITERATIONS_MIN).expect("a password");
        let line = Accounts::line(user, &keys).expect("a name");
        Arc::new(Accounts::parse(&line, [7; 32]).expect("the line is right"))
    };
    MADE.get_or_init(make).clone()
}

/// What every handshake comes to.
pub fn secured() -> Secured {
    let facts = TlsFacts { version: "TLSv1.3".into(), cipher: "TLS_AES_128_GCM_SHA256".into(), ..TlsFacts::default() };
    Secured { facts, channel: Channel { exporter: Some(vec![9; 32]), server_end_point: None } }
}

/// A client from outside.
pub fn connection() -> Connection {
    Connection {
        id: "s".into(),
        client: "192.0.2.7:4".parse().expect("an address"),
        server: "192.0.2.1:25".parse().expect("an address"),
        started: NOW,
        random: 1,
        client_name: None,
        tls: None,
    }
}
