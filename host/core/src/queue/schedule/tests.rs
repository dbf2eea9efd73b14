#![allow(clippy::panic, clippy::wildcard_enum_match_arm, reason = "an answer that was not expected is a failed test")]

use std::sync::Arc;

use super::turns::PASSED_OVER_MAX;
use super::*;
use crate::reply::Reply;
use crate::transport::{DestinationLimits, DomainPattern, Route, RouteTable};

mod model;

const MIDDLE: u64 = 100;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn id(text: &str) -> MessageId {
    MessageId::parse(text).expect("an id")
}

fn destination(name: &str) -> Destination {
    Destination::domain(name)
}

fn job(message: &str, to: &str, sender: &str, due: i64) -> Job {
    Job {
        message: id(message),
        destination: destination(to),
        sender: sender.into(),
        priority: 0,
        size: 1,
        recipients: 1,
        due: at(due),
        tell_delay: None,
        expires: at(1_000_000),
    }
}

fn schedule(connections_max: u32, limits: DestinationLimits) -> Schedule {
    let route = Route { limits, ..Route::mx("") };
    let routes = RouteTable::new(vec![(vec![DomainPattern::All], Arc::new(route))]);
    Schedule::new(SchedulePolicy { connections_max, ..SchedulePolicy::new(Arc::new(routes)) })
}

fn limits(connections_max: u32) -> DestinationLimits {
    DestinationLimits { connections_max, ..DestinationLimits::default() }
}

fn put(schedule: &mut Schedule, job: &Job, now: i64) {
    schedule.put(&job.message, core::slice::from_ref(job), at(now));
}

fn visit(schedule: &mut Schedule, now: i64) -> (Visit, Lease) {
    match schedule.next(at(now)) {
        Next::Visit(visit, lease) => (visit, lease),
        other => panic!("a visit was expected, not {other:?}"),
    }
}

fn wait(schedule: &mut Schedule, now: i64) -> Option<i64> {
    match schedule.next(at(now)) {
        Next::Wait(until) => Some(until.seconds),
        Next::Idle => None,
        other => panic!("a wait was expected, not {other:?}"),
    }
}

fn done(schedule: &mut Schedule, lease: Lease, now: i64) {
    schedule.put(&lease.message().clone(), &[], at(now));
    schedule.finish(lease, at(now));
}

// All that goes over one visit, in order.
fn drain(schedule: &mut Schedule, now: i64) -> Vec<String> {
    let (visit, mut lease) = visit(schedule, now);
    let mut order = Vec::new();
    loop {
        order.push(lease.message().to_string());
        done(schedule, lease, now);
        schedule.reached(&visit, at(now));
        match schedule.another(&visit, at(now)) {
            Another::Job(next) => lease = next,
            Another::Later(_) | Another::Close => break,
        }
    }
    schedule.close(visit, VisitEnd::Reached, at(now), MIDDLE);
    order
}

fn refused() -> VisitEnd {
    VisitEnd::Failed(Reply::with(451, 4, 1, "connection refused"))
}

#[test]
fn a_job_goes_when_it_is_due_and_one_that_is_left_out_is_gone() {
    let mut schedule = schedule(5, limits(5));
    put(&mut schedule, &job("a", "x.example", "s", 10), 0);
    assert_eq!(wait(&mut schedule, 9), Some(10));
    let (visit, lease) = visit(&mut schedule, 10);
    assert_eq!((visit.route().destination.as_str(), lease.message().as_str()), ("x.example", "a"));
    assert_eq!(schedule.totals().leased, 1);
    done(&mut schedule, lease, 10);
    assert!(matches!(schedule.another(&visit, at(10)), Another::Close));
    schedule.close(visit, VisitEnd::Reached, at(10), MIDDLE);
    assert_eq!((wait(&mut schedule, 10), schedule.totals()), (None, Totals::default()));
}

