//! What sinks at on-categorize make of recipients.

use super::stages::{answer, asked, no, put_off, said, start};
use super::*;
use crate::limits::{ANSWERS_PER_RECORD, EXPANSION_ADDRESSES_MAX, EXPANSION_DEPTH_MAX};
use crate::mail::{Handover, Resolution};

const EVENT: EventKind = EventKind::OnCategorize;

fn expand(to: &[&str]) -> Verdict {
    Verdict::Expand(to.iter().map(|text| address(text)).collect())
}

// Answers for each recipient that is asked about, by its address, and gives what is written at the end.
fn resolve(message: Message, events: &[EventKind], verdict: impl Fn(&str) -> Verdict) -> (Message, State, Vec<String>) {
    let mut work = start(message, State::default(), events, START);
    let mut about = Vec::new();
    loop {
        work = match work {
            Work::Ask(waiting, question) if question.occasion.event == EVENT => {
                let id = question.occasion.recipient.expect("it is about one");
                let message = question.overlay.message.as_ref().expect("the message");
                let address = message.envelope.recipient(id).expect("on the list").address.to_string();
                let verdict = verdict(&address);
                about.push(address);
                waiting.decided(said(*question, verdict), START)
            }
            Work::Save(saving, _, state) if state.stage == Stage::Categorize => saving.saved(START),
            Work::Save(_, message, state) => return (*message, state, about),
            other => panic!("a question or a record was expected, not {other:?}"),
        }
    }
}

fn addresses(message: &Message) -> Vec<String> {
    message.envelope.recipients.iter().map(|recipient| recipient.address.to_string()).collect()
}

#[test]
fn what_an_expansion_made_is_asked_about_in_turn_and_nobody_gets_it_twice() {
    let message = from_a(&["list@basin.example", "x@far.example", "drop@basin.example"]);
    let (message, state, about) = resolve(message, &[EVENT], |address| match address {
        "list@basin.example" => expand(&["sub@basin.example", "x@far.example", "a@basin.example"]),
        "sub@basin.example" => expand(&["a@basin.example", "z@far.example"]),
        "drop@basin.example" => expand(&[]),
        _ => Verdict::Next,
    });
    assert_eq!(addresses(&message), ["x@far.example", "a@basin.example", "z@far.example"]);
    assert_eq!(about.len(), 6, "{about:?}");
    assert_eq!(state.stage, Stage::Delivery);
    assert_eq!(message.envelope.recipients[2].original, "list@basin.example");
}

#[test]
fn the_tables_come_after_the_sinks_and_not_for_who_is_resolved() {
    let message = from_a(&["team@basin.example"]);
    let (of_tables, ..) = resolve(message.clone(), &[EVENT], |_| Verdict::Next);
    assert_eq!(addresses(&of_tables), ["a@basin.example", "b@basin.example"]);
    let (of_sink, state, _) = resolve(message, &[EVENT], |_| Verdict::Resolved);
    assert_eq!(addresses(&of_sink), ["team@basin.example"]);
    assert_eq!(of_sink.envelope.recipients[0].resolution, Resolution::Final);
    // No table is asked, so it is a mailbox or nobody.
    let (_, message, _) = saved(nobody_listens(of_sink, state, START));
    assert_eq!(words(&message), ["failed"]);
}

#[test]
fn a_circle_ends_in_a_failure_and_one_that_names_itself_keeps_a_copy() {
    let (message, ..) = resolve(from_a(&["a@basin.example"]), &[EVENT], |address| match address {
        "a@basin.example" => expand(&["b@basin.example"]),
        _ => expand(&["a@basin.example"]),
    });
    assert_eq!((addresses(&message), words(&message)), (vec!["b@basin.example".to_owned()], vec!["failed"]));
    let Outcome::Failed { reply, .. } = &message.envelope.recipients[0].outcome else { panic!("it failed") };
    assert_eq!(reply.to_string(), "550 5.4.6 the address leads back to itself");
    let (message, _, about) = resolve(from_a(&["a@basin.example"]), &[EVENT], |address| match address {
        "a@basin.example" => expand(&["a@basin.example", "x@far.example"]),
        _ => Verdict::Next,
    });
    assert_eq!(addresses(&message), ["a@basin.example", "x@far.example"]);
    assert_eq!((words(&message), about.len()), (vec!["pending", "pending"], 2));
}

