//! Times that a sender named: DELIVERBY and FUTURERELEASE.

use super::*;
use crate::mail::Handover;
use crate::queue;

fn asked(mut message: Message, by: &str) -> Message {
    Arc::make_mut(&mut message.envelope).parameters.insert("BY".into(), by.into());
    message
}

fn job(work: Work) -> queue::Job {
    match work {
        Work::Queue { jobs, .. } => jobs.into_iter().next().expect("a job"),
        other => panic!("a job was expected, not {other:?}"),
    }
}

fn text(work: Work) -> String {
    match work {
        Work::Notify(_, notification, _) => {
            let octets = notification.body.read(0, 1 << 20).expect("memory");
            String::from_utf8(octets).expect("ASCII")
        }
        other => panic!("a notification was expected, not {other:?}"),
    }
}

fn relayed(is_dsn_passed: bool) -> Change {
    let reply = Reply::with(250, 0, 0, "taken");
    let results = vec![(0, Ok(Relayed { reply, is_dsn_passed }))];
    Change::Sent(Attempt {
        at: START,
        host: Some("mx.far.example".into()),
        results,
        by_sinks: Default::default(),
        again: None,
    })
}

fn change(message: Message, change: Change, now: Timestamp) -> Work {
    Transport::change(policy(), message, State::default(), EventSet::default(), change, now, 100)
}

#[test]
fn who_wants_it_back_by_a_time_has_it_back_then() {
    let message = asked(from_a(&["x@far.example"]), "600;R");
    assert_eq!(job(nobody_listens(message.clone(), State::default(), START)).expires, later(600));
    let expire = Change::Expire(Whom::At(Destination::domain("far.example")), None);
    assert!(matches!(change(message.clone(), expire.clone(), later(599)), Work::Queue { .. }));
    let (saving, told, _) = saved(change(message, expire, later(600)));
    assert_eq!(words(&told), ["failed"]);
    let report = text(saving.saved(later(600)));
    assert!(report.contains("Action: failed") && report.contains("Status: 5.4.7"), "{report}");
}

#[test]
fn a_mailbox_here_does_not_get_what_was_wanted_back_before() {
    let message = asked(from_a(&["a@basin.example"]), "600;R");
    assert!(matches!(nobody_listens(message.clone(), State::default(), later(599)), Work::Deliver(_)));
    let (_, late, _) = saved(nobody_listens(message, State::default(), later(600)));
    assert_eq!(words(&late), ["failed"]);
}

#[test]
fn who_wants_to_hear_of_it_hears_at_that_time_and_no_other() {
    let message = asked(from_a(&["x@far.example"]), "600;N");
    let job = job(nobody_listens(message, State::default(), START));
    assert_eq!((job.tell_delay, job.expires), (Some(later(600)), START.plus(QUEUE_LIFETIME_DEFAULT)));
}

#[test]
fn who_named_a_time_learns_where_nobody_knows_of_it() {
    let message = asked(from_a(&["x@far.example"]), "600;N");
    let Work::Save(saving, after, _) = change(message.clone(), relayed(false), START) else { panic!("a record") };
    let outcome = &after.envelope.recipients.first().expect("one").outcome;
    assert!(matches!(outcome, Outcome::Delivered { to: Handover::Relayed { .. }, .. }));
    assert!(text(saving.saved(START)).contains("Action: relayed"));
    assert!(matches!(change(message, relayed(true), START), Work::Remove(_, End::Delivered)));
    assert!(matches!(change(from_a(&["x@far.example"]), relayed(false), START), Work::Remove(_, End::Delivered)));
}

#[test]
fn what_is_to_be_held_back_waits_and_then_has_its_whole_life() {
    let mut message = from_a(&["x@far.example"]);
    message.deliver_after = Some(later(3_600));
    let work = nobody_listens(message.clone(), State::default(), START);
    assert!(matches!(work, Work::Wait(at) if at == later(3_600)), "{work:?}");
    let job = job(nobody_listens(message, State::default(), later(3_600)));
    assert_eq!(job.expires, later(3_600).plus(QUEUE_LIFETIME_DEFAULT));
}