#[test]
fn one_sender_with_very_many_messages_does_not_block_the_only_one_of_another() {
    let mut schedule = schedule(5, limits(1));
    (0..1_000).for_each(|number| put(&mut schedule, &job(&format!("bulk{number}"), "x.example", "bulk", 0), 0));
    put(&mut schedule, &job("single", "x.example", "alice", 0), 0);
    let order = drain(&mut schedule, 1);
    assert!(order.iter().position(|message| message == "single").is_some_and(|place| place <= 1), "{order:?}");
    assert_eq!(order.len(), 100, "messages_per_connection ends a visit");
}

#[test]
fn higher_priorities_go_first_and_lower_ones_are_not_passed_over_for_ever() {
    let mut schedule = schedule(5, DestinationLimits { messages_per_connection: 1_000, ..limits(1) });
    put(&mut schedule, &Job { priority: -9, ..job("low", "x.example", "s", 0) }, 0);
    for number in 0..100 {
        put(&mut schedule, &Job { priority: 9, ..job(&format!("h{number}"), "x.example", "s", 1) }, 1);
    }
    let order = drain(&mut schedule, 1);
    let low = order.iter().position(|message| message == "low").expect("it went");
    assert_eq!(low, usize::from(PASSED_OVER_MAX));
}

#[test]
fn destinations_have_turns_and_none_has_more_connections_than_it_may() {
    let mut schedule = schedule(4, limits(2));
    for to in ["x.example", "y.example"] {
        (0..10).for_each(|number| put(&mut schedule, &job(&format!("{number}{}", &to[..1]), to, "s", 0), 0));
    }
    let visits: Vec<_> = (0..2).map(|_| visit(&mut schedule, 0)).collect();
    let names: BTreeSet<_> = visits.iter().map(|(visit, _)| visit.route().destination.clone()).collect();
    assert_eq!(names.len(), 2, "each has one, of neither more is known");
    assert_eq!(wait(&mut schedule, 0), Some(1_000_000));
    for (visit, _) in &visits {
        (0..5).for_each(|_| schedule.reached(visit, at(0)));
    }
    let more: Vec<_> = (0..2).map(|_| self::visit(&mut schedule, 0)).collect();
    assert_eq!((more.len(), wait(&mut schedule, 0)), (2, Some(1_000_000)));
    assert!(schedule.destinations().all(|view| view.visits == 2));
}

#[test]
fn a_dead_destination_costs_one_probe_and_an_answer_frees_all() {
    let mut schedule = schedule(50, limits(10));
    (0..1_000).for_each(|number| put(&mut schedule, &job(&format!("m{number}"), "x.example", "s", 0), 0));
    let mut now = 0;
    for expected in [300, 600, 1_200] {
        let (probe, lease) = visit(&mut schedule, now);
        assert_eq!(wait(&mut schedule, now), Some(1_000_000), "nothing else goes while it is probed");
        schedule.finish(lease, at(now));
        let next = schedule.close(probe, refused(), at(now), MIDDLE).expect("it is down");
        assert_eq!(next, at(now + expected));
        assert_eq!(wait(&mut schedule, now), Some(next.seconds));
        now = next.seconds;
    }
    let view = schedule.destination(&destination("x.example")).expect("it has jobs");
    assert!(matches!(view.state, DestinationState::Down { failures: 3, .. }), "{view:?}");
    let (probe, lease) = visit(&mut schedule, now);
    schedule.reached(&probe, at(now));
    done(&mut schedule, lease, now);
    let (_second, _) = visit(&mut schedule, now);
    assert!(matches!(
        schedule.destination(&destination("x.example")).map(|view| view.state),
        Some(DestinationState::Up)
    ));
    assert_eq!(schedule.totals().jobs, 999);
}

