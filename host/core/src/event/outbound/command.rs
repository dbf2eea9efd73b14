//! A command before it leaves, and what a sink may put in its place or before it.

use std::sync::Arc;

use thiserror::Error;

use crate::limits::{OUT_BLOB_BYTES_MAX, OUT_LINE_BYTES_MAX, OUT_VERB_BYTES_MAX};

/// Verbs of SMTP and its extensions. They move the dialogue, so they are this server's alone: a sink changes the
/// rest of their line, and cannot send one out of turn.
pub const STANDARD_VERBS: [&str; 23] = [
    "HELO", "EHLO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "EXPN", "HELP", "AUTH",
    "STARTTLS", "ETRN", "ATRN", "TURN", "SEND", "SOML", "SAML", "BURL", "XCLIENT",
];

/// Parameters whose extension has another name: parameter, verb, extension. What is not here belongs to the extension of its own name.
const PARAMETERS: [(&str, &str, &str); 13] = [
    ("BODY", "MAIL", "8BITMIME"),
    ("RET", "MAIL", "DSN"),
    ("ENVID", "MAIL", "DSN"),
    ("NOTIFY", "RCPT", "DSN"),
    ("ORCPT", "RCPT", "DSN"),
    ("BY", "MAIL", "DELIVERBY"),
    ("HOLDFOR", "MAIL", "FUTURERELEASE"),
    ("HOLDUNTIL", "MAIL", "FUTURERELEASE"),
    ("TRANSID", "MAIL", "CHECKPOINT"),
    ("SOLICIT", "MAIL", "NO-SOLICITING"),
    ("MT-PRIORITY", "MAIL", "MT-PRIORITY"),
    ("RRVS", "RCPT", "RRVS"),
    ("SIZE", "MAIL", "SIZE"),
];

/// Parameters that a sink leaves as they are.
const KEPT: [&str; 3] = ["BODY", "SMTPUTF8", "REQUIRETLS"];

/// A command that is about to be sent to another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutCommand {
    native: Arc<str>,
    line: String,
    /// Lines of the answer to EHLO.
    extensions: Arc<[String]>,
}

/// Why a line cannot be sent in place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OutCommandError {
    /// Too long.
    #[error("a command line has at most {OUT_LINE_BYTES_MAX} octets")]
    Long,
    /// CR, LF, NUL or another control character.
    #[error("a command line has no control characters")]
    Control,
    /// Another verb.
    #[error("the verb of a command stays what it is")]
    Verb,
    /// The octets that follow BDAT are those that it announces.
    #[error("the line of BDAT stays as it is")]
    Chunk,
    /// What the other server has to know of the content, and RFC 8689 §4.2.1: the rule goes where the message goes.
    #[error("BODY, SMTPUTF8 and REQUIRETLS stay as the message has them")]
    Kept,
    /// Parameters belong to MAIL and RCPT.
    #[error("MAIL and RCPT have parameters, no other command")]
    NoParameters,
    /// No parameter by RFC 5321 §4.1.2, or one that is there already.
    #[error("not a parameter, or one that is there already")]
    Parameter,
    /// The other server has no such extension.
    #[error("the other server does not offer the extension of that parameter")]
    NotOffered,
}

impl OutCommand {
    /// The line that this server made, to a server that offers those extensions.
    pub fn new(native: &str, extensions: Arc<[String]>) -> Self {
        Self { native: native.into(), line: native.to_owned(), extensions }
    }

    /// Verb in upper case.
    pub fn keyword(&self) -> String {
        verb_of(&self.native)
    }

    /// The line as sinks left it, without line end.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The line that this server made.
    pub fn native_line(&self) -> &str {
        &self.native
    }

