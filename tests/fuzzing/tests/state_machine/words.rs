//! What a client may say, and what the rules make of it.

use proptest::prelude::*;

/// What a line means, whatever the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// HELO or EHLO.
    Greet,
    /// MAIL with this sender; a code where policy refuses it.
    Mail(&'static str, Option<u16>),
    /// RCPT with this recipient; a code where policy refuses it.
    Rcpt(&'static str, Option<u16>),
    /// DATA.
    Data,
    /// DATA with something behind it.
    DataWrong,
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
    /// A command that has one answer in every state.
    Answer(u16),
    /// A request of HTTP, after which the server hangs up.
    Http,
    /// No command.
    Nothing,
}

/// Lines and their meaning. A line that is not here is no command.
pub(crate) const WORDS: &[(&[u8], Word)] = &[
    (b"EHLO client.example", Word::Greet),
    (b"ehlo [192.0.2.7]", Word::Greet),
    (b"HELO client.example", Word::Greet),
    (b"EHLO", Word::Answer(501)),
    (b"HELO a b", Word::Answer(501)),
    (b"MAIL FROM:<a@b.example>", Word::Mail("a@b.example", None)),
    (b"mail from:<\"a b\"@[IPv6:2001:db8::1]> ", Word::Mail("\"a b\"@[IPv6:2001:db8::1]", None)),
    (b"MAIL FROM:<> SIZE=200 BODY=8BITMIME", Word::Mail("", None)),
    (b"MAIL FROM:<a@b.example> SIZE=201", Word::Mail("a@b.example", Some(552))),
    (b"MAIL FROM:<a@b.example> SIZE=99999999999999999999", Word::Mail("a@b.example", Some(552))),
    (b"MAIL FROM:<a@b.example> RET=HDRS ENVID=x", Word::Mail("a@b.example", None)),
    (b"MAIL FROM:<a@b.example> COLOUR=BLUE", Word::Answer(555)),
    (b"MAIL FROM:<a@b.example> SIZE=x", Word::Answer(501)),
    (b"MAIL FROM:a@b.example", Word::Answer(501)),
    (b"MAIL FROM: <a@b.example>", Word::Answer(501)),
    (b"MAIL FROM:<a@b@c.example>", Word::Answer(501)),
    (b"MAIL", Word::Answer(501)),
    (b"RCPT TO:<alice@basin.example>", Word::Rcpt("alice@basin.example", None)),
    (b"RCPT TO:<bob@BASIN.example>", Word::Rcpt("bob@BASIN.example", None)),
    (b"rcpt to:<Postmaster>", Word::Rcpt("Postmaster", None)),
    (b"RCPT TO:<@a.example,@b.example:alice@basin.example>", Word::Rcpt("alice@basin.example", None)),
    (b"RCPT TO:<\"alice\"@basin.example> NOTIFY=NEVER", Word::Rcpt("\"alice\"@basin.example", None)),
    (b"RCPT TO:<nobody@basin.example>", Word::Rcpt("", Some(550))),
    (b"RCPT TO:<x@far.example>", Word::Rcpt("", Some(550))),
    (b"RCPT TO:<x%far.example@basin.example>", Word::Rcpt("", Some(550))),
    (b"RCPT TO:<>", Word::Answer(501)),
    (b"RCPT TO:<alice@basin.example> NOTIFY=X", Word::Answer(501)),
    (b"RCPT TO:<alice@basin.example> SIZE=1", Word::Answer(555)),
    (b"DATA", Word::Data),
    (b"data", Word::Data),
    (b"DATA now", Word::DataWrong),
    (b"RSET", Word::Rset),
    (b"RSET x", Word::Answer(501)),
    (b"NOOP", Word::Answer(250)),
    (b"NOOP and more", Word::Answer(250)),
    (b"VRFY alice", Word::Answer(252)),
    (b"VRFY", Word::Answer(501)),
    (b"EXPN list", Word::Answer(502)),
    (b"HELP", Word::Answer(214)),
    (b"QUIT", Word::Quit),
    (b"QUIT now", Word::Answer(501)),
    (b"GET / HTTP/1.1", Word::Http),
    (b"FLY", Word::Nothing),
    (b"X-OWN a b", Word::Nothing),
    (b"", Word::Nothing),
    (b".", Word::Nothing),
    (b"..", Word::Nothing),
    (b"Subject: x", Word::Nothing),
    (b" text that begins with a blank", Word::Nothing),
    (b"NO\rOP", Word::Nothing),
    (b"RSET\nRSET", Word::Nothing),
    (b"NOOP\0", Word::Nothing),
    (b"\xff\xfe", Word::Nothing),
];

/// What a line means.
pub(crate) fn word(line: &[u8]) -> Word {
    WORDS.iter().find(|(text, _)| *text == line).map_or(Word::Nothing, |(_, word)| *word)
}

/// Lines by weight: what opens a transaction comes often, or few inputs would get far.
fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let one = |text: &'static [u8]| Just(vec![text.to_vec()]);
    let any = prop::sample::select(WORDS).prop_map(|(text, _)| vec![text.to_vec()]);
    let begun = [&b"MAIL FROM:<a@b.example>"[..], b"RCPT TO:<alice@basin.example>", b"DATA"];
    let text = prop::sample::select(vec![&b"Subject: x"[..], b"", b"text", b"..dots", b".", b"QUIT", b"a\nb", b"a\0b"]);
    let message = prop::collection::vec(text, 0..6)
        .prop_map(move |text| begun.iter().copied().chain(text).chain([&b"."[..]]).map(<[u8]>::to_vec).collect());
    prop_oneof![
        20 => any,
        2 => one(b"MAIL FROM:<a@b.example>"),
        3 => one(b"RCPT TO:<bob@BASIN.example>"),
        2 => one(b"DATA"),
        3 => one(b"."),
        4 => message,
        1 => Just(vec![vec![b'x'; 3_000]]),
        1 => Just(vec![vec![b'y'; 120]]),
    ]
}

/// Inputs: mostly a greeting first, then anything.
pub(crate) fn inputs() -> impl Strategy<Value = Vec<u8>> {
    let greeting = prop::sample::select(vec![&b"EHLO client.example\r\n"[..], b"EHLO client.example\r\n", b""]);
    (greeting, prop::collection::vec(lines(), 0..25)).prop_map(|(greeting, groups)| {
        let mut input = greeting.to_vec();
        for line in groups.into_iter().flatten() {
            input.extend(line);
            input.extend(b"\r\n");
        }
        input
    })
}

/// Lengths of the pieces in which an input arrives: all at once, a few octets, or about a segment.
pub(crate) fn pieces() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(Vec::new()),
        Just(vec![1]),
        prop::collection::vec(1..60usize, 1..6),
        prop::collection::vec(prop_oneof![1..4usize, 100..1500usize], 1..6),
    ]
}
