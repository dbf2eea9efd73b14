//! Visits to the mail exchangers of a domain, by a DNS server of the test.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use basin_core::reply::Class;
use basin_core::transport::Route;
use basin_outbound::dns::DnsOptions;
use basin_outbound::{OutboundOptions, Visit};
use basin_test_dns::{TestDns, Zone};

use crate::feed::{Messages, options, visit};
use crate::peer::{Mischief, Moment, Peer, Plan};

/// Where every address of 127.0.0.0/8 but the first has nobody, unless a test puts a server there.
const ZONE: &str = "
order.example MX 10 silent.example
order.example MX 20 here.example
order.example MX 30 there.example
silent.example A 127.0.0.2
here.example A 127.0.0.1
there.example A 127.0.0.3
two.example A 127.0.0.2
two.example A 127.0.0.1
null.example MX 0 .
self.example MX 10 out.example
self.example MX 20 here.example
out.example A 127.0.0.1
equal.example MX 10 here.example
equal.example MX 10 there.example
";

struct Site {
    dns: TestDns,
    peer: Peer,
}

impl Site {
    async fn start(zone: &str, plan: Plan) -> Self {
        let zone = Zone::parse(zone).expect("a zone");
        Self { dns: TestDns::start(zone).await.expect("a server"), peer: Peer::start(plan).await }
    }

    fn options(&self) -> OutboundOptions {
        let own_names = vec!["out.example".to_owned()];
        let dns = DnsOptions { servers: vec![self.dns.address()], own_names, ..DnsOptions::default() };
        OutboundOptions { dns, mx_port: self.peer.address.port(), ..options() }
    }

    async fn visit(&self, domain: &str) -> (Visit, Messages) {
        visit(self.options(), &Route::mx(domain), 1).await
    }

    // Another server, at the same port of another address.
    async fn neighbour(&self, ip: &str) -> Peer {
        let ip: IpAddr = ip.parse().expect("an address");
        Peer::start_at(SocketAddr::new(ip, self.peer.address.port()), Plan::default()).await
    }
}

fn tried(visit: &Visit) -> Vec<&str> {
    visit.hops.iter().map(|hop| hop.host.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exchangers_are_tried_by_preference_until_one_takes_the_mail() {
    let site = Site::start(ZONE, Plan::default()).await;
    let (visit, messages) = site.visit("order.example").await;
    assert_eq!(messages.accepted(), 2, "{visit:?}");
    assert_eq!(tried(&visit), ["silent.example", "here.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worse_exchanger_gets_what_a_better_one_cannot_take_now() {
    let busy = Plan { mischief: Some((Moment::Mail, Mischief::SayAndClose("421 4.3.2 later\r\n"))), ..Plan::default() };
    let site = Site::start(ZONE, busy).await;
    let neighbour = site.neighbour("127.0.0.3").await;
    let (visit, messages) = site.visit("order.example").await;
    assert_eq!((messages.accepted(), neighbour.messages().len()), (2, 1), "{visit:?}");
    assert_eq!(tried(&visit), ["silent.example", "here.example", "there.example"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_address_of_a_host_is_tried() {
    let site = Site::start(ZONE, Plan::default()).await;
    let (visit, messages) = site.visit("two.example").await;
    assert_eq!(messages.accepted(), 2, "{visit:?}");
    assert_eq!(visit.hops.last().and_then(|hop| hop.address), Some(site.peer.address));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_exchangers_share_the_mail() {
    let site = Site::start(ZONE, Plan::default()).await;
    let _neighbour = site.neighbour("127.0.0.3").await;
    let outbound = basin_outbound::Outbound::new(site.options()).expect("good options");
    let mut first = BTreeSet::new();
    for _ in 0..32 {
        let mut messages = Messages::new(1);
        let visit = outbound.visit(&Route::mx("equal.example"), &mut messages).await;
        assert_eq!((messages.accepted(), visit.hops.len()), (2, 1), "{visit:?}");
        first.extend(visit.hops.into_iter().map(|hop| hop.host));
    }
    assert_eq!(first.len(), 2, "one of two is never first: {first:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_that_take_no_mail_fail_for_good_and_nobody_is_called() {
    let site = Site::start(ZONE, Plan::default()).await;
    for (domain, code) in [("null.example", "5.1.10"), ("nowhere.example", "5.1.2"), ("self.example", "5.4.6")] {
        let (visit, messages) = site.visit(domain).await;
        assert_eq!((messages.taken, visit.hops.len(), site.peer.connections()), (0, 0, 0), "{domain}");
        let failure = visit.failure.expect("a failure");
        assert_eq!(failure.class(), Class::Permanent);
        assert_eq!(failure.enhanced_text().as_deref(), Some(code), "{domain}: {failure}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_literal_needs_no_name() {
    let site = Site::start(ZONE, Plan::default()).await;
    let (visit, messages) = site.visit("[127.0.0.1]").await;
    assert_eq!(messages.accepted(), 2, "{visit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_with_a_thousand_exchangers_gets_a_few_attempts() {
    let crowd: String = (0..1_000)
        .map(|n| format!("crowd.example MX {n} m{n}.crowd.example\nm{n}.crowd.example A 127.0.0.2\n"))
        .collect();
    let site = Site::start(&crowd, Plan::default()).await;
    let (visit, messages) = site.visit("crowd.example").await;
    assert_eq!((messages.taken, visit.hops.len()), (0, 5), "{visit:?}");
    assert_eq!(visit.failure.map(|reply| reply.class()), Some(Class::Transient));
}
