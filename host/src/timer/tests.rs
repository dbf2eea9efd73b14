use basin_core::event::{Binding, FailurePolicy, InstanceMode, Mark, Mode, Rule, TableEdits, timers::timer_id};
use basin_core::mail::Message;
use basin_core::transport::{Parent, State};

use super::*;
use crate::harness::Harness;

const NAME: &str = "digest/on-timer";

fn binding(schedule: &str) -> Binding {
    Binding {
        name: NAME.to_owned(),
        sink: "digest".to_owned(),
        event: EventKind::OnTimer,
        rule: Rule::default(),
        priority: 0,
        listener: None,
        mode: Mode::Decide,
        instance: InstanceMode::Call,
        on_failure: FailurePolicy::Skip,
        is_enabled: true,
        expires: None,
        max_firings: None,
        schedule: Some(schedule.parse().expect("a schedule")),
    }
}

async fn mark(harness: &Harness, batches: u32) {
    let mark = Mark { at: now(), batches, schedule: "@daily".to_owned() };
    let mut edits = TableEdits::default();
    mark.join(&timer_id(NAME), &mut edits);
    harness.services.tables.commit(&edits, None).await.expect("written");
}

/// Writes a message of the timer's batch with that number, as a call does before its mark.
async fn bear(harness: &Harness, batch: u32) -> Message {
    let (message, _) = harness.store(&["bob@basin.example"]).await;
    assert!(harness.services.queue.withdraw(vec![message.id.clone()]).await.is_empty());
    let parent = Parent { id: timer_id(NAME), batch };
    let state = State { parent: Some(parent), ..State::default() };
    harness.services.queue.bear(&[(message.clone(), state)]).await.expect("on disk");
    message
}

// What is in the spool now is what a process that died left; the next one finds it there.
async fn next_process(harness: &Harness) -> JoinSet<()> {
    let workers = harness.services.queue.run(&harness.services.stopper.subscribe());
    harness.services.queue.entered().await;
    workers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_timer_made_before_a_crash_sets_out_where_its_mark_knows_of_it() {
    let harness = Harness::start();
    mark(&harness, 7).await;
    bear(&harness, 7).await;
    let _workers = next_process(&harness).await;
    harness.wait_for_messages(0).await;
    assert_eq!(harness.mails("bob").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_timer_made_before_a_crash_is_gone_where_its_mark_does_not_know_of_it() {
    let harness = Harness::start();
    mark(&harness, 6).await;
    let message = bear(&harness, 7).await;
    assert!(harness.services.spool.contains(&message.id));
    let _workers = next_process(&harness).await;
    assert!(!harness.services.spool.contains(&message.id), "what belongs to it was not written either");
    assert!(harness.mails("bob").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_outlives_the_loss_of_all_marks() {
    let harness = Harness::start();
    bear(&harness, 7).await;
    let _workers = next_process(&harness).await;
    harness.wait_for_messages(0).await;
    assert_eq!(harness.mails("bob").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_goes_on_after_a_start_and_begins_after_a_reload_or_with_another_schedule() {
    let harness = Harness::start();
    let tables = &harness.services.tables;
    let (early, late) = (Timestamp::from_seconds(1_000), Timestamp::from_seconds(2_000));
    let daily = binding("@daily");
    assert_eq!(marks::begin(tables, &daily, early, true).await, Ok(None), "nobody knows it");
    assert_eq!(marks::begin(tables, &daily, late, true).await, Ok(Some(early)));
    assert_eq!(marks::begin(tables, &daily, late, false).await, Ok(None));
    assert_eq!(marks::begin(tables, &daily, late, true).await, Ok(Some(late)), "it began with the reload");
    assert_eq!(marks::begin(tables, &binding("@hourly"), late, true).await, Ok(None));
    mark(&harness, 3).await;
    marks::begin(tables, &binding("@hourly"), late, true).await.expect("written");
    let found = marks::find(tables, &timer_id(NAME)).expect("readable").expect("there");
    assert_eq!(found.batches, 3, "what it made before is not forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_cannot_be_made_is_counted_and_leaves_its_mark() {
    let harness = Harness::start();
    let services = &harness.services;
    let (at, binding) = (now(), Arc::new(binding("@daily")));
    let cron = binding.schedule.clone().expect("it has one");
    services.timers.lock().arrange([(NAME.to_owned(), cron, None)], at);
    assert!(services.timers.lock().begin(NAME, at));
    let firing = Firing { services: services.clone(), loaded: services.ask.loaded(), binding, due: at, at };
    let outcome = firing.run().await.expect("written");
    assert!(outcome.failure.is_some_and(|why| why.contains("load")), "no sink of that name is loaded");
    assert_eq!(services.ask.activity().of(NAME).map(|activity| activity.failures), Some(1));
    let mark = marks::find(&services.tables, &timer_id(NAME)).expect("readable").expect("there");
    assert_eq!(mark.at.seconds, at.seconds);
    assert!(mark.batches > 0);
    assert!(services.timers.facts(NAME).is_some_and(|facts| !facts.is_running));
    assert_eq!(
        run_now(services, NAME).await.map_err(|error| error.to_string()),
        Err("no binding \"digest/on-timer\" of on-timer is in force; there is none".to_owned())
    );
}
