//! Which server is tried when, from where, and how often.

use core::time::Duration;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use basin_core::reply::Class;
use basin_core::smtp::client::{Credentials, Mechanism};
use basin_core::transport::{DestinationLimits, HostPort, Protocol, Route, TlsDemand};
use basin_outbound::{OutboundOptions, VisitLimits};

use crate::certs::self_signed;
use crate::feed::{hasty, named_route, options, route, visit};
use crate::peer::{Mischief, Moment, Peer, Plan};

// An address where nobody is.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_server_is_tried_where_one_cannot_take_mail_now() {
    let good = Peer::start(Plan::default()).await;
    let busy = |text| Plan { mischief: Some((Moment::Greeting, Mischief::SayAndClose(text))), ..Plan::default() };
    let tired = Peer::start(busy("421 4.3.2 later\r\n")).await;
    let grumpy = Peer::start(busy("554 5.7.1 not for you\r\n")).await;
    let servers = [nobody(), tired.address, grumpy.address, good.address];
    let (visit, messages) = visit(options(), &route(&servers, TlsDemand::Opportunistic), 2).await;
    assert_eq!(messages.accepted(), 4, "{visit:?}");
    assert_eq!(visit.failure, None);
    assert_eq!(visit.hops.iter().map(|hop| hop.address.expect("an address")).collect::<Vec<_>>(), servers);
    let errors: Vec<_> = visit.hops.iter().map(|hop| hop.error.is_some()).collect();
    assert_eq!(errors, [true, true, true, false]);
    assert_eq!(visit.hops.last().map(|hop| hop.messages), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_lost_its_connection_goes_to_the_next_server() {
    let good = Peer::start(Plan::default()).await;
    let bad = Plan { mischief: Some((Moment::Mail, Mischief::Close)), ..Plan::default() };
    let bad = Peer::start(bad).await;
    let (visit, messages) = visit(options(), &route(&[bad.address, good.address], TlsDemand::Never), 1).await;
    assert_eq!((messages.accepted(), messages.taken), (2, 1), "{visit:?} {:?}", messages.sent);
    assert_eq!(messages.sent.first().and_then(|(_, facts)| facts.address), Some(good.address));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_recipient_is_not_asked_for_twice() {
    let good = Peer::start(Plan::default()).await;
    let plan = Plan { mischief: Some((Moment::Rcpt, Mischief::Say("550 5.1.1 nobody\r\n"))), ..Plan::default() };
    let strict = Peer::start(plan).await;
    let (_, messages) = visit(options(), &route(&[strict.address, good.address], TlsDemand::Never), 1).await;
    let replies: Vec<_> = messages.results().into_iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(replies.iter().all(|reply| reply.class() == Class::Permanent), "{replies:?}");
    assert_eq!((replies.len(), good.connections()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_from_the_feed_where_nobody_is_reached() {
    let (visit, messages) = visit(options(), &route(&[nobody(), nobody()], TlsDemand::Never), 1).await;
    assert_eq!((messages.taken, messages.sent.len(), visit.hops.len()), (0, 0, 2));
    assert_eq!(visit.failure.map(|reply| reply.class()), Some(Class::Transient));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_ended_between_messages_is_made_again() {
    let peer = Peer::start(Plan { messages_max: Some(1), ..Plan::default() }).await;
    let (visit, messages) = visit(options(), &route(&[peer.address], TlsDemand::Never), 4).await;
    assert_eq!((messages.accepted(), peer.messages().len()), (8, 4), "{visit:?}");
    assert_eq!(peer.connections(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_messages_over_one_connection_is_bounded() {
    let peer = Peer::start(Plan::default()).await;
    let limits = DestinationLimits { messages_per_connection: 3, ..DestinationLimits::default() };
    let route = Route { limits, ..route(&[peer.address], TlsDemand::Never) };
    let (visit, messages) = visit(options(), &route, 5).await;
    assert_eq!((messages.taken, messages.waiting.len(), messages.accepted()), (3, 2, 6), "{visit:?}");
    assert_eq!(peer.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_so_many_messages_in_a_session_is_not_asked_for_more() {
    let peer = Peer::start(Plan { offers: vec!["LIMITS MAILMAX=2"], ..Plan::default() }).await;
    let (visit, messages) = visit(options(), &route(&[peer.address], TlsDemand::Never), 5).await;
    assert_eq!((messages.taken, messages.accepted(), visit.failure), (2, 4, None));
    assert_eq!(peer.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_never_leads_to_this_server_itself() {
    let peer = Peer::start(Plan::default()).await;
    let anywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), peer.address.port());
    for listener in [peer.address, anywhere] {
        let options = OutboundOptions { listeners: vec![listener], ..options() };
        let (visit, messages) = visit(options, &route(&[peer.address], TlsDemand::Never), 1).await;
        assert_eq!((messages.taken, peer.connections()), (0, 0));
        let failure = visit.failure.expect("a failure");
        assert_eq!(failure.enhanced_text().as_deref(), Some("5.4.6"), "{failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_leaves_from_the_address_that_is_configured() {
    let peer = Peer::start(Plan::default()).await;
    let source = "127.0.0.7".parse().expect("an address");
    let (v6, v4) = ("::1".parse().expect("v6"), source);
    let options = OutboundOptions { source_addresses: vec![v6, v4], ..options() };
    let (visit, messages) = visit(options, &route(&[peer.address], TlsDemand::Never), 1).await;
    assert_eq!(messages.accepted(), 2);
    assert_eq!(visit.hops.first().and_then(|hop| hop.source), Some(source));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_leaves_from_the_addresses_that_it_names_and_from_the_usual_ones_where_nobody_has_the_name() {
    let peer = Peer::start(Plan::default()).await;
    let (usual, bulk) = ("127.0.0.7".parse().expect("an address"), "127.0.0.8".parse().expect("an address"));
    for (name, expected) in [("bulk", bulk), ("gone", usual)] {
        let sources = [("bulk".to_owned(), vec![bulk])].into_iter().collect();
        let options = OutboundOptions { source_addresses: vec![usual], sources, ..options() };
        let route = Route { source: Some(name.to_owned()), ..route(&[peer.address], TlsDemand::Never) };
        let (visit, _) = visit(options, &route, 1).await;
        assert_eq!(visit.hops.first().and_then(|hop| hop.source), Some(expected), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_servers_are_tried_than_the_limit() {
    let limits = VisitLimits { hosts_max: 2, ..VisitLimits::default() };
    let options = OutboundOptions { limits, ..options() };
    let (visit, _) = visit(options, &route(&[nobody(), nobody(), nobody()], TlsDemand::Never), 1).await;
    assert_eq!(visit.hops.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_servers_together_get_no_more_time_than_the_limit() {
    let silent = Plan { mischief: Some((Moment::Greeting, Mischief::Silence)), ..Plan::default() };
    let (first, second) = (Peer::start(silent.clone()).await, Peer::start(silent).await);
    let options = hasty(Duration::from_millis(300));
    let limits = VisitLimits { reach: Duration::from_millis(200), ..options.limits.clone() };
    let options = OutboundOptions { limits, ..options };
    let (visit, _) = visit(options, &route(&[first.address, second.address], TlsDemand::Never), 1).await;
    assert_eq!((visit.hops.len(), second.connections()), (1, 0), "{visit:?}");
    assert!(visit.failure.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smart_host_gets_the_login_under_tls_and_never_without() {
    let secret = Credentials {
        user: "basin".to_owned(),
        secret: "quiet-secret".to_owned(),
        mechanisms: vec![Mechanism::Plain],
        may_go_unencrypted: false,
    };
    let credentials: HashMap<_, _> = [("relay".to_owned(), secret)].into();
    let options = OutboundOptions { credentials, ..options() };
    assert!(!format!("{options:?}").contains("quiet-secret"), "no secret in a debug print");
    for (tls, accepted) in [(Some(self_signed()), 2), (None, 0)] {
        let peer = Peer::start(Plan { tls, offers: vec!["AUTH PLAIN LOGIN"], ..Plan::default() }).await;
        let route = Route { credentials: Some("relay".to_owned()), ..route(&[peer.address], TlsDemand::Opportunistic) };
        let (visit, messages) = visit(options.clone(), &route, 1).await;
        assert_eq!(messages.accepted(), accepted, "{visit:?}");
        assert_eq!(peer.heard().iter().any(|line| line.starts_with("AUTH PLAIN")), accepted > 0);
        let unknown = Route { credentials: Some("lost".to_owned()), ..route };
        let (failed, messages) = crate::feed::visit(options.clone(), &unknown, 1).await;
        assert!(failed.failure.is_some() && messages.taken == 0, "{failed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lmtp_over_a_socket_of_this_machine_tells_of_each_recipient() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("lmtp");
    let peer = Peer::start_unix(&path, Plan { is_lmtp: true, ..Plan::default() }).await;
    let host = HostPort { host: format!("unix:{}", path.display()), port: 0 };
    let route = Route { protocol: Protocol::Lmtp, ..named_route(vec![host], TlsDemand::Opportunistic) };
    let (visit, messages) = visit(options(), &route, 2).await;
    assert_eq!((messages.accepted(), peer.messages().len()), (4, 2), "{visit:?}");
    assert!(peer.heard().iter().any(|line| line.starts_with("LHLO")));
}

#[tokio::test(flavor = "multi_thread")]
async fn lmtp_over_the_network_tells_of_each_recipient() {
    let peer = Peer::start(Plan { is_lmtp: true, ..Plan::default() }).await;
    let route = Route { protocol: Protocol::Lmtp, ..route(&[peer.address], TlsDemand::Opportunistic) };
    let (visit, messages) = visit(options(), &route, 1).await;
    assert_eq!(messages.accepted(), 2, "{visit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_whole_content_has_time_to_say_so() {
    let late = Some((Moment::End, Mischief::Late(Duration::from_millis(500))));
    let peer = Peer::start(Plan { mischief: late, ..Plan::default() }).await;
    let limits = VisitLimits { visit: Duration::from_millis(250), ..VisitLimits::default() };
    let options = OutboundOptions { limits, ..options() };
    let (visit, messages) = visit(options, &route(&[peer.address], TlsDemand::Never), 2).await;
    assert_eq!((messages.accepted(), messages.taken), (2, 1), "{visit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_to_begin_with_tls_never_goes_without() {
    for (tls, accepted) in [(Some(self_signed()), 2), (None, 0)] {
        let is_tls_implicit = tls.is_some();
        let peer = Peer::start(Plan { tls, is_tls_implicit, ..Plan::default() }).await;
        let route = Route { is_tls_implicit: true, ..route(&[peer.address], TlsDemand::Never) };
        let (visit, messages) = visit(hasty(Duration::from_millis(300)), &route, 1).await;
        assert_eq!(messages.accepted(), accepted, "{visit:?}");
    }
}
