//! Visits to domains whose TLSA records say with whom to talk.

use std::sync::Arc;

use basin_core::smtp::client::TlsProof;
use basin_core::transport::Route;
use basin_outbound::dns::{DnsOptions, Dnssec};
use basin_outbound::tls_report::{TlsReportOptions, TlsReports};
use basin_outbound::{Outbound, OutboundOptions, Visit};
use basin_test_dns::{TestDns, Zone};

use crate::certs::pinned;
use crate::feed::{Messages, options, with_field};
use crate::peer::{Peer, Plan};

// Visits a domain with that TLSA record, and gives what was counted for its report, too.
async fn visit_with(peer: &Peer, tlsa: &str) -> (Visit, Messages, String) {
    carry(peer, tlsa, Messages::new(1)).await
}

async fn carry(peer: &Peer, tlsa: &str, mut messages: Messages) -> (Visit, Messages, String) {
    let port = peer.address.port();
    let zone = format!(
        "!signed\ndane.example MX 10 mx.dane.example\nmx.dane.example A 127.0.0.1\n\
         _{port}._tcp.mx.dane.example TLSA {tlsa}\n"
    );
    let zone = Zone::parse(&zone).expect("a zone");
    let folder = tempfile::tempdir().expect("a folder");
    let anchor = folder.path().join("anchor");
    std::fs::write(&anchor, zone.trust_anchor().expect("a signed zone")).expect("written");
    let reported = folder.path().join("reports");
    std::fs::create_dir(&reported).expect("a folder");
    let reports = Arc::new(TlsReports::new(TlsReportOptions::new(reported.clone())));
    let dns = TestDns::start(zone).await.expect("a server");
    let dnssec = Dnssec::Validate { anchor: Some(anchor) };
    let dns = DnsOptions { servers: vec![dns.address()], dnssec, ..DnsOptions::default() };
    let options = OutboundOptions { dns, mx_port: port, reports: Some(reports.clone()), ..options() };
    let outbound = Outbound::new(options).expect("good options");
    let visit = outbound.visit(&Route::mx("dane.example"), &mut messages).await;
    reports.flush();
    let files = std::fs::read_dir(reported).expect("a folder").map(|file| file.expect("a file").path());
    let counted = files.map(|file| std::fs::read_to_string(file).expect("text")).collect();
    (visit, messages, counted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_a_record_names_is_proof_enough() {
    let (server, tlsa) = pinned();
    let peer = Peer::start(Plan { tls: Some(server), ..Plan::default() }).await;
    let (visit, messages, counted) = visit_with(&peer, &tlsa).await;
    assert_eq!(messages.accepted(), 2, "{visit:?}");
    let proofs: Vec<_> = visit.hops.iter().filter_map(|hop| hop.tls.as_ref()).map(|tls| tls.proof).collect();
    assert_eq!(proofs, [TlsProof::Dane]);
    assert!(counted.contains("\"tlsa\"") && !counted.contains("result-type"), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_no_record_names_ends_the_visit_and_is_counted() {
    let (server, _) = pinned();
    let (_, other) = pinned();
    let peer = Peer::start(Plan { tls: Some(server), ..Plan::default() }).await;
    let (visit, messages, counted) = visit_with(&peer, &other).await;
    assert_eq!((messages.taken, peer.messages().len(), peer.connections()), (0, 0, 1), "{visit:?}");
    assert!(visit.failure.is_some());
    assert!(counted.contains("tlsa-invalid"), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_record_and_without_tls_is_given_nothing() {
    let (_, tlsa) = pinned();
    let peer = Peer::start(Plan::default()).await;
    let (visit, messages, counted) = visit_with(&peer, &tlsa).await;
    assert_eq!((messages.taken, peer.messages().len(), peer.connections()), (0, 0, 1), "{visit:?}");
    assert!(counted.contains("starttls-not-supported"), "{counted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_says_so_goes_without_what_the_domain_demands_and_alone() {
    let (_, tlsa) = pinned();
    let peer = Peer::start(Plan::default()).await;
    let mut messages = Messages::new(2);
    messages.waiting[0] = with_field(0, "TLS-Required: No");
    let (visit, messages, counted) = carry(&peer, &tlsa, messages).await;
    assert_eq!((messages.accepted(), peer.messages().len()), (2, 1), "{visit:?}");
    assert_eq!(messages.waiting.len(), 1, "the other one is not given to a server that proves nothing");
    assert_eq!(counted, "", "what is not obeyed is not counted");
}
