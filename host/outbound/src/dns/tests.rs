use super::query::NAMES_TRIED_MAX;
use super::*;

use basin_test_dns::{TestDns, Zone};

const ZONE: &str = "
    example.org MX 20 mx2.example.org
    example.org MX 10 mx1.example.org
    mx1.example.org A 192.0.2.1
    mx1.example.org AAAA 2001:db8::1
    mx2.example.org A 192.0.2.2
    bare.example A 192.0.2.3
    null.example MX 0 .
    null.example A 192.0.2.4
    dead.example MX 10 gone.dead.example
    dead.example A 192.0.2.5
    half.example MX 10 broken.half.example
    half.example A 192.0.2.5
    !servfail broken.half.example
    empty.example TXT nothing but words
    alias.example CNAME example.org
    loop-a.example CNAME loop-b.example
    loop-b.example CNAME loop-a.example
    mxalias.example MX 10 www.mxalias.example
    www.mxalias.example CNAME bare.example
    !servfail servfail.example
    !refused refused.example
    !silence silent.example
    !garbage garbage.example
    !wrong-id wrong-id.example
    !wrong-name wrong-name.example
    !truncated truncated.example
    !lame lame.example
    own.example MX 10 Other.example
    own.example MX 20 Mail.Here.example
    own.example MX 20 mx2.example.org
    own.example MX 30 mx1.example.org
    other.example A 192.0.2.9
    mail.here.example A 192.0.2.200
    only.example MX 10 mail.here.example
    address.example A 198.51.100.1
    odd.example MX 10 a*b.odd.example
    odd.example MX 20 host.odd.example
    host.odd.example A 0.0.0.0
    host.odd.example A 192.0.2.77
";

fn options(dns: &TestDns) -> DnsOptions {
    DnsOptions {
        servers: vec![dns.address()],
        query_timeout: Duration::from_millis(150),
        retries: 0,
        own_names: vec!["mail.here.example".to_owned()],
        own_addresses: vec![IpAddr::from([198, 51, 100, 1])],
        ..DnsOptions::default()
    }
}

async fn start(text: &str) -> (TestDns, Resolver) {
    let dns = TestDns::start(Zone::parse(text).expect("a zone")).await.expect("a server");
    let resolver = Resolver::new(options(&dns)).expect("a resolver");
    (dns, resolver)
}

/// A signed zone, and a resolver that trusts its key.
async fn start_signed(text: &str) -> (TestDns, Resolver) {
    let zone = Zone::parse(&format!("!signed\n{text}")).expect("a zone");
    let anchor = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(anchor.path(), zone.trust_anchor().expect("a signed zone")).expect("a file");
    let dns = TestDns::start(zone).await.expect("a server");
    let dnssec = Dnssec::Validate { anchor: Some(anchor.path().to_owned()) };
    let resolver = Resolver::new(DnsOptions { dnssec, ..options(&dns) }).expect("a resolver");
    (dns, resolver)
}

async fn names(resolver: &Resolver, domain: &str) -> Vec<String> {
    let found = resolver.exchangers(domain, 1).await.expect("exchangers");
    found.hosts.into_iter().map(|host| host.name).collect()
}

async fn refused(resolver: &Resolver, domain: &str) -> String {
    let reply = resolver.exchangers(domain, 1).await.expect_err("no exchangers").reply;
    format!("{} {}", reply.code(), reply.enhanced_text().unwrap_or_default())
}

#[tokio::test]
async fn exchangers_come_by_preference_with_both_kinds_of_addresses() {
    let (_dns, resolver) = start(ZONE).await;
    let found = resolver.exchangers("Example.ORG.", 1).await.expect("exchangers");
    assert_eq!((found.domain.as_str(), found.is_implicit, found.is_secure), ("example.org", false, false));
    let [first, second] = found.hosts.as_slice() else { unreachable!("{found:?}") };
    let addresses = vec!["2001:db8::1".parse().expect("an address"), IpAddr::from([192, 0, 2, 1])];
    assert_eq!((first.name.as_str(), first.preference), ("mx1.example.org", 10));
    assert_eq!(first.addresses, Ok(addresses));
    assert_eq!(second.addresses, Ok(vec![IpAddr::from([192, 0, 2, 2])]));
}

