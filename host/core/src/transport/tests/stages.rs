//! The way from one stage to the next, local delivery by sinks, and what they do with notifications.

use super::*;
use crate::event::Question;
use crate::mail::{Expiry, Handover};

pub(super) fn heard(events: &[EventKind]) -> EventSet {
    events.iter().copied().collect()
}

pub(super) fn start(message: Message, state: State, events: &[EventKind], now: Timestamp) -> Work {
    Transport::start(policy(), message, state, heard(events), now)
}

pub(super) fn asked(work: Work, event: EventKind) -> (Waiting, Question) {
    match work {
        Work::Ask(waiting, question) if question.occasion.event == event => (waiting, *question),
        other => panic!("{event} was expected, not {other:?}"),
    }
}

pub(super) fn said(question: Question, verdict: Verdict) -> Decision {
    let overlay = question.overlay;
    Decision { verdict, by: Some("filter".into()), overlay, failures: Vec::new(), is_heard: true }
}

pub(super) fn answer(work: Work, event: EventKind, verdict: Verdict, now: Timestamp) -> Work {
    let (waiting, question) = asked(work, event);
    waiting.decided(said(question, verdict), now)
}

pub(super) fn put_off(seconds: u64) -> Verdict {
    Verdict::Defer(Later { reply: Reply::with(451, 7, 1, "later"), after: Duration::from_secs(seconds) })
}

pub(super) fn no() -> Reply {
    Reply::with(550, 1, 1, "nobody")
}

const MESSAGE_EVENTS: [EventKind; 3] =
    [EventKind::OnSubmission, EventKind::OnPreCategorize, EventKind::OnPostCategorize];

#[test]
fn each_stage_is_written_with_what_its_sinks_decided_and_a_restart_goes_on_behind_it() {
    let mut work = start(from_a(&["a@basin.example"]), State::default(), &MESSAGE_EVENTS, START);
    let stages = [Stage::PreCategorize, Stage::Categorize, Stage::Delivery];
    for (number, (event, stage)) in MESSAGE_EVENTS.into_iter().zip(stages).enumerate() {
        let (waiting, mut question) = asked(work, event);
        assert_eq!(question.overlay.message.as_ref().map(|message| message.priority), i32::try_from(number).ok());
        if let Some(message) = &mut question.overlay.message {
            message.priority += 1;
        }
        let (saving, message, state) = saved(waiting.decided(said(question, Verdict::Next), START));
        assert_eq!(state.stage, stage);
        drop(saving);
        work = start(message, state, &MESSAGE_EVENTS, START);
    }
    assert!(matches!(work, Work::Deliver(_)));
}

#[test]
fn a_stage_that_nobody_hears_is_not_written() {
    let events = [EventKind::OnSubmission];
    let (saving, _, state) = saved(answer(
        start(from_a(&["a@basin.example"]), State::default(), &events, START),
        events[0],
        Verdict::Next,
        START,
    ));
    assert_eq!(state.stage, Stage::Delivery);
    assert!(matches!(saving.saved(START), Work::Deliver(_)));
    // Bound, and by no rule about this message.
    let (waiting, question) =
        asked(start(from_a(&["a@basin.example"]), State::default(), &MESSAGE_EVENTS, START), events[0]);
    let nobody = Decision { by: None, is_heard: false, ..said(question, Verdict::Next) };
    asked(waiting.decided(nobody, START), EventKind::OnPreCategorize);
}

#[test]
fn every_message_event_can_defer_hold_discard_and_set_aside() {
    for (event, stage) in
        MESSAGE_EVENTS.into_iter().zip([Stage::Submission, Stage::PreCategorize, Stage::PostCategorize])
    {
        let at = || State { stage: stage.clone(), ..State::default() };
        let ask = |verdict| answer(start(from_a(&["a@basin.example"]), at(), &[event], START), event, verdict, START);
        let (_, _, state) = saved(ask(put_off(60)));
        assert_eq!((state.stage, state.raised, state.not_before), (stage.clone(), 1, Some(later(60))));
        let (_, _, state) = saved(ask(Verdict::Hold("odd".into())));
        assert_eq!(state.stage, Stage::Held { reason: "odd".into(), then: Box::new(Stage::Delivery) });
        let (_, _, state) = saved(ask(Verdict::BadMail("broken".into())));
        assert_eq!(state.stage, Stage::Bad { reason: "broken".into() });
        assert!(matches!(ask(Verdict::Discard), Work::Remove(_, End::Discarded)));
        let (_, message, _) = saved(ask(Verdict::Refuse(no())));
        assert_eq!(words(&message), ["failed"]);
    }
}

