//! Servers that do harm: they cost bounded time and memory, and never pass for having taken a message.

use core::time::Duration;
use std::time::Instant;

use basin_core::reply::Class;
use basin_core::transport::TlsDemand;
use basin_outbound::Outbound;

use crate::certs::self_signed;
use crate::feed::{Messages, hasty, outgoing, route, visit};
use crate::peer::{MOMENTS, Mischief, Moment, Peer, Plan};

/// Every wait of these visits.
const PATIENCE: Duration = Duration::from_millis(150);

/// What a visit may take at most: its own bound, and what a busy machine adds.
const VISIT_MAX: Duration = Duration::from_secs(30);

fn bad(moment: Moment, mischief: Mischief) -> Plan {
    Plan { mischief: Some((moment, mischief)), offers: vec!["PIPELINING", "8BITMIME"], ..Plan::default() }
}

// Visits a bad server: nothing is taken, whatever was asked of the feed comes back as a temporary failure.
async fn is_harmless(plan: Plan, what: &str) {
    let peer = Peer::start(plan).await;
    let start = Instant::now();
    let (visit, messages) = visit(hasty(PATIENCE), &route(&[peer.address], TlsDemand::Opportunistic), 2).await;
    assert!(start.elapsed() < VISIT_MAX, "{what}: {:?}", start.elapsed());
    assert_eq!(messages.accepted(), 0, "{what}: {:?}", messages.sent);
    assert_eq!(messages.results().len(), messages.taken * 2, "{what}: every recipient has its result");
    assert!(messages.taken > 0 || visit.failure.is_some(), "{what}: {visit:?}");
    assert!(visit.hops.iter().any(|hop| hop.error.is_some()), "{what}: {visit:?}");
    for reply in messages.results().into_iter().filter_map(|result| result.as_ref().err()).chain(&visit.failure) {
        assert_eq!(reply.class(), Class::Transient, "{what}: {reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_at_any_moment_takes_nothing() {
    for moment in MOMENTS {
        is_harmless(bad(moment, Mischief::Silence), &format!("silence at {moment:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_at_any_moment_takes_nothing() {
    for moment in MOMENTS {
        for mischief in [Mischief::Close, Mischief::Reset] {
            is_harmless(bad(moment, mischief), &format!("{mischief:?} at {moment:?}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_without_end_is_cut_off() {
    for moment in MOMENTS {
        for mischief in [Mischief::EndlessReply, Mischief::EndlessLine] {
            is_harmless(bad(moment, mischief), &format!("{mischief:?} at {moment:?}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_for_maintenance_takes_nothing() {
    for moment in MOMENTS {
        let mischief = Mischief::SayAndClose("421 4.3.2 closing down\r\n");
        is_harmless(bad(moment, mischief), &format!("421 at {moment:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_are_no_replies_take_nothing() {
    for moment in MOMENTS {
        for text in ["hello\r\n", "25\r\n", "999 what\r\n", "\0\0\0\r\n", "250-ok\r\n550 no\r\n", "\r\n"] {
            is_harmless(bad(moment, Mischief::SayAndClose(text)), &format!("{text:?} at {moment:?}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_the_content_before_the_content_counts_for_nothing() {
    let early = Mischief::Say("354 go\r\n250 2.0.0 taken\r\n");
    is_harmless(bad(Moment::Data, early), "250 before the dot").await;
    let early = Mischief::Say("250 2.1.5 ok\r\n250 2.1.5 ok\r\n354 go\r\n250 2.0.0 taken\r\n");
    is_harmless(bad(Moment::Rcpt, early), "all replies at the first recipient").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_come_octet_by_octet_are_replies() {
    let plan = Plan { is_dripping: true, offers: vec!["PIPELINING", "DSN", "SIZE 1000000"], ..Plan::default() };
    let peer = Peer::start(plan).await;
    let (_, messages) = visit(crate::feed::options(), &route(&[peer.address], TlsDemand::Opportunistic), 2).await;
    assert_eq!(messages.accepted(), 4, "{:?}", messages.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_to_read_costs_one_wait() {
    let peer = Peer::start(bad(Moment::Data, Mischief::SayAndStopReading("354 go\r\n"))).await;
    let outbound = Outbound::new(hasty(PATIENCE)).expect("good options");
    let mut messages = Messages::default();
    // More than the kernel takes for anybody.
    messages.waiting.push_back(outgoing(0, b"a line\r\n".repeat(8 * 1024 * 1024)));
    let start = Instant::now();
    outbound.visit(&route(&[peer.address], TlsDemand::Opportunistic), &mut messages).await;
    assert!(start.elapsed() < VISIT_MAX);
    assert_eq!((messages.accepted(), messages.results().len()), (0, 2), "{:?}", messages.sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_the_go_ahead_for_tls_is_not_believed() {
    for text in ["220 go\r\n250-peer\r\n250 DSN\r\n", "220 go\r\n250", "220 go\r\n250 2.1.0 ok\r\n"] {
        let plan = Plan { tls: Some(self_signed()), ..bad(Moment::StartTls, Mischief::Say(text)) };
        let peer = Peer::start(plan).await;
        let (visit, messages) = visit(hasty(PATIENCE), &route(&[peer.address], TlsDemand::Required), 1).await;
        assert_eq!((messages.taken, messages.accepted()), (0, 0), "{text:?}: {visit:?}");
        assert!(visit.failure.is_some(), "{visit:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_size_do_no_harm() {
    for offer in ["SIZE 0", "SIZE", "SIZE 99999999999999999999999", "SIZE -1", "SIZE x y"] {
        let peer = Peer::start(Plan { offers: vec![offer], ..Plan::default() }).await;
        let (_, messages) = visit(crate::feed::options(), &route(&[peer.address], TlsDemand::Opportunistic), 1).await;
        assert_eq!(messages.accepted(), 2, "{offer}: {:?}", messages.sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drops_pipelined_commands_takes_nothing_in_doubt() {
    let plan = Plan { offers: vec!["PIPELINING", "PIPELINING"], is_forgetful: true, ..Plan::default() };
    let peer = Peer::start(plan).await;
    let (_, messages) = visit(hasty(PATIENCE), &route(&[peer.address], TlsDemand::Opportunistic), 1).await;
    assert_eq!(messages.accepted(), peer.messages().len() * 2, "{:?}", messages.sent);
    assert_eq!(messages.results().len(), 2);
}
