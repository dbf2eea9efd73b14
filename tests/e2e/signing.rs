//! What programs leave as files becomes mail, and what leaves for other servers is signed.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fs;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::server::TestServer;
use basin_tests::settings::Settings;
use basin_tests::wait::{self, PATIENCE};
use mail_auth::common::crypto::{RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};

use crate::{HELLO, Outcome, SENDER, USER};

/// Mail of the server's own domain for another one.
const OUT: &[u8] = b"From: <user@basin.example>\r\nTo: <friend@far.example>\r\nSubject: hello\r\n\
    Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <out@basin.example>\r\n\r\nHello.\r\n.dot\r\n";

/// The records of keys, in place of the DNS.
#[derive(Default)]
struct Published(HashMap<String, Txt>);

impl Published {
    // Takes what `basin dkim keygen` says is to be published.
    fn add(&mut self, said: &str) {
        let name = said.split_whitespace().find(|word| word.contains("._domainkey.")).expect("a name");
        let record = said.split_once(" TXT (").and_then(|(_, rest)| rest.split_once(')')).expect("a record").0;
        let record: String = record.split('"').skip(1).step_by(2).collect();
        let key = DomainKey::parse(record.as_bytes()).expect("a record");
        self.0.insert(name.to_owned(), Txt::DomainKey(Arc::new(key)));
    }

    // Domain of each signature of a message, and whether it is right.
    fn verdicts(&self, content: &[u8]) -> Vec<(String, bool)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            // Every record is there, so nobody is asked.
            let verifier = MessageAuthenticator::new_cloudflare().expect("a resolver");
            let parsed = AuthenticatedMessage::parse(content).expect("a message");
            let found = verifier.verify_dkim(Parameters::new(&parsed).with_txt_cache(self)).await;
            let domain = |one: &mail_auth::DkimOutput<'_>| one.signature().map(|signature| signature.d.clone());
            let verdict = |one| (domain(one).unwrap_or_default(), *one.result() == DkimResult::Pass);
            found.iter().map(verdict).collect()
        })
    }
}

impl ResolverCache<Box<str>, Txt> for Published {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        self.0.iter().find(|(known, _)| Box::<str>::from(known.as_str()).borrow() == name).map(|(_, text)| text.clone())
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _name: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _name: Box<str>, _text: Txt, _until: Instant) {}
}

fn drop_file(directory: &Path, name: &str, text: &str) -> Outcome {
    let unfinished = directory.join(format!("{name}.tmp"));
    fs::write(&unfinished, text)?;
    fs::rename(unfinished, directory.join(name))
}

// A server with a key for its domain, that sends everything to `hop`; the key is made by the command line.
fn signing_server(hop: &NextHop) -> std::io::Result<(TestServer, Published)> {
    let settings = Settings {
        relay_clients: "[\"127.0.0.0/8\"]".to_owned(),
        tables: format!("[[route]]\ndomains = [\"far.example\"]\nhosts = [\"{}\"]\n", hop.address()),
        ..Settings::usual()
    };
    let mut server = TestServer::prepare(settings.clone())?;
    let key = server.home().join("key.pem").display().to_string();
    let made =
        ["dkim", "keygen", "--domain", "basin.example", "--selector", "e", "--algorithm", "ed25519", "--out", &key];
    let said = server.basin_ok(&made)?;
    assert!(said.contains("e._domainkey.basin.example. IN TXT ( \"v=DKIM1; k=ed25519; p="), "{said}");
    let dkim = format!("[[dkim]]\ndomain = \"basin.example\"\nselector = \"e\"\nkey-file = \"{key}\"\n");
    let pickup = format!("[pickup]\ndirectory = \"{}/pickup\"\n", server.home().display());
    server.write_config(&format!("{}{dkim}{pickup}", settings.text(server.home())))?;
    server.launch()?;
    let mut published = Published::default();
    published.add(&said);
    Ok((server, published))
}

#[test]
fn files_in_the_pickup_directory_become_mail_and_go() -> Outcome {
    let mut server = TestServer::prepare(Settings::usual())?;
    let directory = server.home().join("pickup");
    let text = fs::read_to_string(server.config_path())?;
    server.write_config(&format!("{text}[pickup]\ndirectory = \"{}\"\n", directory.display()))?;
    server.launch()?;
    drop_file(
        &directory,
        "one",
        &format!("x-sender: {SENDER}\nx-receiver: {USER}\nFrom: <{SENDER}>\nBcc: x@y.example\n\nHello.\n"),
    )?;
    drop_file(&directory, "two", "Subject: for nobody\n\n")?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    let mail = mails.first().expect("one");
    assert!(mail.octets.ends_with(b"\r\n\r\nHello.\r\n"), "{}", String::from_utf8_lossy(&mail.octets));
    assert_eq!((mail.header("Return-Path"), mail.header("Bcc")), (Some(format!("<{SENDER}>")), None));
    let reason = directory.join("bad/two.reason");
    assert!(wait::until_true(PATIENCE, || reason.exists()), "{}", server.log());
    assert!(wait::until_true(PATIENCE, || !directory.join("one").exists() && !directory.join("two").exists()));
    assert_eq!(server.maildir("user").read()?.len(), 1);
    Ok(())
}

