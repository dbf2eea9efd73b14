//! What another server says while a message is sent to it: where its replies are cut changes nothing, and nobody counts
//! as taken before the content has left.
//!
//! The first octet of the input chooses how it is sent; the rest is all that the other server ever says.

use std::sync::Arc;

use basin_core::mail::RecipientId;
use basin_core::reply::Reply;
use basin_core::smtp::client::{self, Chunking, ClientPolicy, ClientStep, Credentials, TlsFacts, TlsProof, Why};
use basin_core::transport::Protocol;

use crate::letter::{BODY, RECIPIENTS, SUBJECT, outgoing};
use crate::random::Random;
use crate::world::NOW;

/// The last line of the content; where it left, the content left.
const LAST: &[u8] = b"the last line\r\n";

/// Most octets of a command line (RFC 5321 §4.5.3.1.4), with room for a response to a challenge of AUTH.
const COMMAND_BYTES_MAX: usize = 512;

/// What came of a connection.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    sent: Vec<u8>,
    results: Vec<(RecipientId, Result<Reply, Reply>)>,
    end: Option<(Why, Reply)>,
}

/// Sends a message to who says these octets, read line by line, octet by octet, and in pieces.
pub(super) fn run(octets: &[u8]) {
    let (first, said) = octets.split_first().unwrap_or((&0, &[]));
    let by_line = converse(*first, said, &[]);
    assert_eq!(converse(*first, said, &[1]), by_line, "octet by octet");
    let pieces = Random::of(octets).pieces();
    assert_eq!(converse(*first, said, &pieces), by_line, "in pieces of {pieces:?}");
}

fn policy(choice: u8) -> Arc<ClientPolicy> {
    let mut policy = ClientPolicy::new("basin.example");
    let is = |bit: u8| choice >> bit & 1 == 1;
    policy.protocol = if is(0) { Protocol::Lmtp } else { Protocol::Smtp };
    policy.chunking = if is(1) { Chunking::Preferred } else { Chunking::ForBinary };
    policy.credentials = is(2).then(|| Credentials {
        user: "user".into(),
        secret: "password".into(),
        mechanisms: vec![client::Mechanism::Plain, client::Mechanism::Login],
        may_go_unencrypted: true,
    });
    Arc::new(policy)
}

// A line at a time, as an honest server's replies come, and each line in such pieces.
fn converse(choice: u8, said: &[u8], pieces: &[usize]) -> Seen {
    let (mut seen, mut wire, mut at, mut turn) = (Seen::default(), Vec::new(), 0_usize, 0_usize);
    let mut message = Some(outgoing());
    let mut step = client::start(policy(choice), None, NOW);
    // Every octet that is read and every line that is sent is a step, and there are few lines.
    for _ in 0..4 * said.len() + 1_000 {
        seen.sent.append(&mut wire);
        step = match step {
            ClientStep::Read(reading) => {
                let line = said.get(at..).unwrap_or_default();
                let len = line.iter().position(|octet| *octet == b'\n').map_or(line.len(), |at| at + 1);
                let piece = pieces.get(turn % pieces.len().max(1)).copied().unwrap_or(usize::MAX);
                turn += 1;
                match line.get(..len.min(piece)).unwrap_or_default() {
                    [] => reading.lost("the end"),
                    chunk => {
                        at += chunk.len();
                        reading.feed(chunk, NOW, &mut wire)
                    }
                }
            }
            ClientStep::Ask(..) => unreachable!("nobody is bound to anything"),
            ClientStep::StartTls(upgrading) => {
                let facts = TlsFacts { version: "TLSv1.3".into(), cipher: "c".into(), proof: TlsProof::None };
                upgrading.secured(facts, NOW, &mut wire)
            }
            ClientStep::Idle(idle) => match message.take() {
                Some(message) => idle.transact(message, NOW, &mut wire),
                None => idle.quit(NOW, &mut wire),
            },
            ClientStep::Send(sending) => sending.more(NOW, &mut wire),
            ClientStep::Sent(sent, reported) => {
                let is_taken = sent.results.iter().any(|(_, result)| result.is_ok());
                let has_left = seen.sent.windows(LAST.len()).any(|octets| octets == LAST);
                assert!(!is_taken || has_left, "taken before the content left");
                let plain = |(id, result): (_, Result<client::Accepted, _>)| (id, result.map(|it| it.reply));
                seen.results.extend(sent.results.into_iter().map(plain));
                reported.go_on(NOW, &mut wire)
            }
            ClientStep::Close(closed) => {
                seen.sent.append(&mut wire);
                let unsent = closed.unsent.as_ref().or(message.as_ref()).map_or(0, |it| it.recipients.len());
                assert_eq!(seen.results.len() + unsent, RECIPIENTS.len(), "nobody is forgotten or told twice");
                assert!(closed.reply.is_refusal() || closed.why == Why::Quit);
                seen.end = Some((closed.why, closed.reply));
                check_sent(&seen.sent);
                return seen;
            }
        };
    }
    panic!("the machine goes in a circle");
}

// Nothing that the other server says becomes a line of what leaves: each is a command of ours, or of the message.
fn check_sent(sent: &[u8]) {
    let text = core::str::from_utf8(sent).expect("what leaves is ASCII");
    assert!(text.is_empty() || text.ends_with("\r\n"), "{text:?}");
    let content = [SUBJECT, "\r\n", BODY].concat();
    let verbs =
        ["EHLO ", "HELO ", "LHLO ", "MAIL FROM:<", "RCPT TO:<", "DATA", "BDAT ", "RSET", "QUIT", "STARTTLS", "AUTH "];
    // Responses to the challenges of PLAIN and LOGIN.
    let responses = ["AHVzZXIAcGFzc3dvcmQ=", "dXNlcg==", "cGFzc3dvcmQ=", "*", "."];
    for line in text.split_terminator("\r\n") {
        let is_ours = verbs.iter().any(|verb| line.starts_with(verb)) || responses.contains(&line);
        assert!(is_ours || content.lines().any(|it| it == line), "{line:?}");
        assert!(line.len() + 2 <= COMMAND_BYTES_MAX, "{line:?}");
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
    }
}