#[tokio::test]
async fn a_domain_without_mx_is_its_own_exchanger() {
    let (_dns, resolver) = start(ZONE).await;
    let found = resolver.exchangers("bare.example", 1).await.expect("exchangers");
    assert!(found.is_implicit);
    assert_eq!(found.hosts[0].addresses, Ok(vec![IpAddr::from([192, 0, 2, 3])]));
}

#[tokio::test]
async fn aliases_are_followed_and_loops_end() {
    let (_dns, resolver) = start(ZONE).await;
    assert_eq!(names(&resolver, "alias.example").await, ["mx1.example.org", "mx2.example.org"]);
    let found = resolver.exchangers("mxalias.example", 1).await.expect("exchangers");
    assert_eq!(found.hosts[0].canonical.as_deref(), Some("bare.example"));
    assert_eq!(found.hosts[0].name, "www.mxalias.example");
    assert_eq!(refused(&resolver, "loop-a.example").await, "550 5.4.4");
}

#[tokio::test]
async fn what_cannot_be_mailed_to_is_refused_for_good() {
    let (_dns, resolver) = start(ZONE).await;
    assert_eq!(refused(&resolver, "null.example").await, "556 5.1.10");
    assert_eq!(refused(&resolver, "nowhere.example").await, "550 5.1.2");
    assert_eq!(refused(&resolver, "empty.example").await, "550 5.4.4");
    assert_eq!(refused(&resolver, "dead.example").await, "550 5.4.4");
    assert_eq!(refused(&resolver, "a b").await, "550 5.1.2");
    assert_eq!(refused(&resolver, "[0.0.0.0]").await, "550 5.1.2");
}

#[tokio::test]
async fn the_address_of_a_domain_with_mx_is_never_taken_instead() {
    let (dns, resolver) = start(ZONE).await;
    assert_eq!(refused(&resolver, "half.example").await, "451 4.4.3");
    assert_eq!((dns.times_asked("half.example", "MX"), dns.times_asked("half.example", "A")), (1, 0));
}

#[tokio::test]
async fn broken_answers_are_passing_failures() {
    let (_dns, resolver) = start(ZONE).await;
    for domain in ["servfail", "refused", "silent", "garbage", "wrong-id", "wrong-name", "truncated"] {
        assert_eq!(refused(&resolver, &format!("{domain}.example")).await, "451 4.4.3", "{domain}");
    }
    // Nothing in the answer, and no word about why: there is no such record.
    assert_eq!(refused(&resolver, "lame.example").await, "550 5.4.4");
}

#[tokio::test]
async fn the_own_name_or_address_cuts_the_list_or_is_a_loop() {
    let (_dns, resolver) = start(ZONE).await;
    assert_eq!(names(&resolver, "own.example").await, ["other.example"]);
    assert_eq!(refused(&resolver, "only.example").await, "554 5.4.6");
    assert_eq!(refused(&resolver, "address.example").await, "554 5.4.6");
    assert_eq!(refused(&resolver, "[198.51.100.1]").await, "554 5.4.6");
    // A next hop that the operator named is not second-guessed.
    assert!(resolver.host("mail.here.example").await.addresses.is_ok());
}

#[tokio::test]
async fn names_and_addresses_that_nothing_can_have_are_passed_over() {
    let (_dns, resolver) = start(ZONE).await;
    let found = resolver.exchangers("odd.example", 1).await.expect("exchangers");
    assert!(found.hosts[0].addresses.is_err());
    assert_eq!(found.hosts[1].addresses, Ok(vec![IpAddr::from([192, 0, 2, 77])]));
}

#[tokio::test]
async fn address_literals_need_no_question() {
    let (dns, resolver) = start(ZONE).await;
    let found = resolver.exchangers("[IPv6:2001:db8::7]", 1).await.expect("exchangers");
    assert_eq!(found.hosts[0].addresses, Ok(vec!["2001:db8::7".parse().expect("an address")]));
    assert_eq!(resolver.host("192.0.2.8").await.addresses, Ok(vec![IpAddr::from([192, 0, 2, 8])]));
    assert_eq!(dns.asked(), []);
}

