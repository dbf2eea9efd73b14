//! Mail for other servers, and what operators do to it.

use super::*;
use crate::limits::{DELAY_NOTICE_DEFAULT, EXPIRY_GRACE, QUEUE_LIFETIME_NULL_DEFAULT};
use crate::mail::{BySink, Handover, RecipientId};
use crate::queue;

const DAY: u64 = 86_400;

fn change(message: Message, state: State, change: Change, now: Timestamp) -> Work {
    Transport::change(policy(), message, state, EventSet::default(), change, now, 100)
}

fn queued(work: Work) -> Vec<queue::Job> {
    match work {
        Work::Queue { jobs, .. } => jobs,
        other => panic!("jobs were expected, not {other:?}"),
    }
}

fn notified(work: Work) -> (Notifying, Message, String) {
    match work {
        Work::Notify(notifying, notification, _) => {
            let octets = notification.body.read(0, 1 << 20).expect("memory");
            (notifying, *notification, String::from_utf8(octets).expect("ASCII"))
        }
        other => panic!("a notification was expected, not {other:?}"),
    }
}

fn ok() -> Result<Relayed, Reply> {
    Ok(Relayed { reply: Reply::with(250, 0, 0, "taken"), is_dsn_passed: false })
}

fn later_there() -> Result<Relayed, Reply> {
    Err(Reply::with(451, 7, 1, "greylisted"))
}

fn gone() -> Result<Relayed, Reply> {
    Err(Reply::with(550, 1, 1, "no such user"))
}

fn attempt(at: Timestamp, results: &[(RecipientId, Result<Relayed, Reply>)]) -> Change {
    Change::Sent(Attempt {
        at,
        host: Some("mx.far.example".into()),
        results: results.to_vec(),
        by_sinks: Default::default(),
        again: None,
    })
}

fn asking(mut message: Message, words: &[&str]) -> Message {
    for recipient in &mut Arc::make_mut(&mut message.envelope).recipients {
        recipient.notify = words.iter().map(|word| (*word).to_owned()).collect();
    }
    message
}

fn far() -> Destination {
    Destination::domain("far.example")
}

#[test]
fn a_recipient_elsewhere_becomes_a_job_without_a_write() {
    let message = from_a(&["x@far.example", "y@FAR.example", "z@[192.0.2.1]"]);
    let jobs = queued(nobody_listens(message.clone(), State::default(), START));
    let told: Vec<_> = jobs.iter().map(|job| (job.destination.as_str(), job.recipients, job.due)).collect();
    assert_eq!(told, [("[192.0.2.1]", 1, START), ("far.example", 2, START)]);
    let job = jobs.last().expect("there are two");
    assert_eq!(job.tell_delay, Some(START.plus(DELAY_NOTICE_DEFAULT)));
    assert_eq!(job.expires, START.plus(QUEUE_LIFETIME_DEFAULT));
    assert_eq!(&*job.sender, "sender@basin.example");
    assert_eq!(policy().outgoing(&message, &far()), [0, 1]);
    let work = change(message, State::default(), attempt(START, &[(0, ok()), (1, ok()), (2, ok())]), START);
    assert!(matches!(work, Work::Remove(_, End::Delivered)));
}

#[test]
fn mailboxes_here_have_it_at_once_and_the_others_wait_for_a_connection() {
    let work = nobody_listens(from_a(&["a@basin.example", "x@far.example"]), State::default(), START);
    let (saving, message, _) = saved(finish(delivering(work), &disk_full(), START));
    assert_eq!(words(&message), ["deferred", "pending"]);
    let Work::Queue { jobs, again, .. } = saving.saved(START) else { panic!("a job") };
    assert_eq!((jobs.len(), again), (1, Some(later(60))));
}

