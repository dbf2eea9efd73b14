//! BDAT: a message is the same however it is cut into chunks, and nothing in a chunk is a command.
//!
//! The first octet of the input says whether the content is declared binary; the rest is content first, and then the
//! wire of a session that has named a recipient.

use std::sync::Arc;

use basin_core::event::{EventSet, Question, Verdict};

use crate::random::Random;
use crate::shell::{Letter, Outcome, Scene, play};
use crate::world::{Offers, policy};

/// Errors that the session may make.
const ERRORS_MAX: u32 = 12;

/// Content of one message, in octets; more is left out, or the message would only be too large.
const CONTENT_BYTES_MAX: usize = 180;

/// Sends the content in chunks and with DATA, and then the octets themselves.
pub(super) fn run(octets: &[u8]) {
    let (first, rest) = octets.split_first().unwrap_or((&0, &[]));
    let is_binary = first & 1 == 1;
    let begin = begin(is_binary);
    let content = rest.get(..rest.len().min(CONTENT_BYTES_MAX)).unwrap_or_default();
    let mut random = Random::of(octets);
    let once = chunked(&begin, content, &[usize::MAX], &[]);
    for cuts in [vec![1], vec![7, 30], random.pieces()] {
        let pieces = random.pieces();
        let cut = chunked(&begin, content, &cuts, &pieces);
        assert_eq!(letters(&cut), letters(&once), "cut into chunks of {cuts:?}");
        assert_eq!(cut.replies.last(), once.replies.last(), "nothing of a chunk was taken for a command");
    }
    if !is_binary {
        check_like_data(&begin, content, &once);
    }
    // Whatever stands there, each command has its reply; the shell sees to that.
    let wire = [begin.as_slice(), rest].concat();
    session(&wire, &random.pieces());
}

fn begin(is_binary: bool) -> Vec<u8> {
    let body = if is_binary { " BODY=BINARYMIME" } else { "" };
    format!("EHLO c\r\nMAIL FROM:<a@b.example>{body}\r\nRCPT TO:<alice@basin.example>\r\n").into_bytes()
}

// Sends content in chunks of such sizes, and QUIT behind it.
fn chunked(begin: &[u8], content: &[u8], sizes: &[usize], pieces: &[usize]) -> Outcome {
    let (mut wire, mut rest, mut turn) = (begin.to_vec(), content, 0);
    loop {
        let size = sizes.get(turn % sizes.len().max(1)).copied().unwrap_or(usize::MAX).min(rest.len());
        turn += 1;
        let (chunk, behind) = rest.split_at(size);
        let last = if behind.is_empty() { " LAST" } else { "" };
        wire.extend(format!("BDAT {size}{last}\r\n").into_bytes());
        wire.extend_from_slice(chunk);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    wire.extend_from_slice(b"QUIT\r\n");
    let outcome = session(&wire, pieces);
    assert_eq!(outcome.replies.last().map(|reply| reply.code), Some(221), "{:?}", outcome.codes());
    outcome
}

// A text that both ways can carry comes out the same (RFC 3030 §2), and what one refuses the other refuses.
fn check_like_data(begin: &[u8], content: &[u8], chunks: &Outcome) {
    let is_whole = content.is_empty() || content.ends_with(b"\r\n");
    let mut wire = [begin, b"DATA\r\n"].concat();
    let text = if is_whole { content.to_vec() } else { [content, b"\r\n"].concat() };
    let mut is_start = true;
    for octet in text {
        wire.extend((is_start && octet == b'.').then_some(b'.'));
        wire.push(octet);
        is_start = wire.ends_with(b"\r\n");
    }
    wire.extend_from_slice(b".\r\nQUIT\r\n");
    let data = session(&wire, &[]);
    // A CR at the end becomes a line end by what is put behind it.
    if !content.ends_with(b"\r") {
        assert_eq!(letters(&data), letters(chunks), "by DATA and by BDAT");
    }
}

fn letters(outcome: &Outcome) -> &[Letter] {
    &outcome.letters
}

fn session(wire: &[u8], pieces: &[usize]) -> Outcome {
    let mut decide = |_: &mut Question| Verdict::Next;
    let policy = Arc::new(policy(Offers::ALL, ERRORS_MAX));
    play(wire, Scene { policy, interest: EventSet::default(), pieces, decide: &mut decide })
}
