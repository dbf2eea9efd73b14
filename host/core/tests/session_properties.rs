//! Properties of the session machine that hold for any client, whatever it sends.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong")]

use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::{Decision, EventSet, Overlay, Verdict};
use basin_core::mail::{Content, MessageId};
use basin_core::reply::Reply;
use basin_core::smtp::{Connection, ListenerPolicy, Outbox, ProofOfStorage, Session, Step, Wanted};
use basin_core::time::Timestamp;
use basin_core::transport::{Directory, Tables};
use bytes::Bytes;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

struct Stored(MessageId);

impl ProofOfStorage for Stored {
    fn id(&self) -> &MessageId {
        &self.0
    }
}

fn policy() -> Arc<ListenerPolicy> {
    let alice = Address::parse("alice@basin.example").expect("valid");
    let tables = Tables {
        domains: vec!["basin.example".into()],
        mailboxes: vec![(alice, "alice".into())],
        postmaster: "alice".into(),
        ..Tables::default()
    };
    let directory = Directory::new(tables).expect("the tables are right");
    let mut policy = ListenerPolicy::new("mx", "basin.example", Arc::new(directory));
    policy.message_bytes_max = 200;
    policy.message_bytes_hard_max = Some(250);
    policy.recipients_max = 3;
    policy.errors_max = 12;
    Arc::new(policy)
}

/// What came of a session.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    wire: Vec<u8>,
    questions: usize,
    stored: Vec<Vec<u8>>,
    is_closed: bool,
}

/// What a sink asked for, and where it ends.
fn more(input: &[u8], wanted: Wanted) -> Option<(&[u8], usize)> {
    match wanted {
        Wanted::Line { .. } => {
            let len = input.windows(2).position(|pair| pair == b"\r\n")?;
            Some((&input[..len], len + 2))
        }
        Wanted::Octets(count) => {
            let count = usize::try_from(count).expect("small");
            Some((input.get(..count)?, count))
        }
    }
}

fn connection() -> Connection {
    Connection {
        id: "s".into(),
        client: "192.0.2.7:4".parse().expect("an address"),
        server: "192.0.2.1:25".parse().expect("an address"),
        started: NOW,
        random: 1,
        client_name: None,
        tls: None,
    }
}

/// Plays a whole input that arrives in chunks; sinks answer in turn from `verdicts`.
fn decided(verdict: Verdict, overlay: Overlay) -> Decision {
    Decision { verdict, by: Some("a".to_owned()), overlay, failures: Vec::new(), is_heard: true }
}

fn play(input: &[u8], chunk: usize, interest: EventSet, verdicts: &[Verdict]) -> Outcome {
    let (mut outbox, mut outcome) = (Outbox::new(), Outcome::default());
    let (mut at, mut arrived, mut draft) = (0, 0, Vec::new());
    let mut step = Session::start(policy(), connection(), interest, &mut outbox);
    loop {
        step = match step {
            Step::Read(session) => match input[at..arrived].windows(2).position(|pair| pair == b"\r\n") {
                Some(len) => {
                    let line = &input[at..at + len];
                    at += len + 2;
                    session.line(line, NOW, interest, &mut outbox)
                }
                None if arrived < input.len() => {
                    arrived = arrived.saturating_add(chunk).min(input.len());
                    Step::Read(session)
                }
                None => break,
            },
            Step::Ask(paused, question) => {
                let verdict = verdicts.get(outcome.questions % verdicts.len().max(1)).cloned().unwrap_or(Verdict::Next);
                assert!(question.occasion.session.is_some());
                outcome.questions += 1;
                paused.resume(decided(verdict, question.overlay), NOW, &mut outbox)
            }
            Step::Receive(mut receiving) => {
                if receiving.is_new() {
                    draft.clear();
                }
                let fed = receiving.feed(&input[at..arrived], &mut draft);
                at += fed.consumed;
                if fed.is_paused {
                    receiving.pause(NOW)
                } else if fed.is_end {
                    let content = (receiving.is_last() && !receiving.is_refused()).then(|| {
                        let octets = Bytes::from(core::mem::take(&mut draft));
                        Content { len: octets.len() as u64, octets: Arc::new(octets) }
                    });
                    receiving.finish(content, NOW, &mut outbox)
                } else if arrived < input.len() {
                    arrived = arrived.saturating_add(chunk).min(input.len());
                    Step::Receive(receiving)
                } else {
                    break;
                }
            }
            // Neither TLS nor a password file is there; sinks ask for more all the same.
            Step::StartTls(_) | Step::Verify(..) => panic!("nothing of this is offered"),
            Step::Input(awaiting, wanted) => match more(&input[at..], wanted) {
                Some((octets, end)) => {
                    at += end;
                    arrived = arrived.max(at);
                    awaiting.input(octets, NOW, interest, &mut outbox)
                }
                None => break,
            },
            Step::Examine(examining) => examining.examined(&[]),
            Step::Store(storing, message, _) => {
                let body = message.body.read(0, usize::MAX).expect("memory");
                outcome.stored.push([message.header.to_bytes(), message.separator().to_vec(), body].concat());
                storing.stored(&Stored(message.id.clone()), NOW, &mut outbox)
            }
            Step::Close(ended) => {
                assert!(ended.facts().end_reason.is_some());
                outcome.is_closed = true;
                break;
            }
        };
    }
    outcome.wire = outbox.bytes;
    outcome
}

