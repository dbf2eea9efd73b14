//! Signatures as a receiver sees them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin};
use basin_core::time::Timestamp;
use bytes::Bytes;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};
use proptest::prelude::*;

use super::arc::Sealed;
use super::lookup::KnownKeys;
use super::*;

/// An RSA key of 1024 bits, made for this test.
const SMALL: &str = "-----BEGIN RSA PRIVATE KEY-----
MIICWwIBAAKBgQDCJM5a3iG50q8iwo1EquQYMCXGUqdL3dWltVaXZ1TL0DKvB3ft
VR0tt8+67bvygF1+YVB7+qEnGKK1NbTYn4gA6HHPIYklCB4zMkGxX6hoz33VxmOx
kAF3k11xxKc42V1nXcYgQv/+YExiCMbf5lTkTwJHG+ds50lvRgrKeFlHIwIDAQAB
AoGACAQhCRt25QdP9+10i8tKk70ZMjEjezxzn93271Vy6N912EhEqWYESGj4iM1c
H00xjxBRlGzqzoRz42uORguAQAbufMEzMEWdFL6IDQNHyN2710yKpAfYzK3JI7DJ
ZI6aNrpfY7A1OEmX/2O5s6//NZmZ6OTaoYNq/dgDoDGhbtECQQDklWgBhEJBHVfn
trIW61JjUzTzNK3fvvDdLS97C5qnu8vM2wV+i/HQ+UiAw/15QTnr1rezfwLwbBtE
Z6nPI3iNAkEA2W3vMjBDxAmGwFhVDyTCpf9kDXc8+QbgJvlwFUieAU9dczOQ3zwv
fJDgy3SnnEtUycSVY+lreS6Rl+tiw+yKbwJAfeTnzoYIc5J0utL9jO/4hWnrbNOj
u+qPAFIFp5BBkoY0/dPXV9Y9zemuC/Vl4mWRQBoXPQ4EEWSJNAigFsyjdQJAbDSY
sIpyfxIanIiZNCMgN4pE2aq4jloMnXjPfdgYwiAkKpvEAkSqgTx8kuQoMdEPjiYm
DoXwtWsmi8tZ6JVEQwJARdKmfbvgO3g6aD+l0OPOisRdCgBjxzPiyi8QR8OefMzw
/Pvj19RQxMlZjwokH/IxUAxWYig5jokmzr42anjR0Q==
-----END RSA PRIVATE KEY-----";

fn publish(published: &KnownKeys, domain: &str, selector: &str, key: &SigningKey) {
    let record = DomainKey::parse(record_text(key).as_bytes()).expect("a record");
    let name = format!("{}.", record_name(domain, selector));
    published.insert(name.into(), Txt::DomainKey(Arc::new(record)), Instant::now() + Duration::from_secs(3_600));
}

fn key(kind: KeyKind) -> Arc<SigningKey> {
    let pem = generate(kind).expect("a key");
    Arc::new(SigningKey::from_pem(pem.as_bytes()).expect("usable"))
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_seconds(since.as_secs().try_into().expect("fits"))
}

fn message(header: &str, body: &str) -> Message {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::default(),
        listener: String::new(),
        client: Some("192.0.2.1:1".parse().expect("an address")),
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let sender = Address::parse("sender@sender.example").expect("valid");
    let mut message = Message::new(MessageId::parse("1-1").expect("an id"), arrival, Envelope::new(Some(sender)));
    message.header = Arc::new(HeaderBlock::parse(&Bytes::from(header.to_owned())).expect("small"));
    message.body = Body::from_bytes(body.to_owned());
    message
}

fn text(message: &Message, fields: &[basin_core::mail::Field]) -> Vec<u8> {
    let mut text: Vec<u8> = fields.iter().flat_map(|field| field.raw().to_vec()).collect();
    text.extend(message.header.to_bytes());
    text.extend(message.separator());
    text.extend(message.body.read(0, usize::MAX).expect("memory"));
    text
}

fn verifier() -> MessageAuthenticator {
    let nobody = ["127.0.0.1:1".parse().expect("an address")];
    MessageAuthenticator(super::lookup::resolver(&nobody).expect("a resolver"))
}

async fn dkim(text: &[u8], published: &KnownKeys) -> Vec<bool> {
    let parsed = AuthenticatedMessage::parse(text).expect("a message");
    let found = verifier().verify_dkim(Parameters::new(&parsed).with_txt_cache(published)).await;
    found.iter().map(|one| *one.result() == DkimResult::Pass).collect()
}

const HEADER: &str = "From: A <a@example.org>\r\nTo: b@two.example\r\nSubject: one\r\n two\r\nDate: today\r\n";
const BODY: &str = "hello \t world  \r\n\r\n.\r\n\r\n\r\n";

