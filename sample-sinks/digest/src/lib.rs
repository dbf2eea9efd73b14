//! A digest: what came is noted when recipients are known, and a timer sends each of them one list of it.
//!
//! It shows a timer, state that two events share, and messages of a sink's own. What is noted is deleted in the call that
//! sends the list, so that both hold or neither does, whatever happens to the server in between.

use basin_sink::prelude::*;
use std::time::Duration;

/// What the keys of the table begin with.
const PREFIX: &str = "mail/";
/// How long an entry is kept where no timer sends it: longer than a month, for a monthly list.
const LIFE: Duration = Duration::from_secs(40 * 24 * 60 * 60);
/// Longest key of a table, in octets; an address that leaves no room for the id of a message is left out.
const KEY_OCTETS_MAX: usize = 256;
/// Longest text of a line that is kept, in characters; a list is read at a glance.
const TEXT_CHARACTERS_MAX: usize = 120;
/// Entries that one call sends. What it deletes is one change of the table, which has a bound; the others come next.
const ENTRIES_MAX: usize = 2_000;
/// Lists that one call sends: as many messages as the server takes of it.
const LISTS_MAX: usize = 100;

/// The sink.
#[derive(Debug)]
pub struct Digest;

/// The mail of one recipient.
#[derive(Debug, Default)]
struct List {
    recipient: String,
    lines: Vec<String>,
    keys: Vec<String>,
}

impl OnPostCategorize for Digest {
    fn on_post_categorize(message: &mut Message, _call: &Call) -> Result<MessageVerdict> {
        if is_automatic(message) {
            return Ok(MessageVerdict::Next);
        }
        let sender = message.sender();
        let line = [message.header("Date"), Some(sender), message.subject()]
            .map(|text| one_line(&text.unwrap_or_default()))
            .join("  ");
        for recipient in message.matched_recipients() {
            let address = recipient.address();
            let key = format!("{PREFIX}{}/{}", address.to_lowercase(), message.id());
            if key.len() > KEY_OCTETS_MAX {
                metrics::count("left_out");
                continue;
            }
            state::set(&key, format!("{address}\n{line}"), Some(LIFE))?;
            metrics::count("noted");
        }
        Ok(MessageVerdict::Next)
    }
}

impl OnTimer for Digest {
    fn on_timer(_call: &Call) -> Result<()> {
        for list in lists()? {
            match send(&list) {
                Ok(()) => {
                    metrics::count("sent");
                    list.keys.iter().try_for_each(|key| state::delete(key))?;
                }
                // What is left stays where it is, for the next time.
                Err(Error::Limit(_)) => break,
                Err(error) => {
                    metrics::count("failed");
                    log::warn!("no list for <{}>: {error}", list.recipient);
                }
            }
        }
        Ok(())
    }
}

/// Whether nobody wrote it for somebody to read: lists like this one, answers of programs, notifications (RFC 3834 §5).
fn is_automatic(message: &Message) -> bool {
    let submitted = message.header("Auto-Submitted");
    let is_submitted_by_hand = submitted.is_none_or(|word| word.trim().eq_ignore_ascii_case("no"));
    !is_submitted_by_hand || message.sender().is_empty()
}

/// The text on one line, and not too long.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|character| if character.is_control() { ' ' } else { character });
    plain.take(TEXT_CHARACTERS_MAX).collect()
}

/// What was noted, by recipient: the keys of the table are sorted.
fn lists() -> Result<Vec<List>> {
    let mut lists: Vec<List> = Vec::new();
    let mut after: Option<String> = None;
    let mut entries = 0;
    loop {
        let keys = state::keys(PREFIX, after.as_deref())?;
        let Some(last) = keys.last() else { return Ok(lists) };
        after = Some(last.clone());
        for key in keys {
            // Its life may be over by now.
            let Some(value) = state::get(&key)? else { continue };
            let value = String::from_utf8_lossy(&value).into_owned();
            let Some((recipient, line)) = value.split_once('\n') else { continue };
            let is_same = |list: &List| list.recipient.eq_ignore_ascii_case(recipient);
            if !lists.last().is_some_and(is_same) {
                lists.push(List { recipient: recipient.to_owned(), ..List::default() });
            }
            entries += 1;
            if entries > ENTRIES_MAX || lists.len() > LISTS_MAX {
                lists.retain(|list| !list.keys.is_empty());
                return Ok(lists);
            }
            if let Some(list) = lists.last_mut() {
                list.lines.push(line.to_owned());
                list.keys.push(key);
            }
        }
    }
}