#[test]
fn a_probe_that_an_operator_asked_for_does_not_lengthen_the_wait() {
    let mut schedule = schedule(50, limits(10));
    put(&mut schedule, &job("m1", "x.example", "s", 0), 0);
    let probe = |schedule: &mut Schedule, now: i64| {
        let (probe, lease) = visit(schedule, now);
        schedule.finish(lease, at(now));
        schedule.close(probe, refused(), at(now), MIDDLE).map(|until| until.seconds)
    };
    assert_eq!(probe(&mut schedule, 0), Some(300));
    for now in [10, 20, 290] {
        assert!(schedule.retry(&id("m1"), at(now)));
        assert_eq!(probe(&mut schedule, now), Some(300), "the plan stays");
    }
    // The probe that was asked for ends when the planned one would have been made.
    schedule.probe(&destination("x.example"), at(299));
    let (late, lease) = visit(&mut schedule, 299);
    schedule.finish(lease, at(305));
    assert_eq!(schedule.close(late, refused(), at(305), MIDDLE), Some(at(605)), "as long as it was");
    assert_eq!(probe(&mut schedule, 605), Some(1_205), "and the next one counts again");
    let closed: Vec<_> = schedule.closed().collect();
    assert!(
        matches!(&closed[..], [view] if matches!(view.state, DestinationState::Down { since, failures: 2, .. } if since == at(0))),
        "{closed:?}"
    );
}

#[test]
fn a_destination_that_takes_some_connections_and_sends_others_away_gets_fewer_and_stays_up() {
    let mut schedule = schedule(50, limits(10));
    (0..100).for_each(|number| put(&mut schedule, &job(&format!("m{number}"), "x.example", "s", 0), 0));
    let (first, _lease) = visit(&mut schedule, 0);
    (0..9).for_each(|_| schedule.reached(&first, at(0)));
    let others: Vec<_> = (0..9).map(|_| visit(&mut schedule, 0)).collect();
    for (visit, lease) in others {
        schedule.finish(lease, at(0));
        assert_eq!(schedule.close(visit, refused(), at(0), MIDDLE), Some(at(60)), "a pause");
    }
    let view = schedule.destination(&destination("x.example")).expect("it has jobs");
    assert_eq!((view.state, view.visits), (DestinationState::Up, 1));
    schedule.close(first, VisitEnd::Reached, at(60), MIDDLE);
    let (_one, _) = visit(&mut schedule, 60);
    assert_eq!(wait(&mut schedule, 60), Some(1_000_000), "it is trusted with one connection");
}

#[test]
fn a_destination_that_does_not_exist_refuses_each_job_at_once() {
    let mut schedule = schedule(50, limits(10));
    (0..3).for_each(|number| put(&mut schedule, &job(&format!("m{number}"), "x.example", "s", 0), 0));
    for _ in 0..3 {
        let (visit, lease) = visit(&mut schedule, 0);
        done(&mut schedule, lease, 0);
        let end = VisitEnd::Failed(Reply::with(556, 1, 10, "it takes no mail"));
        assert_eq!(schedule.close(visit, end, at(0), MIDDLE), None);
    }
    assert_eq!(schedule.totals(), Totals::default());
}

#[test]
fn a_throttle_lets_as_many_messages_go_in_a_minute_as_it_says() {
    let throttled = DestinationLimits { messages_per_minute: Some(7), ..limits(5) };
    let mut schedule = schedule(50, throttled);
    (0..100).for_each(|number| put(&mut schedule, &job(&format!("m{number}"), "x.example", "s", 0), 0));
    let mut sent = Vec::new();
    let mut now = at(0);
    while now < at(600) {
        match schedule.next(now) {
            Next::Visit(visit, lease) => {
                sent.push(now);
                schedule.reached(&visit, now);
                schedule.put(&lease.message().clone(), &[], now);
                schedule.finish(lease, now);
                assert!(!matches!(schedule.another(&visit, now), Another::Job(_)));
                schedule.close(visit, VisitEnd::Reached, now, MIDDLE);
            }
            Next::Wait(until) => now = until,
            other => panic!("{other:?}"),
        }
    }
    assert!((69..=70).contains(&sent.len()), "{}", sent.len());
    for window in sent.windows(8) {
        assert!(window[7].since(window[0]) >= Duration::from_secs(60), "{window:?}");
    }
}

