//! Checking conditions against facts.

use super::{Condition, Facts, Field, Pattern};
use crate::mail::RecipientId;

/// Longest found value that an explanation shows, in characters.
const FOUND_CHARACTERS_MAX: usize = 200;

/// A text pattern with `*`, case-insensitive.
///
/// Kept as the lower-case pieces between the stars. Finding each piece at its leftmost place is enough, so
/// a match reads the text once: no pattern and no text make it slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    first: String,
    middle: Vec<String>,
    /// `None` where the pattern has no star.
    last: Option<String>,
}

impl Glob {
    /// Takes any text as a pattern.
    pub(crate) fn new(pattern: &str) -> Self {
        let mut pieces = pattern.split('*').map(str::to_lowercase);
        let first = pieces.next().unwrap_or_default();
        let mut middle: Vec<String> = pieces.collect();
        let last = middle.pop();
        middle.retain(|piece| !piece.is_empty());
        Self { first, middle, last }
    }

    /// The text in lower case, where the pattern has no star.
    pub(crate) fn literal(&self) -> Option<&str> {
        self.last.is_none().then_some(self.first.as_str())
    }

    /// Whether the whole text fits.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let Some(last) = &self.last else { return text == self.first };
        let inner = text.strip_prefix(self.first.as_str()).and_then(|rest| rest.strip_suffix(last.as_str()));
        let mut rest = match inner {
            Some(inner) => inner,
            None => return false,
        };
        for piece in &self.middle {
            match rest.split_once(piece.as_str()) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        true
    }
}

impl Condition {
    /// Whether the condition holds; a thing that is not there fits no pattern, so `!=` holds for it.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        let fits = match &self.field {
            Field::Verb => self.fits_text(facts.verb),
            Field::Ehlo => self.fits_text(facts.helo),
            Field::MailFrom => self.fits_text(facts.sender.as_deref()),
            Field::RcptTo => match facts.rcpt_argument {
                Some(path) => self.fits_text(Some(path)),
                None => facts.recipients.iter().any(|recipient| self.fits_text(Some(&recipient.address.to_string()))),
            },
            Field::Client => self.patterns.iter().any(|pattern| match (pattern, facts.client) {
                (Pattern::Within(network), Some(client)) => network.has(client),
                (Pattern::Within(_) | Pattern::Text(_) | Pattern::Over(_), _) => false,
            }),
            Field::User => self.fits_text(facts.user),
            Field::Tls => self.fits_text(facts.tls),
            Field::Size => self.patterns.iter().any(|pattern| match (pattern, facts.size) {
                (Pattern::Over(octets), Some(size)) => size > *octets,
                (Pattern::Within(_) | Pattern::Text(_) | Pattern::Over(_), _) => false,
            }),
            Field::Header(name) => {
                facts.header.is_some_and(|block| block.all(name).any(|field| self.fits_text(Some(&field.value()))))
            }
            Field::Code => self.fits_text(facts.code.map(|code| code.to_string()).as_deref()),
            Field::Listener => self.fits_text(facts.listener),
            Field::Origin => self.fits_text(facts.origin.as_deref()),
        };
        fits != self.is_negated
    }

    /// The recipients that the condition selects among those that conditions before it left.
    pub(super) fn select(&self, facts: &Facts<'_>, among: Option<&[RecipientId]>) -> Vec<RecipientId> {
        let selected = facts.recipients.iter().filter(|recipient| {
            among.is_none_or(|ids| ids.contains(&recipient.id))
                && self.fits_text(Some(&recipient.address.to_string())) != self.is_negated
        });
        selected.map(|recipient| recipient.id).collect()
    }

    /// What stands where the condition looked, for a person.
    pub(super) fn found(&self, facts: &Facts<'_>) -> String {
        let found = match &self.field {
            Field::Verb => facts.verb.map(str::to_owned),
            Field::Ehlo => facts.helo.map(str::to_owned),
            Field::MailFrom => facts.sender.as_ref().map(|path| format!("<{path}>")),
            Field::RcptTo => match facts.rcpt_argument {
                Some(path) => Some(format!("<{path}>")),
                None => joined(facts.recipients.iter().map(|recipient| format!("<{}>", recipient.address))),
            },
            Field::Client => facts.client.map(|client| client.to_canonical().to_string()),
            Field::User => facts.user.map(str::to_owned),
            Field::Tls => facts.tls.map(str::to_owned),
            Field::Size => facts.size.map(|size| format!("{size} octets")),
            Field::Header(name) => {
                facts.header.and_then(|block| joined(block.all(name).map(crate::mail::Field::value)))
            }
            Field::Code => facts.code.map(|code| code.to_string()),
            Field::Listener => facts.listener.map(str::to_owned),
            Field::Origin => facts.origin.clone(),
        };
        let found = found.unwrap_or_else(|| "nothing".to_owned());
        if found.chars().nth(FOUND_CHARACTERS_MAX).is_none() {
            return found;
        }
        found.chars().take(FOUND_CHARACTERS_MAX).chain("...".chars()).collect()
    }

    fn fits_text(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return false };
        self.patterns.iter().any(|pattern| match pattern {
            Pattern::Text(glob) => glob.is_match(text),
            Pattern::Within(_) | Pattern::Over(_) => false,
        })
    }
}

fn joined(values: impl Iterator<Item = String>) -> Option<String> {
    let text = values.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}
