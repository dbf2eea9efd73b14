use super::*;

use std::io::Read;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::mail::{Field, Message};
use basin_core::time::Timestamp;
use basin_test_dns::{TestDns, Zone};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dns::{DnsOptions, Resolver};
use crate::web_tests::Web;

/// A day long past, so that it is over.
const DAY: u64 = 20_000;

fn policy(domain: &str) -> PolicyFacts {
    PolicyFacts::new(Some(domain), None, None)
}

fn ledger(directory: &TempDir) -> TlsReports {
    TlsReports::new(TlsReportOptions::new(directory.path().to_owned()))
}

fn failure() -> Result<(), Failure> {
    Err(Failure::new(Kind::CertificateExpired, "it ran out\r\nlong ago"))
}

fn maker() -> ReportMaker {
    ReportMaker {
        organization: "Basin".to_owned(),
        contact: "postmaster@here.example".to_owned(),
        sender: Address::parse("tls-reports@here.example").expect("an address"),
        host_name: "mail.here.example".to_owned(),
    }
}

/// Sends what is due and gives the messages.
async fn run(reports: TlsReports, zone: &str, web: &Web) -> Vec<Message> {
    let dns = TestDns::start(Zone::parse(zone).expect("a zone")).await.expect("a server");
    let options = DnsOptions { servers: vec![dns.address()], ..DnsOptions::default() };
    let resolver = Resolver::new(options).expect("a resolver");
    let reporter = TlsReporter::new(Arc::new(reports), maker(), resolver, web.roots.clone()).expect("a reporter");
    let mut messages = Vec::new();
    let now = Timestamp::from_seconds(i64::try_from((DAY + 1) * DAY_SECONDS + 60).expect("a time"));
    reporter.run(now, || 7, |message| messages.push(message)).await.expect("a run");
    messages
}

fn unpacked(packed: &[u8]) -> Value {
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).expect("gzip");
    serde_json::from_str(&text).expect("JSON")
}

