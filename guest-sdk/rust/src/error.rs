//! What can go wrong, and how a sink says that it failed.

use crate::bindings::basin::sink::types;
use std::fmt;

/// Why the server refused a call of the sink.
///
/// A refusal is a value. Only a limit of the whole call (fuel, time, memory) ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The binding does not grant this; the text names the missing grant.
    Denied(String),
    /// There is no such thing.
    NotFound,
    /// The argument breaks a rule of its syntax; the text says which.
    Invalid(String),
    /// It is there already.
    Duplicate,
    /// A quota of this call is used up; the text names it.
    Limit(String),
    /// At this event the thing can be read, not changed.
    ReadOnly,
    /// The outside world failed; the text says what.
    Unavailable(String),
    /// Anything else.
    Other(String),
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Denied(text) => Self::Denied(text),
            types::Error::NotFound => Self::NotFound,
            types::Error::Invalid(text) => Self::Invalid(text),
            types::Error::Duplicate => Self::Duplicate,
            types::Error::Limit(text) => Self::Limit(text),
            types::Error::ReadOnly => Self::ReadOnly,
            types::Error::Unavailable(text) => Self::Unavailable(text),
            types::Error::Other(text) => Self::Other(text),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "not granted: {text}"),
            Self::NotFound => f.write_str("not found"),
            Self::Invalid(text) => write!(f, "not valid: {text}"),
            Self::Duplicate => f.write_str("already there"),
            Self::Limit(text) => write!(f, "limit reached: {text}"),
            Self::ReadOnly => f.write_str("read-only at this event"),
            Self::Unavailable(text) => write!(f, "not available: {text}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::other(error)
    }
}

/// The text with which a sink reports its own failure.
///
/// Every error becomes one through `?`. The server logs the text and applies the failure policy of the
/// binding; the client never sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// A failure with this text, which an operator reads.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// `Failure` is no `std::error::Error` itself, or this would overlap with the reflexive `From`.
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What a sink answers: a verdict, or that it failed.
pub type Result<T, E = Failure> = std::result::Result<T, E>;
