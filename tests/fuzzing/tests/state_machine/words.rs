//! What a client may say, and what the rules make of it.

use core::fmt;

use basin_fuzzing::world::Offers;
use proptest::prelude::*;

use crate::scram::{OTHER_PROOF, PROOF};

/// How a client greets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    Helo,
    Ehlo,
}

/// Mechanisms of AUTH.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sasl {
    Plain,
    Login,
    Scram,
    /// SCRAM-SHA-256-PLUS from a client that binds to nothing.
    Plus,
    Unknown,
}

/// What MAIL asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Content of any octets.
    pub(crate) is_binary: bool,
    /// Addresses of any letters (RFC 6531).
    pub(crate) is_utf8: bool,
    /// A reply for each recipient.
    pub(crate) is_prdr: bool,
}

impl Wishes {
    /// Nothing out of the way.
    pub(crate) const NONE: Self = Self { is_binary: false, is_utf8: false, is_prdr: false };
    const BINARY: Self = Self { is_binary: true, ..Self::NONE };
    const UTF8: Self = Self { is_utf8: true, ..Self::NONE };
    const PRDR: Self = Self { is_prdr: true, ..Self::NONE };
    const ALL: Self = Self { is_binary: true, is_utf8: true, is_prdr: true };
}

/// What a line means, whatever the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// HELO or EHLO.
    Greet(Greeting),
    /// MAIL with this sender; a code where policy refuses it.
    Mail(&'static str, Option<u16>),
    /// MAIL of a message that is to leave under TLS alone, which a plain connection does not offer (RFC 8689 §2).
    TlsMail(&'static str),
    /// MAIL that asks for more than usual.
    WishMail(&'static str, Wishes),
    /// RCPT with this recipient; a code where policy refuses it.
    Rcpt(&'static str, Option<u16>),
    /// RCPT with a recipient elsewhere: only for who is logged in.
    Far(&'static str),
    /// RCPT with a recipient that is not ASCII; a code where policy refuses it.
    Utf8Rcpt(&'static str, Option<u16>),
    /// The same elsewhere.
    Utf8Far(&'static str),
    /// DATA.
    Data,
    /// DATA with something behind it.
    DataWrong,
    /// BDAT: so many octets, and whether they are the last.
    Bdat(usize, bool),
    /// BDAT with a size that is none.
    BdatWrong,
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
    /// A command that has one answer in every state.
    Answer(u16),
    /// The same, and not before TLS where that is demanded.
    Told(u16),
    /// STARTTLS.
    StartTls,
    /// AUTH with that mechanism, and a response that came with it, in base64.
    Auth(Sasl, Option<&'static str>),
    /// XCLIENT: whether the client is a user, and how it has greeted.
    Xclient(bool, Option<Greeting>),
    /// A request of HTTP, after which the server hangs up.
    Http,
    /// No command.
    Nothing,
}

/// Lines and their meaning. A line that is not here is no command.
pub(crate) const WORDS: &[(&[u8], Word)] = &[
    (b"EHLO client.example", Word::Greet(Greeting::Ehlo)),
    (b"ehlo [192.0.2.7]", Word::Greet(Greeting::Ehlo)),
    (b"HELO client.example", Word::Greet(Greeting::Helo)),
    (b"EHLO", Word::Answer(501)),
    (b"HELO a b", Word::Answer(501)),
    (b"MAIL FROM:<a@b.example>", Word::Mail("a@b.example", None)),
    (b"mail from:<\"a b\"@[IPv6:2001:db8::1]> ", Word::Mail("\"a b\"@[IPv6:2001:db8::1]", None)),
    (b"MAIL FROM:<>", Word::Mail("", None)),
    (b"MAIL FROM:<> SIZE=200 BODY=8BITMIME", Word::Mail("", None)),
    (b"MAIL FROM:<a@b.example> SIZE=201", Word::Mail("a@b.example", Some(552))),
    (b"MAIL FROM:<a@b.example> SIZE=99999999999999999999", Word::Mail("a@b.example", Some(552))),
    (b"MAIL FROM:<a@b.example> RET=HDRS ENVID=x", Word::Mail("a@b.example", None)),
    (b"MAIL FROM:<a@b.example> SMTPUTF8", Word::WishMail("a@b.example", Wishes::UTF8)),
    (b"MAIL FROM:<a@b.example> PRDR", Word::WishMail("a@b.example", Wishes::PRDR)),
    (b"MAIL FROM:<a@b.example> SMTPUTF8 PRDR BODY=BINARYMIME", Word::WishMail("a@b.example", Wishes::ALL)),
    (
        "MAIL FROM:<j\u{f6}rg@b\u{fc}cher.example> SMTPUTF8".as_bytes(),
        Word::WishMail("j\u{f6}rg@b\u{fc}cher.example", Wishes::UTF8),
    ),
    ("MAIL FROM:<j\u{f6}rg@b.example>".as_bytes(), Word::Answer(553)),
    (b"MAIL FROM:<j\xf6rg@b.example> SMTPUTF8", Word::Answer(553)),
    (b"MAIL FROM:<a@b.example> PRDR=1", Word::Answer(501)),
    (b"MAIL FROM:<a@b.example> BY=60;R MT-PRIORITY=-3", Word::Mail("a@b.example", None)),
    (b"MAIL FROM:<a@b.example> BY=0;R", Word::Answer(501)),
    (b"MAIL FROM:<a@b.example> SMTPUTF8=1", Word::Answer(501)),
    (b"MAIL FROM:<a@b.example> REQUIRETLS", Word::TlsMail("a@b.example")),
    (b"MAIL FROM:<a@b.example> HOLDFOR=60", Word::Mail("a@b.example", Some(555))),
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
    (b"RCPT TO:<x@far.example>", Word::Far("x@far.example")),
    ("RCPT TO:<j\u{f6}rg@basin.example>".as_bytes(), Word::Utf8Rcpt("", Some(550))),
    ("RCPT TO:<j\u{f6}rg@far.example>".as_bytes(), Word::Utf8Far("j\u{f6}rg@far.example")),
    (b"RCPT TO:<x%far.example@basin.example>", Word::Rcpt("", Some(550))),
    (b"RCPT TO:<>", Word::Answer(501)),
    (b"RCPT TO:<alice@basin.example> NOTIFY=X", Word::Answer(501)),
    (b"RCPT TO:<alice@basin.example> SIZE=1", Word::Answer(555)),
    (b"DATA", Word::Data),
    (b"data", Word::Data),
    (b"DATA now", Word::DataWrong),
    (b"BDAT 6", Word::Bdat(6, false)),
    (b"bdat 6 last", Word::Bdat(6, true)),
    (b"BDAT 6 LAST", Word::Bdat(6, true)),
    (b"BDAT 10 LAST", Word::Bdat(10, true)),
    (b"BDAT 9", Word::Bdat(9, false)),
    (b"BDAT 9 LAST", Word::Bdat(9, true)),
    (b"BDAT 5", Word::Bdat(5, false)),
    (b"BDAT 0", Word::Bdat(0, false)),
    (b"BDAT 0 LAST", Word::Bdat(0, true)),
    (b"BDAT 5 LAST", Word::Bdat(5, true)),
    (b"BDAT 120", Word::Bdat(120, false)),
    (b"BDAT 200 LAST", Word::Bdat(200, true)),
    (b"BDAT 201", Word::Bdat(201, false)),
    (b"BDAT 4294967302 LAST", Word::Bdat(4_294_967_302, true)),
    (b"BDAT 18446744073709551622", Word::BdatWrong),
    (b"BDAT -1", Word::BdatWrong),
    (b"BDAT 0x6", Word::BdatWrong),
    (b"BDAT", Word::BdatWrong),
    (b"MAIL FROM:<a@b.example> BODY=BINARYMIME", Word::WishMail("a@b.example", Wishes::BINARY)),
    (b"a: b", Word::Nothing),
    (b"RSET", Word::Rset),
    (b"RSET x", Word::Answer(501)),
    (b"NOOP", Word::Answer(250)),
    (b"NOOP and more", Word::Answer(250)),
    (b"VRFY alice", Word::Told(252)),
    (b"VRFY", Word::Answer(501)),
    (b"EXPN list", Word::Told(502)),
    (b"HELP", Word::Told(214)),
    (b"QUIT", Word::Quit),
    (b"QUIT now", Word::Answer(501)),
    (b"STARTTLS", Word::StartTls),
    (b"starttls", Word::StartTls),
    (b"STARTTLS now", Word::Answer(501)),
    (b"AUTH PLAIN AGFsaWNlAHJhYmJpdCBob2xl", Word::Auth(Sasl::Plain, Some("AGFsaWNlAHJhYmJpdCBob2xl"))),
    (b"AUTH PLAIN AGFsaWNlAHdyb25n", Word::Auth(Sasl::Plain, Some("AGFsaWNlAHdyb25n"))),
    (
        b"AUTH PLAIN bWFsbG9yeQBhbGljZQByYWJiaXQgaG9sZQ==",
        Word::Auth(Sasl::Plain, Some("bWFsbG9yeQBhbGljZQByYWJiaXQgaG9sZQ==")),
    ),
    (b"AUTH PLAIN =", Word::Auth(Sasl::Plain, Some(""))),
    (b"AUTH PLAIN", Word::Auth(Sasl::Plain, None)),
    (b"auth login", Word::Auth(Sasl::Login, None)),
    (b"AUTH LOGIN", Word::Auth(Sasl::Login, None)),
    (b"AUTH LOGIN YWxpY2U=", Word::Auth(Sasl::Login, Some("YWxpY2U="))),
    (b"AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiYw==", Word::Auth(Sasl::Scram, Some("biwsbj1hbGljZSxyPWFiYw=="))),
    (b"AUTH SCRAM-SHA-256 biwsbj1tYWxsb3J5LHI9YWJj", Word::Auth(Sasl::Scram, Some("biwsbj1tYWxsb3J5LHI9YWJj"))),
    (b"auth scram-sha-256", Word::Auth(Sasl::Scram, None)),
    (b"AUTH SCRAM-SHA-256-PLUS biwsbj1hbGljZSxyPWFiYw==", Word::Auth(Sasl::Plus, Some("biwsbj1hbGljZSxyPWFiYw=="))),
    (b"XCLIENT ADDR=198.51.100.9", Word::Xclient(false, None)),
    (b"xclient addr=198.51.100.9 PORT=7 LOGIN=carol", Word::Xclient(true, None)),
    (b"XCLIENT LOGIN=carol HELO=x.example PROTO=ESMTP", Word::Xclient(true, Some(Greeting::Ehlo))),
    (b"XCLIENT HELO=x.example PROTO=SMTP LOGIN=[UNAVAILABLE]", Word::Xclient(false, Some(Greeting::Helo))),
    (b"XCLIENT ADDR=198.51.100.300", Word::Answer(501)),
    (b"XCLIENT", Word::Answer(501)),
    (b"AUTH X-OWN", Word::Auth(Sasl::Unknown, None)),
    (b"AUTH", Word::Answer(501)),
    (b"AUTH PLAIN !", Word::Answer(501)),
    (b"AUTH PLAIN AGEAYg== x", Word::Answer(501)),
    // Responses to challenges; as commands they are nothing.
    (b"AGFsaWNlAHJhYmJpdCBob2xl", Word::Nothing),
    (b"YWxpY2U=", Word::Nothing),
    (b"cmFiYml0IGhvbGU=", Word::Nothing),
    (b"biwsbj1hbGljZSxyPWFiYw==", Word::Nothing),
    (PROOF, Word::Nothing),
    (OTHER_PROOF, Word::Nothing),
    (b"*", Word::Nothing),
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
    let login = prop::sample::select(vec![
        vec![&b"STARTTLS"[..], b"EHLO client.example", b"AUTH PLAIN AGFsaWNlAHJhYmJpdCBob2xl"],
        vec![b"STARTTLS", b"EHLO client.example"],
        vec![b"AUTH LOGIN", b"YWxpY2U=", b"cmFiYml0IGhvbGU="],
        vec![b"AUTH PLAIN", b"AGFsaWNlAHJhYmJpdCBob2xl"],
        vec![b"MAIL FROM:<>", b"RCPT TO:<x@far.example>", b"DATA", b"."],
        vec![b"AUTH LOGIN", b"YWxpY2U=", b"*"],
        vec![b"BDAT 6", b"a: b", b"BDAT 6 LAST", b"NOOP"],
        vec![
            b"MAIL FROM:<>",
            b"RCPT TO:<bob@BASIN.example>",
            b"BDAT 6",
            b"a: b",
            b"BDAT 9",
            b"\r\nx\ny",
            b"BDAT 0 LAST",
        ],
        vec![b"MAIL FROM:<a@b.example> BODY=BINARYMIME", b"RCPT TO:<alice@basin.example>", b"BDAT 6", b"a: b"],
        vec![b"BDAT 5", b"NOOP", b"BDAT 9 LAST", b"\rQUIT"],
        vec![b"STARTTLS", b"EHLO client.example", b"AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiYw==", PROOF, b""],
        vec![b"auth scram-sha-256", b"biwsbj1hbGljZSxyPWFiYw==", PROOF, b"", b"MAIL FROM:<>"],
        vec![b"AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiYw==", PROOF, b"*"],
        vec![b"AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPWFiYw==", OTHER_PROOF],
        vec![b"AUTH SCRAM-SHA-256 biwsbj1tYWxsb3J5LHI9YWJj", PROOF],
        vec![b"XCLIENT LOGIN=carol HELO=x.example PROTO=ESMTP", b"MAIL FROM:<>", b"RCPT TO:<x@far.example>"],
        vec![b"MAIL FROM:<a@b.example> PRDR", b"RCPT TO:<alice@basin.example>", b"RCPT TO:<bob@BASIN.example>"],
        vec![b"MAIL FROM:<>", b"RCPT TO:<alice@basin.example>", b"RCPT TO:<bob@BASIN.example>", b"DATA", b"."],
        vec![b"BDAT 6", b"a: b", b"RSET", b"BDAT 6 LAST", b"c: d"],
        vec![b"BDAT 6", b"a: b", b"STARTTLS", b"EHLO client.example", b"BDAT 6 LAST", b"c: d"],
        vec![b"BDAT 9", b"NO", b"RSET", b"RSET", b"BDAT 0 LAST"],
        vec![b"BDAT 10 LAST", b"STARTTLS", b"NOOP"],
        vec![b"MAIL FROM:<a@b.example> SMTPUTF8", "RCPT TO:<j\u{f6}rg@far.example>".as_bytes(), b"DATA", b"."],
        [vec![&b"STARTTLS"[..], b"EHLO client.example"], vec![&b"AUTH PLAIN AGFsaWNlAHdyb25n"[..]; 4]].concat(),
        [
            vec![&b"MAIL FROM:<>"[..], b"RCPT TO:<alice@basin.example>", b"RCPT TO:<bob@BASIN.example>"],
            vec![b"rcpt to:<Postmaster>", b"RCPT TO:<nobody@basin.example>"],
        ]
        .concat(),
    ]);
    let login = login.prop_map(|lines| lines.into_iter().map(<[u8]>::to_vec).collect());
    prop_oneof![
        20 => any,
        2 => one(b"MAIL FROM:<a@b.example>"),
        3 => one(b"RCPT TO:<bob@BASIN.example>"),
        2 => one(b"DATA"),
        3 => one(b"."),
        4 => message,
        6 => login,
        1 => Just(vec![vec![b'x'; 3_000]]),
        1 => Just(vec![vec![b'y'; 120]]),
    ]
}

/// What a client sends; a report shows it as a person reads it.
#[derive(Clone)]
pub(crate) struct Wire(pub(crate) Vec<u8>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{}", self.0.escape_ascii().to_string().replace("\\r\\n", "\\r\\n\n"))
    }
}

/// Inputs: mostly a greeting first, then anything.
pub(crate) fn inputs() -> impl Strategy<Value = Wire> {
    let greeting = prop::sample::select(vec![&b"EHLO client.example\r\n"[..], b"EHLO client.example\r\n", b""]);
    (greeting, prop::collection::vec(lines(), 0..25)).prop_map(|(greeting, groups)| {
        let mut input = greeting.to_vec();
        for line in groups.into_iter().flatten() {
            input.extend(line);
            input.extend(b"\r\n");
        }
        Wire(input)
    })
}

/// How an input arrives.
#[derive(Debug, Clone)]
pub(crate) enum Cut {
    /// Line by line, as from a client that waits for each reply.
    Lines,
    /// In pieces of these lengths, over and over; all at once where there are none.
    Pieces(Vec<usize>),
}

impl Cut {
    /// The lengths of the pieces of an input.
    pub(crate) fn pieces(&self, input: &[u8]) -> Vec<usize> {
        match self {
            Self::Pieces(pieces) => pieces.clone(),
            Self::Lines => {
                let ends = input.windows(2).enumerate().filter(|(_, pair)| *pair == b"\r\n").map(|(at, _)| at + 2);
                let ends: Vec<usize> = ends.collect();
                let starts = [0].into_iter().chain(ends.iter().copied());
                starts.zip(&ends).map(|(start, end)| end - start).collect()
            }
        }
    }
}

/// Ways in which an input may arrive: line by line, all at once, octet by octet, in segments.
pub(crate) fn cuts() -> impl Strategy<Value = Cut> {
    prop_oneof![
        3 => Just(Cut::Lines),
        1 => Just(Cut::Pieces(Vec::new())),
        1 => Just(Cut::Pieces(vec![1])),
        1 => prop::collection::vec(1..60usize, 1..6).prop_map(Cut::Pieces),
        1 => prop::collection::vec(prop_oneof![1..4usize, 100..1500usize], 1..6).prop_map(Cut::Pieces),
    ]
}

/// What a listener may offer.
pub(crate) fn offers() -> impl Strategy<Value = Offers> {
    let one = |has_tls, needs_tls, has_auth, auth_needs_tls| Offers {
        has_tls,
        needs_tls,
        has_auth,
        auth_needs_tls,
        has_xclient: false,
    };
    prop::sample::select(vec![
        Offers::ALL,
        Offers::ALL,
        one(false, false, false, false),
        one(true, true, true, true),
        one(true, false, true, false),
        Offers { has_xclient: true, ..one(true, false, true, false) },
        Offers { has_xclient: true, ..one(true, true, true, true) },
        one(false, false, true, false),
        one(false, false, true, true),
        one(true, true, false, false),
    ])
}