/// Nobody answers a list and nobody is told that it failed (RFC 3834 §3.3): it has the null path and says what it is.
fn send(list: &List) -> std::result::Result<(), Error> {
    let count = list.lines.len();
    let subject = if count == 1 { "1 new message".to_owned() } else { format!("{count} new messages") };
    let from = config::get("from").unwrap_or_else(|| format!("postmaster@{}", server::host_name()));
    let mut message = NewMessage::new("", &[&list.recipient])?;
    message
        .header("From", &format!("<{from}>"))?
        .header("To", &format!("<{}>", list.recipient))?
        .header("Subject", &subject)?
        .header("Auto-Submitted", "auto-generated")?
        .header("MIME-Version", "1.0")?
        .header("Content-Type", "text/plain; charset=utf-8")?
        .header("Content-Transfer-Encoding", "8bit")?;
    for line in &list.lines {
        message.body(format!("{line}\r\n"))?;
    }
    message.submit().map(drop)
}

basin_sink::export!(Digest: OnPostCategorize, OnTimer);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    fn letter(subject: &str) -> testing::Message {
        let date = "Sun, 22 Nov 2026 07:10:00 +0000";
        testing::Message::from_eml(format!("Date: {date}\r\nSubject: {subject}\r\n\r\ntext\r\n"))
    }

    fn note(message: &mut testing::Message) {
        assert_eq!(message.post_categorize::<Digest>(), MessageVerdict::Next);
    }

    fn keys(message: &testing::Message) -> usize {
        message.state_keys().len()
    }

    #[test]
    fn each_recipient_gets_one_list_and_what_was_sent_is_cleared() {
        let mut message = letter("first");
        message.set_recipients(&["b@basin.example", "c@basin.example"]);
        note(&mut message);
        assert_eq!(keys(&message), 2);
        message.timer::<Digest>();
        let sent = message.submitted();
        let recipients: Vec<_> = sent.iter().map(|list| list.recipients().join(",")).collect();
        assert_eq!(recipients, ["b@basin.example", "c@basin.example"]);
        let list = sent.first().expect("a list");
        assert_eq!((list.sender(), list.header("Auto-Submitted").as_deref()), ("", Some("auto-generated")));
        assert_eq!(list.header("Subject").as_deref(), Some("1 new message"));
        assert_eq!(list.body(), b"Sun, 22 Nov 2026 07:10:00 +0000  a@client.example  first\r\n");
        assert_eq!(keys(&message), 0);
        message.timer::<Digest>();
        assert_eq!(message.submitted().len(), 2, "there is nothing more to tell");
    }

    #[test]
    fn no_list_tells_of_lists_or_of_other_mail_of_programs() {
        for header in ["Auto-Submitted: auto-generated", "Auto-Submitted: auto-replied; x=y"] {
            let mut message = testing::Message::from_eml(format!("{header}\r\n\r\ntext\r\n"));
            note(&mut message);
            assert_eq!(keys(&message), 0, "{header}");
        }
        let mut message = letter("bounce");
        message.set_sender("");
        note(&mut message);
        assert_eq!(keys(&message), 0);
        let mut message = testing::Message::from_eml("Auto-Submitted: No\r\n\r\ntext\r\n");
        note(&mut message);
        assert_eq!(keys(&message), 1, "who says no wrote it by hand");
    }

    #[test]
    fn what_fails_stays_and_the_others_get_theirs() {
        let mut message = letter("first");
        note(&mut message);
        message.set_state("mail/a@@/1", "a@@\nno address");
        message.timer::<Digest>();
        let sent = message.submitted();
        assert_eq!(sent.iter().map(|list| list.recipients().join(",")).collect::<Vec<_>>(), ["b@basin.example"]);
        assert_eq!(message.state_keys(), ["mail/a@@/1"]);
        assert_eq!((message.counter("sent"), message.counter("failed")), (1, 1));
    }

    #[test]
    fn what_is_more_than_a_call_may_send_comes_next() {
        let mut message = letter("x");
        for number in 0..LISTS_MAX + 5 {
            message.set_state(&format!("mail/u{number:03}@basin.example/1"), format!("u{number:03}@basin.example\nx"));
        }
        message.timer::<Digest>();
        assert_eq!(keys(&message), 5);
        message.timer::<Digest>();
        assert_eq!(keys(&message), 0);
    }

    #[test]
    fn a_line_is_one_line_and_has_an_end() {
        let mut message = letter(&"long ".repeat(100));
        note(&mut message);
        message.timer::<Digest>();
        let sent = message.submitted();
        let body = String::from_utf8_lossy(sent.first().expect("a list").body()).into_owned();
        assert!(body.chars().count() < 3 * TEXT_CHARACTERS_MAX, "{body}");
        assert_eq!(one_line("a\r\nb\tc"), "a  b c");
    }

    #[test]
    fn what_nobody_sends_is_forgotten_in_the_end() {
        let mut message = letter("x");
        note(&mut message);
        message.advance(LIFE + Duration::from_secs(1));
        message.timer::<Digest>();
        assert!(message.submitted().is_empty());
    }
}