#[test]
fn mail_of_clients_that_may_relay_leaves_signed_once_and_otherwise_as_it_came() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let (server, published) = signing_server(&hop)?;
    let mut client = server.client()?;
    client.deliver("user@basin.example", &["friend@far.example"], OUT)?.require(250)?;
    drop_file(
        &server.home().join("pickup"),
        "one",
        "From: <user@basin.example>\nTo: <friend@far.example>\n\nHello.\n",
    )?;
    assert!(wait::until_true(PATIENCE, || hop.taken().len() == 2), "{}", server.log());
    for taken in hop.taken() {
        let text = String::from_utf8_lossy(&taken.content()).into_owned();
        assert!(
            text.starts_with("DKIM-Signature: v=1; a=ed25519-sha256; s=e; d=basin.example; c=relaxed/relaxed;"),
            "{text}"
        );
        assert_eq!(text.matches("DKIM-Signature:").count(), 1, "{text}");
        assert_eq!(published.verdicts(&taken.content()), [("basin.example".to_owned(), true)], "{text}");
    }
    let sent = String::from_utf8_lossy(OUT).into_owned();
    let is_whole = hop.taken().iter().any(|taken| String::from_utf8_lossy(&taken.content()).ends_with(&sent));
    assert!(is_whole, "below what was added the message is as it was sent");
    Ok(())
}

#[test]
fn a_signature_that_mail_comes_with_is_right_behind_the_server_too() -> Outcome {
    let hop = NextHop::start(Manners::default())?;
    let (server, mut published) = signing_server(&hop)?;
    let key = server.home().join("other.pem").display().to_string();
    let made = ["dkim", "keygen", "--domain", "client.example", "--selector", "o", "--algorithm", "rsa", "--out", &key];
    published.add(&server.basin_ok(&made)?);
    #[allow(deprecated, reason = "the other way needs a further crate to read PEM")]
    let key = RsaKey::<Sha256>::from_pkcs8_pem(&fs::read_to_string(key)?).expect("a key");
    // The strictest form: an octet that changes breaks it.
    let letter = String::from_utf8_lossy(OUT).replace("Subject: hello", "Subject:  hello \t there").into_bytes();
    let signer = DkimSigner::from_key(key).domain("client.example").selector("o").headers(["From", "To", "Subject"]);
    let signer =
        signer.header_canonicalization(Canonicalization::Simple).body_canonicalization(Canonicalization::Simple);
    let signed = [signer.sign(&letter).expect("signed").to_header().into_bytes(), letter].concat();
    assert_eq!(published.verdicts(&signed), [("client.example".to_owned(), true)], "before it is sent");
    server.client()?.deliver("user@basin.example", &["friend@far.example"], &signed)?.require(250)?;
    assert!(wait::until_true(PATIENCE, || hop.taken().len() == 1), "{}", server.log());
    let content = hop.taken().remove(0).content();
    assert!(content.ends_with(&signed), "{}", String::from_utf8_lossy(&content));
    let mut verdicts = published.verdicts(&content);
    verdicts.sort_unstable();
    assert_eq!(verdicts, [("basin.example".to_owned(), true), ("client.example".to_owned(), true)]);
    let broken = String::from_utf8_lossy(&content).replace("Hello.", "Hallo.").into_bytes();
    assert!(published.verdicts(&broken).iter().all(|(_, is_right)| !is_right), "the verifier sees a change");
    Ok(())
}

#[test]
fn mail_of_others_is_not_signed_and_a_key_that_others_can_read_stops_the_start() -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let hop = NextHop::start(Manners::default())?;
    let (mut server, _) = signing_server(&hop)?;
    let mut client = server.client()?;
    client.deliver(SENDER, &["friend@far.example"], HELLO)?.require(250)?;
    assert!(wait::until_true(PATIENCE, || hop.taken().len() == 1), "{}", server.log());
    let text = String::from_utf8_lossy(&hop.taken().first().expect("one").content()).into_owned();
    assert!(!text.contains("DKIM-Signature"), "there is no key for client.example: {text}");
    server.terminate()?;
    fs::set_permissions(server.home().join("key.pem"), fs::Permissions::from_mode(0o644))?;
    assert!(server.launch().is_err(), "it must not start");
    assert!(server.log().contains("chmod 600"), "{}", server.log());
    Ok(())
}
