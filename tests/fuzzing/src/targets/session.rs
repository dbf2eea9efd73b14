//! Whole sessions: any octets, cut anywhere, with sinks that say anything.
//!
//! The first octet of the input says how many octets behind it direct the scene; the rest is the wire.

use std::sync::Arc;

use basin_core::event::{EventSet, Question, Verdict};
use basin_core::mail::Outcome;
use basin_core::reply::Reply;

use crate::random::Random;
use crate::shell::{self, Scene, play};
use crate::world::{NOW, Offers, policy};

/// Errors that the session may make before it is closed.
const ERRORS_MAX: u32 = 12;

/// Plays a session several times.
pub(super) fn run(octets: &[u8]) {
    let (len, rest) = octets.split_first().unwrap_or((&0, &[]));
    let (script, wire) = rest.split_at(usize::from(*len).min(rest.len()));
    let alone = alone(wire, &[]);
    // RFC 5321 §4.1.4: nothing is lost or done twice when sinks look on and have nothing to say.
    let asked = directed(wire, &[], EventSet::ALL, &[]);
    assert_eq!((&asked.replies, &asked.letters), (&alone.replies, &alone.letters), "sinks that say next");
    let mut random = Random::of(octets);
    directed(wire, &random.pieces(), EventSet::ALL, script);
    directed(wire, &[1], EventSet::ALL, script);
}

fn alone(wire: &[u8], pieces: &[usize]) -> shell::Outcome {
    directed(wire, pieces, EventSet::default(), &[])
}

fn directed(wire: &[u8], pieces: &[usize], interest: EventSet, script: &[u8]) -> shell::Outcome {
    let mut turn = 0;
    let mut decide = |question: &mut Question| {
        let word = script.get(turn % script.len().max(1)).copied().unwrap_or_default();
        turn += 1;
        verdict(word, question)
    };
    play(wire, Scene { policy: Arc::new(policy(Offers::ALL, ERRORS_MAX)), interest, pieces, decide: &mut decide })
}

/// What a sink says, and what it changes before that: the low half of the octet and the high one.
fn verdict(word: u8, question: &mut Question) -> Verdict {
    change(word >> 4, question);
    let reply = |code| Reply::with(code, 7, 1, "a sink\r\n250 says so");
    match word & 15 {
        5 => Verdict::SkipRemaining,
        6 => Verdict::Accept,
        7 => Verdict::Consume(reply(250)),
        8 => Verdict::Refuse(reply(550)),
        9 => Verdict::Refuse(reply(250)),
        10 => Verdict::DropSession(reply(554)),
        11 => Verdict::AwaitInput(reply(334)),
        12 => Verdict::AwaitOctets(reply(334), 10),
        13 => Verdict::Discard,
        14 => Verdict::Hold("look".into()),
        15 => Verdict::WaiveUpTo(1_000),
        _ => Verdict::Next,
    }
}

fn change(word: u8, question: &mut Question) {
    let overlay = &mut question.overlay;
    match word {
        // At the end of the text: of whom the message is not for, and of whom not now.
        6 | 7 => {
            let envelope = overlay.message.as_mut().map(|message| Arc::make_mut(&mut message.envelope));
            let last = envelope.and_then(|envelope| envelope.recipients.last_mut());
            let failed = Outcome::failed(Reply::with(550, 7, 1, "not for you"));
            let put_off = Outcome::deferred(NOW, Reply::with(450, 7, 1, "not now"));
            if let Some(recipient) = last {
                recipient.outcome = if word == 7 { failed } else { put_off };
            }
        }
        8 => overlay.appended = vec!["X-ONE\r\n250 two".into(), "AUTH X-OWN".into()],
        9 => overlay.response = Some(Reply::multi_line(250, None, vec!["a".repeat(2_000), "\0\r\n".into()])),
        10 => overlay.is_protocol_error = true,
        11 => overlay.banner = Some("\r\n554 no".into()),
        12..=15 => {
            let mut command = overlay.command.as_deref().cloned();
            if let Some(command) = &mut command {
                let paths = ["", "bob@basin.example", "x@far.example", "\r\n"];
                command.path = paths.get(usize::from(word - 12)).map(|path| (*path).to_owned());
            }
            overlay.command = command.map(Arc::new);
        }
        _ => {}
    }
}