/// The codes of the replies in order; fails where the wire is not well formed.
fn codes(wire: &[u8]) -> Vec<u16> {
    assert!(wire.is_empty() || wire.ends_with(b"\r\n"));
    let text = core::str::from_utf8(wire).expect("replies are ASCII");
    let mut codes = Vec::new();
    for line in text.split_terminator("\r\n") {
        assert!(line.len() <= 510 && line.bytes().all(|octet| (b' '..=b'~').contains(&octet)), "{line:?}");
        let code = line.get(..3).expect("a code").parse().expect("a number");
        match line.as_bytes()[3] {
            b' ' => codes.push(code),
            b'-' => {}
            other => panic!("{other} behind the code"),
        }
    }
    codes
}

fn lines() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "EHLO client.example",
        "HELO client.example",
        "MAIL FROM:<a@b.example>",
        "MAIL FROM:<> SIZE=100",
        "MAIL FROM:<a@b.example> SIZE=201",
        "RCPT TO:<alice@basin.example>",
        "RCPT TO:<x@basin.example>",
        "RCPT TO:<postmaster>",
        "RCPT TO:<x@far.example>",
        "DATA",
        "DATA",
        "RSET",
        "NOOP x",
        "VRFY alice",
        "HELP",
        "EXPN x",
        "BOGUS",
        "BDAT 5",
        "BDAT 0",
        "BDAT 12 LAST",
        "BDAT 0 LAST",
        "BDAT 300",
        "BDAT 0x5",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME",
        ".",
        ".",
        "",
        "Subject: x",
        "..",
        "text",
        "NO\rOP",
        "NO\nOP",
        "a\0b",
        "MAIL FROM:<\u{e9}@b>",
        "QUIT",
    ]);
    prop_oneof![
        12 => known.prop_map(|line| line.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ]
}

fn inputs() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(lines(), 0..40).prop_map(|lines| {
        let mut input: Vec<u8> =
            b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice@basin.example>\r\n".to_vec();
        lines.iter().for_each(|line| {
            input.extend_from_slice(line);
            input.extend_from_slice(b"\r\n");
        });
        input
    })
}

fn verdicts() -> impl Strategy<Value = Vec<Verdict>> {
    let reply = |code| Reply::with(code, 7, 1, "a sink\r\n250 says so");
    let verdict = prop::sample::select(vec![
        Verdict::Next,
        Verdict::Next,
        Verdict::Next,
        Verdict::Next,
        Verdict::SkipRemaining,
        Verdict::Accept,
        Verdict::Consume(reply(250)),
        Verdict::Consume(reply(354)),
        Verdict::Refuse(reply(550)),
        Verdict::Refuse(reply(250)),
        Verdict::Refuse(reply(421)),
        Verdict::DropSession(reply(554)),
        Verdict::Discard,
        Verdict::AwaitInput(reply(334)),
        Verdict::AwaitInput(reply(250)),
        Verdict::AwaitOctets(reply(334), 7),
        Verdict::AwaitOctets(reply(334), 0),
        Verdict::Hold("look".into()),
        Verdict::WaiveUpTo(9),
        Verdict::BadMail("bad".into()),
    ]);
    prop::collection::vec(verdict, 1..12)
}