#[tokio::test]
async fn a_second_visit_asks_nothing() {
    let (dns, resolver) = start_signed(ZONE).await;
    assert_eq!(names(&resolver, "example.org").await, ["mx1.example.org", "mx2.example.org"]);
    let asked = dns.asked().len();
    // The second one has no AAAA record: that is known too, with and without signatures.
    assert_eq!(names(&resolver, "example.org").await, ["mx1.example.org", "mx2.example.org"]);
    assert_eq!(dns.asked().len(), asked);
}

#[tokio::test]
async fn a_huge_answer_comes_over_tcp_and_is_cut_to_the_limits() {
    let mut text = String::new();
    for number in 0..400 {
        text += &format!("big.example MX {number} mx{number}.big.example\n");
        text += &format!("mx0.big.example A 10.0.{}.{}\n", number / 200, number % 200 + 1);
    }
    let (dns, resolver) = start(&format!("{text} mx1.big.example A 192.0.2.1")).await;
    let found = resolver.exchangers("big.example", 1).await.expect("exchangers");
    assert_eq!(found.hosts.len(), exchangers::EXCHANGERS_MAX);
    assert_eq!(found.hosts[0].addresses.as_ref().map(Vec::len), Ok(exchangers::ADDRESSES_MAX));
    assert!(dns.asked().iter().any(|asked| asked.is_tcp && asked.kind == "MX"));
    assert_eq!(dns.times_asked("mx30.big.example", "A"), 0);
}

#[tokio::test]
async fn all_look_ups_of_a_domain_together_have_an_end() {
    let dns = TestDns::start(Zone::parse("!silence slow.example").expect("a zone")).await.expect("a server");
    let total_timeout = Duration::from_millis(20);
    let query_timeout = Duration::from_secs(60);
    let resolver = Resolver::new(DnsOptions { total_timeout, query_timeout, ..options(&dns) }).expect("a resolver");
    assert_eq!(refused(&resolver, "slow.example").await, "451 4.4.3");
    assert!(resolver.host("slow.example").await.addresses.is_err());
}

#[tokio::test]
async fn signatures_tell_secure_from_insecure_and_from_forged() {
    let signed = format!(
        "{ZONE}
        !unsigned insecure.example
        insecure.example MX 10 mx.insecure.example
        mx.insecure.example A 192.0.2.50
        mixed.example MX 10 mx.insecure.example
        !bogus forged.example
        forged.example MX 10 mx1.example.org
        badhost.example MX 10 host.badhost.example
        host.badhost.example A 192.0.2.51
        !bogus host.badhost.example"
    );
    let (_dns, resolver) = start_signed(&signed).await;
    let secure = resolver.exchangers("example.org", 1).await.expect("exchangers");
    assert!(secure.is_secure && secure.hosts.iter().all(|host| host.is_secure), "{secure:?}");
    let bare = resolver.exchangers("bare.example", 1).await.expect("exchangers");
    assert!(bare.is_secure && bare.is_implicit && bare.hosts[0].is_secure);
    let insecure = resolver.exchangers("insecure.example", 1).await.expect("exchangers");
    assert!(!insecure.is_secure && !insecure.hosts[0].is_secure);
    let mixed = resolver.exchangers("mixed.example", 1).await.expect("exchangers");
    assert!(mixed.is_secure && !mixed.hosts[0].is_secure);
    assert_eq!(refused(&resolver, "forged.example").await, "451 4.4.3");
    assert_eq!(refused(&resolver, "badhost.example").await, "451 4.4.3");
    assert_eq!(refused(&resolver, "nowhere.example").await, "550 5.1.2");
    assert_eq!(refused(&resolver, "null.example").await, "556 5.1.10");
}

#[tokio::test]
async fn without_signatures_nothing_is_believed_under_a_trust_anchor() {
    let (dns, resolver) = start_signed(ZONE).await;
    dns.set(Zone::parse(ZONE).expect("a zone"));
    assert_eq!(refused(&resolver, "example.org").await, "451 4.4.3");
}

