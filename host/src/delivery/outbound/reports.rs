//! Keeps the counts for TLS reports, and sends the reports of each day that is over (RFC 8460).

use core::time::Duration;
use std::sync::Arc;

use basin_core::time::Timestamp;
use basin_outbound::tls_report::{TlsReporter, TlsReports};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::now;
use crate::services::Services;
use crate::shutdown::Phase;

/// How often what was counted is written. A crash loses as much.
const FLUSH_EVERY: Duration = Duration::from_mins(1);

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// Seconds after midnight (UTC) within which a server sends, each at a time of its own: RFC 8460 §4.1 asks for that,
/// so that nobody gets all reports at once.
const SPREAD_SECONDS: u64 = 4 * 3_600;

/// Who counts, who sends, and where to.
pub(crate) struct Reporting {
    /// Who makes the reports.
    pub(crate) reporter: TlsReporter,
    /// The counts.
    pub(crate) reports: Arc<TlsReports>,
    /// Where messages are stored.
    pub(crate) services: Arc<Services>,
}

impl Reporting {
    /// Runs until the server stops.
    pub(crate) async fn run(self, mut stop: watch::Receiver<Phase>) {
        let spread = self.services.randomness.number().unwrap_or(0) % SPREAD_SECONDS;
        let day = |time: Timestamp| (time.seconds - i64::try_from(spread).unwrap_or(0)).div_euclid(DAY_SECONDS);
        // The day before the first one: what a server that was down has not sent goes at its start.
        let mut sent = i64::MIN;
        while *stop.borrow() < Phase::Draining {
            let today = day(now());
            if sent != today {
                sent = today;
                self.send().await;
            }
            tokio::select! {
                () = sleep(FLUSH_EVERY) => {}
                _ = stop.wait_for(|phase| *phase >= Phase::Draining) => {}
            }
            self.reports.flush();
        }
    }

    async fn send(&self) {
        let mut messages = Vec::new();
        let random = || self.services.randomness.number().unwrap_or(0);
        if let Err(error) = self.reporter.run(now(), random, |message| messages.push(message)).await {
            tracing::warn!(%error, "cannot make the TLS reports of a day");
        }
        for message in messages {
            let id = message.id.clone();
            if let Err(error) = self.services.queue.submit(message).await {
                tracing::warn!(message = %id, %error, "cannot store a TLS report");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use basin_core::addr::Address;
    use basin_outbound::dns::DnsOptions;
    use basin_outbound::sign::Standing;
    use basin_outbound::tls_report::{ReportMaker, TlsReportOptions};
    use basin_outbound::{Outbound, OutboundOptions};

    use super::*;
    use crate::harness::Harness;
    use crate::signing::standing;

    // A resolver that gives every question that one TXT record, until the process ends.
    fn text_server(text: &'static str) -> std::net::SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        std::thread::spawn(move || {
            let mut octets = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut octets) {
                // RFC 1035 §4.1: the question is a name up to its empty label, then kind and class.
                let name = octets[12..length].iter().position(|octet| *octet == 0).expect("a name");
                let question = &octets[12..12 + name + 5];
                let size = u8::try_from(text.len()).expect("a short text");
                let counts = [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
                let record = [0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, size + 1, size];
                let answer = [&octets[..2], &counts, question, &record, text.as_bytes()].concat();
                socket.send_to(&answer, client).expect("sent");
            }
        });
        address
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_report_of_a_day_that_is_over_is_queued_and_may_be_signed() {
        let harness = Harness::start();
        let counts = harness.home.path().join("tls-reports");
        std::fs::create_dir(&counts).expect("a folder");
        let line = r#"{"policy":{"policy-type":"no-policy-found","policy-domain":"example.org"},"count":3}"#;
        std::fs::write(counts.join("19000.jsonl"), format!("{line}\n")).expect("written");
        let resolver = text_server("v=TLSRPTv1; rua=mailto:tls@example.net");
        let dns = DnsOptions { servers: vec![resolver], ..DnsOptions::default() };
        let way = Outbound::new(OutboundOptions { dns, ..OutboundOptions::default() }).expect("a way");
        let maker = ReportMaker {
            organization: "basin.example".to_owned(),
            contact: "tls@basin.example".to_owned(),
            sender: Address::parse("tls@basin.example").expect("valid"),
            host_name: "mx.basin.example".to_owned(),
        };
        let reports = Arc::new(TlsReports::new(TlsReportOptions::new(counts.clone())));
        let reporter = TlsReporter::new(reports.clone(), maker, way.resolver().clone(), way.roots().clone());
        let (reporter, services) = (reporter.expect("a reporter"), harness.services.clone());
        Reporting { reporter, reports, services }.send().await;

        let spool = &harness.services.spool;
        let ids = spool.ids();
        let [id] = ids.as_slice() else { unreachable!("{ids:?}") };
        let (message, _) = spool.load(id).expect("readable").expect("stored");
        assert_eq!(harness.services.queue.lengths().ready, 1, "a worker finds it without a restart");
        assert_eq!(message.envelope.recipients[0].address.to_string(), "tls@example.net");
        assert_eq!(message.header.first("TLS-Required").map(|field| field.value()).as_deref(), Some("No"));
        assert_eq!(standing(&message.arrival, &[]), Standing::Submitted, "signed like what is made here");
        assert_eq!(std::fs::read_dir(counts).expect("a folder").count(), 0, "sent once");
    }
}