#[tokio::test]
async fn every_key_of_the_domain_signs_and_receivers_agree() {
    let (rsa, ed) = (key(KeyKind::Rsa(2048)), key(KeyKind::Ed25519));
    let published = KnownKeys::default();
    publish(&published, "example.org", "r", &rsa);
    publish(&published, "example.org", "e", &ed);
    for forms in [Canonicalization::Relaxed, Canonicalization::Simple] {
        let with = |identity: DkimIdentity| DkimIdentity {
            header_canonicalization: forms,
            body_canonicalization: forms,
            expires_after: Some(Duration::from_secs(3_600)),
            ..identity
        };
        let identities = vec![
            with(DkimIdentity::new("Example.org", "r", rsa.clone())),
            with(DkimIdentity::new("example.org", "e", ed.clone())),
        ];
        let signer = Signer::new(identities, None, Vec::new());
        let message = message(HEADER, BODY);
        let at = now();
        let signed = signer.sign(message.clone(), Standing::Submitted, at).await.expect("signed");
        assert_eq!(signed.by, ["r._domainkey.example.org", "e._domainkey.example.org"]);
        assert_eq!(dkim(&text(&message, &signed.fields), &published).await, [true, true], "{forms:?}");
        let again = signer.sign(message, Standing::Submitted, at).await.expect("signed");
        assert_eq!(again, signed, "the same message at the same time has the same signature");
    }
}

#[tokio::test]
async fn nobody_can_add_a_second_from_or_subject_and_trace_fields_do_not_matter() {
    let ed = key(KeyKind::Ed25519);
    let published = KnownKeys::default();
    publish(&published, "example.org", "e", &ed);
    let signer = Signer::new(vec![DkimIdentity::new("example.org", "e", ed)], None, Vec::new());
    let message = message(HEADER, BODY);
    let signed = signer.sign(message.clone(), Standing::Submitted, now()).await.expect("signed");
    let whole = String::from_utf8(text(&message, &signed.fields)).expect("ASCII");
    assert!(!whole.contains(" l="), "a length would let anybody add to the body");
    let verdict = async |text: String| dkim(text.as_bytes(), &published).await;
    assert_eq!(verdict(format!("Received: by somebody\r\nReturn-Path: <x@y>\r\n{whole}")).await, [true]);
    for added in [
        "From: evil@evil.example\r\n",
        "Subject: other\r\n",
        "To: c@c.example\r\n",
        "Reply-To: x@y.example\r\n",
        "Content-Type: text/html\r\n",
    ] {
        assert_eq!(verdict(format!("{added}{whole}")).await, [false], "{added}");
        assert_eq!(
            verdict(whole.replace("Date: today\r\n", &format!("Date: today\r\n{added}"))).await,
            [false],
            "{added}"
        );
    }
    assert_eq!(verdict(format!("{whole}more\r\n")).await, [false]);
}

#[tokio::test]
async fn a_large_body_is_hashed_in_pieces_as_if_it_were_one() {
    let ed = key(KeyKind::Ed25519);
    let published = KnownKeys::default();
    publish(&published, "example.org", "e", &ed);
    let signer = Signer::new(vec![DkimIdentity::new("example.org", "e", ed)], None, Vec::new());
    // Line ends and white space fall on the cuts at 64 KiB in every way.
    for shift in 0..4 {
        let body = format!("{}\r\n", "x".repeat(shift)) + &"a  \t\r\n\r\n".repeat(40_000) + "end\r\n\r\n\r\n";
        let message = message(HEADER, &body);
        let signed = signer.sign(message.clone(), Standing::Submitted, now()).await.expect("signed");
        assert_eq!(dkim(&text(&message, &signed.fields), &published).await, [true], "{shift}");
    }
}

#[test]
fn who_signs_is_the_author_then_the_sender_and_nobody_for_two_authors() {
    let ed = key(KeyKind::Ed25519);
    let wide = DkimIdentity { covers_subdomains: true, ..DkimIdentity::new("wide.example", "w", ed.clone()) };
    let own = |domain: &str| DkimIdentity::new(domain, "s", ed.clone());
    let signer = Signer::new(vec![own("example.org"), own("sender.example"), wide], None, Vec::new());
    let by = |header: &str| {
        let message = message(header, "");
        signer.identities(&message).first().map(|identity| identity.domain.clone()).unwrap_or_default()
    };
    assert_eq!(by("From: a@EXAMPLE.org\r\n"), "example.org");
    assert_eq!(by("From: \"x@wide.example\" <a@example.org>\r\n"), "example.org");
    assert_eq!(by("From: a@news.wide.example\r\n"), "wide.example");
    assert_eq!(by("From: a@news.example.org\r\n"), "sender.example", "not below without being asked to");
    assert_eq!(by("From: a@elsewhere.example\r\n"), "sender.example");
    assert_eq!(by("From: a@example.org, b@example.org\r\n"), "example.org");
    for none in ["", "From: a@example.org, b@wide.example\r\n", "From: a@example.org\r\nFrom: b@example.org\r\n"] {
        assert_eq!(by(none), "", "{none:?}");
    }
}

#[tokio::test]
async fn mail_from_elsewhere_gets_no_signature_in_our_name() {
    let signer = Signer::new(vec![DkimIdentity::new("example.org", "e", key(KeyKind::Ed25519))], None, Vec::new());
    let signed = signer.sign(message(HEADER, BODY), Standing::Foreign, now()).await.expect("nothing failed");
    assert_eq!(signed, Signed::default());
}

