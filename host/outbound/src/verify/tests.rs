//! Messages that are signed here, with zones of their own.

use std::sync::Arc;
use std::time::SystemTime;

use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, MessageId, Origin, Vouched};
use basin_core::time::Timestamp;
use basin_test_dns::{TestDns, Zone};
use bytes::Bytes;

use super::*;
use crate::dns::{DnsOptions, Families};
use crate::sign::{DkimIdentity, KeyKind, Signer, SigningKey, Standing, generate, record_text};

const ZONE: &str = "
    example.org TXT v=spf1 ip4:192.0.2.0/24 -all
    _dmarc.example.org TXT v=DMARC1; p=reject
    soft.example TXT v=spf1 ~all
    helo.example TXT v=spf1 ip4:192.0.2.1 -all
    loop.example TXT v=spf1 include:loop.example -all
    plain.example A 192.0.2.9
    !servfail broken.example
    !silence silent.example
";

const HEADER: &str = "From: A <a@example.org>\r\nTo: b@two.example\r\nSubject: one\r\nDate: today\r\n";

struct Bench {
    dns: TestDns,
    verifier: Verifier,
    key: Arc<SigningKey>,
}

async fn bench() -> Bench {
    let key = generate(KeyKind::Ed25519).expect("a key");
    let key = Arc::new(SigningKey::from_pem(key.as_bytes()).expect("usable"));
    let zone = format!("{ZONE}\n    s._domainkey.example.org TXT {}", record_text(&key));
    let dns = TestDns::start(Zone::parse(&zone).expect("a zone")).await.expect("a server");
    let options = DnsOptions {
        servers: vec![dns.address()],
        query_timeout: Duration::from_millis(500),
        retries: 0,
        families: Families::V4,
        ..DnsOptions::default()
    };
    let resolver = Resolver::new(options).expect("a resolver");
    Bench { dns, verifier: Verifier::new(&resolver, "mx.basin.example"), key }
}