#[test]
fn what_was_put_off_waits_longer_each_time_and_the_same_attempt_counts_once() {
    let message = from_a(&["x@far.example", "y@far.example"]);
    let first = attempt(START, &[(0, later_there()), (1, ok())]);
    let (saving, message, state) = saved(change(message, State::default(), first.clone(), START));
    assert_eq!((words(&message), state.attempts), (vec!["deferred", "delivered"], 1));
    assert_eq!(queued(saving.saved(START)).first().map(|job| (job.recipients, job.due)), Some((1, later(300))));
    let jobs = queued(change(message.clone(), state.clone(), first, later(1)));
    assert_eq!(jobs.first().map(|job| job.due), Some(later(300)), "nothing changed, nothing is written");
    let second = attempt(later(300), &[(0, later_there())]);
    let (saving, message, state) = saved(change(message, state, second, later(300)));
    let outcome = message.envelope.recipients.first().map(|recipient| recipient.outcome.clone());
    let Some(Outcome::Deferred { attempts: 2, last: Some(last), .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((last.at, last.host.as_deref()), (later(300), Some("mx.far.example")));
    assert_eq!(queued(saving.saved(later(300))).first().map(|job| job.due), Some(later(900)));
    assert_eq!(state.attempts, 2);
}

#[test]
fn an_attempt_that_an_operator_asked_for_does_not_lengthen_the_wait() {
    let put_off = |at: u64| attempt(later(at), &[(0, later_there())]);
    let (_, mut message, mut state) = saved(change(from_a(&["x@far.example"]), State::default(), put_off(0), START));
    for at in [10, 20, 30] {
        (_, message, state) = saved(change(message, state, Change::Release, later(at)));
        let (saving, ..) = saved(change(message.clone(), state.clone(), put_off(at), later(at)));
        assert_eq!(queued(saving.saved(later(at))).first().map(|job| job.due), Some(later(at + 300)));
        (_, message, state) = saved(change(message, state, put_off(at), later(at)));
    }
    // One that was due all the same counts.
    let (_, message, state) = saved(change(message, state, Change::Release, later(400)));
    let (saving, ..) = saved(change(message, state, put_off(400), later(400)));
    assert_eq!(queued(saving.saved(later(400))).first().map(|job| job.due), Some(later(400 + 600)));
}

#[test]
fn a_refusal_there_is_told_and_the_others_go_on() {
    let message = from_a(&["x@far.example", "y@other.example"]);
    let (saving, message, state) = saved(change(message, State::default(), attempt(START, &[(0, gone())]), START));
    let (notifying, notification, text) = notified(saving.saved(START));
    assert_eq!(notification.id.as_str(), "m-n1");
    for line in ["Action: failed", "Status: 5.1.1", "Remote-MTA: dns; mx.far.example"] {
        assert!(text.lines().any(|present| present == line), "{line}\n{text}");
    }
    let (_, again, _) = notified(nobody_listens(message, state, later(5)));
    assert_eq!(again.id, notification.id, "a crash in between makes the same");
    let (saving, message, state) = saved(notifying.committed(START));
    assert_eq!(queued(saving.saved(START)).len(), 1);
    assert!(matches!(change(message, state, attempt(later(1), &[(1, ok())]), later(1)), Work::Remove(_, End::Failed)));
}

#[test]
fn a_destination_nobody_reached_in_time_fails_with_what_it_said_last() {
    let end = START.plus(QUEUE_LIFETIME_DEFAULT);
    let expire = || Change::Expire(Whom::At(far()), Some(Reply::with(451, 4, 1, "connection refused")));
    let message = from_a(&["x@far.example", "y@other.example"]);
    let jobs = queued(change(message.clone(), State::default(), expire(), later(DAY)));
    assert_eq!(jobs.len(), 2, "it is not time yet");
    let (saving, message, state) = saved(change(message, State::default(), expire(), end));
    assert_eq!(words(&message), ["failed", "pending"]);
    let (_, _, text) = notified(saving.saved(end));
    assert!(text.contains("Status: 5.4.7") && text.contains("connection refused"), "{text}");
    let state = State { notified: vec![0], ..state };
    let jobs = queued(nobody_listens(message, state, end));
    assert_eq!(jobs.first().map(|job| job.expires), Some(end.plus(EXPIRY_GRACE)), "one more try after a restart");
}

#[test]
fn an_attempt_after_the_lifetime_is_the_last() {
    let end = START.plus(QUEUE_LIFETIME_DEFAULT);
    let work = change(from_a(&["x@far.example"]), State::default(), attempt(end, &[(0, later_there())]), end);
    assert_eq!(words(&saved(work).1), ["failed"]);
}

#[test]
fn a_delay_is_told_once_where_it_is_wanted() {
    let at = START.plus(DELAY_NOTICE_DEFAULT);
    let tell = || Change::TellDelay(Whom::At(far()), Some(Reply::with(451, 4, 1, "connection refused")));
    let (saving, _, _) = saved(change(from_a(&["x@far.example"]), State::default(), tell(), at));
    let (notifying, notification, text) = notified(saving.saved(at));
    assert_eq!(
        notification.header.first("Subject").map(|field| field.value()),
        Some("Your mail is late and still being tried".into())
    );
    for line in ["Action: delayed", "Status: 4.4.1"] {
        assert!(text.lines().any(|present| present == line), "{line}\n{text}");
    }
    let until = format!("Will-Retry-Until: {}", START.plus(QUEUE_LIFETIME_DEFAULT).to_rfc5322());
    assert!(text.contains(&until), "{text}");
    let (saving, message, state) = saved(notifying.committed(at));
    assert_eq!(queued(saving.saved(at)).first().map(|job| job.tell_delay), Some(None));
    assert_eq!(queued(change(message, state, tell(), later(DAY))).len(), 1, "nothing is told twice");
    for words in [&["FAILURE"][..], &["NEVER"]] {
        let jobs = queued(change(asking(from_a(&["x@far.example"]), words), State::default(), tell(), at));
        assert_eq!(jobs.first().map(|job| job.tell_delay), Some(None), "{words:?}");
    }
    let jobs = queued(change(message_of_nobody(), State::default(), tell(), at));
    assert_eq!(jobs.first().map(|job| job.tell_delay), Some(None));
}

fn message_of_nobody() -> Message {
    message(None, &["x@far.example"])
}

#[test]
fn mail_of_the_null_sender_is_tried_for_less_long_and_its_loss_is_an_end_of_its_own() {
    let jobs = queued(nobody_listens(message_of_nobody(), State::default(), START));
    assert_eq!(
        jobs.first().map(|job| (job.expires, &*job.sender)),
        Some((START.plus(QUEUE_LIFETIME_NULL_DEFAULT), ""))
    );
    let work = change(message_of_nobody(), State::default(), attempt(START, &[(0, gone())]), START);
    assert!(matches!(work, Work::Remove(_, End::FailedUntold)));
    let mut notification = from_a(&["x@far.example"]);
    Arc::make_mut(&mut notification.arrival).origin = Origin::Notification;
    let work = change(notification, State::default(), attempt(START, &[(0, gone())]), START);
    assert!(matches!(work, Work::Remove(_, End::FailedUntold)));
}

#[test]
fn success_is_told_by_whoever_is_the_last_that_can() {
    let success = |is_dsn_passed| Ok(Relayed { reply: Reply::with(250, 0, 0, "taken"), is_dsn_passed });
    let fresh = || asking(from_a(&["x@far.example"]), &["SUCCESS"]);
    let work = change(fresh(), State::default(), attempt(START, &[(0, success(true))]), START);
    assert!(matches!(work, Work::Remove(_, End::Delivered)), "the next server tells");
    let (saving, ..) = saved(change(fresh(), State::default(), attempt(START, &[(0, success(false))]), START));
    let (notifying, _, text) = notified(saving.saved(START));
    assert!(text.contains("Action: relayed") && text.contains("Status: 2.0.0"), "{text}");
    assert!(matches!(notifying.committed(START), Work::Remove(_, End::Delivered)));
    let local = nobody_listens(asking(from_a(&["a@basin.example"]), &["SUCCESS"]), State::default(), START);
    let (saving, ..) = saved(finish(delivering(local), &Ok(()), START));
    assert!(notified(saving.saved(START)).2.contains("Action: delivered"));
}

#[test]
fn who_asked_for_success_of_a_list_learns_that_it_was_expanded() {
    let work =
        nobody_listens(asking(from_a(&["team@basin.example"]), &["SUCCESS", "FAILURE"]), State::default(), START);
    let (saving, message, _) = saved(finish(delivering(work), &Ok(()), START));
    assert_eq!(words(&message), ["delivered", "delivered", "delivered"]);
    let first = message.envelope.recipients.first().map(|recipient| recipient.outcome.clone());
    assert!(matches!(first, Some(Outcome::Delivered { to: Handover::Expanded, .. })));
    let (notifying, _, text) = notified(saving.saved(START));
    assert_eq!(text.matches("Action: ").count(), 1, "{text}");
    assert!(text.contains("Final-Recipient: rfc822; team@basin.example\r\nAction: expanded"), "{text}");
    assert!(matches!(notifying.committed(START), Work::Remove(_, End::Delivered)));
}

#[test]
fn an_operator_can_hold_reroute_and_release_a_message() {
    let message = from_a(&["x@far.example", "y@far.example"]);
    let (saving, message, state) = saved(change(message, State::default(), Change::Hold("looks odd".into()), START));
    assert!(matches!(saving.saved(START), Work::Park(why) if why == "looks odd"));
    let way = Change::Reroute(Whom::These(vec![1]), Some("[relay.example]:2525".into()));
    let (saving, message, state) = saved(change(message, state, way, START));
    assert!(matches!(saving.saved(START), Work::Park(_)), "it is still held");
    let (saving, message, state) = saved(change(message, state, Change::Release, later(DAY)));
    let jobs = queued(saving.saved(later(DAY)));
    let places: Vec<_> = jobs.iter().map(|job| job.destination.as_str()).collect();
    assert_eq!(places, ["[relay.example]:2525", "far.example"]);
    let (_, message, _) = saved(change(message, state, Change::Reroute(Whom::Everybody, None), later(DAY)));
    assert!(message.envelope.recipients.iter().all(|recipient| recipient.route_domain.is_none()));
}

#[test]
fn results_that_come_back_to_a_message_that_was_held_meanwhile_are_kept() {
    let held = change(from_a(&["x@far.example", "y@far.example"]), State::default(), Change::Hold("odd".into()), START);
    let (_, message, state) = saved(held);
    let (saving, message, state) = saved(change(message, state, attempt(START, &[(0, ok())]), START));
    assert!(matches!(saving.saved(START), Work::Park(_)));
    let work = change(message, state, attempt(later(1), &[(1, ok())]), later(1));
    assert!(matches!(work, Work::Remove(_, End::Delivered)), "nothing is left that could be held");
}

#[test]
fn an_operator_can_end_a_message_with_and_without_a_word() {
    let (saving, message, _) =
        saved(change(from_a(&["x@far.example"]), State::default(), Change::Expire(Whom::Everybody, None), later(9)));
    assert_eq!(words(&message), ["failed"]);
    let (_, _, text) = notified(saving.saved(later(9)));
    assert!(text.contains("Status: 5.3.0") && text.contains("given up by the operator of this server"), "{text}");
    assert!(!text.contains("expired"), "its time was not over");
    // One that was tried has the last answer with it, and the words are not those of the server that gave it.
    let first = attempt(START, &[(0, later_there())]);
    let (_, message, state) = saved(change(from_a(&["x@far.example"]), State::default(), first, START));
    let (saving, ..) = saved(change(message, state, Change::Expire(Whom::Everybody, None), later(9)));
    let (_, _, text) = notified(saving.saved(later(9)));
    assert!(text.contains("\r\n    554 5.3.0 given up by the operator of this server; the last answer was:"), "{text}");
    let work = change(from_a(&["x@far.example"]), State::default(), Change::Delete, START);
    assert!(matches!(work, Work::Remove(_, End::Deleted)));
}

// One recipient put off by that filter of this server; `said` is what the server had said that it judged.
fn filtered(at: Timestamp, reply: Reply, said: Option<Reply>) -> Change {
    let by = BySink { binding: "filter".into(), event: "on-server-response".into(), failure: None, said };
    let by_sinks = [(0, by)].into_iter().collect();
    let host = Some("mx.far.example".into());
    Change::Sent(Attempt { at, host, results: vec![(0, Err(reply))], by_sinks, again: None })
}

#[test]
fn what_this_server_or_the_next_one_says_in_place_of_a_filter_is_not_shown_as_a_filters_word() {
    let end = START.plus(QUEUE_LIFETIME_DEFAULT);
    let judged = || filtered(START, Reply::with(451, 7, 1, "not now"), Some(Reply::with(501, 5, 4, "what")));
    let (_, message, state) = saved(change(from_a(&["x@far.example"]), State::default(), judged(), START));
    let over = |of: Change, now| {
        let (saving, message, _) = saved(change(message.clone(), state.clone(), of, now));
        (message.envelope.recipients[0].outcome.clone(), notified(saving.saved(now)).2)
    };
    let cases = [
        (Change::Expire(Whom::Everybody, None), later(9), "554 5.3.0 given up by the operator"),
        (Change::Expire(Whom::At(far()), None), end, "550 5.4.7 delivery time expired"),
        (filtered(end, Reply::with(451, 7, 1, "not now"), None), end, "550 5.4.7 delivery time expired"),
        (Change::TellDelay(Whom::At(far()), Some(Reply::with(451, 4, 1, "it is down"))), later(9), "451 4.4.1 it is"),
    ];
    for (of, now, words) in cases {
        let (outcome, text) = over(of, now);
        let (Outcome::Failed { last, .. } | Outcome::Deferred { last, .. }) = outcome else { panic!("{outcome:?}") };
        let last = last.expect("there was an attempt");
        assert_eq!((last.host, last.by), (None, None), "{words}");
        // People read it as the word of this server, and programs as nobody else's.
        assert!(text.contains(&format!("\r\n    {words}")), "{text}");
        let foreign = ["Decided by", "judged", "X-Basin", "Remote-MTA", " said:"];
        assert!(!foreign.iter().any(|word| text.contains(word)), "{text}");
        let is_quoted = text.replace("\r\n    ", " ").contains("a filter of this server said last: 451 4.7.1 not now");
        assert_eq!(is_quoted, words.contains("expired"), "nor is what a filter said the answer of a server: {text}");
    }
    // What is a filter's word stays so.
    let (_, text) = over(filtered(later(9), Reply::with(550, 7, 1, "never"), None), later(9));
    assert!(text.contains("Decided by a filter") && text.contains("X-Basin; 550 5.7.1 never"), "{text}");
}

#[test]
fn what_was_to_be_told_is_told_before_an_operator_adds_to_it() {
    let message = from_a(&["x@far.example", "y@far.example"]);
    let (_, message, state) = saved(change(message, State::default(), attempt(START, &[(0, gone())]), START));
    // The server stopped here; the operator is faster than its next start.
    let expire = Change::Expire(Whom::Everybody, None);
    let (notifying, first, text) = notified(change(message, state, expire, later(9)));
    assert_eq!((first.id.as_str(), text.matches("Action: failed").count()), ("m-n1", 1));
    let (saving, _, state) = saved(notifying.committed(later(9)));
    assert_eq!((state.notified, state.attempts), (vec![0], 2));
    let (_, second, text) = notified(saving.saved(later(9)));
    assert_eq!((second.id.as_str(), text.matches("Action: failed").count()), ("m-n2", 1));
}

#[test]
fn a_recipient_goes_the_way_that_it_was_sent() {
    let routed = |way: &str| {
        let mut message = from_a(&["a@far.example"]);
        let envelope = Arc::make_mut(&mut message.envelope);
        envelope.recipients.iter_mut().for_each(|recipient| recipient.route_domain = Some(way.to_owned()));
        nobody_listens(message, State::default(), START)
    };
    assert_eq!(
        queued(routed("relay.example")).first().map(|job| job.destination.to_string()),
        Some("relay.example".into())
    );
    let local = delivering(routed("basin.example"));
    assert_eq!(local.jobs().iter().map(|job| job.mailbox.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn records_of_the_version_without_a_way_out_go_on_when_they_are_released() {
    let recipient = r#"{"id":0,"address":"x@far.example","original":"x@far.example","outcome":{"state":"held",
        "reason":"its domain is not local, and this version of basin delivers to local mailboxes only"}}"#;
    let envelope = format!(r#"{{"sender":"sender@basin.example","recipients":[{recipient}],"next_recipient":1}}"#);
    let mut message = from_a(&[]);
    message.envelope = Arc::new(serde_json::from_str(&envelope).expect("an old record"));
    let state: State = serde_json::from_str(r#"{"stage":"delivery","attempts":1}"#).expect("an old record");
    assert!(matches!(nobody_listens(message.clone(), state.clone(), START), Work::Park(_)));
    let (saving, ..) = saved(change(message, state, Change::Release, START));
    assert_eq!(queued(saving.saved(START)).len(), 1);
    let deferred =
        r#"{"state":"deferred","until":{"seconds":5,"nanoseconds":0},"reply":{"code":452,"enhanced":null,"lines":[]}}"#;
    let outcome: Outcome = serde_json::from_str(deferred).expect("an old record");
    assert_eq!(outcome.attempts(), 0);
    let delivered: Outcome =
        serde_json::from_str(r#"{"state":"delivered","at":{"seconds":5,"nanoseconds":0}}"#).expect("old");
    assert!(matches!(delivered, Outcome::Delivered { to: Handover::Mailbox, .. }));
}
