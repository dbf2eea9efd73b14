use basin_core::queue::Next;
use basin_outbound::{Outbound, OutboundOptions};

use super::*;
use crate::harness::Harness;

fn carrier(harness: &Harness) -> Carrier {
    let outbound = Outbound::new(OutboundOptions::default()).expect("the defaults are right");
    Carrier {
        queue: harness.services.queue.clone(),
        outbound: Arc::new(arc_swap::ArcSwap::from_pointee(outbound)),
        metrics: harness.services.metrics.clone(),
        tracking: harness.services.tracking.clone(),
        ask: harness.services.ask.clone(),
        randomness: harness.services.randomness.clone(),
    }
}

async fn begun(carrier: &Carrier) -> (Visit, Lease) {
    let reached = async {
        loop {
            if let Next::Visit(visit, lease) = carrier.queue.next_remote() {
                return (visit, lease);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(core::time::Duration::from_secs(20), reached).await.expect("a visit begins")
}

#[expect(clippy::panic, reason = "a panic is what this test is about")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_which_a_visit_breaks_waits_for_its_next_attempt() {
    let harness = Harness::start();
    let stop = harness.services.stopper.subscribe();
    let _workers = harness.services.queue.run(&stop);
    let carrier = carrier(&harness);
    let (message, state) = harness.store(&["carol@elsewhere.example"]).await;
    harness.services.queue.stored(message, state);
    let (visit, lease) = begun(&carrier).await;
    let mut feed = LeaseFeed::new(carrier.clone(), visit, lease, stop);
    let broken = tokio::spawn(async move {
        feed.next().await.expect("the message");
        panic!("a fault for this test");
    });
    assert!(broken.await.expect_err("it broke").is_panic());
    let waits = async {
        loop {
            let next = carrier.queue.next_remote();
            assert!(matches!(next, Next::Wait(_) | Next::Idle), "it is due at once: {next:?}");
            if let Next::Wait(at) = next {
                return at;
            }
            // The attempt is not worked in yet.
            tokio::task::yield_now().await;
        }
    };
    let at = tokio::time::timeout(core::time::Duration::from_secs(20), waits).await.expect("it waits");
    assert!(at > now());
    assert_eq!(harness.services.spool.list().first().map(|summary| summary.attempts), Some(1));
}
