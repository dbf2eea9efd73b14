//! Messages that sinks make of a message, before and after a crash.

use super::stages::{asked, heard, said, start};
use super::*;
use crate::event::{BirthError, NewMessage, Occasion, Question};
use crate::limits::ANSWER_DEPTH_MAX;
use crate::mail::{Body, HeaderBlock};

const EVENT: EventKind = EventKind::OnSubmission;

fn fork(question: &mut Question, ids: &[u32]) -> Result<usize, BirthError> {
    let occasion = question.occasion.clone();
    question.overlay.fork(&occasion, "splitter", ids)
}

fn submit(question: &mut Question) -> Result<MessageId, BirthError> {
    let new = NewMessage {
        sender: None,
        recipients: vec![address("sender@basin.example")],
        header: HeaderBlock::default(),
        body: Body::from_bytes(&b"Gone fishing.\r\n"[..]),
    };
    let occasion = question.occasion.clone();
    question.overlay.submit(&occasion, "answerer", "mx.basin.example", new)
}

fn two() -> Message {
    from_a(&["a@basin.example", "b@basin.example"])
}

// A run in which a sink splits the message and answers it, up to where the children are to be committed.
fn borne() -> (Bearing, Vec<(Message, State)>) {
    let (waiting, mut question) = asked(start(two(), State::default(), &[EVENT], START), EVENT);
    fork(&mut question, &[1]).expect("it can be split");
    submit(&mut question).expect("it can be answered");
    question.overlay.forks[0].rest = vec!["later".into()];
    match waiting.decided(said(question, Verdict::Next), START) {
        Work::Bear(bearing, children) => (bearing, children),
        other => panic!("children were expected, not {other:?}"),
    }
}

#[test]
fn children_are_the_same_in_every_repetition_and_come_before_the_record() {
    let (bearing, children) = borne();
    let ids = |children: &[(Message, State)]| children.iter().map(|(child, _)| child.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&children), ids(&borne().1));
    let unwritten = State::default();
    assert!(
        children.iter().all(|(_, state)| !state.parent.as_ref().expect("a parent").lets_go(Some(unwritten.batches)))
    );
    let (_, message, state) = saved(bearing.born(START));
    assert!(children.iter().all(|(_, child)| child.parent.as_ref().expect("a parent").lets_go(Some(state.batches))));
    assert!(children[0].1.parent.as_ref().expect("a parent").lets_go(None), "its parent came to its end");
    assert_eq!((message.envelope.recipients.len(), children[0].0.envelope.recipients[0].id), (1, 1));
}

#[test]
fn a_notification_about_a_child_of_a_child_is_known_as_one() {
    let mut id = MessageId::new(START, u64::MAX);
    for generation in 1..=6 {
        let occasion = Occasion::of(EventKind::OnSubmission, START);
        id = occasion.child_id(Some(&id), "filter", generation);
        let notification = MessageId::parse(&format!("{id}-n{}", u32::MAX)).expect("there is room for the number");
        assert_eq!(about(&notification), Some(id.clone()), "generation {generation}");
    }
}

#[test]
fn children_that_cannot_be_written_are_written_later() {
    let (bearing, children) = borne();
    let Work::Repeat(repeat, at) = bearing.not_born(START) else { panic!("it is tried again") };
    let Work::Bear(bearing, again) = repeat.again(at) else { panic!("the same children") };
    assert_eq!((again[0].0.id.clone(), again.len()), (children[0].0.id.clone(), 2));
    saved(bearing.born(at));
}

#[test]
fn a_fork_meets_the_rest_of_its_chain_and_stands_for_itself_once_it_is_saved() {
    let (_, children) = borne();
    let (fork, state) = children[0].clone();
    let (waiting, question) = asked(start(fork, state.clone(), &[EVENT], START), EVENT);
    assert_eq!(question.rest.as_deref(), Some(&["later".to_owned()][..]));
    let (_, _, after) = saved(waiting.decided(said(question, Verdict::Next), START));
    assert_eq!((after.parent, after.rest, after.stage), (None, None, Stage::Delivery));
    let for_nobody = State { rest: Some(Vec::new()), ..state };
    assert!(matches!(start(children[0].0.clone(), for_nobody, &[EVENT], START), Work::Deliver(_)));
}

#[test]
fn what_a_sink_submits_begins_at_the_first_stage_one_deeper_than_its_cause() {
    let (_, children) = borne();
    let (answer, state) = &children[1];
    assert_eq!((answer.arrival.origin.clone(), answer.arrival.depth), (Origin::Sink("answerer".into()), 1));
    assert_eq!((&state.stage, state.rest.as_ref()), (&Stage::Submission, None));
    for name in ["Date", "From", "Message-ID"] {
        assert!(answer.header.first(name).is_some(), "{name}");
    }
    assert_eq!(answer.envelope.sender, None);
}

