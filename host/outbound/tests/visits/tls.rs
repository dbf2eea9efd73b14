//! Every demand for TLS against every kind of server.

use std::sync::Arc;

use basin_core::smtp::client::{Outgoing, TlsProof};
use basin_core::transport::{Route, TlsDemand};
use basin_outbound::{Outbound, OutboundOptions, Visit, is_tls_optional};
use rustls::ServerConfig;

use crate::certs::{Authority, NAME, self_signed};
use crate::feed::{Messages, options, outgoing, route, visit, with_field};
use crate::peer::{Peer, Plan};

struct Kind {
    name: &'static str,
    server: Arc<ServerConfig>,
    is_good: bool,
}

fn kinds(authority: &Authority) -> Vec<Kind> {
    let kind = |name, server, is_good| Kind { name, server, is_good };
    vec![
        kind("good", authority.server(NAME), true),
        kind("self-signed", self_signed(), false),
        kind("expired", authority.expired_server(), false),
        kind("another name", authority.server("other.example"), false),
        kind("unknown authority", Authority::new().server(NAME), false),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_counts_where_a_route_asks_for_it() {
    let authority = Authority::new();
    for is_tls_implicit in [false, true] {
        for demand in [TlsDemand::Opportunistic, TlsDemand::Required, TlsDemand::Verified] {
            for kind in kinds(&authority) {
                let plan = Plan { tls: Some(kind.server), is_tls_implicit, ..Plan::default() };
                let peer = Peer::start(plan).await;
                let route = Route { is_tls_implicit, ..route(&[peer.address], demand) };
                let (visit, messages) = visit(authority.trusted(options()), &route, 1).await;
                let what = format!("{demand:?} {} implicit {is_tls_implicit}: {visit:?}", kind.name);
                if demand == TlsDemand::Verified && !kind.is_good {
                    assert_eq!((messages.accepted(), peer.messages().len()), (0, 0), "{what}");
                    continue;
                }
                assert_eq!(messages.accepted(), 2, "{what}");
                assert!(peer.messages().iter().all(|message| message.is_secured), "{what}");
                let facts = messages.sent.first().and_then(|(_, facts)| facts.tls.clone()).expect("TLS");
                assert_eq!(facts.version, "TLSv1.3");
                assert!(facts.cipher.starts_with("TLS13_"), "{}", facts.cipher);
                if demand == TlsDemand::Verified {
                    assert_eq!(facts.proof, TlsProof::Authority, "{what}");
                }
                if !kind.is_good {
                    assert_eq!(facts.proof, TlsProof::None, "{what}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_may_want_no_tls() {
    let peer = Peer::start(Plan { tls: Some(self_signed()), ..Plan::default() }).await;
    let (_, messages) = visit(options(), &route(&[peer.address], TlsDemand::Never), 1).await;
    assert_eq!(messages.accepted(), 2);
    assert!(peer.messages().iter().all(|message| !message.is_secured));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_handshake_fails_plain_text_is_used_only_if_the_route_allows_it() {
    // It offers STARTTLS and then speaks something else.
    let plan = Plan { offers: vec!["STARTTLS"], ..Plan::default() };
    for (demand, accepted) in [(TlsDemand::Opportunistic, 2), (TlsDemand::Required, 0), (TlsDemand::Verified, 0)] {
        let peer = Peer::start(plan.clone()).await;
        let (visit, messages) = visit(options(), &route(&[peer.address], demand), 1).await;
        assert_eq!(messages.accepted(), accepted, "{demand:?} {visit:?}");
        assert_eq!(peer.connections(), if accepted > 0 { 2 } else { 1 }, "{visit:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demand_for_tls_is_not_met_by_a_server_without_it() {
    for demand in [TlsDemand::Required, TlsDemand::Verified] {
        let peer = Peer::start(Plan::default()).await;
        let (visit, messages) = visit(options(), &route(&[peer.address], demand), 1).await;
        assert_eq!((messages.taken, peer.messages().len()), (0, 0));
        assert!(visit.failure.is_some());
        let heard = peer.heard();
        assert!(heard.iter().all(|line| !line.starts_with("MAIL")), "{heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_who_is_there_is_shown_a_certificate() {
    let authority = Authority::new();
    for (client_certificate, accepted) in [(Some(authority.client()), 2), (None, 0)] {
        let peer = Peer::start(Plan { tls: Some(authority.demanding_server()), ..Plan::default() }).await;
        let options = OutboundOptions { client_certificate, ..authority.trusted(options()) };
        let (visit, messages) = visit(options, &route(&[peer.address], TlsDemand::Verified), 1).await;
        assert_eq!(messages.accepted(), accepted, "{visit:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_verified_servers_are_resumed_and_others_are_not() {
    let authority = Authority::new();
    for (demand, resumed) in [(TlsDemand::Verified, 2), (TlsDemand::Required, 0)] {
        let plan = Plan { tls: Some(authority.server(NAME)), is_tls_implicit: true, ..Plan::default() };
        let peer = Peer::start(plan).await;
        let outbound = Outbound::new(authority.trusted(options())).expect("good options");
        let route = Route { is_tls_implicit: true, ..route(&[peer.address], demand) };
        for _ in 0..3 {
            let mut messages = Messages::new(1);
            let visit = outbound.visit(&route, &mut messages).await;
            assert_eq!(messages.accepted(), 2, "{visit:?}");
            let proof = visit.hops.first().and_then(|hop| hop.tls.as_ref()).map(|tls| tls.proof);
            assert_eq!(proof, Some(TlsProof::Authority));
        }
        assert_eq!(peer.resumed(), resumed, "{demand:?}");
    }
}

// Visits those servers, in that order, with one message.
async fn carry(options: OutboundOptions, peers: &[&Peer], demand: TlsDemand, message: Outgoing) -> (Visit, Messages) {
    let outbound = Outbound::new(options).expect("good options");
    let addresses: Vec<_> = peers.iter().map(|peer| peer.address).collect();
    let mut messages = Messages { waiting: [message].into(), ..Messages::default() };
    let visit = outbound.visit(&route(&addresses, demand), &mut messages).await;
    (visit, messages)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_demands_holds_for_mail_that_needs_no_tls() {
    let message = || with_field(0, "TLS-Required: no");
    for (demand, accepted) in [(TlsDemand::Opportunistic, 2), (TlsDemand::Required, 0), (TlsDemand::Verified, 0)] {
        let peer = Peer::start(Plan::default()).await;
        let (visit, messages) = carry(options(), &[&peer], demand, message()).await;
        assert_eq!((messages.accepted(), peer.messages().len()), (accepted, accepted / 2), "{demand:?} {visit:?}");
    }
}

#[test]
fn tls_is_optional_where_one_field_says_no_and_the_envelope_nothing() {
    for (field, is_optional) in [
        ("TLS-Required: No", true),
        ("tls-required:  nO ", true),
        ("TLS-Required: Yes", false),
        ("TLS-Required: No\r\nTLS-Required: No", false),
        ("X-Other: No", false),
    ] {
        assert_eq!(is_tls_optional(&with_field(0, field)), is_optional, "{field}");
    }
    assert!(!is_tls_optional(&Outgoing { requires_tls: true, ..with_field(0, "TLS-Required: No") }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_pass_requiretls_on_is_passed_over() {
    let authority = Authority::new();
    let server = |offers: Vec<&'static str>, is_good: bool| {
        let tls = if is_good { authority.server(NAME) } else { self_signed() };
        Peer::start(Plan { offers, tls: Some(tls), ..Plan::default() })
    };
    let message = || Outgoing { requires_tls: true, ..outgoing(0, b"text\r\n".to_vec()) };
    let unable = server(vec![], true).await;
    let unproved = server(vec!["REQUIRETLS"], false).await;
    let able = server(vec!["REQUIRETLS"], true).await;
    let options = || authority.trusted(options());

    let peers = [&unable, &unproved, &able];
    let (visit, messages) = carry(options(), &peers, TlsDemand::Opportunistic, message()).await;
    assert_eq!((messages.accepted(), able.messages().len(), visit.hops.len()), (2, 1, 3), "{visit:?}");
    assert!(able.messages()[0].commands[0].ends_with("REQUIRETLS"), "{:?}", able.messages());

    let (visit, messages) = carry(options(), &[&unable, &unproved], TlsDemand::Opportunistic, message()).await;
    let replies: Vec<_> = messages.results().into_iter().map(|result| result.clone().expect_err("refused")).collect();
    assert_eq!(replies.len(), 2, "{visit:?}");
    assert!(replies.iter().all(|reply| reply.to_string().starts_with("550 5.7.30")), "{replies:?}");
    assert_eq!(unable.messages().len() + unproved.messages().len(), 0);
}