#[test]
fn an_expiry_and_a_delay_are_told_even_where_the_destination_is_down_or_held() {
    let mut schedule = schedule(5, limits(5));
    put(&mut schedule, &Job { tell_delay: Some(at(100)), expires: at(200), ..job("a", "x.example", "s", 0) }, 0);
    let (probe, lease) = visit(&mut schedule, 0);
    schedule.finish(lease, at(0));
    schedule.close(probe, refused(), at(0), MIDDLE);
    schedule.hold(&destination("x.example"), true, at(0));
    assert_eq!(wait(&mut schedule, 0), Some(100));
    let Next::TellDelay(lease, Some(reply)) = schedule.next(at(100)) else { panic!("a delay") };
    assert_eq!(reply.code(), 451);
    assert_eq!(wait(&mut schedule, 100), None, "it is in hand");
    schedule.finish(lease, at(100));
    assert_eq!(wait(&mut schedule, 100), Some(200), "it is told once");
    let Next::Expire(lease, Some(_)) = schedule.next(at(200)) else { panic!("an expiry") };
    done(&mut schedule, lease, 200);
    assert_eq!(schedule.totals().jobs, 0);
}

#[test]
fn what_is_put_while_a_job_is_in_hand_holds_when_it_is_finished() {
    let mut schedule = schedule(5, limits(5));
    put(&mut schedule, &job("a", "x.example", "s", 0), 0);
    let (first, lease) = visit(&mut schedule, 0);
    put(&mut schedule, &job("a", "x.example", "s", 50), 0);
    assert_eq!(wait(&mut schedule, 0), None);
    schedule.finish(lease, at(0));
    schedule.close(first, VisitEnd::Reached, at(0), MIDDLE);
    assert_eq!(wait(&mut schedule, 0), Some(50));
    put(&mut schedule, &job("a", "y.example", "s", 60), 0);
    assert_eq!(wait(&mut schedule, 0), Some(60), "another destination takes its place");
    assert!(schedule.retry(&id("a"), at(10)));
    assert!(!schedule.retry(&id("b"), at(10)));
    let (_visit, lease) = visit(&mut schedule, 10);
    assert_eq!(lease.destination().as_str(), "y.example");
}

#[test]
fn an_operator_who_wants_it_tried_now_has_a_dead_destination_probed() {
    let mut schedule = schedule(5, limits(5));
    put(&mut schedule, &job("a", "x.example", "s", 0), 0);
    let (probe, lease) = visit(&mut schedule, 0);
    put(&mut schedule, &job("a", "x.example", "s", 300), 0);
    schedule.finish(lease, at(0));
    schedule.close(probe, refused(), at(0), MIDDLE);
    assert_eq!(wait(&mut schedule, 1), Some(300));
    assert!(schedule.retry(&id("a"), at(1)));
    let (_visit, _) = visit(&mut schedule, 1);
}

#[test]
fn ids_of_every_form_come_back_as_they_were() {
    for text in [
        "00060c2f3a1b2c-0123456789abcdef",
        "00060c2f3a1b2c-0123456789abcdef-n1",
        "A",
        "00060C2F3A1B2C-0123456789abcdef",
    ] {
        assert_eq!(Key::of(&id(text)).id(), Some(id(text)), "{text}");
    }
    assert!(matches!(Key::of(&MessageId::new(at(1_700_000_000), u64::MAX)), Key::Made(..)));
}

#[test]
fn a_row_is_small() {
    // With its places in the ordered sets some 200 octets (examples/schedule_bench.rs measures it).
    assert_eq!(core::mem::size_of::<Key>(), 24);
    assert!(core::mem::size_of::<rows::Row>() <= 64, "{}", core::mem::size_of::<rows::Row>());
    assert!(core::mem::size_of::<rows::Ready>() <= 24);
}

#[test]
fn a_message_that_is_sent_elsewhere_while_it_is_carried_waits_for_what_comes_of_that() {
    let mut schedule = schedule(10, limits(1));
    put(&mut schedule, &job("m", "old.example", "s", 0), 0);
    let (old, lease) = visit(&mut schedule, 0);
    assert!(schedule.is_in_hand(&id("m")));
    put(&mut schedule, &job("m", "new.example", "s", 0), 1);
    assert!(schedule.retry(&id("m"), at(1)));
    assert_eq!(wait(&mut schedule, 1), None, "it would be there twice");
    schedule.finish(lease, at(2));
    schedule.close(old, VisitEnd::Reached, at(2), MIDDLE);
    let (_, lease) = visit(&mut schedule, 2);
    assert_eq!(lease.destination(), &destination("new.example"));
}
