//! The session machine against a model of RFC 5321: random sequences of verbs, pipelined and split at any octet.
//!
//! The model knows nothing of the machine. It says of each input which codes are answered in which order, and which
//! message is stored with which envelope; so a reply out of order, a transaction that survives RSET or a new EHLO,
//! or a message for whom nobody meant it, is a difference. `STATE_MACHINE_CASES` asks for another number of cases,
//! and for others in every run.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong")]

#[path = "state_machine/model.rs"]
mod model;
#[path = "state_machine/words.rs"]
mod words;

use std::sync::Arc;

use basin_core::event::{EventSet, Question, Verdict};
use basin_fuzzing::shell::{Outcome, Scene, play};
use basin_fuzzing::world::policy;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use model::predict;
use words::{inputs, pieces};

/// Cases of each property in `make test`.
const CASES: u32 = 3_000;

/// Errors that a session may make where that is not what is looked at.
const MANY: u32 = 100_000;

fn config() -> ProptestConfig {
    let wanted = std::env::var("STATE_MACHINE_CASES").ok().and_then(|cases| cases.parse().ok());
    let rng_seed = if wanted.is_some() { RngSeed::Random } else { RngSeed::Fixed(5_321) };
    ProptestConfig { cases: wanted.unwrap_or(CASES), rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

fn session(input: &[u8], pieces: &[usize], interest: EventSet, errors_max: u32) -> Outcome {
    let mut decide = |_: &mut Question| Verdict::Next;
    play(input, Scene { policy: Arc::new(policy(errors_max)), interest, pieces, decide: &mut decide })
}

/// The input as a person reads it, for the report of a failure.
fn shown(input: &[u8]) -> String {
    input.escape_ascii().to_string().replace("\\r\\n", "\\r\\n\n")
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_session_does_what_the_model_says(input in inputs(), pieces in pieces(), is_asked in any::<bool>()) {
        let interest = if is_asked { EventSet::ALL } else { EventSet::default() };
        let outcome = session(&input, &pieces, interest, MANY);
        let predicted = predict(&input, &pieces);
        prop_assert_eq!(outcome.codes(), predicted.codes, "\n{}", shown(&input));
        let letters: Vec<_> = outcome.letters.into_iter().map(|it| (it.sender, it.recipients, it.text)).collect();
        prop_assert_eq!(letters, predicted.letters, "\n{}", shown(&input));
        prop_assert_eq!(outcome.end_reason.is_some(), predicted.is_closed, "\n{}", shown(&input));
    }

    #[test]
    fn errors_end_a_session_and_nothing_else_changes(input in inputs(), pieces in pieces(), errors_max in 0..12u32) {
        let free = session(&input, &pieces, EventSet::default(), MANY).codes();
        let bounded = session(&input, &pieces, EventSet::default(), errors_max).codes();
        if bounded != free {
            let (last, before) = bounded.split_last().expect("a banner");
            prop_assert_eq!(*last, 421);
            prop_assert_eq!(before, free.get(..before.len()).unwrap_or_default());
            // Errors and commands without use are counted apart, and the rest not at all.
            prop_assert!(before.len() > errors_max as usize, "{:?}", bounded);
        }
    }
}
