//! Properties of the client machine that hold for any other server, whatever it says.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong")]

#[path = "client_properties/message.rs"]
mod message;
#[path = "client_properties/session.rs"]
mod session;

use std::sync::Arc;

use basin_core::limits::{CONTENT_SLICE_BYTES, TRANSACTIONS_PER_MESSAGE_MAX};
use basin_core::smtp::client::{self, Chunking, ClientPolicy, ClientStep, TlsFacts, TlsProof, Why};
use basin_core::smtp::{DataDecoder, TextLimits};
use basin_core::time::Timestamp;
use basin_core::transport::Protocol;
use core::time::Duration;
use proptest::prelude::*;

use message::{Broken, Pieces, content_of, outgoing};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// Stands at the end of every body; where it left, the content left.
const MARK: &[u8] = b"the-last-line\r\n";

/// What came of a connection with a hostile server.
#[derive(Debug, Default)]
struct Seen {
    flushed: Vec<u8>,
    /// How often the content has left whole, and how much the server had said when it last did.
    left_whole: usize,
    left_at: usize,
    taken: usize,
    results: usize,
    steps: usize,
}

impl Seen {
    fn flush(&mut self, wire: &mut Vec<u8>, at: usize) {
        self.flushed.append(wire);
        let left_whole = unframed(&self.flushed).windows(MARK.len()).filter(|window| *window == MARK).count();
        if left_whole > self.left_whole {
            (self.left_whole, self.left_at) = (left_whole, at);
        }
    }
}

/// What left, without the commands that announce chunks: they stand anywhere in the content.
fn unframed(wire: &[u8]) -> Vec<u8> {
    let (mut content, mut rest) = (Vec::new(), wire);
    while let Some(at) = rest.windows(5).position(|window| window == b"BDAT ") {
        content.extend_from_slice(&rest[..at]);
        let end = rest[at..].windows(2).position(|pair| pair == b"\r\n").map_or(rest.len(), |len| at + len + 2);
        rest = &rest[end..];
    }
    content.extend_from_slice(rest);
    content
}

/// Lets the client send one message to a server that says `input`, cut at `cuts`; where content is on its way,
/// `input` may come before it is written out.
fn against(input: &[u8], cuts: &[usize], policy: ClientPolicy, body: &[u8], recipients: usize) -> Seen {
    let (mut seen, mut wire, mut at) = (Seen::default(), Vec::new(), 0_usize);
    let mut step = client::start(Arc::new(policy), None, NOW);
    let mut message = Some(outgoing(recipients, b"Subject: x\r\n", Arc::new(Pieces::whole(body))));
    let mut decided = vec![false; recipients];
    loop {
        seen.steps += 1;
        assert!(seen.steps < 200_000, "the machine goes in a circle");
        assert!(wire.len() <= 3 * CONTENT_SLICE_BYTES, "a step says no more than a slice");
        let cut = cuts.get(seen.steps % cuts.len().max(1)).copied().unwrap_or(usize::MAX);
        // Half of the time a line at a time, as an honest server's replies come.
        let line = input[at..].iter().position(|octet| *octet == b'\n').map_or(input.len(), |len| at + len + 1);
        let end = if cut % 2 == 0 { line } else { at.saturating_add(cut).min(input.len()) };
        let (has_more, before) = (end > at, at);
        let mut chunk = || &input[core::mem::replace(&mut at, end)..end];
        step = match step {
            ClientStep::Read(reading) => {
                seen.flush(&mut wire, before);
                match chunk() {
                    [] => reading.lost("end of input"),
                    chunk => reading.feed(chunk, NOW, &mut wire),
                }
            }
            ClientStep::Ask(..) => panic!("nobody is bound to anything"),
            ClientStep::StartTls(upgrading) => {
                let facts = TlsFacts { version: "TLSv1.3".into(), cipher: "c".into(), proof: TlsProof::None };
                upgrading.secured(facts, NOW, &mut wire)
            }
            ClientStep::Idle(idle) => {
                seen.flush(&mut wire, before);
                match message.take() {
                    Some(message) => idle.transact(message, NOW, &mut wire),
                    None => idle.quit(NOW, &mut wire),
                }
            }
            ClientStep::Send(sending) if cut % 3 == 0 && has_more => sending.feed(chunk(), NOW),
            ClientStep::Send(sending) => {
                seen.flush(&mut wire, before);
                sending.more(NOW, &mut wire)
            }
            ClientStep::Sent(sent, reported) => {
                let taken = sent.results.iter().filter(|(_, result)| result.is_ok()).count();
                for (id, _) in &sent.results {
                    let place = &mut decided[usize::try_from(*id).expect("small")];
                    assert!(!core::mem::replace(place, true), "a recipient has one result");
                }
                assert_eq!(sent.is_complete, decided.iter().all(|it| *it));
                if taken > 0 {
                    seen.taken += 1;
                    assert!(seen.left_whole >= seen.taken, "the content left before anybody was taken");
                    let answer = &input[seen.left_at..at];
                    let is_taken = answer.split(|octet| *octet == b'\n').any(|line| line.first() == Some(&b'2'));
                    assert!(is_taken, "a 2yz reply began after the content had left");
                }
                seen.results += sent.results.len();
                reported.go_on(NOW, &mut wire)
            }
            ClientStep::Close(closed) => {
                let unsent = closed.unsent.as_ref().or(message.as_ref()).map_or(0, |it| it.recipients.len());
                assert_eq!(seen.results + unsent, recipients, "nobody is forgotten");
                assert!(closed.reply.is_refusal() || closed.why == Why::Quit);
                seen.flush(&mut wire, before);
                return seen;
            }
        };
    }
}

