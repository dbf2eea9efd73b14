//! What rspamd answers to `/checkv2`.

use basin_sink::prelude::*;
use serde_json::{Map, Value};

/// Longest text for the client, in characters; a reply line has 512 octets (RFC 5321 §4.5.3.1.5).
const TOLD_CHARACTERS_MAX: usize = 300;

/// What to do with the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pass,
    Greylist,
    AddHeader,
    RewriteSubject,
    SoftReject,
    Reject,
    Quarantine,
    Discard,
}

/// The parts of the answer that count here.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) action: Action,
    pub(crate) score: f64,
    pub(crate) required: f64,
    pub(crate) subject: Option<String>,
    /// Text for the client, of a rule or a module.
    message: Option<String>,
    /// Fields to add.
    pub(crate) added: Vec<(String, String)>,
    /// Fields to remove: which one of that name, 0 for all.
    pub(crate) removed: Vec<(String, u32)>,
}

impl Answer {
    pub(crate) fn parse(body: &[u8]) -> Result<Self> {
        let answer: Value = serde_json::from_slice(body)?;
        let word = answer["action"].as_str().unwrap_or_default();
        let action = Action::named(word)
            .ok_or_else(|| Failure::new(format!("the scanner asks for {word:?}, whatever that is")))?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            action,
            score: answer["score"].as_f64().unwrap_or_default(),
            required: answer["required_score"].as_f64().unwrap_or_default(),
            subject: text(&answer["subject"]),
            message: text(&answer["messages"]["smtp_message"]),
            added: fields(&answer["milter"]["add_headers"]).flat_map(|(name, value)| added(name, value)).collect(),
            removed: fields(&answer["milter"]["remove_headers"])
                .filter_map(|(name, value)| removed(name, value))
                .collect(),
        })
    }

    /// What the client is told.
    pub(crate) fn told(&self, otherwise: &str) -> String {
        let plain = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
        self.message.as_deref().unwrap_or(otherwise).chars().take(TOLD_CHARACTERS_MAX).map(plain).collect()
    }
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// A field is a text, an object with the text and its place, or a list of those.
fn added(name: &str, value: &Value) -> Vec<(String, String)> {
    let values = value.as_array().map_or_else(|| vec![value], |list| list.iter().collect());
    let texts = values.into_iter().filter_map(|value| value.as_str().or_else(|| value["value"].as_str()));
    texts.map(|text| (name.to_owned(), text.to_owned())).collect()
}

/// A place is a number; one below zero counts from the end, which nobody has needed.
fn removed(name: &str, value: &Value) -> Option<(String, u32)> {
    Some((name.to_owned(), u32::try_from(value.as_i64()?).ok()?))
}

impl Action {
    const ALL: [(&'static str, Self); 8] = [
        ("no action", Self::Pass),
        ("greylist", Self::Greylist),
        ("add header", Self::AddHeader),
        ("rewrite subject", Self::RewriteSubject),
        ("soft reject", Self::SoftReject),
        ("reject", Self::Reject),
        ("quarantine", Self::Quarantine),
        ("discard", Self::Discard),
    ];

    fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(name, _)| *name == word).map(|(_, action)| action)
    }

    /// Name of its counter.
    pub(crate) fn counter(self) -> &'static str {
        match self {
            Self::Pass => "no_action",
            Self::Greylist => "greylist",
            Self::AddHeader => "add_header",
            Self::RewriteSubject => "rewrite_subject",
            Self::SoftReject => "soft_reject",
            Self::Reject => "reject",
            Self::Quarantine => "quarantine",
            Self::Discard => "discard",
        }
    }
}
