//! What a listener demands of its clients, and who a client is.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::limits;
use crate::mail::Authority;
use crate::network::Network;
use crate::smtp::auth::AuthPolicy;
use crate::smtp::starttls::Secured;
use crate::time::Timestamp;
use crate::transport::Directory;
use crate::transport::directory::domain_key;

/// What a listener is and demands; shared by its sessions and never changed under them.
#[derive(Debug, Clone)]
pub struct ListenerPolicy {
    /// Name of the listener, for rules and logs.
    pub name: String,
    /// Name of this host: in the banner, in EHLO and in Received fields. Checked to be a domain by whoever
    /// reads the configuration.
    pub host_name: String,
    /// Banner text after the host name.
    pub banner: String,
    /// Largest message, in octets of text before dot-stuffing; what EHLO says.
    pub message_bytes_max: u64,
    /// Largest message that a sink may let through at `on-max-msg-size`, in octets; `None` is no more than
    /// `message_bytes_max`.
    pub message_bytes_hard_max: Option<u64>,
    /// What is offered and taken beyond RFC 5321.
    pub extensions: Extensions,
    /// Whose addresses a user may send from; of a submission listener.
    pub senders: Arc<SenderTable>,
    /// Messages of one session, for MAILMAX (RFC 9422); `None` is any number.
    pub mails_max: Option<u32>,
    /// Longest time for which a message may be held back (FUTURERELEASE, RFC 4865); `None` is none at all.
    pub hold_max: Option<Duration>,
    /// Shortest time in which a message may be demanded to arrive (DELIVERBY, RFC 2852).
    pub deliver_by_min: Duration,
    /// Most recipients of one transaction.
    pub recipients_max: usize,
    /// Local domains whose mail is taken here; `None` is all of them.
    pub domains: Option<OwnDomains>,
    /// Nobody sends mail without a login, whatever the listener is for.
    pub is_auth_required: bool,
    /// Fewest octets of a text in a second; 0 is any number.
    pub data_rate_min: u64,
    /// Protocol errors that a session may make; the next one is answered with 421.
    pub errors_max: u32,
    /// Commands without use for any mail that a session may send between two messages; the next one is
    /// answered with 421.
    pub idle_commands_max: u32,
    /// How long the shell waits for a command.
    pub command_timeout: Duration,
    /// How long the shell waits for the next octets of message text.
    pub data_timeout: Duration,
    /// How long one message text may take as a whole.
    pub data_total: Duration,
    /// Whose mail is taken.
    pub directory: Arc<Directory>,
    /// Clients that may send mail to any other domain, and so may who is logged in. Nobody else may: a server that
    /// anybody sends through is an open relay.
    pub relay_clients: Vec<Network>,
    /// Protocol errors after which the answer to each further one waits, longer each time; `None` for half of
    /// `errors_max`, and no less than [`limits::ERRORS_SOFT`].
    pub errors_soft: Option<u32>,
    /// STARTTLS; `None` where the listener has no TLS.
    pub tls: Option<TlsPolicy>,
    /// The handshake comes before the banner (RFC 8314 §3.3). The shell does it and says what came of it in
    /// [`Connection::tls`].
    pub is_implicit_tls: bool,
    /// AUTH; `None` where the server itself has no users. A sink may answer AUTH all the same.
    pub auth: Option<AuthPolicy>,
    /// Clients are mail programs that submit (RFC 6409): only users who logged in send, from addresses that are
    /// theirs, and what their programs leave out is added.
    pub is_submission: bool,
    /// Who may say with XCLIENT for whom it speaks: proxies, which could say anything.
    pub xclient_from: Vec<Network>,
    /// What is stated of messages, and what nobody else may state.
    pub message_auth: Arc<MessageAuthPolicy>,
}

/// What this server states in Authentication-Results fields, and whom it believes (RFC 8601).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageAuthPolicy {
    /// The names that are this server's: fields with one of them are taken out of what comes.
    pub authority: Authority,
    /// What is found out, and stated.
    pub check: AuthCheck,
    /// Longest that a message waits for it.
    pub time_max: Duration,
    /// Servers of the same administration: their fields stay, and their mail is not examined again.
    pub trusted: Vec<Network>,
}

/// When what SPF, DKIM, DMARC and ARC say of a message is found out and stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthCheck {
    /// Nothing is stated.
    Off,
    /// What sinks asked for is stated, and nothing is found out besides.
    OnDemand,
    /// Everything is found out before the message is stored, where its sender neither logged in nor may relay.
    Strangers,
    /// The same, and that a client logged in is stated as well.
    Always,
}

impl MessageAuthPolicy {
    /// States nothing, and keeps others from stating anything under that name.
    pub fn new(authority: Authority) -> Self {
        let time_max = limits::MESSAGE_AUTH_TIME_DEFAULT;
        Self { authority, check: AuthCheck::Off, time_max, trusted: Vec::new() }
    }
}