fn policies() -> impl Strategy<Value = ClientPolicy> {
    (any::<bool>(), any::<bool>(), 1..40u64, 1..4u32).prop_map(|(is_lmtp, is_chunked, chunk_bytes, in_flight)| {
        let mut policy = ClientPolicy::new("basin.example");
        policy.protocol = if is_lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        policy.chunking = if is_chunked { Chunking::Preferred } else { Chunking::ForBinary };
        policy.chunk_bytes = chunk_bytes;
        policy.chunks_in_flight = in_flight;
        policy
    })
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        &b"220 mx\r\n"[..],
        b"250 ok\r\n",
        b"250 ok\r\n",
        b"250 ok\r\n",
        b"250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 DSN\r\n",
        b"250-mx\r\n250-CHUNKING\r\n250 LIMITS RCPTMAX=1 MAILMAX=3\r\n",
        b"250-mx\r\n250 STARTTLS\r\n",
        b"354 go\r\n",
        b"354 go\r\n",
        b"452 4.5.3 too many\r\n",
        b"550 5.1.1 no\r\n",
        b"421 bye\r\n",
        b"250-\r\n",
        b"250 a\r\n354 b\r\n250 c\r\n",
        b"25",
        b"\n",
        b"\r\n",
        b"150 odd\r\n",
    ]);
    let piece = prop_oneof![20 => known.prop_map(<[u8]>::to_vec), 1 => prop::collection::vec(any::<u8>(), 0..30)];
    (any::<bool>(), prop::collection::vec(piece, 0..40)).prop_map(|(is_polite, pieces)| {
        let start: &[u8] = if is_polite { b"220 mx\r\n250-mx\r\n250 PIPELINING\r\n" } else { b"" };
        [start, &pieces.concat()].concat()
    })
}

/// What a server says that takes a message to two recipients, with a few of its replies moved, lost or invented.
fn liar() -> impl Strategy<Value = Vec<u8>> {
    let lie = prop::sample::select(vec![
        "250 taken\r\n",
        "250 taken\r\n",
        "354 go\r\n",
        "550 no\r\n",
        "452 4.5.3 many\r\n",
        "421 bye\r\n",
        "2",
        "",
    ]);
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), lie), 0..4);
    (any::<bool>(), 0..4usize, edits).prop_map(|(has_pipelining, chunks, edits)| {
        let hello =
            if has_pipelining { "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n" } else { "250-mx\r\n250 CHUNKING\r\n" };
        let mut said = vec!["220 mx\r\n", hello, "250 ok\r\n", "250 ok\r\n", "250 ok\r\n"];
        said.extend(if chunks == 0 { vec!["354 go\r\n"] } else { vec!["250 chunk\r\n"; chunks] });
        said.extend(["250 taken\r\n", "250 taken\r\n", "250 taken\r\n"]);
        for (index, is_new, lie) in edits {
            let at = index.index(said.len());
            if is_new { said.insert(at, lie) } else { said[at] = lie }
        }
        said.concat().into_bytes()
    })
}

fn lines() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof!["[ -~]{0,30}", "\\.[ -~]{0,3}", "\\.+"], 0..20)
        .prop_map(|lines| lines.iter().flat_map(|line| format!("{line}\r\n").into_bytes()).collect())
}

/// A server that takes everything and writes down the content.
#[derive(Default)]
struct Recorder {
    content: Vec<u8>,
    chunk_left: usize,
    decoder: Option<DataDecoder>,
}

