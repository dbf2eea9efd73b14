//! The session machine against a model of RFC 5321: random sequences of verbs, pipelined and split at any octet.
//!
//! The model knows nothing of the machine. It says of each input which codes are answered in which order, and which
//! message is stored with which envelope; so a reply out of order, a transaction that survives RSET or a new EHLO,
//! or a message for whom nobody meant it, is a difference. `STATE_MACHINE_CASES` asks for another number of cases,
//! and for others in every run.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong")]

#[path = "state_machine/model.rs"]
mod model;
#[path = "state_machine/octets.rs"]
mod octets;
#[path = "state_machine/scram.rs"]
mod scram;
#[path = "state_machine/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::{EventKind, EventSet, Question, Verdict};
use basin_core::mail;
use basin_core::reply::Reply;
use basin_core::smtp::ListenerPolicy;
use basin_fuzzing::shell::{Outcome, Scene, play};
use basin_fuzzing::wire::Heard;
use basin_fuzzing::world::{Offers, policy};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngSeed, TestRunner};

use model::{Meets, UNWANTED, predict};
use scram::prove;
use words::{Wire, cuts, inputs, offers};

/// Cases of each property in `make test`.
const CASES: u32 = 3_000;

/// Errors that a session may make where that is not what is looked at.
const MANY: u32 = 100_000;

fn config() -> ProptestConfig {
    let wanted = std::env::var("STATE_MACHINE_CASES").ok().and_then(|cases| cases.parse().ok());
    let rng_seed = if wanted.is_some() { RngSeed::Random } else { RngSeed::Fixed(5_321) };
    ProptestConfig { cases: wanted.unwrap_or(CASES), rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

fn session(input: &[u8], pieces: &[usize], interest: EventSet, policy: ListenerPolicy) -> Outcome {
    judged(input, pieces, interest, policy, false)
}

/// A session in which a sink fails one recipient of each message, where that is wanted.
fn judged(input: &[u8], pieces: &[usize], interest: EventSet, policy: ListenerPolicy, is_judged: bool) -> Outcome {
    let unwanted = Address::parse(UNWANTED).expect("an address");
    let mut decide = |question: &mut Question| {
        let is_end = question.occasion.event == EventKind::OnEndOfData;
        if let Some(message) = question.overlay.message.as_mut().filter(|_| is_judged && is_end) {
            let recipients = Arc::make_mut(&mut message.envelope).recipients.iter_mut();
            for recipient in recipients.filter(|recipient| recipient.address.is_same(&unwanted)) {
                recipient.outcome = mail::Outcome::failed(Reply::with(550, 7, 1, "not for bob"));
            }
        }
        Verdict::Next
    };
    play(input, Scene { policy: Arc::new(policy), interest, pieces, decide: &mut decide })
}

/// Whether STARTTLS and AUTH are offered in each answer to EHLO.
fn offered(outcome: &Outcome) -> Vec<(bool, bool)> {
    let is_ehlo = |reply: &&Heard| reply.code == 250 && reply.lines.iter().any(|line| line == "PIPELINING");
    let has = |reply: &Heard, keyword: &str| reply.lines.iter().any(|line| line.split(' ').next() == Some(keyword));
    outcome.replies.iter().filter(is_ehlo).map(|reply| (has(reply, "STARTTLS"), has(reply, "AUTH"))).collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_session_does_what_the_model_says(
        Wire(input) in inputs(),
        cut in cuts(),
        offers in offers(),
        is_asked in any::<bool>(),
        is_judged in any::<bool>(),
    ) {
        let (input, proofs) = prove(&input, offers);
        let pieces = cut.pieces(&input);
        let interest = if is_asked || is_judged { EventSet::ALL } else { EventSet::default() };
        let outcome = judged(&input, &pieces, interest, policy(offers, MANY), is_judged);
        let predicted = predict(&input, &pieces, Meets { offers, is_judged, proofs: &proofs });
        prop_assert_eq!(outcome.codes(), predicted.codes);
        prop_assert_eq!(offered(&outcome), predicted.offered);
        let letters: Vec<_> = outcome.letters.into_iter().map(|it| (it.sender, it.recipients, it.text)).collect();
        prop_assert_eq!(letters, predicted.letters);
        prop_assert_eq!(outcome.end_reason.is_some(), predicted.is_closed);
    }

    #[test]
    fn errors_end_a_session_and_nothing_else_changes(Wire(input) in inputs(), cut in cuts(), errors_max in 0..12u32) {
        let pieces = cut.pieces(&input);
        let free = session(&input, &pieces, EventSet::default(), policy(Offers::ALL, MANY)).codes();
        let bounded = session(&input, &pieces, EventSet::default(), policy(Offers::ALL, errors_max)).codes();
        if bounded != free {
            let (last, before) = bounded.split_last().expect("a banner");
            prop_assert_eq!(*last, 421);
            prop_assert_eq!(before, free.get(..before.len()).unwrap_or_default());
            // Errors and commands without use are counted apart, and the rest not at all.
            prop_assert!(before.len() > errors_max as usize, "{:?}", bounded);
        }
    }
}

#[test]
fn the_inputs_reach_every_answer() {
    let mut runner = TestRunner::deterministic();
    let strategy = (inputs(), cuts(), offers(), any::<bool>());
    let (mut codes, mut letters, mut logins) = (BTreeSet::new(), 0, 0);
    for _ in 0..CASES {
        let (Wire(input), cut, offers, is_judged) = strategy.new_tree(&mut runner).expect("an input").current();
        let (input, proofs) = prove(&input, offers);
        let predicted = predict(&input, &cut.pieces(&input), Meets { offers, is_judged, proofs: &proofs });
        logins += proofs.right.iter().filter(|_| predicted.codes.contains(&235)).count();
        codes.extend(predicted.codes);
        letters += predicted.letters.len();
    }
    let wanted = [
        214, 220, 221, 235, 250, 252, 334, 353, 354, 421, 451, 452, 500, 501, 502, 503, 504, 530, 535, 538, 550, 552,
        553, 554, 555,
    ];
    assert_eq!(codes, BTreeSet::from(wanted));
    assert!(logins > 20, "{logins} proofs of SCRAM");
    assert!(letters > 200, "{letters} messages");
}