    /// Replaces the line.
    ///
    /// # Errors
    /// See [`OutCommandError`]; the line stays as it was.
    pub fn set_line(&mut self, line: &str) -> Result<(), OutCommandError> {
        if line.len() > OUT_LINE_BYTES_MAX {
            return Err(OutCommandError::Long);
        }
        if line.chars().any(char::is_control) {
            return Err(OutCommandError::Control);
        }
        let keyword = self.keyword();
        if verb_of(line) != keyword {
            return Err(OutCommandError::Verb);
        }
        if keyword == "BDAT" && line != &*self.native {
            return Err(OutCommandError::Chunk);
        }
        // RFC 6531 §3.1: letters beyond ASCII are for servers that take them.
        if !line.is_ascii() && !self.offers("MAIL", "SMTPUTF8", None) {
            return Err(OutCommandError::NotOffered);
        }
        if keyword == "MAIL" || keyword == "RCPT" {
            self.check_parameters(&keyword, line)?;
        }
        line.clone_into(&mut self.line);
        Ok(())
    }

    // What this server said is its own doing; what a sink adds must be known there, or the command is refused.
    fn check_parameters(&self, verb: &str, line: &str) -> Result<(), OutCommandError> {
        let own: Vec<&str> = parameters(&self.native).collect();
        let there: Vec<&str> = parameters(line).collect();
        let is_kept = |word: &&&str| KEPT.iter().any(|kept| name_of(word).eq_ignore_ascii_case(kept));
        if own.iter().filter(is_kept).any(|word| !there.iter().any(|other| other.eq_ignore_ascii_case(word))) {
            return Err(OutCommandError::Kept);
        }
        for word in there {
            let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let is_own = own.iter().any(|own| name_of(own).eq_ignore_ascii_case(name));
            if !is_own && !self.offers(verb, &name.to_ascii_uppercase(), value) {
                return Err(OutCommandError::NotOffered);
            }
        }
        Ok(())
    }

    /// Adds a parameter to MAIL or RCPT.
    ///
    /// # Errors
    /// See [`OutCommandError`]; the line stays as it was.
    pub fn append_parameter(&mut self, parameter: &str) -> Result<(), OutCommandError> {
        let verb = self.keyword();
        if verb != "MAIL" && verb != "RCPT" {
            return Err(OutCommandError::NoParameters);
        }
        let (keyword, value) = parameter.split_once('=').map_or((parameter, None), |(left, right)| (left, Some(right)));
        let is_value =
            |value: &str| !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'=');
        let has_it = self
            .line
            .split(' ')
            .any(|word| word.split('=').next().is_some_and(|there| there.eq_ignore_ascii_case(keyword)));
        if !is_keyword(keyword) || value.is_some_and(|value| !is_value(value)) || has_it {
            return Err(OutCommandError::Parameter);
        }
        if !self.offers(&verb, &keyword.to_ascii_uppercase(), value) {
            return Err(OutCommandError::NotOffered);
        }
        self.set_line(&format!("{} {parameter}", self.line))
    }

    fn offers(&self, verb: &str, keyword: &str, value: Option<&str>) -> bool {
        let row = PARAMETERS.iter().find(|(name, _, _)| *name == keyword);
        if row.is_some_and(|(_, of, _)| *of != verb) {
            return false;
        }
        let is_binary = keyword == "BODY" && value.is_some_and(|value| value.eq_ignore_ascii_case("BINARYMIME"));
        let extension = if is_binary { "BINARYMIME" } else { row.map_or(keyword, |(_, _, extension)| *extension) };
        let offered = self.extensions.iter().filter_map(|line| line.split_ascii_whitespace().next());
        offered.into_iter().any(|offered| offered.eq_ignore_ascii_case(extension))
    }
}

/// The verb of a line in upper case: what stands before the first space.
pub fn verb_of(line: &str) -> String {
    line.split(' ').next().unwrap_or_default().to_ascii_uppercase()
}

/// Whether a verb, whatever its case, is one of SMTP and its extensions.
pub fn is_standard_verb(verb: &str) -> bool {
    STANDARD_VERBS.iter().any(|standard| standard.eq_ignore_ascii_case(verb))
}