impl Recorder {
    /// Reads what left and answers.
    fn take(&mut self, mut unread: Vec<u8>, hello: &str) -> Vec<u8> {
        let mut reply = Vec::new();
        while !unread.is_empty() {
            if let Some(decoder) = &mut self.decoder {
                let fed = decoder.feed(&unread, &mut self.content);
                unread.drain(..fed.consumed);
                if fed.is_end {
                    assert!(!decoder.faults().any());
                    self.decoder = None;
                    reply.extend_from_slice(b"250 taken\r\n");
                }
                continue;
            }
            if self.chunk_left > 0 {
                let len = unread.len().min(self.chunk_left);
                self.content.extend(unread.drain(..len));
                self.chunk_left -= len;
                reply.extend_from_slice(if self.chunk_left == 0 { b"250 chunk\r\n" } else { b"" });
                continue;
            }
            let len = unread.windows(2).position(|pair| pair == b"\r\n").expect("commands leave whole");
            let line = String::from_utf8(unread.drain(..len + 2).take(len).collect()).expect("ASCII");
            reply.extend_from_slice(self.answer(&line, hello).as_bytes());
        }
        reply
    }

    fn answer<'a>(&mut self, line: &str, hello: &'a str) -> &'a str {
        match line.split(' ').next().unwrap_or_default() {
            "EHLO" => hello,
            "DATA" => {
                let limits = TextLimits { message_bytes_max: u64::MAX, line_bytes_max: 1 << 30 };
                self.decoder = Some(DataDecoder::new(limits));
                "354 go\r\n"
            }
            "BDAT" => {
                self.chunk_left = line.split(' ').nth(1).and_then(|number| number.parse().ok()).expect("a number");
                if self.chunk_left == 0 { "250 chunk\r\n" } else { "" }
            }
            _ => "250 ok\r\n",
        }
    }
}

/// What the recorder has of a message, and whether the client thinks that it was taken.
fn received(policy: ClientPolicy, header: &[u8], body: Pieces, offers: &str) -> (Vec<u8>, bool) {
    let (mut wire, mut recorder, mut is_taken) = (Vec::new(), Recorder::default(), false);
    let mut step = client::start(Arc::new(policy), None, NOW);
    let mut message = Some(outgoing(1, header, Arc::new(body)));
    let hello = format!("250-mx\r\n{offers}250 8BITMIME\r\n");
    let mut reply = b"220 mx\r\n".to_vec();
    loop {
        reply.extend(recorder.take(core::mem::take(&mut wire), &hello));
        step = match step {
            ClientStep::Read(reading) => reading.feed(&core::mem::take(&mut reply), NOW, &mut wire),
            // What answers chunks that left whole may come at any time.
            ClientStep::Send(sending) => match sending.more(NOW, &mut wire) {
                ClientStep::Send(sending) => sending.feed(&core::mem::take(&mut reply), NOW),
                step @ (ClientStep::Read(_) | ClientStep::Sent(..) | ClientStep::Close(_)) => step,
                step @ (ClientStep::Idle(_) | ClientStep::StartTls(_) | ClientStep::Ask(..)) => panic!("{step:?}"),
            },
            ClientStep::Idle(idle) => match message.take() {
                Some(message) => idle.transact(message, NOW, &mut wire),
                None => return (recorder.content, is_taken),
            },
            ClientStep::Sent(sent, reported) => {
                is_taken = sent.results.iter().all(|(_, result)| result.is_ok());
                reported.go_on(NOW, &mut wire)
            }
            step @ (ClientStep::Close(_) | ClientStep::StartTls(_) | ClientStep::Ask(..)) => panic!("{step:?}"),
        };
    }
}