#[test]
fn what_an_operator_sends_through_its_sinks_again_begins_anew_under_other_keys() {
    let (mut message, events) = (from_a(&["a@basin.example", "x@far.example"]), [EventKind::OnSubmission]);
    Arc::make_mut(&mut message.envelope).recipients[1].outcome = Outcome::deferred(later(60), no());
    let state = State { stage: Stage::Delivery, batches: 2, ..State::default() };
    let work = Transport::change(policy(), message, state, heard(&events), Change::Rerun, START, 0);
    let (saving, message, state) = saved(work);
    assert_eq!((&state.stage, state.rounds, state.batches), (&Stage::Submission, 1, 2));
    assert_eq!(words(&message), ["pending", "pending"]);
    let (_, question) = asked(saving.saved(START), EventKind::OnSubmission);
    assert_eq!(question.occasion.idempotency_key, "m/on-submission/round-1");
}

#[test]
fn a_sink_delivers_puts_off_or_fails_a_recipient_here_and_the_others_get_theirs() {
    let event = EventKind::OnLocalDelivery;
    let recipients = ["a@basin.example", "b@basin.example", "own@basin.example", "bad@basin.example"];
    let mut work = start(from_a(&recipients), State::default(), &[event], START);
    for verdict in [Verdict::Next, put_off(60), Verdict::Delivered, Verdict::Refuse(no())] {
        work = answer(work, event, verdict, START);
    }
    let delivering = delivering(work);
    assert_eq!(delivering.jobs().iter().map(|job| job.mailbox.as_str()).collect::<Vec<_>>(), ["a"]);
    let (_, message, _) = saved(finish(delivering, &Ok(()), START));
    assert_eq!(words(&message), ["delivered", "deferred", "delivered", "failed"]);
    let to = |index: usize| match &message.envelope.recipients[index].outcome {
        Outcome::Delivered { to, .. } => to.clone(),
        other => panic!("delivered was expected, not {other:?}"),
    };
    assert_eq!((to(0), to(2)), (Handover::Mailbox, Handover::Sink { binding: "filter".into() }));
}

#[test]
fn what_sinks_deliver_is_an_attempt_that_is_written_before_anybody_is_told() {
    let event = EventKind::OnLocalDelivery;
    let work = start(from_a(&["own@basin.example"]), State::default(), &[event], START);
    let (saving, message, state) = saved(answer(work, event, Verdict::Refuse(no()), START));
    assert_eq!((words(&message), state.attempts), (vec!["failed"], 1));
    assert!(matches!(saving.saved(START), Work::Notify(..)));
    let work = start(from_a(&["own@basin.example"]), State::default(), &[event], START);
    assert!(matches!(answer(work, event, Verdict::Delivered, START), Work::Remove(_, End::Delivered)));
}

#[test]
fn a_sink_that_fails_again_and_again_keeps_its_recipient_back() {
    let event = EventKind::OnLocalDelivery;
    let mut message = from_a(&["a@basin.example"]);
    let outcome = Outcome::Deferred { until: START, reply: no(), attempts: SINK_FAILURES_BEFORE_HOLD - 1, last: None };
    Arc::make_mut(&mut message.envelope).recipients[0].outcome = outcome;
    let (waiting, question) = asked(start(message, State::default(), &[event], START), event);
    assert_eq!(question.occasion.raised, SINK_FAILURES_BEFORE_HOLD - 1);
    let kind = FailureKind::Trap;
    let failure = Failure { kind, detail: String::new(), backtrace: Vec::new(), stderr: String::new(), fuel: 0 };
    let decision = Decision { failures: vec![("filter".into(), failure)], ..said(question, put_off(60)) };
    let (_, message, _) = saved(waiting.decided(decision, START));
    assert_eq!(words(&message), ["held"]);
}

