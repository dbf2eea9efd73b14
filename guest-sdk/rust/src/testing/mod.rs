//! Runs a sink natively, against a server in memory: `cargo test` needs no WebAssembly and no server.
//!
//! [`Message`] raises the events of a message, [`Session`] those of a session; a message is a session too, the
//! one that brought it. Each event has a method of its name that takes the sink as its type and returns the
//! verdict, and a `try_` form for a sink that is meant to fail. As on the server, a call that fails changes
//! nothing.
//!
//! Every grant is given, and no budget runs out. Edits at an event that cannot change the message answer
//! [`Error::ReadOnly`](crate::Error::ReadOnly), wrong names and addresses [`Error::Invalid`](crate::Error::Invalid).
//! What others say is what the test told: records of the DNS, results of message authentication, answers over HTTP.
//! Time stands still until [`Session::advance`] moves it. A verdict that refuses drops what the call set in the
//! sink's state, and keeps what it counted there.
//!
//! ```
//! use basin_sink::prelude::*;
//! use basin_sink::testing;
//!
//! struct NoBcc;
//!
//! impl OnSubmission for NoBcc {
//!     fn on_submission(message: &mut Message, _call: &Call) -> Result<MessageVerdict> {
//!         message.headers_mut().remove("Bcc")?;
//!         Ok(MessageVerdict::Next)
//!     }
//! }
//!
//! let mut message = testing::Message::from_eml("Bcc: secret@client.example\r\nSubject: hi\r\n\r\nbody");
//! assert_eq!(message.submission::<NoBcc>(), MessageVerdict::Next);
//! assert_eq!(message.header("Bcc"), None);
//! ```

mod ask;
mod message;
mod services;
mod session;

pub use message::{Message, Submitted};
pub use services::AuthResult;
#[cfg(feature = "http")]
pub use services::SentRequest;
pub use session::Session;
