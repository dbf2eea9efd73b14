#![allow(clippy::panic, clippy::wildcard_enum_match_arm, reason = "work that was not expected is a failed test")]

use core::time::Duration;
use std::sync::Arc;

use super::*;
use crate::addr::Address;
use crate::event::{Decision, EventKind, EventSet, Failure, FailureKind, Later, Verdict};
use crate::limits::{QUEUE_LIFETIME_DEFAULT, SINK_DEFER_MIN, SINK_FAILURES_BEFORE_HOLD};
use crate::mail::{Arrival, Envelope, Message, MessageId, Origin, Outcome};
use crate::reply::Reply;
use crate::time::Timestamp;

mod children;
mod outbound;
mod promises;
mod resolution;
mod routing;
mod stages;

const START: Timestamp = Timestamp::from_seconds(1_000_000);

fn address(text: &str) -> Address {
    Address::parse(text).expect("valid")
}

fn policy() -> Arc<TransportPolicy> {
    let mailbox = |name: &str| (address(&format!("{name}@basin.example")), name.to_owned());
    let tables = Tables {
        domains: vec!["basin.example".into()],
        mailboxes: vec![mailbox("a"), mailbox("b")],
        aliases: vec![(address("team@basin.example"), vec![address("a@basin.example"), address("b@basin.example")])],
        postmaster: "a".into(),
        catch_all: Vec::new(),
        host_names: Vec::new(),
    };
    let directory = Directory::new(tables).expect("the tables are right");
    Arc::new(TransportPolicy::new("mx.basin.example".into(), Arc::new(directory)))
}

fn message(sender: Option<&str>, recipients: &[&str]) -> Message {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: START,
        listener: "mx".into(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let mut envelope = Envelope::new(sender.map(address));
    for text in recipients {
        envelope.add(address(text), (*text).to_owned());
    }
    Message::new(MessageId::parse("m").expect("an id"), arrival, envelope)
}

fn from_a(recipients: &[&str]) -> Message {
    message(Some("sender@basin.example"), recipients)
}

fn nobody_listens(message: Message, state: State, now: Timestamp) -> Work {
    Transport::start(policy(), message, state, EventSet::default(), now)
}

fn sinks_listen(message: Message, state: State, now: Timestamp) -> Work {
    Transport::start(policy(), message, state, [EventKind::OnSubmission].into_iter().collect(), now)
}

// Asks about a message and decides so; the overlay is as a sink left it that set the priority to 7.
fn decide(message: Message, state: State, verdict: Verdict, failure: Option<FailureKind>, now: Timestamp) -> Work {
    let Work::Ask(waiting, question) = sinks_listen(message, state, now) else { panic!("a question was expected") };
    let mut overlay = question.overlay;
    if let Some(message) = &mut overlay.message {
        message.priority = 7;
    }
    let failure = failure.map(|kind| Failure {
        kind,
        detail: String::new(),
        backtrace: Vec::new(),
        stderr: String::new(),
        fuel: 0,
    });
    let failures = failure.map(|failure| ("scanner".to_owned(), failure)).into_iter().collect();
    waiting.decided(Decision { verdict, by: Some("scanner".into()), overlay, failures, is_heard: true }, now)
}

fn saved(work: Work) -> (Saving, Message, State) {
    match work {
        Work::Save(saving, message, state) => (saving, *message, state),
        other => panic!("a save was expected, not {other:?}"),
    }
}

fn delivering(work: Work) -> Delivering {
    match work {
        Work::Deliver(delivering) => delivering,
        other => panic!("a delivery was expected, not {other:?}"),
    }
}

fn finish(mut delivering: Delivering, result: &Result<(), Reply>, now: Timestamp) -> Work {
    for job in delivering.jobs().to_vec() {
        delivering.record(&job, result);
    }
    delivering.finish(now, 100)
}

fn words(message: &Message) -> Vec<&'static str> {
    message.envelope.recipients.iter().map(|recipient| recipient.outcome.word()).collect()
}

