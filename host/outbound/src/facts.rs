//! What is known of a visit: how far it came, over which hosts, and how safely.

use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use basin_core::event::{Decision, OutSession, Question, Verdict};
use basin_core::mail::BySink;
use basin_core::reply::Reply;
use basin_core::smtp::client::{Hearing, Outgoing, Sent, TlsFacts};
use basin_core::transport::HostAddress;

/// One connection that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HopAttempt {
    /// Name of the server, or its address, or the path of its socket.
    pub host: String,
    /// Where it was; `None` for a Unix socket, and where its name led nowhere.
    pub address: Option<SocketAddr>,
    /// The address it was tried from, once there was a connection.
    pub source: Option<IpAddr>,
    /// How the connection was protected; `None` is plain text.
    pub tls: Option<TlsFacts>,
    /// What ended it before or between messages; `None` where it ended well.
    pub error: Option<Reply>,
    /// The sink whose word that is, where one ended it.
    pub by: Option<BySink>,
    /// Messages that were handed to this server, whatever it said to them.
    pub messages: u32,
    /// How long it took, all its messages included.
    pub took: Duration,
}

/// The connection over which a message went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HopFacts {
    /// Name of the server, or its address, or the path of its socket.
    pub host: String,
    /// Where it was; `None` for a Unix socket.
    pub address: Option<SocketAddr>,
    /// The address it was reached from.
    pub source: Option<IpAddr>,
    /// How the connection was protected; `None` is plain text.
    pub tls: Option<TlsFacts>,
}

/// How a visit went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Visit {
    /// The connections that were tried, in order.
    pub hops: Vec<HopAttempt>,
    /// Why no server took part: no such domain, nobody there, nobody safe enough. Nothing was taken from the feed.
    pub failure: Option<Reply>,
    /// The sink that ended it, where one did: that says nothing about the servers.
    pub dropped_by: Option<BySink>,
}

/// Whether the sender would rather have a message go unprotected than not at all: `TLS-Required: No` (RFC 8689 §3).
/// REQUIRETLS overrules it, and a field that is there twice says nothing.
pub fn is_tls_optional(outgoing: &Outgoing) -> bool {
    let mut fields = outgoing.header.all("TLS-Required");
    let is_no = fields.next().is_some_and(|field| field.value().trim().eq_ignore_ascii_case("no"));
    is_no && fields.next().is_none() && !outgoing.requires_tls
}

/// Where a visit gets its messages from and reports them to.
pub trait Feed: Send {
    /// Whether TLS is optional for the message that [`Feed::next`] gives first, see [`is_tls_optional`]. It is asked
    /// before a server is tried, as that message decides what a connection has to prove; the feed keeps the message.
    fn begins_without_tls(&mut self) -> impl Future<Output = bool> + Send;

    /// The next message for this destination; `None` ends the visit. It is asked for only while a server is
    /// ready to take a message, and each of its recipients is then reported to [`Feed::done`], once.
    fn next(&mut self) -> impl Future<Output = Option<Outgoing>> + Send;

    /// What a sink answers in place of DNS for the domain of the visit: these servers, for this visit alone. `None`
    /// asks DNS.
    ///
    /// # Errors
    /// Nobody is to be asked now; the reply is that of the visit.
    fn hosts(&mut self, _domain: &str) -> impl Future<Output = Result<Option<Vec<HostAddress>>, Reply>> + Send {
        async { Ok(None) }
    }

    /// What sinks hear of a connection that was just made; `None` where nobody is bound to anything of it. The feed
    /// gives the session its identity.
    fn hearing(&mut self, _session: OutSession) -> impl Future<Output = Option<Hearing>> + Send {
        async { None }
    }

    /// Asks the sinks. It is dropped where that takes longer than the other server waits.
    fn ask(&mut self, question: Question) -> impl Future<Output = Decision> + Send {
        let Question { overlay, .. } = question;
        async { Decision { verdict: Verdict::Next, by: None, overlay, failures: Vec::new(), is_heard: false } }
    }

    /// What became of recipients of the message that was taken last: of all of them, or of some while the
    /// rest follows in another call ([`Sent::is_complete`]).
    fn done(&mut self, sent: Sent, facts: &HopFacts) -> impl Future<Output = ()> + Send;
}
