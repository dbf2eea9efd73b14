//! Messages: envelope, header block, body, properties.

pub mod auth_result;
pub mod authres;
pub mod body;
mod class;
mod deliver_by;
pub mod dsn;
pub mod envelope;
pub mod header;
pub mod message;
pub mod pickup;
pub mod properties;
pub mod trace;
pub mod vouched;

pub use auth_result::{AuthMethod, AuthResult, UnknownMethod};
pub use authres::Authority;
pub use body::{Body, Content, ReadAt};
pub use class::MessageClass;
pub use deliver_by::{DeliverBy, Late};
pub use envelope::{BySink, Envelope, Handover, Last, Outcome, Recipient, RecipientId, Resolution};
pub use header::{Field, FieldError, HeaderBlock};
pub use message::{Arrival, Expiry, Message, MessageId, Origin, Supersedes};
pub use properties::{Bag, BagError, Scope};
pub use vouched::{Auth, TlsFacts, Vouched};