proptest! {
    #[test]
    fn where_the_input_is_cut_does_not_matter(input in inputs(), chunk in 1..50usize) {
        let whole = play(&input, usize::MAX, EventSet::default(), &[]);
        prop_assert_eq!(&play(&input, chunk, EventSet::default(), &[]), &whole);
        codes(&whole.wire);
    }

    #[test]
    fn sinks_that_say_next_change_nothing(input in inputs()) {
        let alone = play(&input, usize::MAX, EventSet::default(), &[]);
        let asked = play(&input, usize::MAX, EventSet::ALL, &[Verdict::Next]);
        prop_assert_eq!(&asked.wire, &alone.wire);
        prop_assert_eq!(&asked.stored, &alone.stored);
    }

    #[test]
    fn no_verdict_breaks_the_wire(input in inputs(), verdicts in verdicts()) {
        let outcome = play(&input, usize::MAX, EventSet::ALL, &verdicts);
        let codes = codes(&outcome.wire);
        // A message is stored, or recorded as dropped, before the client hears that it was taken.
        prop_assert!(codes.iter().filter(|code| **code == 250).count() >= outcome.stored.len());
    }

    #[test]
    fn any_octets_end_in_replies(input in prop::collection::vec(any::<u8>(), 0..400), chunk in 1..20usize) {
        let outcome = play(&input, chunk, EventSet::ALL, &[]);
        let commands = input.windows(2).filter(|pair| *pair == b"\r\n").count();
        // The banner, one for each line, and perhaps none for text.
        prop_assert!(codes(&outcome.wire).len() <= commands + 1);
    }

    #[test]
    fn text_is_stored_octet_for_octet(
        words in prop::collection::vec(prop_oneof!["[ -~\u{e9}]{0,30}", "[A-Z]{1,5}:[ -~]{0,9}", " [a-z]{0,9}"], 0..20),
        chunk in 1..40usize,
    ) {
        let text: String = words.iter().map(|line| format!("{line}\r\n")).collect();
        prop_assume!(text.len() <= 198);
        let stuffed: String = words.iter().map(|line| format!("{}{line}\r\n", if line.starts_with('.') { "." } else { "" })).collect();
        let input = format!(
            "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<alice@basin.example>\r\nDATA\r\n{stuffed}.\r\nQUIT\r\n"
        );
        let outcome = play(input.as_bytes(), chunk, EventSet::default(), &[]);
        prop_assert!(outcome.is_closed);
        prop_assert_eq!(outcome.stored.len(), 1);
        let stored = String::from_utf8(outcome.stored[0].clone()).expect("UTF-8");
        let ours = stored.strip_suffix(&text).expect("the text as it came, with or without an empty line in it");
        // White space in front would make the first line of the text the end of our field.
        let ours = if text.starts_with(' ') { ours.strip_suffix("\r\n").expect("an empty line") } else { ours };
        prop_assert!(ours.starts_with("Received: ") && ours.ends_with("+0000\r\n"), "{ours}");
    }

    #[test]
    fn a_message_in_chunks_is_the_message_of_data(
        words in prop::collection::vec("[ -~\u{e9}]{0,20}", 0..9),
        cuts in prop::collection::vec(0..40usize, 0..9),
        chunk in 1..40usize,
        interest in prop::sample::select(vec![EventSet::default(), EventSet::ALL]),
    ) {
        let text: String = words.iter().map(|line| format!("{line}\r\n")).collect();
        prop_assume!(text.len() <= 198);
        let stuffed: String =
            words.iter().map(|line| format!("{}{line}\r\n", if line.starts_with('.') { "." } else { "" })).collect();
        let start = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<alice@basin.example>\r\n";
        let (mut chunks, mut rest) = (start.as_bytes().to_vec(), text.as_bytes());
        for cut in cuts {
            let (piece, more) = rest.split_at(cut.min(rest.len()));
            chunks.extend_from_slice(format!("BDAT {}\r\n", piece.len()).as_bytes());
            chunks.extend_from_slice(piece);
            rest = more;
        }
        chunks.extend_from_slice(format!("BDAT {} LAST\r\n", rest.len()).as_bytes());
        chunks.extend_from_slice(rest);
        chunks.extend_from_slice(b"QUIT\r\n");
        let by_data = format!("{start}DATA\r\n{stuffed}.\r\nQUIT\r\n");
        let (by_data, by_chunks) =
            (play(by_data.as_bytes(), chunk, interest, &[]), play(&chunks, chunk, interest, &[]));
        prop_assert_eq!(by_data.stored.len(), 1);
        prop_assert_eq!(by_data.stored, by_chunks.stored);
        prop_assert!(by_chunks.is_closed);
    }
}
