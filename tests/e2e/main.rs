//! Basin over the wire: the real server, real sockets, real files.
//!
//! Each test starts a server of its own on loopback with its own spool, registry and mailboxes, so they run beside
//! each other in any order. `make e2e` builds the server and the components that they need.

mod attacks;
mod audit;
mod auth;
mod bearing;
mod compiling;
mod console;
mod delivery;
mod dialogue;
mod disk;
mod exchangers;
mod hostile;
mod instances;
mod judged;
mod listeners;
mod notices;
mod queue;
mod refusals;
mod relay;
mod relaying;
mod reload;
mod reload_listeners;
mod requiretls;
mod results;
mod samples;
mod services;
mod shutdown;
mod signing;
mod smuggling;
mod startup;
mod steering;
mod tls;
mod tracing;
mod transcripts;
mod upgrades;
mod verdicts;
mod verdicts_later;

use std::io;

use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;

/// What a test returns: an error is a failure, with the server's words in it.
type Outcome = io::Result<()>;

/// Address that the tests send from; outside of the server's domain.
const SENDER: &str = "sender@client.example";
/// Usual recipient.
const USER: &str = "user@basin.example";
/// A message that is right.
const HELLO: &[u8] = b"From: <sender@client.example>\r\nTo: <user@basin.example>\r\nSubject: hello\r\n\
    Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <hello@client.example>\r\n\r\nHello.\r\n";

/// Every grant, for the sinks that are to do something that needs one.
const GRANTS: &[&str] = &[
    "read-envelope",
    "read-headers",
    "read-body",
    "edit-headers",
    "edit-body",
    "edit-envelope",
    "reply",
    "accept-recipients",
    "end-chain",
    "discard",
];

/// A sink that does what its configuration says, to be registered.
struct Script<'a> {
    name: &'a str,
    /// Event, and behind a colon its rule.
    binding: &'a str,
    steps: &'a str,
    grants: &'a [&'a str],
    more: &'a [&'a str],
}

impl<'a> Script<'a> {
    /// With every grant.
    fn new(binding: &'a str, steps: &'a str) -> Self {
        Self { name: "scripted", binding, steps, grants: GRANTS, more: &[] }
    }

    fn register(&self, server: &TestServer) -> Outcome {
        let event = self.binding.split(':').next().unwrap_or_default();
        let set = format!("{event}={}", self.steps);
        let mut more = vec!["--set", set.as_str()];
        for grant in self.grants {
            more.extend(["--grant", grant]);
        }
        more.extend(self.more);
        server.sink_add(&guest("scripted"), self.name, self.binding, &more).map(drop)
    }

    /// A server that had this sink from the start.
    fn server(&self) -> io::Result<TestServer> {
        let mut server = TestServer::prepare(Settings::usual())?;
        self.register(&server)?;
        server.launch()?;
        Ok(server)
    }
}
