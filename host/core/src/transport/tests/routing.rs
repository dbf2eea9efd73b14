//! Where sinks at on-route send the mail of a destination.

use super::stages::{answer, asked, heard, no, put_off, said, start};
use super::*;
use crate::queue;

const EVENT: EventKind = EventKind::OnRoute;

fn host(name: &str) -> Hop {
    Hop::to(HopTarget::Host(HostPort { host: name.into(), port: 25 }))
}

fn jobs(work: Work) -> Vec<queue::Job> {
    match work {
        Work::Queue { jobs, .. } => jobs,
        other => panic!("jobs were expected, not {other:?}"),
    }
}

fn nobody_there(at: Timestamp, again: Timestamp) -> Change {
    let reply = Reply::with(451, 4, 1, "no answer");
    Change::Sent(Attempt {
        at,
        host: None,
        results: vec![(0, Err(reply))],
        by_sinks: Default::default(),
        again: Some(again),
    })
}

fn changed(message: Message, state: State, change: Change, now: Timestamp) -> (Saving, Message, State) {
    saved(Transport::change(policy(), message, state, heard(&[EVENT]), change, now, 0))
}

#[test]
fn each_destination_is_asked_about_once_with_its_own_recipients() {
    let message = from_a(&["x@far.example", "y@Far.Example", "z@other.example"]);
    let (waiting, question) = asked(start(message, State::default(), &[EVENT], START), EVENT);
    let facts = question.occasion.destination.clone().expect("a destination");
    assert_eq!((facts.domain.as_str(), &facts.recipients, facts.failures.len()), ("far.example", &vec![0, 1], 0));
    assert_eq!(question.facts().recipients.len(), 2, "rules see no other");
    let work = waiting.decided(said(question, Verdict::Hops(vec![host("smart.example")])), START);
    let (saving, message, state) = saved(answer(work, EVENT, Verdict::Next, START));
    assert_eq!(state.stage, Stage::Delivery);
    let destinations = |work| jobs(work).iter().map(|job| job.destination.to_string()).collect::<Vec<_>>();
    assert_eq!(destinations(saving.saved(START)), ["[smart.example]:25", "other.example"]);
    assert_eq!(destinations(start(message, state, &[EVENT], START)), ["[smart.example]:25", "other.example"]);
}

#[test]
fn a_hop_that_fails_gives_way_to_the_next_at_once_and_then_the_sinks_are_asked_again() {
    let work = start(from_a(&["x@far.example"]), State::default(), &[EVENT], START);
    let hops = vec![host("one.example"), host("two.example")];
    let (saving, message, state) = saved(answer(work, EVENT, Verdict::Hops(hops), START));
    jobs(saving.saved(START));
    let (saving, message, state) = changed(message, state, nobody_there(later(9), later(600)), later(10));
    let job = &jobs(saving.saved(later(10)))[0];
    assert_eq!((job.destination.as_str(), job.due), ("[two.example]:25", later(9)));
    let (saving, message, state) = changed(message, state, nobody_there(later(20), later(600)), later(21));
    assert!(matches!(saving.saved(later(21)), Work::Wait(at) if at == later(600)));
    let (waiting, question) = asked(start(message, state, &[EVENT], later(600)), EVENT);
    let facts = question.occasion.destination.clone().expect("a destination");
    let failures: Vec<&str> = facts.failures.iter().map(|(hop, _)| hop.as_str()).collect();
    assert_eq!((failures, question.occasion.raised), (vec!["host two.example:25", "host one.example:25"], 2));
    let work = waiting.decided(said(question, Verdict::Hops(vec![host("three.example")])), later(600));
    let (saving, ..) = saved(work);
    assert_eq!(jobs(saving.saved(later(600)))[0].destination.as_str(), "[three.example]:25");
}

#[test]
fn a_refusal_of_one_recipient_is_no_failure_of_the_hop() {
    let work = start(from_a(&["x@far.example", "y@far.example"]), State::default(), &[EVENT], START);
    let (_, message, state) = saved(answer(work, EVENT, Verdict::Hops(vec![host("one.example")]), START));
    let results = vec![(0, Err(no())), (1, Err(Reply::with(451, 7, 1, "greylisted")))];
    let sent = Change::Sent(Attempt {
        at: later(1),
        host: Some("one.example".into()),
        results,
        by_sinks: Default::default(),
        again: None,
    });
    let (_, message, _) = changed(message, state, sent, later(1));
    assert_eq!(words(&message), ["failed", "deferred"]);
    assert!(message.envelope.ways.values().all(|way| way.failures.is_empty() && !way.is_spent));
}