proptest! {
    #[test]
    fn no_server_makes_a_message_taken_that_was_not(
        input in hostile(),
        cuts in prop::collection::vec(1..30usize, 1..20),
        policy in policies(),
        body in lines(),
        recipients in 1..5usize,
    ) {
        let body = [body, MARK.to_vec()].concat();
        let seen = against(&input, &cuts, policy, &body, recipients);
        // No control octet ever leaves in a command, and no line end but CR LF at all.
        let text = seen.flushed;
        let is_bare = |(index, octet): (usize, &u8)| match octet {
            b'\n' => index == 0 || text[index - 1] != b'\r',
            b'\r' => text.get(index + 1) != Some(&b'\n'),
            _ => false,
        };
        prop_assert!(!text.iter().enumerate().any(is_bare));
    }

    #[test]
    fn no_lie_makes_a_message_taken_that_was_not(
        input in liar(),
        cuts in prop::collection::vec(1..30usize, 1..20),
        policy in policies(),
    ) {
        against(&input, &cuts, policy, &[b"first\r\n", MARK].concat(), 2);
    }

    #[test]
    fn any_octets_end_the_connection(input in prop::collection::vec(any::<u8>(), 0..2_000), cuts in prop::collection::vec(1..50usize, 1..5)) {
        against(&input, &cuts, ClientPolicy::new("basin.example"), MARK, 2);
    }

    #[test]
    fn content_arrives_octet_for_octet(
        header in "([A-Z]{1,5}: [ -~]{0,30}\r\n){0,5}",
        body in lines(),
        repeat in 1..400usize,
        is_chunked in any::<bool>(),
        chunk_bytes in 1..3_000u64,
        in_flight in 1..4u32,
        piece in 1..70_000usize,
        has_pipelining in any::<bool>(),
    ) {
        let body = body.repeat(repeat);
        let mut policy = ClientPolicy::new("basin.example");
        policy.chunking = if is_chunked { Chunking::Preferred } else { Chunking::Never };
        policy.chunk_bytes = chunk_bytes;
        policy.chunks_in_flight = in_flight;
        let offers = if has_pipelining { "250-PIPELINING\r\n250-CHUNKING\r\n" } else { "250-CHUNKING\r\n" };
        let expected = content_of(header.as_bytes(), &body);
        let (content, is_taken) = received(policy, header.as_bytes(), Pieces { octets: body, piece }, offers);
        prop_assert!(is_taken);
        prop_assert_eq!(content, expected);
    }
}

#[test]
fn a_body_that_ends_early_is_never_a_whole_message() {
    for chunking in [Chunking::Never, Chunking::Preferred] {
        let mut policy = ClientPolicy::new("basin.example");
        policy.chunking = chunking;
        policy.chunk_bytes = 5;
        let mut wire = Vec::new();
        let mut step = client::start(Arc::new(policy), None, NOW);
        let mut replies = [&b"220 mx\r\n"[..], b"250-mx\r\n250-8BITMIME\r\n250 CHUNKING\r\n"].into_iter();
        let mut message = Some(outgoing(1, b"", Arc::new(Broken { len: 100, there: 10 })));
        message.as_mut().expect("there").declared = Some(basin_core::smtp::client::BodyType::EightBit);
        let mut result = None;
        let mut said = Vec::new();
        let why = loop {
            said.append(&mut wire);
            step = match step {
                ClientStep::Read(reading) => {
                    let reply = if said.ends_with(b"DATA\r\n") { b"354 go\r\n" } else { b"250 ok\r\n".as_slice() };
                    reading.feed(replies.next().unwrap_or(reply), NOW, &mut wire)
                }
                ClientStep::Idle(idle) => idle.transact(message.take().expect("one message"), NOW, &mut wire),
                ClientStep::Send(sending) => sending.more(NOW, &mut wire),
                ClientStep::Sent(sent, reported) => {
                    result = sent.results.into_iter().next();
                    reported.go_on(NOW, &mut wire)
                }
                ClientStep::Close(closed) => break closed.why,
                ClientStep::StartTls(_) => panic!("nobody offered TLS"),
                ClientStep::Ask(..) => panic!("nobody is bound to anything"),
            };
        };
        let reply = result.expect("a result").1.expect_err("not taken");
        assert_eq!((why, reply.code()), (Why::Content, 451));
        let text = String::from_utf8_lossy(&said);
        assert!(!text.contains("LAST") && !text.contains("\r\n.\r\n"), "{text}");
    }
}

#[test]
fn octets_that_end_no_reply_do_not_prolong_the_wait() {
    let mut wire = Vec::new();
    let mut step = client::start(Arc::new(ClientPolicy::new("basin.example")), None, NOW);
    for second in 0..10 {
        let ClientStep::Read(reading) = step else { panic!("{step:?}") };
        let now = NOW.plus(Duration::from_secs(second * 30));
        assert_eq!(reading.patience(now), Duration::from_secs(300 - second * 30));
        step = reading.feed(b"2", now, &mut wire);
        if second == 2 {
            break;
        }
    }
}

#[test]
fn a_server_that_takes_one_recipient_at_a_time_is_not_sent_the_content_for_ever() {
    let recipients = usize::try_from(TRANSACTIONS_PER_MESSAGE_MAX).expect("small") + 20;
    let mut input = b"220 mx\r\n250-mx\r\n250 LIMITS RCPTMAX=1\r\n".to_vec();
    for _ in 0..recipients {
        input.extend_from_slice(b"250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n");
    }
    // Handed over line by line, as a server that waits would.
    let seen = against(&input, &[2], ClientPolicy::new("basin.example"), MARK, recipients);
    assert_eq!(seen.taken, recipients - 20);
}
