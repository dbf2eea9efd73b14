//! Authentication-Results over the wire: forged fields go before sinks see them, and what is stated is what was found.

use std::fs;
use std::io;

use basin_test_dns::{TestDns, Zone};
use basin_tests::server::{TestServer, guest};
use basin_tests::settings::Settings;
use basin_tests::wait::{PATIENCE, until_true};
use mail_auth::common::crypto::{RsaKey, Sha256};
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use tokio::runtime::Runtime;

use crate::{HELLO, Outcome, SENDER, USER};

const ZONE: &str = "
    client.example TXT v=spf1 ip4:127.0.0.1 -all
    _dmarc.client.example TXT v=DMARC1; p=reject
    late.example TXT v=spf1 include:silent.example -all
    !silence silent.example
";

/// Fields that claim to be this server's, in forms that readers differ about, and one of somebody else.
const FORGED: &str = "Authentication-Results: mx.basin.example; dkim=pass header.d=bank.example\r\n\
    authentication-results :\r\n\t(hello) \"MX.Basin.Example\" 1; spf=pass\r\n\
    Authentication-Results: other.example; spf=pass\r\n\
    Authentication-Results: (open mx.basin.example; dmarc=pass\r\n";

const KEPT: &str = "other.example; spf=pass";

struct Bench {
    server: TestServer,
    dns: TestDns,
    _runtime: Runtime,
}

fn bench(settings: Settings, section: &str, records: &str) -> io::Result<Bench> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let zone = Zone::parse(&format!("{ZONE}{records}")).map_err(io::Error::other)?;
    let dns = runtime.block_on(TestDns::start(zone))?;
    let more = format!("[dns]\nservers = [\"{}\"]\n[message-auth]\n{section}\n", dns.address());
    let server = TestServer::start_with(Settings { tables: settings.tables.clone() + &more, ..settings })?;
    Ok(Bench { server, dns, _runtime: runtime })
}

// A probe that plays a script at an event, in force.
fn add(server: &TestServer, name: &str, event: &str, script: &str) -> Outcome {
    let count = || server.log().matches("registry in force").count();
    let (before, script) = (count(), format!("script={script}"));
    let grants = ["--grant", "message-auth", "--grant", "read-headers", "--grant", "edit-headers", "--set", &script];
    server.sink_add(&guest("probe"), name, event, &grants)?;
    assert!(until_true(PATIENCE, || count() > before), "{}", server.log());
    Ok(())
}

fn deliver(server: &TestServer, from: &str, text: &[u8]) -> io::Result<Vec<String>> {
    server.client()?.deliver(from, &[USER], text)?.require(250)?;
    let mailbox = server.maildir("user");
    let mails = mailbox.wait_for(1, PATIENCE)?;
    let fields = mails.first().map(|mail| fields(&mail.octets)).unwrap_or_default();
    for name in mailbox.names()? {
        fs::remove_file(mailbox.path().join(name))?;
    }
    Ok(fields)
}

// Values of the fields of that name, however it is written.
fn fields(octets: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(octets).replace("\r\n", "\n");
    let (header, _) = text.split_once("\n\n").unwrap_or((&text, ""));
    let unfolded = header.replace("\n ", " ").replace("\n\t", "\t");
    let parts = unfolded.lines().filter_map(|line| line.split_once(':'));
    let ours = parts.filter(|(name, _)| name.trim().eq_ignore_ascii_case("Authentication-Results"));
    ours.map(|(_, value)| value.trim().to_owned()).collect()
}

// A record of a key and the signature of a message with it.
fn signed(home: &std::path::Path, text: &[u8]) -> io::Result<(String, Vec<u8>)> {
    let prepared = TestServer::prepare(Settings::usual())?;
    let file = home.join("key.pem").display().to_string();
    let made = ["--domain", "client.example", "--selector", "s", "--algorithm", "rsa", "--out", &file];
    let said = prepared.basin_ok(&[&["dkim", "keygen"], made.as_slice()].concat())?;
    let record = said.split_once(" TXT (").and_then(|(_, rest)| rest.split_once(')'));
    let (record, _) = record.ok_or_else(|| io::Error::other("no record"))?;
    let record: String = record.split('"').skip(1).step_by(2).collect();
    #[allow(deprecated, reason = "the other way needs a further crate to read PEM")]
    let key = RsaKey::<Sha256>::from_pkcs8_pem(&fs::read_to_string(&file)?).map_err(io::Error::other)?;
    let signer = DkimSigner::from_key(key).domain("client.example").selector("s");
    let signer = signer.headers(["From", "Subject", "Authentication-Results"]);
    let signer =
        signer.header_canonicalization(Canonicalization::Simple).body_canonicalization(Canonicalization::Simple);
    let field = signer.sign(text).map_err(io::Error::other)?.to_header();
    Ok((format!("s._domainkey.client.example TXT {record}\n"), [field.as_bytes(), text].concat()))
}

