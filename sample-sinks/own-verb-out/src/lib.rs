//! A verb of one's own towards other servers: where one offers XMEMO, it is told about each message before MAIL.
//!
//! ```text
//! S: 250-XMEMO 2048
//! C: XMEMO 49
//! S: 350 49 octets
//! C: sent by mx.basin.example as 0652f1...
//! S: 250 2.0.0 noted
//! C: MAIL FROM:<...>
//! ```
//!
//! The event is raised again with the reply to what was sent first, so the sink needs no memory: no reply yet is the
//! start, a 3xx waits for octets, and anything else is the end. The other side is the sample `own-verb`.

use basin_sink::prelude::*;

/// The verb, and its keyword in the answer to EHLO.
const VERB: &str = "XMEMO";
/// Octets of a line at most; what is longer is cut. The sample `own-verb` takes as many.
const LINE_OCTETS_MAX: usize = 900;

/// The sink.
#[derive(Debug)]
pub struct OwnVerbOut;

impl OnMessageStart for OwnVerbOut {
    fn on_message_start(
        session: &OutSession,
        message: &mut Message,
        command: &OutCommand,
        _call: &Call,
    ) -> Result<OutVerdict> {
        let Some(argument) = session.extension(VERB) else { return Ok(OutVerdict::Next) };
        let memo = memo(message);
        match command.previous_reply() {
            None => {
                // Without a number there is no limit.
                let octets_max = argument.trim().parse().unwrap_or(usize::MAX);
                if memo.len() > octets_max {
                    metrics::count("too_long");
                    return Ok(OutVerdict::Next);
                }
                Ok(OutVerdict::SendFirst(format!("{VERB} {}", memo.len())))
            }
            Some(reply) if (300..400).contains(&reply.code) => Ok(OutVerdict::SendBlob(memo.into_bytes())),
            Some(reply) if reply.is_success() => {
                metrics::count("noted");
                Ok(OutVerdict::Next)
            }
            Some(reply) => {
                // The mail matters more than what is said about it.
                metrics::count("refused");
                log::warn!("{} does not take the memo: {reply}", session.host());
                Ok(OutVerdict::Next)
            }
        }
    }
}

/// What the other server is told. Each line begins with a word that is no verb of SMTP: a server that took fewer octets
/// would read the rest as commands, and this one does not send what could be one.
fn memo(message: &Message) -> String {
    let mut lines = vec![format!("sent by {} as {}", server::host_name(), message.id())];
    for name in config::list("fields").unwrap_or_default() {
        lines.extend(message.header(&name).map(|value| format!("with {name}: {value}")));
    }
    let lines = lines.iter().map(|line| printable(line));
    lines.collect::<Vec<_>>().join("\r\n")
}

/// One line of printable ASCII.
fn printable(line: &str) -> String {
    let line = line.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' });
    line.take(LINE_OCTETS_MAX).collect()
}

basin_sink::export!(OwnVerbOut: OnMessageStart);

#[cfg(test)]
mod tests {
    use super::*;
    use basin_sink::testing;

    const MAIL: &str = "MAIL FROM:<a@basin.example>";

    fn message(keyword: &str) -> testing::Message {
        let mut message = testing::Message::from_eml("Subject: hi\r\nX-Case: 4711\r\n\r\nbody\r\n");
        message.set_remote("mx.far.example", &["PIPELINING", keyword]);
        message
    }

    fn octets(message: &mut testing::Message) -> String {
        message.set_previous_reply(Reply::new(350, "octets"));
        match message.message_start::<OwnVerbOut>(MAIL) {
            OutVerdict::SendBlob(octets) => String::from_utf8(octets).expect("text"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_without_the_keyword_hears_nothing() {
        assert_eq!(message("XOTHER").message_start::<OwnVerbOut>(MAIL), OutVerdict::Next);
    }

    #[test]
    fn verb_octets_and_mail_follow_each_other() {
        let mut message = message("XMEMO 2048");
        let OutVerdict::SendFirst(line) = message.message_start::<OwnVerbOut>(MAIL) else { panic!("no line") };
        let memo = octets(&mut message);
        assert_eq!(line, format!("XMEMO {}", memo.len()));
        assert!(memo.starts_with("sent by ") && !memo.contains('\n'), "{memo:?}");
        message.set_previous_reply(Reply::new(250, "noted"));
        assert_eq!(message.message_start::<OwnVerbOut>(MAIL), OutVerdict::Next);
        assert_eq!(message.counter("noted"), 1);
    }

    #[test]
    fn fields_are_passed_on_as_lines_that_are_no_commands() {
        let mut message = message("xmemo");
        message.set_config("fields", "X-Case, X-None, Subject");
        let memo = octets(&mut message);
        let lines: Vec<&str> = memo.split("\r\n").skip(1).collect();
        assert_eq!(lines, ["with X-Case: 4711", "with Subject: hi"]);
    }

    #[test]
    fn a_memo_that_is_too_long_or_refused_keeps_no_mail_back() {
        let mut message = message("XMEMO 5");
        assert_eq!(message.message_start::<OwnVerbOut>(MAIL), OutVerdict::Next);
        assert_eq!(message.counter("too_long"), 1);
        message.set_previous_reply(Reply::new(501, "what"));
        assert_eq!(message.message_start::<OwnVerbOut>(MAIL), OutVerdict::Next);
        assert_eq!(message.counter("refused"), 1);
    }

    #[test]
    fn what_is_no_ascii_is_left_out() {
        assert_eq!(printable("a\tb\u{e9}"), "a?b?");
        assert_eq!(printable(&"x".repeat(2_000)).len(), LINE_OCTETS_MAX);
    }
}