/// STARTTLS (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsPolicy {
    /// No mail is taken and nothing is told on a plain connection. Not for a server that takes mail from everybody
    /// (RFC 3207 §4).
    pub is_required: bool,
}

impl ListenerPolicy {
    /// Makes the policy of a listener with the defaults of [`limits`]; nobody may relay.
    pub fn new(name: impl Into<String>, host_name: impl Into<String>, directory: Arc<Directory>) -> Self {
        let host_name = host_name.into();
        let message_auth = Arc::new(MessageAuthPolicy::new(Authority::new(&host_name)));
        Self {
            name: name.into(),
            host_name,
            banner: "ESMTP Basin".to_owned(),
            message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
            message_bytes_hard_max: None,
            extensions: Extensions::default(),
            senders: Arc::default(),
            mails_max: None,
            hold_max: None,
            deliver_by_min: Duration::ZERO,
            recipients_max: limits::RECIPIENTS_DEFAULT,
            domains: None,
            is_auth_required: false,
            data_rate_min: 0,
            errors_max: limits::ERRORS_MAX,
            idle_commands_max: limits::IDLE_COMMANDS_MAX,
            command_timeout: limits::COMMAND_TIMEOUT_DEFAULT,
            data_timeout: limits::DATA_TIMEOUT_DEFAULT,
            data_total: limits::DATA_TOTAL_DEFAULT,
            directory,
            relay_clients: Vec::new(),
            errors_soft: None,
            tls: None,
            is_implicit_tls: false,
            auth: None,
            is_submission: false,
            xclient_from: Vec::new(),
            message_auth,
        }
    }

    /// Protocol errors of a session that are answered without a wait.
    pub(super) fn errors_at_once(&self) -> u32 {
        self.errors_soft.unwrap_or_else(|| (self.errors_max / 2).max(limits::ERRORS_SOFT))
    }
}

/// Some of the local domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDomains(BTreeSet<String>);

impl OwnDomains {
    /// Makes the set of these.
    pub fn new(names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        Self(names.into_iter().map(|name| domain_key(name.as_ref())).collect())
    }

    fn has(&self, domain: &str) -> bool {
        self.0.contains(&domain_key(domain))
    }
}

impl ListenerPolicy {
    /// Whether a domain is none of those that this listener is for.
    pub(super) fn is_elsewhere(&self, domain: &str) -> bool {
        self.domains.as_ref().is_some_and(|own| !own.has(domain))
    }

    /// Largest message that anything can make this listener take, in octets.
    pub(super) fn hard_max(&self) -> u64 {
        self.message_bytes_hard_max.map_or(self.message_bytes_max, |octets| octets.max(self.message_bytes_max))
    }
}

/// Extensions that a listener offers; all of them by default. What is off is not offered, and its parameters are
/// answered with 555. PIPELINING, SIZE, 8BITMIME, DSN, ENHANCEDSTATUSCODES and HELP are always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extensions {
    /// CHUNKING: BDAT (RFC 3030).
    pub chunking: bool,
    /// BINARYMIME (RFC 3030); only with CHUNKING.
    pub binarymime: bool,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// LIMITS (RFC 9422).
    pub limits: bool,
    /// REQUIRETLS (RFC 8689); offered under TLS alone.
    pub requiretls: bool,
    /// DELIVERBY (RFC 2852).
    pub deliverby: bool,
    /// MT-PRIORITY (RFC 6710).
    pub mt_priority: bool,
    /// PRDR: a reply for each recipient after the text.
    pub prdr: bool,
}

impl Default for Extensions {
    fn default() -> Self {
        Self {
            chunking: true,
            binarymime: true,
            smtputf8: true,
            limits: true,
            requiretls: true,
            deliverby: true,
            mt_priority: true,
            prdr: true,
        }
    }
}

/// Which addresses the users of a submission listener may send from (RFC 6409 §6.1).
///
/// A user whose name is an address may always send from it; a table without a row for the user lets him send from
/// every address of the domains here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SenderTable {
    /// Addresses by the name of the user; `@domain` in place of an address stands for all of a domain.
    pub rows: BTreeMap<String, Vec<String>>,
}

/// Facts about a connection that the shell knows when it accepts one.
#[derive(Debug, Clone)]
pub struct Connection {
    /// Identity of the session, unique on this server; printable ASCII.
    pub id: String,
    /// The client's end.
    pub client: SocketAddr,
    /// This server's end.
    pub server: SocketAddr,
    /// When the connection was accepted.
    pub started: Timestamp,
    /// Random bits; the ids of the session's messages are made from them.
    pub random: u64,
    /// Name that the client's address resolves to and back, where the shell looked.
    pub client_name: Option<String>,
    /// What the handshake came to, on a listener with implicit TLS.
    pub tls: Option<Secured>,
}
