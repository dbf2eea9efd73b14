//! A verb of one's own with further lines or octets: XMEMO, a note about the messages of a session.
//!
//! ```text
//! C: XMEMO                      C: XMEMO 12
//! S: 350 a line, or a dot       S: 350 12 octets
//! C: case 4711                  C: case 4711..
//! S: 350 a line, or a dot       S: 250 2.0.0 noted
//! C: .
//! S: 250 2.0.0 noted
//! ```
//!
//! EHLO names the verb, `await-input` and `await-octets` ask for what comes behind it, session properties keep it, and
//! every message of the session carries it as X-Memo.

use basin_sink::prelude::*;

/// The verb, and its keyword in the answer to EHLO.
const VERB: &str = "XMEMO";
/// Field that a message carries each line in.
const FIELD: &str = "X-Memo";
/// Octets that a memo has at most; EHLO says so. It is repeated in every message.
const MEMO_OCTETS_MAX: u64 = 2_048;
/// Octets of a line: with the name of the field it stays within the 998 of RFC 5322 §2.1.1.
const LINE_OCTETS_MAX: usize = 900;

/// Session property with the memo of the session, a line for each line.
const MEMO: &str = "memo";
/// Session property with the lines of the one that is being written.
const DRAFT: &str = "draft";

/// The sink.
#[derive(Debug)]
pub struct OwnVerb;

impl OnInboundCommand for OwnVerb {
    fn on_inbound_command(
        session: &Session,
        _message: Option<&mut Message>,
        command: &Command,
        call: &Call,
    ) -> Result<CommandVerdict> {
        match command.keyword().as_str() {
            "EHLO" => {
                call.append_response(&format!("{VERB} {MEMO_OCTETS_MAX}"))?;
                Ok(CommandVerdict::Next)
            }
            VERB => xmemo(session, command.argument().trim(), call),
            _ => Ok(CommandVerdict::Next),
        }
    }
}

impl OnInboundInput for OwnVerb {
    fn on_inbound_input(
        session: &Session,
        _message: Option<&mut Message>,
        command: &Command,
        input: &[u8],
        _call: &Call,
    ) -> Result<CommandVerdict> {
        // With a number behind the verb it is all of the memo at once, without it one line.
        if !command.argument().trim().is_empty() {
            return note(session, input);
        }
        if input == b"." {
            return note(session, &session.property(DRAFT).unwrap_or_default());
        }
        let mut draft = session.property(DRAFT).unwrap_or_default();
        if !draft.is_empty() {
            draft.push(b'\n');
        }
        // A dot before a line that begins with one, as in DATA (RFC 5321 §4.5.2), or a line could not be a dot.
        draft.extend_from_slice(input.strip_prefix(b".").unwrap_or(input));
        if draft.len() as u64 > MEMO_OCTETS_MAX {
            return Ok(too_long());
        }
        session.set_property(DRAFT, draft)?;
        Ok(line())
    }
}

impl OnEndOfData for OwnVerb {
    fn on_end_of_data(session: &Session, message: &mut Message, _call: &Call) -> Result<DataVerdict> {
        // What a client writes itself is no memo of its session.
        message.headers_mut().remove(FIELD)?;
        for line in memo(session).lines() {
            message.headers_mut().append(FIELD, line)?;
        }
        Ok(DataVerdict::Next)
    }
}

fn xmemo(session: &Session, argument: &str, call: &Call) -> Result<CommandVerdict> {
    if argument.is_empty() {
        session.set_property(DRAFT, "")?;
        return Ok(line());
    }
    if argument.eq_ignore_ascii_case("SHOW") {
        let memo = memo(session);
        let text = if memo.is_empty() { "there is no memo" } else { &memo };
        return Ok(CommandVerdict::Consume(Reply::new(250, text).status("2.0.0")));
    }
    match argument.parse() {
        Ok(0) => note(session, b""),
        Ok(octets) if octets <= MEMO_OCTETS_MAX => {
            Ok(CommandVerdict::AwaitOctets((Reply::new(350, format!("{octets} octets")), octets)))
        }
        Ok(_) => Ok(too_long()),
        Err(_) => {
            // What the server does for its own verbs: a client that errs again and again is sent away.
            call.set_protocol_error();
            Ok(refuse(501, "5.5.4", &format!("syntax: {VERB} [octets | SHOW]")))
        }
    }
}

/// Takes a finished memo.
fn note(session: &Session, memo: &[u8]) -> Result<CommandVerdict> {
    let Ok(text) = std::str::from_utf8(memo) else { return Ok(not_text()) };
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    // It becomes a header field: no octet in it may begin another (RFC 5322 §2.2).
    if lines.iter().any(|line| line.chars().any(|c| !(' '..='~').contains(&c))) {
        return Ok(not_text());
    }
    if lines.iter().any(|line| line.len() > LINE_OCTETS_MAX) {
        return Ok(too_long());
    }
    session.set_property(MEMO, lines.join("\n"))?;
    session.set_property(DRAFT, "")?;
    Ok(CommandVerdict::Consume(Reply::new(250, "noted").status("2.0.0")))
}

fn memo(session: &Session) -> String {
    String::from_utf8_lossy(&session.property(MEMO).unwrap_or_default()).into_owned()
}

fn line() -> CommandVerdict {
    CommandVerdict::AwaitInput(Reply::new(350, "a line, or a dot"))
}

