use basin_core::mail::Supersedes;
use basin_core::queue::index::Filter;
use basin_core::transport::Stage;

use super::*;
use crate::harness::Harness;

async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), reached).await.expect("it gets there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_spool_has_at_the_start_is_delivered_once() {
    let harness = Harness::start();
    let (message, _) = harness.store(&["alice@basin.example", "bob@basin.example"]).await;
    let Harness { services, home, .. } = harness;
    services.spool.close();
    drop(services);
    let harness = Harness::over(home);
    assert_eq!(harness.services.spool.ids(), [message.id]);
    let _workers = harness.services.queue.run(&harness.services.stopper.subscribe());
    harness.wait_for_messages(0).await;
    assert_eq!((harness.mails("alice").len(), harness.mails("bob").len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_that_cannot_be_written_is_tried_again() {
    let harness = Harness::start();
    let mail = harness.home.path().join("mail");
    std::fs::write(&mail, "in the way").expect("can be written");
    let _workers = harness.services.queue.run(&harness.services.stopper.subscribe());
    let (message, state) = harness.store(&["bob@basin.example"]).await;
    let everything = Meant::default();
    harness.services.queue.stored(message.clone(), state);
    until(|| harness.services.spool.list().iter().any(|summary| summary.attempts == 1)).await;
    until(|| harness.services.queue.busy() == 0).await;
    let retry = || harness.services.queue.act(message.id.clone(), &Action::Retry, &everything, "tester");
    assert_eq!(retry().await, Done::Changed);
    until(|| harness.services.spool.list().iter().any(|summary| summary.attempts == 2)).await;
    until(|| harness.services.queue.busy() == 0).await;
    std::fs::remove_file(&mail).expect("can be removed");
    assert_eq!(retry().await, Done::Changed);
    harness.wait_for_messages(0).await;
    assert_eq!(harness.mails("bob").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_that_is_gone_makes_a_notification_for_the_sender() {
    let harness = Harness::start();
    let _workers = harness.services.queue.run(&harness.services.stopper.subscribe());
    let (message, state) = harness.store(&["gone@basin.example", "bob@basin.example"]).await;
    harness.services.queue.stored(message, state);
    harness.wait_for_messages(0).await;
    assert_eq!(harness.mails("bob").len(), 1);
    let told = harness.mails("alice");
    assert!(String::from_utf8_lossy(&told[0]).contains("gone@basin.example"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_deletes_what_nobody_works_on() {
    let harness = Harness::start();
    let (message, _) = harness.store(&["bob@basin.example"]).await;
    let queue = &harness.services.queue;
    let delete = |filter: &str| {
        let meant = Meant { filter: Filter::parse(filter).expect("a filter"), ..Meant::default() };
        let id = message.id.clone();
        async move { queue.act(id, &Action::Delete, &meant, "tester").await }
    };
    assert_eq!(delete("size>1G").await, Done::Gone, "the filter is applied to the message as it is");
    assert_eq!(delete("recipient=bob@*").await, Done::Changed);
    assert!(!harness.services.spool.contains(&message.id));
    assert_eq!(delete("").await, Done::Gone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_end_when_the_server_stops() {
    let harness = Harness::start();
    let mut workers = harness.services.queue.run(&harness.services.stopper.subscribe());
    harness.services.stopper.advance(Phase::Draining);
    let ended = async { while workers.join_next().await.is_some() {} };
    timeout(Duration::from_secs(20), ended).await.expect("they end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_goes_through_its_sinks_again() {
    let harness = Harness::start();
    let (message, _) = harness.store(&["bob@basin.example"]).await;
    let (queue, everything) = (&harness.services.queue, Meant::default());
    let act = |action: Action| {
        let (id, everything) = (message.id.clone(), everything.clone());
        async move { queue.act(id, &action, &everything, "tester").await }
    };
    assert_eq!(act(Action::Hold { reason: "to look at".to_owned() }).await, Done::Changed);
    assert_eq!(act(Action::Rerun).await, Done::Changed);
    let (_, state) = harness.services.spool.load(&message.id).expect("readable").expect("it is there");
    assert_eq!((state.stage, state.rounds), (Stage::Submission, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_message_of_the_same_key_gives_way_also_after_a_crash_between_the_two() {
    let harness = Harness::start();
    let (mut message, state) = harness.store(&["alice@basin.example"]).await;
    // Nobody works on it for an hour.
    message.deliver_after = Some(now().plus(Duration::from_secs(3_600)));
    message.supersedes = Some(Supersedes { sink: "status".to_owned(), key: "disk".to_owned(), family: None });
    let older = message.clone();
    let save = |harness: &Harness, message: &Message, state: &State| {
        let (done, result) = tokio::sync::oneshot::channel();
        harness.services.spool.save(message.clone(), state.clone(), move |saved| drop(done.send(saved)));
        result
    };
    save(&harness, &older, &state).await.expect("answered").expect("saved");
    let (mut newer, _) = harness.store(&["alice@basin.example"]).await;
    newer.deliver_after = older.deliver_after;
    newer.supersedes.clone_from(&older.supersedes);
    save(&harness, &newer, &state).await.expect("answered").expect("saved");
    let Harness { services, home, .. } = harness;
    services.spool.close();
    drop(services);
    let harness = Harness::over(home);
    let queue = &harness.services.queue;
    let _workers = queue.run(&harness.services.stopper.subscribe());
    harness.wait_for_messages(1).await;
    assert_eq!(harness.services.spool.ids(), [newer.id.clone()]);
    // A third one comes while the server runs; one of another key stays out of it.
    let (mut third, state) = harness.store(&["alice@basin.example"]).await;
    third.deliver_after = older.deliver_after;
    third.supersedes.clone_from(&older.supersedes);
    let (mut other, _) = harness.store(&["alice@basin.example"]).await;
    other.deliver_after = older.deliver_after;
    other.supersedes = Some(Supersedes { sink: "another".to_owned(), key: "disk".to_owned(), family: None });
    for message in [&third, &other] {
        save(&harness, message, &state).await.expect("answered").expect("saved");
        queue.stored(message.clone(), state.clone());
    }
    until(|| !harness.services.spool.contains(&newer.id)).await;
    assert!(harness.services.spool.contains(&third.id) && harness.services.spool.contains(&other.id));
    assert_eq!(harness.mails("alice").len(), 0);
}
