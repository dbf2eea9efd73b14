use super::*;
use basin_sink::testing;

const ROUTES: &str =
    "partner.example relay1.example:587/verified/login=partner relay2.example else mx:backup.example\n\
    *.corp.example [2001:db8::25]:2525/none; store.example lmtp:store
    # mail of one department
    from=bulk.example pool.example:25/required else direct
    closed.example reject nobody reads that; here.example local; exception.example direct
    * smarthost.example:25";

fn asked(domain: &str, failures: &[&str]) -> RouteVerdict {
    asked_by("a@client.example", domain, failures)
}

fn asked_by(sender: &str, domain: &str, failures: &[&str]) -> RouteVerdict {
    let mut message = testing::Message::from_eml("");
    let failures: Vec<_> = failures.iter().map(|hop| (*hop, Reply::new(450, "no answer"))).collect();
    message.set_sender(sender).set_config("routes", ROUTES).set_failures(&failures);
    message.route::<Router>(domain)
}

fn hops<const N: usize>(hops: [NextHop; N]) -> RouteVerdict {
    RouteVerdict::UseHops(hops.to_vec())
}

#[test]
fn the_first_rule_that_fits_names_the_hops_in_their_order() {
    let first = NextHop::host("relay1.example", 587).tls(Tls::Verified).credentials("partner");
    assert_eq!(asked("partner.example", &[]), hops([first, NextHop::host("relay2.example", 25)]));
    let corp = hops([NextHop::host("[2001:db8::25]", 2525).tls(Tls::None)]);
    assert_eq!(asked("Mail.Corp.example", &[]), corp);
    assert_eq!(asked("store.example", &[]), hops([NextHop::lmtp("store")]));
    assert_eq!(asked("here.example", &[]), hops([NextHop::local()]));
    for other in ["corp.example", "other.example", "[192.0.2.1]"] {
        assert_eq!(asked(other, &[]), hops([NextHop::host("smarthost.example", 25)]), "{other}");
    }
}

#[test]
fn a_rule_can_look_at_the_sender() {
    let pool = hops([NextHop::host("pool.example", 25).tls(Tls::Required)]);
    assert_eq!(asked_by("\"x@y\"@Bulk.example", "other.example", &[]), pool);
    assert_eq!(asked_by("", "other.example", &[]), hops([NextHop::host("smarthost.example", 25)]));
}

#[test]
fn mail_for_this_server_stays_here_unless_a_rule_names_its_domain() {
    assert_eq!(asked("basin.example", &[]), RouteVerdict::Next);
    assert_eq!(asked_by("a@bulk.example", "basin.example", &[]), RouteVerdict::Next);
    let mut message = testing::Message::from_eml("");
    message.set_config("routes", "basin.example lmtp:store");
    assert_eq!(message.route::<Router>("basin.example"), hops([NextHop::lmtp("store")]));
}

#[test]
fn mail_is_refused_or_left_to_the_server() {
    assert_eq!(asked("closed.example", &[]), refuse(550, "5.7.1", "nobody reads that"));
    assert_eq!(asked("exception.example", &[]), RouteVerdict::Next);
    let mut message = testing::Message::from_eml("");
    assert_eq!(message.route::<Router>("any.example"), RouteVerdict::Next, "no table");
}

#[test]
fn what_failed_gives_way_to_what_stands_behind_else() {
    let failed = ["host relay2.example:25", "host relay1.example:587"];
    assert_eq!(asked("partner.example", &failed), hops([NextHop::mx("backup.example")]));
    assert_eq!(asked_by("a@bulk.example", "other.example", &["host pool.example:25"]), RouteVerdict::Next);
}

#[test]
fn without_else_the_hop_that_failed_longest_ago_is_tried_first() {
    let mut message = testing::Message::from_eml("");
    message.set_config("routes", "* a.example b.example [2001:DB8::1] lmtp:d");
    let refused = |hop| (hop, Reply::new(451, "not now"));
    message.set_failures(&[refused("host b.example:25"), refused("host a.example:25"), refused("lmtp d")]);
    let expected = [
        NextHop::host("[2001:DB8::1]", 25),
        NextHop::lmtp("d"),
        NextHop::host("a.example", 25),
        NextHop::host("b.example", 25),
    ];
    assert_eq!(message.route::<Router>("away.example"), hops(expected));
    assert_eq!(message.counter("routed_again"), 1);
}

#[test]
fn a_mistyped_table_is_a_failure_and_not_the_absence_of_a_rule() {
    for table in [
        "away.example",
        "a@away.example relay.example",
        "*way.example relay.example",
        "from= relay.example",
        "* relay.example:0",
        "* relay.example:smtp",
        "* relay.example/tls",
        "* relay.example/login=",
        "* lmtp:",
        "* direct relay.example",
        "* relay.example else ",
    ] {
        let mut message = testing::Message::from_eml("");
        message.set_config("routes", table);
        assert!(message.try_route::<Router>("away.example").is_err(), "{table}");
    }
}