#[test]
fn a_chain_that_refuses_or_defers_makes_nothing_and_one_that_discards_lets_its_children_live() {
    for (verdict, is_kept) in [(Verdict::Discard, true), (Verdict::Hold("odd".into()), true)] {
        let (waiting, mut question) = asked(start(two(), State::default(), &[EVENT], START), EVENT);
        submit(&mut question).expect("it can be answered");
        let work = waiting.decided(said(question, verdict), START);
        assert_eq!(matches!(work, Work::Bear(..)), is_kept);
        let Work::Bear(bearing, _) = work else { continue };
        assert!(matches!(bearing.born(START), Work::Remove(_, End::Discarded) | Work::Save(..)));
    }
}

#[test]
fn a_chain_that_is_held_because_a_sink_failed_makes_nothing_because_it_is_asked_again() {
    let (waiting, mut question) = asked(start(two(), State::default(), &[EVENT], START), EVENT);
    fork(&mut question, &[1]).expect("it can be split");
    submit(&mut question).expect("it can be answered");
    let failure = Failure {
        kind: FailureKind::Trap,
        detail: String::new(),
        backtrace: Vec::new(),
        stderr: String::new(),
        fuel: 0,
    };
    let mut decision = said(question, Verdict::Hold("sink failed".into()));
    decision.failures = vec![(decision.by.clone().unwrap_or_default(), failure)];
    let (_, message, state) = saved(waiting.decided(decision, START));
    assert_eq!((message.envelope.recipients.len(), state.batches), (2, 0));
    assert!(matches!(&state.stage, Stage::Held { then, .. } if **then == Stage::Submission), "{:?}", state.stage);
}

#[test]
fn forks_are_refused_where_they_make_no_sense() {
    let (_, mut question) = asked(start(two(), State::default(), &[EVENT], START), EVENT);
    assert_eq!(fork(&mut question, &[7]), Err(BirthError::NotFound));
    assert_eq!(fork(&mut question, &[]), Err(BirthError::Nobody));
    assert_eq!(fork(&mut question, &[0, 1]), Err(BirthError::Nobody));
    let event = EventKind::OnPreCategorize;
    let (_, mut question) = asked(start(two(), State::default(), &[event], START), event);
    assert_eq!(fork(&mut question, &[0]), Err(BirthError::ReadOnly));
}

#[test]
fn answers_to_answers_end() {
    let mut message = two();
    Arc::make_mut(&mut message.arrival).depth = ANSWER_DEPTH_MAX;
    let (_, mut question) = asked(start(message, State::default(), &[EVENT], START), EVENT);
    assert_eq!(submit(&mut question), Err(BirthError::Limit));
}

#[test]
fn submissions_at_the_end_of_a_message_are_written_before_it_goes() {
    let event = EventKind::OnLocalDelivery;
    let (waiting, mut question) = asked(start(from_a(&["a@basin.example"]), State::default(), &[event], START), event);
    submit(&mut question).expect("it can be answered");
    let Work::Bear(bearing, _) = waiting.decided(said(question, Verdict::Delivered), START) else {
        panic!("the answer is written first")
    };
    assert!(matches!(bearing.born(START), Work::Remove(_, End::Delivered)));
}

#[test]
fn a_notification_that_cannot_be_written_is_asked_about_again_with_all_that_its_sinks_made() {
    let event = EventKind::OnNotification;
    let (_, message, state) = saved(start(from_a(&["gone@basin.example"]), State::default(), &[event], START));
    let again = |work: Work| {
        let (waiting, mut question) = asked(work, event);
        submit(&mut question).expect("it can be answered");
        let Work::Notify(notifying, notification, _) = waiting.decided(said(question, Verdict::Next), START) else {
            panic!("the sender is told")
        };
        (notifying, notification.id)
    };
    let (notifying, id) = again(start(message, state, &[event], START));
    let Work::Repeat(repeat, at) = notifying.not_committed(START) else { panic!("it is tried again") };
    let (notifying, same) = again(repeat.again(at));
    assert_eq!(id, same);
    let Work::Bear(bearing, children) = notifying.committed(at) else { panic!("the answer is written") };
    assert_eq!(children.len(), 1);
    assert!(matches!(bearing.born(at), Work::Remove(_, End::Failed)));
}

#[test]
fn a_record_of_before_has_no_children_and_no_rest() {
    let state: State = serde_json::from_str("{\"stage\":\"submission\",\"raised\":1}").expect("an old record");
    assert_eq!((state.batches, state.parent, state.rest, state.rounds), (0, None, None, 0));
    let text = serde_json::to_string(&State::default()).expect("JSON");
    assert!(!text.contains("batches") && !text.contains("expanded"), "{text}");
    assert!(!heard(&[]).has(EVENT));
}