#[tokio::test]
async fn a_chain_of_seals_holds_and_says_what_was_found() {
    let (origin, rsa, ed) = (key(KeyKind::Ed25519), key(KeyKind::Rsa(2048)), key(KeyKind::Ed25519));
    let published = KnownKeys::default();
    publish(&published, "example.org", "o", &origin);
    publish(&published, "first.example", "r", &rsa);
    publish(&published, "second.example", "e", &ed);
    let identity = |domain: &str, selector: &str, key: &Arc<SigningKey>| ArcIdentity {
        domain: domain.to_owned(),
        selector: selector.to_owned(),
        key: key.clone(),
        headers: HeaderList::default(),
        authority: format!("mx.{domain}"),
    };
    let author = Signer::new(vec![DkimIdentity::new("example.org", "o", origin)], None, Vec::new());
    let mut message = message(HEADER, BODY);
    let signed = author.sign(message.clone(), Standing::Submitted, now()).await.expect("signed");
    put(&mut message, signed.fields);
    let hops = [(identity("first.example", "r", &rsa), "none"), (identity("second.example", "e", &ed), "pass")];
    for (identity, expected) in &hops {
        let sealed = identity.seal(message.clone(), &verifier(), &published).await.expect("sealed");
        let (fields, chain) = fields_of(sealed);
        assert_eq!((fields.len(), chain), (3, *expected));
        put(&mut message, fields);
        let whole = text(&message, &[]);
        let parsed = AuthenticatedMessage::parse(&whole).expect("a message");
        let arc = verifier().verify_arc(Parameters::new(&parsed).with_txt_cache(&published)).await;
        assert_eq!(arc.result(), &DkimResult::Pass, "{}", String::from_utf8_lossy(&whole));
        assert!(String::from_utf8_lossy(&whole).contains("dkim=pass"));
    }
    // Whoever changes the body on the way breaks the chain, and the next seal says so once and for all.
    message.body = Body::from_bytes("other\r\n");
    let broken = hops[0].0.seal(message.clone(), &verifier(), &published).await.expect("looked");
    let (fields, chain) = fields_of(broken);
    assert_eq!(chain, "fail");
    put(&mut message, fields);
    let after = hops[1].0.seal(message, &verifier(), &published).await.expect("looked");
    assert_eq!(after, Sealed::Nothing("the chain was broken before it came here"));
}

fn fields_of(sealed: Sealed) -> (Vec<basin_core::mail::Field>, &'static str) {
    match sealed {
        Sealed::Fields(fields, chain) => (fields, chain),
        Sealed::Nothing(why) => (Vec::new(), why),
    }
}

fn put(message: &mut Message, fields: Vec<basin_core::mail::Field>) {
    let header = Arc::make_mut(&mut message.header);
    fields.into_iter().rev().for_each(|field| header.insert(0, field).expect("fits"));
}

#[test]
fn keys_are_refused_by_size_and_form_and_never_shown() {
    let refused = |text: &str| SigningKey::from_pem(text.as_bytes()).expect_err("refused");
    assert_eq!(refused(SMALL), KeyError::TooSmall);
    assert_eq!(refused("no key"), KeyError::NotPem);
    assert_eq!(refused("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), KeyError::Unusable);
    assert_eq!(generate(KeyKind::Rsa(1024)), Err(KeyError::Size(1024)));
    let pem = generate(KeyKind::Ed25519).expect("a key");
    let key = SigningKey::from_pem(pem.as_bytes()).expect("usable");
    let shown = format!("{:?}", DkimIdentity::new("example.org", "e", Arc::new(key)));
    let secret = pem.lines().nth(1).expect("a line");
    assert!(shown.contains("SigningKey(Ed25519)") && !shown.contains(&secret[20..]), "{shown}");
}

#[test]
fn lists_of_fields_are_checked() {
    let list = |names: &[&str]| HeaderList::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert!(list(&["from", "X-Own", "FROM"]).is_ok());
    assert_eq!(list(&["To"]), Err(HeaderListError::NoFrom));
    assert_eq!(list(&["From", "Received"]), Err(HeaderListError::Changes("Received".into())));
    assert_eq!(list(&["From", "a:b"]), Err(HeaderListError::Name("a:b".into())));
    assert_eq!(list(&["From", "a;b=c"]), Err(HeaderListError::Name("a;b=c".into())));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_header_and_no_body_breaks_the_signer(
        fields in proptest::collection::vec("(From|To|Subject|X)( )?:[ a-z@.<>,\t]{0,30}(\r\n [a-z ]{0,9})?\r\n|[a-z ]{0,9}\r\n", 0..8),
        lines in proptest::collection::vec("[a-z \t]{0,20}\r\n", 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let ed = key(KeyKind::Ed25519);
        let signer = Signer::new(vec![DkimIdentity::new("sender.example", "e", ed)], None, Vec::new());
        let message = message(&fields.concat(), &lines.concat());
        let signed = runtime.block_on(signer.sign(message, Standing::Submitted, now()));
        prop_assert!(signed.expect("signed or not").fields.len() <= 1);
    }
}
