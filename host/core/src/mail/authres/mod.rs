//! Authentication-Results (RFC 8601): the field of this server, and those that only claim to be its.
//!
//! Mail programs and sinks believe such a field by the name at its start, the authserv-id. So whoever sends mail
//! must not be able to put one with a name of this server into it: every field that could be taken for ours is taken
//! out before anybody sees the message (RFC 8601 §5), and ours is written when it is stored.

mod claim;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use crate::mail::{Field, HeaderBlock};

pub use write::{own_field, signature_start};

/// Name of the field.
const NAME: &str = "Authentication-Results";

/// The names under which this server states results.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Authority {
    /// As it is written.
    id: String,
    /// All of them as they are compared.
    names: Vec<String>,
}

impl Authority {
    /// States results under that authserv-id; a domain name, which whoever reads the configuration has checked.
    pub fn new(id: &str) -> Self {
        Self { id: id.to_owned(), names: vec![claim::canonical(id)] }
    }

    /// Further names that nobody else may use: those by which clients and readers know this server.
    #[must_use]
    pub fn known_as<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        for name in names.into_iter().map(claim::canonical) {
            if !self.names.contains(&name) {
                self.names.push(name);
            }
        }
        self
    }

    /// The authserv-id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether a field is one of ours, or could be taken for one by a reader who is less strict or strict in another
    /// way. Total: any octets have an answer.
    pub fn is_claimed_by(&self, field: &Field) -> bool {
        claim::value_of(field.raw()).is_some_and(|value| claim::names_any(&value, &self.names))
    }

    /// The header block without fields that claim to be ours; the same one where there is none.
    pub fn without_claims(&self, header: Arc<HeaderBlock>) -> Arc<HeaderBlock> {
        if !header.fields().iter().any(|field| self.is_claimed_by(field)) {
            return header;
        }
        let mut kept = Arc::unwrap_or_clone(header);
        kept.retain(|field| !self.is_claimed_by(field));
        Arc::new(kept)
    }
}