#[test]
fn sinks_edit_or_keep_back_a_notification_and_one_that_fails_can_hold_it() {
    let event = EventKind::OnNotification;
    let failed = || {
        let mut message = from_a(&["a@basin.example"]);
        Arc::make_mut(&mut message.envelope).recipients[0].outcome = Outcome::failed(no());
        start(message, State { stage: Stage::Delivery, ..State::default() }, &[event], START)
    };
    let (waiting, mut question) = asked(failed(), event);
    assert_eq!(question.occasion.subject.as_ref().map(|subject| subject.id.as_str()), Some("m"));
    if let Some(notification) = &mut question.overlay.message {
        notification.priority = 9;
    }
    let Work::Notify(_, notification, state) = waiting.decided(said(question, Verdict::Next), START) else {
        panic!("it is sent")
    };
    assert_eq!((notification.priority, notification.id.as_str(), state), (9, "m-n0", State::default()));
    let Work::Suppress(notifying) = answer(failed(), event, Verdict::Suppress, START) else { panic!("it is not sent") };
    assert!(matches!(notifying.committed(START), Work::Remove(_, End::Failed)));
    let Work::Notify(_, _, state) = answer(failed(), event, Verdict::Hold("a sink failed".into()), START) else {
        panic!("it is kept")
    };
    assert_eq!(state, State::held("a sink failed".into()));
}

// Stores whoever comes until there is a notification or the end, and writes what is to be written.
fn stored_until_told(mut work: Work) -> Work {
    loop {
        work = match work {
            Work::Ask(..) => answer(work, EventKind::OnLocalDelivery, Verdict::Delivered, START),
            Work::Save(saving, ..) => saving.saved(START),
            other => return other,
        };
    }
}

#[test]
fn every_notification_of_one_attempt_has_an_id_of_its_own_and_tells_of_others() {
    let recipients: Vec<String> = (0..250).map(|number| format!("u{number}@basin.example")).collect();
    let mut message = from_a(&recipients.iter().map(String::as_str).collect::<Vec<_>>());
    for recipient in &mut Arc::make_mut(&mut message.envelope).recipients {
        recipient.notify = vec!["SUCCESS".to_owned()];
    }
    let (mut ids, mut told) = (Vec::new(), Vec::new());
    let mut work = stored_until_told(start(message, State::default(), &[EventKind::OnLocalDelivery], START));
    while let Work::Notify(notifying, notification, _) = work {
        assert_eq!(about(&notification.id).map(|id| id.to_string()).as_deref(), Some("m"));
        ids.push(notification.id.to_string());
        told.extend(notifying.recipients().map(|recipient| recipient.id));
        work = stored_until_told(notifying.committed(START));
    }
    assert!(matches!(work, Work::Remove(_, End::Delivered)), "{work:?}");
    assert_eq!(told, (0..250).collect::<Vec<_>>());
    assert_eq!(ids, ["m-n0", "m-n1", "m-n2"]);
}

#[test]
fn what_fails_after_an_operator_sent_it_through_its_sinks_again_is_told_under_another_id() {
    let (mut message, event) = (from_a(&["a@basin.example", "b@basin.example"]), EventKind::OnSubmission);
    Arc::make_mut(&mut message.envelope).recipients[0].outcome = Outcome::failed(no());
    let state = State { stage: Stage::Delivery, attempts: 1, ..State::default() };
    let Work::Notify(first, notification, _) = start(message, state, &[], START) else { panic!("a failure is told") };
    let (_, message, state) = saved(first.committed(START));
    assert_eq!((notification.id.as_str(), state.attempts), ("m-n1", 1));
    // A record of the version that counted attempts alone has no more than this.
    let old = State { notifications: 0, ..state.clone() };
    for state in [state, old] {
        let work = Transport::change(policy(), message.clone(), state, heard(&[event]), Change::Rerun, START, 0);
        let (saving, ..) = saved(work);
        let (saving, ..) = saved(answer(saving.saved(START), event, Verdict::Refuse(no()), START));
        let Work::Notify(second, notification, _) = saving.saved(START) else { panic!("so is the other") };
        assert_eq!(second.recipients().map(|recipient| recipient.id).collect::<Vec<_>>(), [1]);
        assert_eq!((second.id(), notification.id.as_str()), (notification.id.clone(), "m-n2"));
    }
}

#[test]
fn a_sink_says_how_long_a_message_is_tried() {
    let mut message = from_a(&["a@basin.example"]);
    message.expiry = Some(Expiry { notify_delay: later(60), give_up: later(120) });
    let tried = |at| finish(delivering(nobody_listens(message.clone(), State::default(), at)), &disk_full(), at);
    let (_, message_60, state) = saved(tried(later(60)));
    assert_eq!((words(&message_60), state.delayed), (vec!["deferred"], vec![0]));
    assert_eq!(words(&saved(tried(later(120))).1), ["failed"]);
}
