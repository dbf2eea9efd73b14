//! The configuration: read here and nowhere else.
//!
//! `changes` says what needs a restart, `raw` is the file as it is written, `checked`, `listener`, `outgoing` and `signing` what it means, `keys` the
//! doc text of each key, [`reference`] what is made from it, `source` finds the line of a key for messages.

mod changes;
mod check;
mod checked;
mod keys;
mod listener;
mod message_auth;
mod outgoing;
mod raw;
pub mod reference;
mod secrecy;
mod signing;
mod source;

pub use checked::{Config, Domain, Limits, Log};
pub use listener::{CertificateFiles, Listener, ListenerAuth, ListenerTls, Rates, TlsMode};
pub use message_auth::MessageAuth;
pub use outgoing::{Credentials, Dns, Outbound, Queue, Tls};
pub use secrecy::{open_to_all, read_accounts};
pub use signing::{ArcKey, DkimKey, Pickup};
pub use source::{ConfigErrors, Problem};
