//! Which way the mail of a domain takes, and of a hop that a sink chose.

use super::*;

#[test]
fn the_first_rule_that_covers_a_domain_is_taken() {
    let hop = HostPort { host: "Relay.Example.net".to_owned(), port: 587 };
    let relay = Arc::new(Route {
        destination: Destination::hop(&hop),
        next: NextHop::Hosts(vec![hop]),
        ..Route::mx("relay.example.net")
    });
    let patterns = vec![DomainPattern::parse("Example.org"), DomainPattern::parse("*.example.org")];
    let table = RouteTable::new(vec![(patterns, relay.clone())]);
    assert_eq!(table.route("EXAMPLE.org"), relay);
    assert_eq!(table.route("a.example.org").destination.as_str(), "[relay.example.net]:587");
    assert_eq!(*table.route("evilexample.org"), Route::mx("evilexample.org"));
    assert_eq!(*table.route("example.com"), Route::mx("example.com"));
    assert_eq!(DomainPattern::parse("*"), DomainPattern::All);
}

#[test]
fn a_rule_for_exchangers_leaves_each_domain_a_destination_of_its_own() {
    let verified = Route { tls: TlsDemand::Verified, ..Route::mx("") };
    let table = RouteTable::new(vec![(vec![DomainPattern::parse("*.example")], Arc::new(verified))]);
    let route = table.route("A.Example");
    assert_eq!((route.destination.as_str(), &route.next), ("a.example", &NextHop::Mx("a.example".to_owned())));
    assert_eq!(table.of(&route.destination), route);
}

#[test]
fn what_was_queued_for_a_destination_finds_its_route_again() {
    let hop = HostPort { host: "2001:db8::1".to_owned(), port: 24 };
    let relay = Arc::new(Route {
        destination: Destination::hop(&hop),
        next: NextHop::Hosts(vec![hop]),
        protocol: Protocol::Lmtp,
        ..Route::mx("")
    });
    let table = RouteTable::new(vec![(vec![DomainPattern::parse("example.org")], relay.clone())]);
    assert_eq!(table.of(&relay.destination), relay);
    assert_eq!(table.by_way_of("[2001:DB8::1]:24"), relay);
    let other = table.by_way_of("[relay.example.net]:2525");
    assert_eq!(other.next, NextHop::Hosts(vec![HostPort { host: "relay.example.net".to_owned(), port: 2525 }]));
    assert_eq!(table.by_way_of("example.com"), Arc::new(Route::mx("example.com")));
    assert_eq!(table.of(&Destination::domain("[192.0.2.1]")).next, NextHop::Mx("[192.0.2.1]".to_owned()));
    assert_eq!(*table.of(&Destination::domain("example.org")), Route::mx("example.org"), "the rules changed since");
    for bad in ["[]:25", "[x]:0", "[x]:65536", "[x y]:25", "x:25", "[192.0.2.1]"] {
        assert_eq!(HostPort::parse(bad), None, "{bad}");
    }
}

#[test]
fn a_rule_without_servers_changes_how_and_not_where() {
    let strict = Route { tls: TlsDemand::Verified, ..Route::mx("") };
    let usual = Route { tls: TlsDemand::Never, ..Route::mx("") };
    let rules = vec![(vec![DomainPattern::parse("*.example.org")], Arc::new(strict.clone()))];
    let table = RouteTable::new(rules).with_usual(usual);
    assert_eq!(*table.route("A.example.org"), strict.towards("a.example.org"));
    assert_eq!(table.route("a.example.org").destination.as_str(), "a.example.org");
    assert_eq!(table.route("example.com").tls, TlsDemand::Never);
    assert_eq!(table.route("example.com").next, NextHop::Mx("example.com".to_owned()));
}

#[test]
fn a_sink_logs_in_where_an_operator_does_and_nowhere_else() {
    let server = |host: &str| HostPort { host: host.to_owned(), port: 587 };
    let smart = Arc::new(Route {
        destination: Destination::hop(&server("smart.example")),
        next: NextHop::Hosts(vec![server("smart.example"), server("other.example")]),
        tls: TlsDemand::Required,
        protocol: Protocol::Lmtp,
        credentials: Some("relay".to_owned()),
        ..Route::mx("")
    });
    let table = RouteTable::new(vec![(vec![DomainPattern::All], smart.clone())])
        .with_named([("store".to_owned(), smart)].into_iter().collect());
    let login = |next: HopTarget| Hop { credentials: Some("relay".to_owned()), ..Hop::to(next) };
    let to = |hop: &Hop| table.of_hop(hop).expect("a route");
    for host in ["smart.example", "other.example"] {
        let route = to(&login(HopTarget::Host(server(host))));
        assert_eq!((route.credentials.as_deref(), route.tls), (Some("relay"), TlsDemand::Verified), "{host}");
    }
    assert_eq!(to(&login(HopTarget::Lmtp("store".to_owned()))).credentials.as_deref(), Some("relay"));
    for next in [HopTarget::Host(server("evil.example")), HopTarget::Mx("partner.example".to_owned())] {
        assert_eq!(to(&login(next.clone())).credentials, None, "{next:?}");
    }
    let exchangers = to(&Hop::to(HopTarget::Mx("partner.example".to_owned())));
    assert_eq!((exchangers.credentials.as_deref(), exchangers.protocol), (None, Protocol::Smtp));
    assert_eq!(exchangers.tls, TlsDemand::Required, "what the operator demands for the domain stays");
    assert_eq!(exchangers.next, NextHop::Mx("partner.example".to_owned()));
}