#[test]
fn a_destination_fails_or_is_put_off_alone() {
    let message = from_a(&["x@far.example", "a@basin.example", "z@other.example"]);
    let mut work = start(message, State::default(), &[EVENT], START);
    for verdict in [Verdict::Refuse(no()), Verdict::Next, put_off(60)] {
        work = answer(work, EVENT, verdict, START);
    }
    let (saving, message, state) = saved(work);
    assert_eq!((words(&message), &state.stage), (vec!["failed", "pending", "deferred"], &Stage::Delivery));
    let Work::Notify(notifying, ..) = saving.saved(START) else { panic!("the sender is told") };
    let (saving, ..) = saved(notifying.committed(START));
    let (saving, message, state) = saved(finish(delivering(saving.saved(START)), &Ok(()), START));
    assert!(matches!(saving.saved(START), Work::Wait(at) if at == later(60)), "nothing is queued for it before");
    asked(start(message, state, &[EVENT], later(60)), EVENT);
}

#[test]
fn a_hop_can_be_a_mailbox_here_whatever_the_domain_says() {
    let work = start(from_a(&["a@basin.example"]), State::default(), &[EVENT], START);
    let (saving, ..) = saved(answer(work, EVENT, Verdict::Hops(vec![host("backend.example")]), START));
    assert_eq!(jobs(saving.saved(START))[0].destination.as_str(), "[backend.example]:25");
    let mut message = from_a(&["a@basin.example"]);
    Arc::make_mut(&mut message.envelope).recipients[0].route_domain = Some("far.example".into());
    let work = start(message, State::default(), &[EVENT], START);
    let (saving, ..) = saved(answer(work, EVENT, Verdict::Hops(vec![Hop::to(HopTarget::Local)]), START));
    assert_eq!(delivering(saving.saved(START)).jobs()[0].mailbox, "a");
}

#[test]
fn a_server_that_an_operator_named_is_not_asked_about() {
    let mut message = from_a(&["x@far.example"]);
    Arc::make_mut(&mut message.envelope).recipients[0].route_domain = Some("[relay.example]:26".into());
    assert_eq!(jobs(start(message, State::default(), &[EVENT], START))[0].destination.as_str(), "[relay.example]:26");
}

#[test]
fn what_a_sink_demands_of_a_hop_is_part_of_its_destination_and_raises_what_the_operator_does() {
    let strict = Route { tls: TlsDemand::Required, ..Route::mx("") };
    let lmtp = Arc::new(Route { protocol: Protocol::Lmtp, ..Route::mx("store.example") });
    let table = RouteTable::new(vec![(vec![DomainPattern::parse("strict.example")], Arc::new(strict))])
        .with_named([("store".to_owned(), lmtp)].into_iter().collect());
    let to = |hop: &Hop| table.of_hop(hop).expect("a route");
    let mx = |domain: &str| Hop::to(HopTarget::Mx(domain.into()));
    assert_eq!(to(&mx("far.example")), table.route("far.example"), "nothing is asked of it");
    let lower = Hop { tls: Some(TlsDemand::Opportunistic), ..mx("strict.example") };
    assert_eq!(to(&lower).tls, TlsDemand::Required);
    let higher = Hop { tls: Some(TlsDemand::Verified), ..host("smart.example") };
    assert_eq!(
        (to(&higher).tls, to(&higher).destination.as_str()),
        (TlsDemand::Verified, "[smart.example]:25?tls=verified")
    );
    let login = Hop { credentials: Some("relay".into()), ..host("smart.example") };
    assert_eq!((to(&login).tls, to(&login).credentials.as_deref()), (TlsDemand::Opportunistic, None));
    let store = Hop::to(HopTarget::Lmtp("store".into()));
    assert_eq!((to(&store).protocol, to(&store).destination.as_str()), (Protocol::Lmtp, "lmtp:store"));
    assert_eq!(table.of_hop(&Hop::to(HopTarget::Lmtp("other".into()))), None);
    let from = Hop { source: Some("bulk".into()), ..host("smart.example") };
    assert_eq!((to(&from).source.as_deref(), to(&from).tls), (Some("bulk"), TlsDemand::Opportunistic));
    for hop in [lower, higher, login, store, from] {
        assert_eq!(table.of(&to(&hop).destination), to(&hop), "a visit finds its route again");
    }
}
