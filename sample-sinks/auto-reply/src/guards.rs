//! Who gets no answer (RFC 3834 §2): machines, lists, and those who did not write to this person.

use basin_sink::prelude::*;

/// Fields of mailing lists (RFC 2369, RFC 2919); one of them is enough.
const LIST_FIELDS: [&str; 7] =
    ["List-Id", "List-Help", "List-Unsubscribe", "List-Subscribe", "List-Post", "List-Owner", "List-Archive"];

/// Fields that name whom a message is for (RFC 5322 §3.6.3, §3.6.6).
const ADDRESS_FIELDS: [&str; 6] = ["To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"];

/// Local parts behind which there is a program, with `*` for any text at that end.
const PROGRAMS: [&str; 12] = [
    "mailer-daemon",
    "postmaster",
    "listserv",
    "majordomo",
    "noreply",
    "no-reply",
    "donotreply",
    "do-not-reply",
    "owner-*",
    "*-request",
    "*-owner",
    "*-bounces",
];

/// Why a message is not answered, whoever got it: it came from a machine, or to many.
pub(crate) fn machine(message: &Message) -> Option<&'static str> {
    let sender = message.sender();
    // An answer goes to the return path and to nothing else (RFC 3834 §4), and the null path takes none (RFC 5321 §4.5.5).
    let Some((local, _)) = sender.rsplit_once('@') else { return Some("the return path is empty") };
    if PROGRAMS.iter().any(|program| is_like(program, &local.to_ascii_lowercase())) {
        return Some("the return path is that of a program");
    }
    if message.class() != "normal" {
        return Some("it is a report");
    }
    let headers = message.headers();
    // RFC 3834 §5: everything but "no" was not written by hand.
    if headers.all("Auto-Submitted").iter().any(|value| first_word(value) != "no") {
        return Some("it was submitted by a program");
    }
    if headers.all("Precedence").iter().any(|value| ["bulk", "list", "junk"].contains(&&*first_word(value))) {
        return Some("it went to many");
    }
    if LIST_FIELDS.iter().any(|name| headers.contains(name)) {
        return Some("it came through a mailing list");
    }
    if headers.contains("X-Auto-Response-Suppress") || headers.contains("X-Loop") {
        return Some("its sender asks for no automatic answers");
    }
    let content_type = headers.get("Content-Type").unwrap_or_default().to_ascii_lowercase();
    content_type.starts_with("multipart/report").then_some("it is a report")
}

/// Why it is not answered for a person with those addresses.
pub(crate) fn not_meant(message: &Message, own: &[String]) -> Option<&'static str> {
    let sender = message.sender();
    let is_own = |address: &str| own.iter().any(|own| own.eq_ignore_ascii_case(address));
    if is_own(&sender) {
        return Some("it is from the recipient");
    }
    // Addresses beyond ASCII need servers and programs that take them, and an automatic answer is not worth a failure.
    if !sender.is_ascii() || !own.first().is_some_and(|address| address.is_ascii()) {
        return Some("an address is beyond ASCII");
    }
    let headers = message.headers();
    let is_named = ADDRESS_FIELDS.iter().flat_map(|name| headers.addresses(name)).any(|address| is_own(&address));
    (!is_named).then_some("the recipient is not named in it")
}

fn is_like(pattern: &str, local: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => local.ends_with(end),
        (None, Some(start)) => local.starts_with(start),
        (None, None) => local == pattern,
    }
}

fn first_word(value: &str) -> String {
    value.split([';', ' ', '\t', '(']).next().unwrap_or_default().to_ascii_lowercase()
}