fn later(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn disk_full() -> Result<(), Reply> {
    Err(Reply::with(452, 3, 1, "disk full"))
}

#[test]
fn without_sinks_a_message_is_delivered_and_removed_without_a_write() {
    let work = nobody_listens(from_a(&["a@basin.example", "b@basin.example"]), State::default(), START);
    let delivering = delivering(work);
    let mailboxes: Vec<_> = delivering.jobs().iter().map(|job| job.mailbox.as_str()).collect();
    assert_eq!(mailboxes, ["a", "b"]);
    assert!(matches!(finish(delivering, &Ok(()), START), Work::Remove(_, End::Delivered)));
}

#[test]
fn edits_and_the_next_stage_are_one_record() {
    for verdict in [Verdict::Next, Verdict::SkipRemaining] {
        let work = decide(from_a(&["a@basin.example"]), State::default(), verdict, None, START);
        let (saving, message, state) = saved(work);
        assert_eq!((message.priority, &state.stage), (7, &Stage::Delivery));
        assert!(matches!(saving.saved(START), Work::Deliver(_)));
        assert!(matches!(sinks_listen(message, state, START), Work::Deliver(_)), "a restart does not ask again");
    }
}

#[test]
fn a_refusal_drops_edits_notifies_the_sender_and_ends() {
    let reply = Reply::with(554, 7, 1, "not this one");
    let message = from_a(&["a@basin.example", "b@basin.example"]);
    let work = decide(message, State::default(), Verdict::Refuse(reply), None, START);
    let (saving, message, _) = saved(work);
    assert_eq!((message.priority, words(&message)), (0, vec!["failed", "failed"]));
    let Work::Notify(notifying, notification, state) = saving.saved(START) else { panic!("a notification") };
    assert_eq!(notification.id.as_str(), "m-n0");
    assert_eq!((notification.envelope.sender.as_ref(), state), (None, State::default()));
    assert!(matches!(notifying.committed(START), Work::Remove(_, End::Failed)));
}

#[test]
fn a_refusal_of_the_null_sender_tells_nobody() {
    let reply = Reply::with(554, 7, 1, "not this one");
    let work = decide(message(None, &["a@basin.example"]), State::default(), Verdict::Refuse(reply), None, START);
    assert!(matches!(work, Work::Remove(_, End::FailedUntold)));
}

#[test]
fn a_deferral_drops_edits_waits_and_asks_everybody_again() {
    let verdict = Verdict::Defer(Later { reply: Reply::with(451, 7, 1, "later"), after: Duration::from_secs(60) });
    let (saving, message, state) = saved(decide(from_a(&["a@basin.example"]), State::default(), verdict, None, START));
    assert_eq!((message.priority, state.raised, state.not_before), (0, 1, Some(later(60))));
    let row = crate::queue::index::Row::of(&message, &state);
    let why = "put off by sink scanner at on-submission: 451 4.7.1 later";
    assert_eq!((row.why(), row.attempts, row.next_attempt), (Some(why), 1, Some(later(60))));
    assert!(matches!(saving.saved(START), Work::Wait(until) if until == later(60)));
    assert!(matches!(sinks_listen(message.clone(), state.clone(), later(59)), Work::Wait(_)));
    let Work::Ask(_, question) = sinks_listen(message, state, later(60)) else { panic!("a question") };
    assert_eq!((question.occasion.raised, question.occasion.idempotency_key.as_str()), (1, "m/on-submission"));
}

#[test]
fn a_deferral_is_bounded_below_and_ends_with_the_lifetime() {
    let at_once = Verdict::Defer(Later { reply: Reply::with(451, 7, 1, "later"), after: Duration::ZERO });
    let work = decide(from_a(&["a@basin.example"]), State::default(), at_once.clone(), None, START);
    assert_eq!(saved(work).2.not_before, Some(START.plus(SINK_DEFER_MIN)));
    let end = START.plus(QUEUE_LIFETIME_DEFAULT);
    let never = Verdict::Defer(Later { reply: Reply::with(451, 7, 1, "later"), after: QUEUE_LIFETIME_DEFAULT * 9 });
    let work = decide(from_a(&["a@basin.example"]), State::default(), never, None, later(5));
    assert_eq!(saved(work).2.not_before, Some(end), "then it is asked a last time");
    let (_, message, _) = saved(decide(from_a(&["a@basin.example"]), State::default(), at_once, None, end));
    let outcome = message.envelope.recipients.first().map(|recipient| recipient.outcome.clone());
    let Some(Outcome::Failed { reply, .. }) = outcome else { panic!("it failed") };
    assert_eq!((reply.code(), reply.enhanced_text().as_deref()), (550, Some("5.4.7")));
}

#[test]
fn a_message_that_was_discarded_at_the_door_is_removed_and_never_delivered() {
    let state = crate::smtp::Disposition::Discard.state();
    let work = sinks_listen(from_a(&["a@basin.example"]), state, START);
    assert!(matches!(work, Work::Remove(_, End::Discarded)));
}

#[test]
fn discard_ends_hold_and_bad_mail_park_with_their_edits() {
    let fresh = || from_a(&["a@basin.example"]);
    let decide = |verdict| decide(fresh(), State::default(), verdict, None, START);
    assert!(matches!(decide(Verdict::Discard), Work::Remove(_, End::Discarded)));
    let (saving, message, state) = saved(decide(Verdict::Hold("odd".into())));
    assert_eq!(message.priority, 7);
    assert_eq!(state.stage, Stage::Held { reason: "odd".into(), then: Box::new(Stage::Delivery) });
    assert!(matches!(saving.saved(START), Work::Park(why) if why == "odd"));
    let (_, message, state) = saved(decide(Verdict::BadMail("broken".into())));
    assert_eq!((message.priority, &state.stage), (7, &Stage::Bad { reason: "broken".into() }));
    assert!(matches!(nobody_listens(message, state, later(1_000_000_000)), Work::Park(_)));
}

#[test]
fn a_released_message_goes_on_where_it_was_held() {
    let state =
        State { stage: Stage::Held { reason: "odd".into(), then: Box::new(Stage::Delivery) }, ..State::default() };
    let interest: EventSet = [EventKind::OnSubmission].into_iter().collect();
    let work = Transport::release(policy(), from_a(&["a@basin.example"]), state, interest, START);
    let (saving, _, state) = saved(work);
    assert_eq!(state.stage, Stage::Delivery);
    assert!(matches!(saving.saved(START), Work::Deliver(_)));
}

#[test]
fn a_message_held_for_a_failed_sink_is_judged_anew_when_it_is_released() {
    let hold = Verdict::Hold("sink failed".into());
    let work = decide(from_a(&["a@basin.example"]), State::default(), hold, Some(FailureKind::Trap), START);
    let (_, message, state) = saved(work);
    assert_eq!(message.priority, 0, "the edits of an unfinished chain would be made twice");
    let interest: EventSet = [EventKind::OnSubmission].into_iter().collect();
    let (saving, ..) = saved(Transport::release(policy(), message, state, interest, START));
    assert!(matches!(saving.saved(START), Work::Ask(..)));
}

#[test]
fn a_message_that_makes_a_sink_fail_again_and_again_is_held() {
    let defer = || Verdict::Defer(Later { reply: Reply::with(451, 3, 0, "broken"), after: Duration::from_secs(300) });
    let raised = |raised| State { raised, ..State::default() };
    let stage = |state, kind| saved(decide(from_a(&["a@basin.example"]), state, defer(), kind, START)).2.stage;
    let last = SINK_FAILURES_BEFORE_HOLD - 1;
    assert_eq!(stage(raised(last - 1), Some(FailureKind::Trap)), Stage::Submission);
    assert!(matches!(stage(raised(last), Some(FailureKind::Trap)), Stage::Held { .. }));
    assert_eq!(stage(raised(last), Some(FailureKind::Busy)), Stage::Submission, "a busy server is nobody's fault");
    assert_eq!(stage(raised(last), None), Stage::Submission, "a sink may defer as often as it likes");
}

#[test]
fn an_alias_becomes_recipients_with_outcomes_of_their_own() {
    let mut delivering = delivering(nobody_listens(from_a(&["team@basin.example"]), State::default(), START));
    let jobs = delivering.jobs().to_vec();
    for job in &jobs {
        let result = if job.mailbox == "a" { Ok(()) } else { disk_full() };
        delivering.record(job, &result);
    }
    let (saving, message, state) = saved(delivering.finish(START, 100));
    assert_eq!(words(&message), ["delivered", "deferred"]);
    assert!(message.envelope.recipients.iter().all(|recipient| recipient.original == "team@basin.example"));
    assert!(matches!(saving.saved(START), Work::Wait(until) if until == later(60)));
    let Work::Deliver(again) = nobody_listens(message, state, later(60)) else { panic!("a retry") };
    assert_eq!(again.jobs().iter().map(|job| job.mailbox.as_str()).collect::<Vec<_>>(), ["b"], "a has it already");
}

#[test]
fn two_recipients_of_one_mailbox_get_one_copy() {
    let work = nobody_listens(from_a(&["a@basin.example", "team@basin.example"]), State::default(), START);
    let jobs = delivering(work).jobs().to_vec();
    assert_eq!(jobs.iter().map(|job| job.mailbox.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let postmaster = nobody_listens(from_a(&["a@basin.example", "postmaster"]), State::default(), START);
    let jobs = delivering(postmaster).jobs().to_vec();
    assert_eq!(jobs.iter().map(|job| job.recipients.len()).collect::<Vec<_>>(), [2]);
}

#[test]
fn waits_grow_and_end_with_the_lifetime() {
    let was_told = State { stage: Stage::Delivery, delayed: vec![0], delay_told: vec![0], ..State::default() };
    let (mut message, mut state, mut now) = (from_a(&["a@basin.example"]), was_told, START);
    let mut waits = Vec::new();
    let reply = loop {
        let delivering = delivering(nobody_listens(message, state, now));
        let (_, next, next_state) = saved(finish(delivering, &disk_full(), now));
        match next.envelope.recipients.first().map(|recipient| recipient.outcome.clone()) {
            Some(Outcome::Deferred { until, .. }) => {
                waits.push(until.since(now).as_secs() / 60);
                now = until;
            }
            Some(Outcome::Failed { reply, .. }) => break reply,
            other => panic!("{other:?}"),
        }
        (message, state) = (next, next_state);
    };
    assert_eq!(waits.get(..6), Some(&[1, 2, 5, 10, 30, 30][..]));
    assert!(now.since(START) >= QUEUE_LIFETIME_DEFAULT);
    assert_eq!(reply.to_string(), "550 5.4.7 delivery time expired, the last answer was: 452 4.3.1 disk full");
}

#[test]
fn a_failure_is_told_once_while_others_are_still_tried() {
    let gone = || Err(Reply::with(550, 2, 1, "mailbox disabled"));
    let message = from_a(&["a@basin.example", "b@basin.example", "nobody@basin.example"]);
    let mut delivering = delivering(nobody_listens(message, State::default(), START));
    for job in delivering.jobs().to_vec() {
        let result = if job.mailbox == "a" { gone() } else { disk_full() };
        delivering.record(&job, &result);
    }
    let (saving, message, state) = saved(delivering.finish(START, 100));
    assert_eq!(words(&message), ["failed", "deferred", "failed"]);
    let Work::Notify(notifying, first, _) = saving.saved(START) else { panic!("a notification") };
    let Work::Notify(_, repeated, _) = nobody_listens(message, state, START) else { panic!("the same again") };
    assert_eq!(first.id, repeated.id, "a crash in between makes the same id");
    let (saving, message, state) = saved(notifying.committed(START));
    assert_eq!(state.notified, [0, 2]);
    assert!(matches!(saving.saved(START), Work::Wait(_)));
    assert!(matches!(nobody_listens(message, state, START), Work::Wait(_)), "nothing is told twice");
}

#[test]
fn notify_of_rfc_3461_is_respected() {
    for (notify, is_told) in
        [(&["NEVER"][..], false), (&["SUCCESS"], false), (&["SUCCESS", "failure"], true), (&[], true)]
    {
        let mut message = from_a(&["nobody@basin.example"]);
        for recipient in &mut Arc::make_mut(&mut message.envelope).recipients {
            recipient.notify = notify.iter().map(|word| (*word).to_owned()).collect();
        }
        let work = nobody_listens(message, State::default(), START);
        assert_eq!(matches!(work, Work::Save(..)), is_told, "{notify:?}: a save comes before a notification");
        assert_eq!(matches!(work, Work::Remove(_, End::Failed)), !is_told, "{notify:?}");
    }
}

#[test]
fn the_time_of_delivery_that_a_sink_set_is_kept() {
    let mut message = from_a(&["a@basin.example"]);
    message.deliver_after = Some(later(3_600));
    let work = nobody_listens(message.clone(), State::default(), later(3_599));
    assert!(matches!(work, Work::Wait(until) if until == later(3_600)));
    assert!(matches!(nobody_listens(message, State::default(), later(3_600)), Work::Deliver(_)));
}

#[test]
fn a_write_that_failed_is_asked_for_again_by_the_machine_that_knows() {
    let mut delivering =
        delivering(nobody_listens(from_a(&["a@basin.example", "b@basin.example"]), State::default(), START));
    let jobs = delivering.jobs().to_vec();
    jobs.iter().take(1).for_each(|job| delivering.record(job, &Ok(())));
    let (saving, ..) = saved(delivering.finish(START, 100));
    let Work::Repeat(repeat, at) = saving.not_saved(START) else { panic!("a repetition") };
    let (_, message, _) = saved(repeat.again(at));
    assert_eq!(words(&message), ["delivered", "deferred"], "a job without a result is tried again");
}

#[test]
fn a_notification_that_was_not_committed_is_made_again() {
    let (saving, ..) = saved(nobody_listens(from_a(&["nobody@basin.example"]), State::default(), START));
    let Work::Notify(notifying, first, _) = saving.saved(START) else { panic!("a notification") };
    let Work::Repeat(repeat, at) = notifying.not_committed(START) else { panic!("a repetition") };
    let Work::Notify(notifying, second, _) = repeat.again(at) else { panic!("the notification again") };
    assert_eq!(first.id, second.id);
    assert!(matches!(notifying.committed(at), Work::Remove(_, End::Failed)));
}

#[test]
fn a_message_without_recipients_ends() {
    assert!(matches!(nobody_listens(from_a(&[]), State::default(), START), Work::Remove(_, End::NoRecipients)));
}