fn arrival() -> Arrival {
    Arrival {
        origin: Origin::Smtp,
        at: Timestamp::default(),
        listener: String::new(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Vouched::default(),
    }
}

fn message(number: u64, (client, helo, sender): (&str, &str, &str), header: &str) -> Message {
    let arrival = Arrival {
        client: Some(format!("{client}:4000").parse().expect("an address")),
        helo: Some(helo.to_owned()),
        ..arrival()
    };
    let sender = (!sender.is_empty()).then(|| Address::parse(sender).expect("an address"));
    let mut message = Message::new(MessageId::new(Timestamp::default(), number), arrival, Envelope::new(sender));
    message.header = Arc::new(HeaderBlock::parse(&Bytes::from(header.to_owned())).expect("small"));
    message.body = Body::from_bytes("hello\r\n".to_owned());
    message
}

impl Bench {
    async fn signed(&self, mut message: Message) -> Message {
        let signer = Signer::new(vec![DkimIdentity::new("example.org", "s", self.key.clone())], None, Vec::new());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let now = Timestamp::from_seconds(i64::try_from(now).expect("fits"));
        let signed = signer.sign(message.clone(), Standing::Submitted, now).await.expect("signed");
        let text: Vec<u8> = signed.fields.iter().flat_map(|field| field.raw().to_vec()).collect();
        let text = [text, message.header.to_bytes()].concat();
        message.header = Arc::new(HeaderBlock::parse(&Bytes::from(text)).expect("small"));
        message
    }

    async fn outcomes(&self, message: &Message, method: AuthMethod) -> Vec<(&'static str, String)> {
        let found = self.verifier.verify(message, method).await.expect("an answer");
        found.into_iter().map(|one| (one.outcome, one.domain)).collect()
    }
}

fn one(outcome: &'static str, domain: &str) -> Vec<(&'static str, String)> {
    vec![(outcome, domain.to_owned())]
}

#[tokio::test]
async fn spf_speaks_of_the_reverse_path_or_of_helo() {
    let bench = bench().await;
    let cases = [
        (("192.0.2.7", "h.example", "a@Example.org"), "pass", "example.org"),
        (("198.51.100.1", "h.example", "a@example.org"), "fail", "example.org"),
        (("198.51.100.1", "h.example", "a@soft.example"), "softfail", "soft.example"),
        (("192.0.2.1", "helo.example", ""), "pass", "helo.example"),
        (("192.0.2.1", "helo.example", "a@plain.example"), "none", "plain.example"),
        (("192.0.2.1", "helo.example", "a@broken.example"), "temperror", "broken.example"),
        (("192.0.2.1", "helo.example", "a@loop.example"), "permerror", "loop.example"),
    ];
    for (number, (who, outcome, domain)) in cases.into_iter().enumerate() {
        let message = message(number as u64, who, HEADER);
        assert_eq!(bench.outcomes(&message, AuthMethod::Spf).await, one(outcome, domain), "{who:?}");
    }
    let unsent = Message::new(MessageId::new(Timestamp::default(), 99), arrival(), Envelope::new(None));
    assert_eq!(bench.outcomes(&unsent, AuthMethod::Spf).await, [], "nobody sent it");
}

#[tokio::test]
async fn a_signature_speaks_for_the_author_even_where_the_path_does_not() {
    let bench = bench().await;
    let foreign = ("198.51.100.1", "h.example", "bounce@plain.example");
    let signed = bench.signed(message(1, foreign, HEADER)).await;
    assert_eq!(bench.outcomes(&signed, AuthMethod::Dkim).await, one("pass", "example.org"));
    assert_eq!(bench.outcomes(&signed, AuthMethod::Dmarc).await, one("pass", "example.org"));
    assert_eq!(bench.outcomes(&signed, AuthMethod::Arc).await, one("none", ""));
    let found = bench.verifier.verify(&signed, AuthMethod::Dkim).await.expect("an answer");
    assert_eq!(found[0].properties.get("header.s").map(String::as_str), Some("s"));

    let mut changed = bench.signed(message(2, foreign, HEADER)).await;
    changed.body = Body::from_bytes("bye\r\n".to_owned());
    assert_eq!(bench.outcomes(&changed, AuthMethod::Dkim).await, one("fail", "example.org"));
    assert_eq!(bench.outcomes(&changed, AuthMethod::Dmarc).await, one("fail", "example.org"));
    let found = bench.verifier.verify(&changed, AuthMethod::Dmarc).await.expect("an answer");
    assert_eq!(found[0].properties.get("policy.dmarc").map(String::as_str), Some("reject"));

    let unsigned = message(3, foreign, HEADER);
    assert_eq!(bench.outcomes(&unsigned, AuthMethod::Dkim).await, []);
    let aligned = message(4, ("192.0.2.7", "h.example", "a@example.org"), HEADER);
    assert_eq!(bench.outcomes(&aligned, AuthMethod::Dmarc).await, one("pass", "example.org"));
}

#[tokio::test]
async fn the_work_is_done_once_for_each_message() {
    let bench = bench().await;
    let signed = bench.signed(message(1, ("192.0.2.7", "h.example", "a@example.org"), HEADER)).await;
    for method in AuthMethod::ALL.into_iter().chain(AuthMethod::ALL) {
        bench.outcomes(&signed, method).await;
    }
    assert_eq!(bench.dns.times_asked("s._domainkey.example.org", "TXT"), 1);
    assert_eq!(bench.dns.times_asked("example.org", "TXT"), 1);
    // An edited copy of the same message is the same message: what was found holds.
    let mut edited = signed.clone();
    edited.body = Body::from_bytes("edited\r\n".to_owned());
    assert_eq!(bench.outcomes(&edited, AuthMethod::Dkim).await, one("pass", "example.org"));
}

#[tokio::test]
async fn what_is_stated_is_what_was_answered() {
    let bench = bench().await;
    let signed = bench.signed(message(1, ("192.0.2.7", "h.example", "a@example.org"), HEADER)).await;
    assert_eq!(bench.verifier.known(&signed), [], "nobody asked");
    bench.outcomes(&signed, AuthMethod::Dmarc).await;
    let known = |found: &[AuthResult]| -> Vec<_> { found.iter().map(|one| (one.method, one.outcome)).collect() };
    assert_eq!(known(&bench.verifier.known(&signed)), [(AuthMethod::Dmarc, "pass")], "nobody asked for the others");
    let all = bench.verifier.examine(&signed, Duration::from_secs(5)).await;
    let stated =
        [(AuthMethod::Spf, "pass"), (AuthMethod::Dkim, "pass"), (AuthMethod::Dmarc, "pass"), (AuthMethod::Arc, "none")];
    assert_eq!(known(&all), stated);
    assert_eq!(all, bench.verifier.known(&signed));
    assert_eq!(all[1].properties.get("header.b").map(String::len), Some(12));
    assert_eq!(bench.dns.times_asked("s._domainkey.example.org", "TXT"), 1);

    let unsigned = message(2, ("192.0.2.7", "h.example", "a@example.org"), HEADER);
    let found = bench.verifier.examine(&unsigned, Duration::from_secs(5)).await;
    assert!(known(&found).contains(&(AuthMethod::Dkim, "none")), "{found:?}");
    let late = message(3, ("192.0.2.7", "h.example", "a@silent.example"), HEADER);
    let found = bench.verifier.examine(&late, Duration::from_millis(20)).await;
    assert_eq!((found[0].outcome, found[0].properties.len()), ("temperror", 1), "{found:?}");
}

#[tokio::test]
async fn what_hostile_mail_can_cost_is_bounded() {
    let bench = bench().await;
    let field = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=dN.example; s=s; h=from; bh=47DEQpj8HBSa+/TImW+\
                 5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n";
    let many: String = (0..50).map(|number| field.replace("dN", &format!("d{number}"))).collect();
    let message = message(1, ("192.0.2.7", "h.example", "a@example.org"), &format!("{many}{HEADER}"));
    let found = bench.outcomes(&message, AuthMethod::Dkim).await;
    assert!(!found.is_empty() && found.len() <= 2 * SIGNATURES_MAX, "{found:?}");
    assert!(found.iter().all(|(outcome, _)| *outcome != "pass"));
}
