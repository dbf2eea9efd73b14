//! Runs a sink natively, against a server in memory: `cargo test` needs no WebAssembly and no server.
//!
//! [`Message`] raises the events of a message, [`Session`] those of a session; a message is a session too, the
//! one that brought it. Each event has a method of its name that takes the sink as its type and returns the
//! verdict, and a `try_` form for a sink that is meant to fail. As on the server, a call that fails changes
//! nothing.
//!
//! Every grant is given, and no budget runs out. Edits at an event that cannot change the message answer
//! [`Error::ReadOnly`](crate::Error::ReadOnly), wrong names and addresses [`Error::Invalid`](crate::Error::Invalid).
//! What the server in memory does not have (DNS, message authentication) ends the test with a message that says so.
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
mod session;

pub use message::{Message, Submitted};
pub use session::Session;
