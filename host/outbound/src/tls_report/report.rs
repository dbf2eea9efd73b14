//! The report itself: JSON, packed, and as a message (RFC 8460 §4.4, §5.3).

use std::io::{self, Write};

use basin_core::addr::Address;
use basin_core::mail::{Arrival, Body, Envelope, HeaderBlock, Message, MessageId, Origin};
use basin_core::time::Timestamp;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::DAY_SECONDS;
use super::ledger::Tallies;

/// Octets of a line of base64, as RFC 2045 §6.8 has it, in groups of four.
const BASE64_LINE_GROUPS: usize = 19;

/// Who reports.
#[derive(Debug, Clone)]
pub struct ReportMaker {
    /// Name of the organization.
    pub organization: String,
    /// Address of its people.
    pub contact: String,
    /// Who the message is from; its domain signs it (RFC 8460 §3).
    pub sender: Address,
    /// Name of this server.
    pub host_name: String,
}

/// One domain's report of one day.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) domain: String,
    pub(super) day: u64,
    /// Different for each report, and hard to guess.
    pub(super) id: String,
    /// The JSON, packed by gzip.
    pub(super) packed: Vec<u8>,
}

impl ReportMaker {
    pub(super) fn report(&self, domain: &str, day: u64, tallies: &Tallies, id: &MessageId) -> io::Result<Report> {
        let id = format!("{id}.{}", self.host_name);
        let mut packer = GzEncoder::new(Vec::new(), Compression::default());
        packer.write_all(&serde_json::to_vec(&self.json(&id, day, tallies))?)?;
        Ok(Report { domain: domain.to_owned(), day, id, packed: packer.finish()? })
    }

    fn json(&self, id: &str, day: u64, tallies: &Tallies) -> Value {
        let policies = tallies.iter().map(|(policy, tally)| {
            let details = tally.details.iter().map(|(detail, count)| {
                let mut detail = json!(detail);
                detail["failed-session-count"] = json!(count);
                detail
            });
            json!({
                "policy": policy,
                "summary": {
                    "total-successful-session-count": tally.successes,
                    "total-failure-session-count": tally.failures,
                },
                "failure-details": details.collect::<Vec<_>>(),
            })
        });
        json!({
            "organization-name": self.organization,
            "date-range": { "start-datetime": time(first_second(day)), "end-datetime": time(last_second(day)) },
            "contact-info": self.contact,
            "report-id": id,
            "policies": policies.collect::<Vec<_>>(),
        })
    }

    /// The message that carries a report to an address (RFC 8460 §5.3).
    pub(super) fn message(&self, report: &Report, to: &Address, id: MessageId, now: Timestamp) -> Message {
        let boundary = format!("=_basin-{id}");
        let header = self.header(report, to, &id, &boundary, now);
        let arrival = Arrival {
            origin: Origin::Notification,
            at: now,
            listener: String::new(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: false,
            session: None,
            depth: 0,
            vouched: Default::default(),
        };
        // Nobody is told where a report cannot be delivered: the domain that asked for it is to blame.
        let mut envelope = Envelope::new(None);
        envelope.add(to.clone(), to.to_string());
        let mut message = Message::new(id, arrival, envelope);
        message.header = HeaderBlock::parse(&Bytes::from(header)).unwrap_or_default().into();
        message.body = Body::from_bytes(self.body(report, &boundary));
        message
    }

    fn header(&self, report: &Report, to: &Address, id: &MessageId, boundary: &str, now: Timestamp) -> String {
        let (domain, host) = (&report.domain, &self.host_name);
        [
            format!("Date: {}\r\n", now.to_rfc5322()),
            format!("From: <{}>\r\n", self.sender),
            format!("To: <{to}>\r\n"),
            format!("Subject: Report Domain: {domain}\r\n Submitter: {host}\r\n Report-ID: <{}>\r\n", report.id),
            format!("Message-ID: <{id}@{host}>\r\n"),
            format!("TLS-Report-Domain: {domain}\r\n"),
            format!("TLS-Report-Submitter: {host}\r\n"),
            // RFC 8460 §3: it goes even where TLS fails, for that is what it is about (RFC 8689 §3).
            "TLS-Required: No\r\n".to_owned(),
            "Auto-Submitted: auto-generated\r\n".to_owned(),
            "MIME-Version: 1.0\r\n".to_owned(),
            format!("Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\"\r\n"),
        ]
        .concat()
    }

    fn body(&self, report: &Report, boundary: &str) -> String {
        let (domain, host) = (&report.domain, &self.host_name);
        let (first, last) = (first_second(report.day), last_second(report.day));
        [
            format!("--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"),
            format!("This is a report of the mail server at {host} about how TLS went\r\n"),
            format!("with the servers of {domain}, from {} to\r\n{} (RFC 8460).\r\n", time(first), time(last)),
            format!("--{boundary}\r\nContent-Type: application/tlsrpt+gzip\r\n"),
            "Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n".to_owned(),
            format!(" filename=\"{host}!{domain}!{first}!{last}.json.gz\"\r\n\r\n"),
            base64(&report.packed),
            format!("--{boundary}--\r\n"),
        ]
        .concat()
    }
}

fn first_second(day: u64) -> u64 {
    day * DAY_SECONDS
}

fn last_second(day: u64) -> u64 {
    day * DAY_SECONDS + DAY_SECONDS - 1
}

fn time(seconds: u64) -> String {
    Timestamp::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX)).to_rfc3339()
}

/// Base64 in lines (RFC 2045 §6.8).
fn base64(octets: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for line in octets.chunks(3 * BASE64_LINE_GROUPS) {
        for group in line.chunks(3) {
            let bits = group.iter().chain([&0; 2]).take(3).fold(0_usize, |bits, octet| bits << 8 | usize::from(*octet));
            for place in 0..4 {
                let digit = DIGITS.get(bits >> (18 - 6 * place) & 63).copied().unwrap_or(b'=');
                out.push(if place > group.len() { '=' } else { char::from(digit) });
            }
        }
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (octets, text) in
            [("", ""), ("f", "Zg==\r\n"), ("fo", "Zm8=\r\n"), ("foo", "Zm9v\r\n"), ("foob", "Zm9vYg==\r\n")]
        {
            assert_eq!(base64(octets.as_bytes()), text);
        }
        assert!(base64(&[0; 1_000]).lines().all(|line| line.len() <= 76));
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(time(first_second(1)), "1970-01-02T00:00:00Z");
        assert_eq!(time(last_second(1)), "1970-01-02T23:59:59Z");
    }
}