/// Whether a sink may send the line before a command: printable, not too long, with a verb of the sink's own.
pub fn is_own_line(line: &str) -> bool {
    let verb = line.split(' ').next().unwrap_or_default();
    let is_verb = verb.len() <= OUT_VERB_BYTES_MAX && is_keyword(verb) && !is_standard_verb(verb);
    is_verb && line.len() <= OUT_LINE_BYTES_MAX && !line.chars().any(char::is_control)
}

/// The verb by which a server that takes fewer octets of a blob than there are could obey what is left; `others` are
/// verbs that it knows besides those of the standard.
///
/// What is left is read as commands. All lines of it but the first begin where a line of the blob begins: no line
/// begins with a verb. The first may begin anywhere; where it is the only one, it is part of the last line that has an
/// end: no verb stands in the last two lines at all. So of what is left the second line is refused, and one that is
/// alone is, too, which is what the proof behind a blob rests on.
pub fn smuggled_verb<'a>(octets: &[u8], others: &[&'a str]) -> Option<&'a str> {
    let verbs = || STANDARD_VERBS.into_iter().chain(others.iter().copied());
    let of_line = octets.split(|octet| matches!(octet, b'\r' | b'\n' | 0)).find_map(|line| {
        let start = line.iter().position(|octet| *octet > b' ')?;
        let line = line.get(start..).unwrap_or_default();
        verbs().find(|verb| begins_with(line, verb, |behind| !behind.is_ascii_alphanumeric()))
    });
    of_line.or_else(|| {
        let end = last_two_lines(octets);
        let starts = end.iter().enumerate().filter(|(_, octet)| octet.is_ascii_alphanumeric());
        starts.map(|(at, _)| end.get(at..).unwrap_or_default()).find_map(|rest| {
            // A verb ends with a blank or the line; in the middle of data everything else would be chance.
            verbs().find(|verb| begins_with(rest, verb, |behind| behind <= b' '))
        })
    })
}

fn begins_with(octets: &[u8], verb: &str, is_end: impl Fn(u8) -> bool) -> bool {
    octets.split_at_checked(verb.len()).is_some_and(|(word, behind)| {
        word.eq_ignore_ascii_case(verb.as_bytes()) && behind.first().is_none_or(|octet| is_end(*octet))
    })
}

// The last two lines that are not blank. The end of a line is what every server takes for one.
fn last_two_lines(octets: &[u8]) -> &[u8] {
    let mut end = octets.len();
    for _ in 0..2 {
        let before = octets.get(..end).unwrap_or_default();
        let len = before.iter().rposition(|octet| *octet > b' ').map_or(0, |at| at + 1);
        end = memchr::memmem::rfind(before.get(..len).unwrap_or_default(), b"\r\n").unwrap_or(0);
    }
    octets.get(end..).unwrap_or_default()
}

/// Why octets cannot be sent as a blob.
pub(super) fn blob_objection(octets: &[u8], others: &[&str]) -> Option<String> {
    if octets.is_empty() || octets.len() > OUT_BLOB_BYTES_MAX {
        return Some(format!("a blob has 1 to {OUT_BLOB_BYTES_MAX} octets, not {}", octets.len()));
    }
    smuggled_verb(octets, others)
        .map(|verb| format!("a line of the blob begins with {verb}, or has it and is one of the last two"))
}

// RFC 5321 §4.1.2, esmtp-keyword.
fn is_keyword(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_alphanumeric())
        && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}

// The parameters of MAIL or RCPT: what stands behind the path, in which a quoted local part may have anything.
fn parameters(line: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = line.find(|octet: char| {
        let is_end = octet == '>' && !is_quoted;
        is_quoted ^= octet == '"' && !is_escaped;
        is_escaped = octet == '\\' && !is_escaped;
        is_end
    });
    let behind = end.and_then(|end| line.get(end + 1..)).unwrap_or_default();
    behind.split(' ').filter(|word| !word.is_empty())
}

fn name_of(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}