#[test]
fn what_is_found_is_stated_once_and_what_was_forged_nobody_sees() -> Outcome {
    let home = tempfile::tempdir()?;
    // The signature covers the fields that are taken out: it is right for what came.
    let (record, text) = signed(home.path(), &[FORGED.as_bytes(), HELLO].concat())?;
    let Bench { server, dns, _runtime } = bench(Settings::usual(), "check = \"always\"", &record)?;
    add(&server, "early", "on-end-of-headers", "header|Authentication-Results\nset-header|Subject|changed")?;
    add(&server, "late", "on-end-of-data", "header|Authentication-Results\nverify|dkim\nverify|dmarc")?;
    let fields = deliver(&server, SENDER, &text)?;
    let [ours, kept] = fields.as_slice() else { return Err(io::Error::other(format!("{fields:?}"))) };
    assert_eq!(kept, KEPT);
    assert!(ours.starts_with("mx.basin.example; spf=pass smtp.mailfrom=sender@client.example; dkim=pass "), "{ours}");
    for words in [
        "header.d=client.example header.s=s header.a=rsa-sha256 header.b=",
        "dmarc=pass header.from=client.example",
        "arc=none",
    ] {
        assert!(ours.contains(words), "{ours}");
    }
    let log = server.log().replace("\\\"", "\"");
    assert_eq!(log.matches(&format!("header: Some(\"{KEPT}\")")).count(), 2, "{log}");
    assert!(log.contains("verify: ok [(\"dkim\", \"pass\", \"client.example\""), "{log}");
    for (name, kind) in
        [("s._domainkey.client.example", "TXT"), ("client.example", "TXT"), ("_dmarc.client.example", "TXT")]
    {
        assert_eq!(dns.times_asked(name, kind), 1, "{name}: {:?}", dns.asked());
    }
    Ok(())
}

#[test]
fn on_demand_only_what_sinks_asked_for_is_stated() -> Outcome {
    let Bench { server, dns, _runtime } = bench(Settings::usual(), "authserv-id = \"basin.example\"", "")?;
    let text = [b"Authentication-Results: Basin.example; spf=pass\r\n", FORGED.as_bytes(), HELLO].concat();
    assert_eq!(deliver(&server, SENDER, &text)?, [KEPT]);
    assert_eq!(dns.asked(), [], "nobody wanted to know");
    add(&server, "asks", "on-end-of-data", "verify|spf")?;
    let stated = "basin.example; spf=pass smtp.mailfrom=sender@client.example";
    assert_eq!(deliver(&server, SENDER, &text)?, [stated, KEPT]);
    Ok(())
}

#[test]
fn name_servers_that_are_silent_cost_the_set_time_and_no_message() -> Outcome {
    let Bench { server, .. } = bench(Settings::usual(), "check = \"always\"\nmax-time = \"300ms\"", "")?;
    let fields = deliver(&server, "a@late.example", HELLO)?;
    let [ours] = fields.as_slice() else { return Err(io::Error::other(format!("{fields:?}"))) };
    assert!(
        ours.contains("spf=temperror reason=\"name servers did not answer in time\" smtp.mailfrom=a@late.example"),
        "{ours}"
    );
    Ok(())
}

#[test]
fn servers_of_the_same_administration_are_believed() -> Outcome {
    let section = "check = \"always\"\ntrusted = [\"127.0.0.1\"]";
    let Bench { server, dns, _runtime } = bench(Settings::usual(), section, "")?;
    let fields = deliver(&server, SENDER, &[FORGED.as_bytes(), HELLO].concat())?;
    assert_eq!(fields.len(), 4, "{fields:?}");
    assert_eq!(dns.asked(), []);
    Ok(())
}

#[test]
fn who_logged_in_is_named_and_not_examined() -> Outcome {
    let mut server = crate::auth::server_with("[message-auth]\ncheck = \"always\"\n")?;
    let mut client = server.client()?;
    client.start_tls("mx.basin.example")?;
    client.command("EHLO client.example")?.require(250)?;
    client.command(crate::auth::RIGHT)?.require(235)?;
    client.deliver(SENDER, &[USER], &[FORGED.as_bytes(), HELLO].concat())?.require(250)?;
    let mails = server.maildir("user").wait_for(1, PATIENCE)?;
    let fields = mails.first().map(|mail| fields(&mail.octets)).unwrap_or_default();
    assert_eq!(fields, ["mx.basin.example; auth=pass smtp.auth=alice", KEPT]);
    server.terminate()?;
    Ok(())
}