#[tokio::test]
async fn a_trust_anchor_that_is_none_is_a_failure_to_start() {
    let anchor = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(anchor.path(), "these are no keys").expect("a file");
    let dnssec = Dnssec::Validate { anchor: Some(anchor.path().to_owned()) };
    let servers = vec![SocketAddr::from(([127, 0, 0, 1], 53))];
    let result = Resolver::new(DnsOptions { dnssec, servers, ..DnsOptions::default() });
    assert!(matches!(result, Err(DnsSetupError::Anchor { .. })));
}

#[tokio::test]
async fn a_denial_out_of_another_zone_is_believed_by_nobody() {
    let faults = ["unrelated", "evasive"].map(|fault| {
        format!(
            "{fault}.example MX 10 mx1.example.org
            {fault}.example A 192.0.2.52
            !{fault} {fault}.example MX
            _25._tcp.mx.{fault}.example TLSA 3 1 1 {}
            !{fault} _25._tcp.mx.{fault}.example TLSA
            ",
            "00".repeat(32)
        )
    });
    let (_dns, resolver) = start_signed(&format!("{ZONE}\n!unsigned insecure.example\n{}", faults.concat())).await;
    for fault in ["unrelated", "evasive"] {
        assert_eq!(refused(&resolver, &format!("{fault}.example")).await, "451 4.4.3", "{fault}");
        let name = mail_name(&format!("_25._tcp.mx.{fault}.example")).expect("a name");
        let denied = resolver.records(&name, RecordType::TLSA).await;
        assert_eq!(denied, Err(LookupError::Bogus), "{fault}");
    }
}

#[tokio::test]
async fn a_server_that_proves_nothing_is_believed_where_nothing_is_signed() {
    let (_dns, resolver) = start_signed(
        "!unsigned insecure.example
        lame.insecure.example A 192.0.2.53
        !lame lame.insecure.example MX",
    )
    .await;
    let found = resolver.exchangers("lame.insecure.example", 1).await.expect("its own exchanger");
    assert!(found.is_implicit && !found.hosts[0].is_secure);
}

#[tokio::test]
async fn a_client_has_the_name_that_leads_back_to_its_address_and_no_other() {
    let (dns, resolver) = start(
        "1.2.0.192.in-addr.arpa PTR elsewhere.example
         1.2.0.192.in-addr.arpa PTR Mail.client.example
         elsewhere.example A 192.0.2.9
         mail.client.example A 192.0.2.1
         1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mail.client.example
         mail.client.example AAAA 2001:db8::1
         2.2.0.192.in-addr.arpa PTR bank.example
         bank.example A 198.51.100.7
         3.2.0.192.in-addr.arpa PTR a*b.example
         a*b.example A 192.0.2.3
         4.2.0.192.in-addr.arpa PTR n1.example
         4.2.0.192.in-addr.arpa PTR n2.example
         4.2.0.192.in-addr.arpa PTR n3.example
         4.2.0.192.in-addr.arpa PTR n4.example
         4.2.0.192.in-addr.arpa PTR n5.example
         4.2.0.192.in-addr.arpa PTR n6.example
         !servfail 5.2.0.192.in-addr.arpa",
    )
    .await;
    let name = async |address: &str| resolver.confirmed_name_of(address.parse().expect("an address")).await;
    assert_eq!(name("192.0.2.1").await.as_deref(), Some("mail.client.example"));
    assert_eq!(name("::ffff:192.0.2.1").await.as_deref(), Some("mail.client.example"));
    assert_eq!(name("2001:db8::1").await.as_deref(), Some("mail.client.example"));
    assert_eq!(name("192.0.2.2").await, None, "it claims a name that is somebody else's");
    assert_eq!(name("192.0.2.3").await, None, "this is no name of a host");
    assert_eq!((name("192.0.2.5").await, name("192.0.2.6").await), (None, None));
    let before = dns.asked().len();
    assert_eq!(name("192.0.2.4").await, None);
    let asked = dns.asked().split_off(before);
    assert_eq!(asked.iter().filter(|asked| asked.kind == "A").count(), NAMES_TRIED_MAX, "{asked:?}");
}