fn unbase64(text: &str) -> Vec<u8> {
    let digit = |octet| "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".find(char::from(octet));
    let digits: Vec<usize> = text.bytes().filter_map(digit).collect();
    let group = |group: &[usize]| {
        let bits = group.iter().chain([&0; 3]).take(4).fold(0, |bits, digit| bits << 6 | digit);
        let octets = [bits >> 16, bits >> 8, bits].map(|octet| u8::try_from(octet & 255).expect("an octet"));
        octets[..group.len() - 1].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

#[tokio::test]
async fn a_days_results_become_a_message_with_the_packed_report() {
    let directory = TempDir::new().expect("a directory");
    let reports = ledger(&directory);
    let source = Some(IpAddr::from([192, 0, 2, 9]));
    for _ in 0..3 {
        reports.note_on(DAY, &policy("example.org"), "mx.example.org", source, Ok(()));
    }
    reports.flush();
    reports.note_on(DAY, &policy("example.org"), "mx.example.org", source, failure());
    reports.note_on(DAY, &policy("silent.example"), "mx.silent.example", source, failure());
    let web = Web::start("unused.example").await;
    let zone = "_smtp._tls.example.org TXT v=TLSRPTv1; rua=mailto:tls@example.net";
    let messages = run(reports, zone, &web).await;

    let [message] = messages.as_slice() else { unreachable!("{messages:?}") };
    let value = |name| message.header.first(name).map(Field::value);
    assert_eq!(value("TLS-Report-Domain").as_deref(), Some("example.org"));
    assert_eq!(value("TLS-Report-Submitter").as_deref(), Some("mail.here.example"));
    assert_eq!(value("TLS-Required").as_deref(), Some("No"));
    assert_eq!(value("From").as_deref(), Some("<tls-reports@here.example>"));
    assert!(value("Content-Type").is_some_and(|it| it.starts_with("multipart/report; report-type=\"tlsrpt\"")));
    assert_eq!(message.envelope.sender, None);
    let length = usize::try_from(message.body.len()).expect("a short body");
    let body = String::from_utf8(message.body.read(0, length).expect("a body")).expect("text");
    assert!(body.lines().all(|line| line.len() <= 76 || line.contains("filename")), "{body}");
    let encoded = body.split("json.gz\"\r\n\r\n").nth(1).and_then(|rest| rest.split("\r\n--").next());
    let report = unpacked(&unbase64(encoded.expect("a part")));
    assert_eq!(report["date-range"]["start-datetime"], "2024-10-04T00:00:00Z");
    assert_eq!(report["date-range"]["end-datetime"], "2024-10-04T23:59:59Z");
    let expected = json!([{
        "policy": { "policy-type": "no-policy-found", "policy-domain": "example.org" },
        "summary": { "total-successful-session-count": 3, "total-failure-session-count": 1 },
        "failure-details": [{
            "result-type": "certificate-expired",
            "sending-mta-ip": "192.0.2.9",
            "receiving-mx-hostname": "mx.example.org",
            "failure-reason-code": "it ran out??long ago",
            "failed-session-count": 1,
        }],
    }]);
    assert_eq!(report["policies"], expected);
}

#[tokio::test]
async fn a_report_goes_to_a_web_server_and_the_day_is_forgotten() {
    let directory = TempDir::new().expect("a directory");
    let reports = ledger(&directory);
    reports.note_on(DAY, &policy("example.org"), "mx.example.org", None, failure());
    let web = Web::start("reports.example").await;
    web.set("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    let port = web.address.port();
    let zone = format!(
        "_smtp._tls.example.org TXT v=TLSRPTv1; rua=https://reports.example:{port}/v1\nreports.example A 127.0.0.1"
    );
    assert_eq!(run(reports, &zone, &web).await.len(), 0);
    let asked = web.asked();
    let end = asked[0].windows(4).position(|window| window == b"\r\n\r\n").expect("a header");
    let header = String::from_utf8_lossy(&asked[0][..end]);
    assert!(header.starts_with("POST /v1 HTTP/1.1") && header.contains("application/tlsrpt+gzip"), "{header}");
    assert_eq!(unpacked(&asked[0][end + 4..])["contact-info"], "postmaster@here.example");
    assert_eq!(run(ledger(&directory), &zone, &web).await.len(), 0);
    assert_eq!(web.asked().len(), 1);
}

#[test]
fn results_survive_an_end_and_a_line_that_was_cut_off() {
    let directory = TempDir::new().expect("a directory");
    ledger(&directory).note_on(DAY, &policy("example.org"), "mx", None, Ok(()));
    let path = directory.path().join(format!("{DAY}.jsonl"));
    let mut text = std::fs::read_to_string(&path).expect("a file");
    text += text.clone().get(..20).expect("a long line");
    std::fs::write(&path, &text).expect("a file");
    let sums = ledger(&directory).ledger.read(DAY).expect("sums");
    assert_eq!(sums["example.org"][&policy("example.org")].successes, 1);
}

#[test]
fn domains_failures_and_octets_are_bounded() {
    let directory = TempDir::new().expect("a directory");
    let options = TlsReportOptions { domains_max: 3, ..TlsReportOptions::new(directory.path().to_owned()) };
    let reports = TlsReports::new(options);
    for number in 0..10 {
        reports.note_on(DAY, &policy(&format!("d{number}.example")), "mx", None, Ok(()));
    }
    reports.flush();
    reports.note_on(DAY, &policy("late.example"), "mx", None, Ok(()));
    reports.flush();
    let names: Vec<_> = reports.ledger.read(DAY).expect("sums").into_keys().collect();
    assert_eq!(names.len(), 3);
    for number in 0..5_000 {
        reports.note_on(DAY, &policy(&names[0]), &format!("mx{number}"), None, failure());
    }
    reports.flush();
    let sums = reports.ledger.read(DAY).expect("sums");
    let tally = &sums[&names[0]][&policy(&names[0])];
    assert_eq!((tally.failures, tally.details.len()), (5_000, 100));
    let small = TlsReportOptions { file_bytes_max: 10, ..TlsReportOptions::new(directory.path().to_owned()) };
    let reports = TlsReports::new(small);
    reports.note_on(DAY + 1, &policy("example.org"), "mx", None, Ok(()));
    reports.flush();
    assert_eq!(reports.ledger.read(DAY + 1).expect("sums").len(), 0);
}

#[test]
fn a_connection_that_no_domain_has_a_say_in_is_not_counted() {
    let directory = TempDir::new().expect("a directory");
    let reports = ledger(&directory);
    reports.note_on(DAY, &PolicyFacts::new(None, None, None), "relay", None, Ok(()));
    reports.flush();
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
}