fn too_long() -> CommandVerdict {
    refuse(552, "5.3.4", &format!("a memo has {MEMO_OCTETS_MAX} octets and lines of {LINE_OCTETS_MAX} at most"))
}

fn not_text() -> CommandVerdict {
    refuse(554, "5.6.0", "a memo is printable ASCII")
}

basin_sink::export!(OwnVerb: OnInboundCommand, OnInboundInput, OnEndOfData);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    fn noted() -> CommandVerdict {
        CommandVerdict::Consume(Reply::new(250, "noted").status("2.0.0"))
    }

    #[test]
    fn ehlo_names_the_verb_and_its_limit() {
        let mut session = testing::Session::new();
        session.set_response(Reply::new(250, "basin.example"));
        assert_eq!(session.command::<OwnVerb>("EHLO client.example"), CommandVerdict::Next);
        assert_eq!(session.response().map(|reply| reply.text()).as_deref(), Some("basin.example\nXMEMO 2048"));
    }

    #[test]
    fn lines_up_to_a_dot_are_a_memo() {
        let mut session = testing::Session::new();
        assert_eq!(session.command::<OwnVerb>("xmemo"), line());
        for text in ["case 4711", "..", "..dots"] {
            assert_eq!(session.input::<OwnVerb>(text.as_bytes()), line());
        }
        assert_eq!(session.input::<OwnVerb>(b"."), noted());
        let shown = CommandVerdict::Consume(Reply::new(250, "case 4711\n.\n.dots").status("2.0.0"));
        assert_eq!(session.command::<OwnVerb>("XMEMO show"), shown);
    }

    #[test]
    fn octets_are_a_memo_too_and_replace_the_former() {
        let mut session = testing::Session::new();
        session.set_session_property(MEMO, "old");
        let asked = CommandVerdict::AwaitOctets((Reply::new(350, "9 octets"), 9));
        assert_eq!(session.command::<OwnVerb>("XMEMO 9"), asked);
        assert_eq!(session.input::<OwnVerb>(b"one\r\ntwo\n"), noted());
        assert_eq!(session.session_property(MEMO), Some(&b"one\ntwo"[..]));
        assert_eq!(session.command::<OwnVerb>("XMEMO 0"), noted());
        let shown = CommandVerdict::Consume(Reply::new(250, "there is no memo").status("2.0.0"));
        assert_eq!(session.command::<OwnVerb>("XMEMO SHOW"), shown);
    }

    #[test]
    fn every_message_carries_the_memo() {
        let mut message = testing::Message::from_eml("Subject: hi\r\n\r\nbody\r\n");
        assert_eq!(message.end_of_data::<OwnVerb>(), DataVerdict::Next);
        assert_eq!(message.headers("X-Memo"), [""; 0]);
        let mut message = testing::Message::from_eml("x-memo: forged\r\nSubject: hi\r\nX-Memo: too\r\n\r\nbody\r\n");
        assert_eq!(message.end_of_data::<OwnVerb>(), DataVerdict::Next);
        assert_eq!((message.headers("X-Memo").len(), message.headers("Subject").len()), (0, 1));
        message.set_session_property(MEMO, "one\ntwo");
        assert_eq!(message.end_of_data::<OwnVerb>(), DataVerdict::Next);
        assert_eq!(message.headers("X-Memo"), ["one", "two"]);
    }

    #[test]
    fn what_is_too_long_is_refused_before_and_while_it_comes() {
        let mut session = testing::Session::new();
        for argument in ["2049", "18446744073709551615"] {
            assert_eq!(session.command::<OwnVerb>(&format!("XMEMO {argument}")), too_long());
        }
        assert_eq!(session.command::<OwnVerb>("XMEMO"), line());
        assert_eq!(session.input::<OwnVerb>(&[b'x'; 2_000]), line());
        assert_eq!(session.input::<OwnVerb>(&[b'x'; 100]), too_long());
        assert_eq!(
            session.command::<OwnVerb>("XMEMO 1000"),
            CommandVerdict::AwaitOctets((Reply::new(350, "1000 octets"), 1_000))
        );
        assert_eq!(session.input::<OwnVerb>(&[b'x'; 1_000]), too_long());
        assert_eq!(session.session_property(MEMO), None);
    }

    #[test]
    fn a_memo_cannot_write_a_field_of_its_own() {
        let mut session = testing::Session::new();
        for octets in [&b"a\rBcc: b@c.example"[..], b"a\0b", b"\xff", "\u{e9}".as_bytes()] {
            assert_eq!(
                session.command::<OwnVerb>("XMEMO 17"),
                CommandVerdict::AwaitOctets((Reply::new(350, "17 octets"), 17))
            );
            assert_eq!(session.input::<OwnVerb>(octets), not_text(), "{octets:?}");
        }
    }

    #[test]
    fn a_wrong_argument_counts_as_an_error_of_the_client() {
        let mut session = testing::Session::new();
        let syntax = refuse(501, "5.5.4", "syntax: XMEMO [octets | SHOW]");
        assert_eq!(session.command::<OwnVerb>("XMEMO -1"), syntax);
        assert_eq!(session.command::<OwnVerb>("XMEMO many"), syntax);
        assert_eq!(session.command::<OwnVerb>("XMEMO 18446744073709551616"), syntax);
        assert_eq!(session.protocol_errors(), 3);
    }
}