#[test]
fn depth_and_number_of_an_expansion_are_bounded() {
    let next = |address: &str| {
        let number: usize = address.split(['@', 'l']).nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
        format!("l{}@basin.example", number + 1)
    };
    let (message, _, about) = resolve(from_a(&["l0@basin.example"]), &[EVENT], |address| expand(&[&next(address)]));
    assert_eq!((about.len(), words(&message)), (EXPANSION_DEPTH_MAX + 1, vec!["failed"]));
    let many: Vec<String> = (0..EXPANSION_ADDRESSES_MAX).map(|number| format!("m{number}@far.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let (message, ..) = resolve(from_a(&["list@basin.example"]), &[EVENT], |_| expand(&many));
    assert_eq!(words(&message), ["failed"]);
}

#[test]
fn who_asked_for_success_learns_that_a_list_was_expanded() {
    let mut message = from_a(&["list@basin.example"]);
    Arc::make_mut(&mut message.envelope).recipients[0].notify = vec!["SUCCESS".into()];
    let (message, ..) = resolve(message, &[EVENT], |address| match address {
        "list@basin.example" => expand(&["a@basin.example", "b@basin.example"]),
        _ => Verdict::Next,
    });
    let first = &message.envelope.recipients[0];
    assert!(matches!(&first.outcome, Outcome::Delivered { to: Handover::Expanded, .. }), "{first:?}");
    assert_eq!(message.envelope.recipients[1].notify, ["NEVER"]);
}

#[test]
fn one_who_is_put_off_waits_on_his_own_and_goes_the_same_way_later() {
    let events = [EVENT, EventKind::OnPostCategorize];
    let mut work = start(from_a(&["a@basin.example", "b@basin.example"]), State::default(), &events, START);
    work = answer(work, EVENT, put_off(60), START);
    let Work::Bear(bearing, children) = answer(work, EVENT, Verdict::Next, START) else { panic!("he is parted with") };
    let (child, of_child) = &children[0];
    assert_eq!((addresses(child), words(child)), (vec!["a@basin.example".to_owned()], vec!["deferred"]));
    let (saving, message, state) = saved(bearing.born(START));
    assert_eq!((addresses(&message), &state.stage), (vec!["b@basin.example".to_owned()], &Stage::PostCategorize));
    assert!(of_child.parent.as_ref().is_some_and(|parent| parent.lets_go(Some(state.batches))));
    asked(saving.saved(START), EventKind::OnPostCategorize);
    assert!(matches!(start(child.clone(), of_child.clone(), &events, START), Work::Wait(at) if at == later(60)));
    let work = start(child.clone(), of_child.clone(), &events, later(60));
    let (saving, _, _) = saved(answer(work, EVENT, Verdict::Next, later(60)));
    asked(saving.saved(later(60)), EventKind::OnPostCategorize);
}

#[test]
fn one_who_is_alone_waits_without_a_message_of_his_own() {
    let work = start(from_a(&["a@basin.example"]), State::default(), &[EVENT], START);
    let (saving, message, state) = saved(answer(work, EVENT, put_off(60), START));
    assert_eq!((words(&message), &state.stage), (vec!["deferred"], &Stage::Categorize));
    assert!(matches!(saving.saved(START), Work::Wait(at) if at == later(60)));
    let work = start(message, state, &[EVENT], later(QUEUE_LIFETIME_DEFAULT.as_secs()));
    let late = later(QUEUE_LIFETIME_DEFAULT.as_secs());
    assert_eq!(words(&saved(answer(work, EVENT, put_off(60), late)).1), ["failed"]);
}

#[test]
fn a_sink_changes_nothing_of_the_message_here_but_properties() {
    let (waiting, mut question) = asked(start(from_a(&["a@basin.example"]), State::default(), &[EVENT], START), EVENT);
    if let Some(message) = &mut question.overlay.message {
        message.priority = 9;
        let scope = crate::mail::Scope("filter");
        Arc::make_mut(&mut message.properties).set(scope, "seen", b"1".to_vec()).expect("it fits");
        Arc::make_mut(&mut message.envelope).sender = None;
    }
    let (_, message, _) = saved(waiting.decided(said(question, Verdict::Refuse(no())), START));
    assert_eq!((message.priority, message.envelope.sender.is_some(), message.properties.is_empty()), (0, true, false));
}

#[test]
fn answers_are_written_from_time_to_time() {
    let recipients: Vec<String> = (0..=ANSWERS_PER_RECORD).map(|number| format!("n{number}@far.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mut work = start(from_a(&recipients), State::default(), &[EVENT], START);
    for _ in 0..ANSWERS_PER_RECORD {
        work = answer(work, EVENT, Verdict::Resolved, START);
    }
    let (saving, message, state) = saved(work);
    assert_eq!(state.stage, Stage::Categorize);
    asked(saving.saved(START), EVENT);
    let left = start(message, state, &[EVENT], START);
    assert_eq!(saved(answer(left, EVENT, Verdict::Next, START)).2.stage, Stage::Delivery);
}
