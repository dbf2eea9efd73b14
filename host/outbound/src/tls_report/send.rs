//! Sending the reports of days that are over to where each domain wants them (RFC 8460 §3).

use core::time::Duration;
use std::io;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::mail::{Message, MessageId};
use basin_core::time::Timestamp;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, Uri};
use rustls::RootCertStore;

use super::ledger::Tallies;
use super::report::{Report, ReportMaker};
use super::{DAY_SECONDS, TlsReports};
use crate::dns::Resolver;
use crate::https::Https;

/// Places that one domain's report is sent to.
const PLACES_MAX: usize = 4;

/// Longest wait for a web server that takes a report.
const POST_TIMEOUT: Duration = Duration::from_mins(1);

/// Octets read of its answer; only the status matters.
const ANSWER_BYTES_MAX: usize = 16 * 1_024;

/// Port of web servers.
const HTTPS_PORT: u16 = 443;

/// Where a domain wants its reports.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Mail(Address),
    Web { host: String, port: u16, path: String },
}

/// Makes and sends reports.
pub struct TlsReporter {
    reports: Arc<TlsReports>,
    maker: ReportMaker,
    resolver: Resolver,
    https: Https,
}

impl TlsReporter {
    /// Makes one; `roots` vouch for the web servers that take reports.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(
        reports: Arc<TlsReports>,
        maker: ReportMaker,
        resolver: Resolver,
        roots: Arc<RootCertStore>,
    ) -> io::Result<Self> {
        let https = Https::new(resolver.clone(), roots, POST_TIMEOUT)?;
        Ok(Self { reports, maker, resolver, https })
    }

    /// Sends the reports of all days before today's: what goes to a web server goes at once, what goes by mail is
    /// handed to `submit`, to be signed and queued. To be called a while after midnight (UTC), and at the start.
    ///
    /// A day is forgotten when its reports were sent; a crash in between sends some of them twice, which their
    /// ids show. A report that a web server does not take is lost: the next one comes tomorrow.
    ///
    /// # Errors
    /// The day's files cannot be read or removed.
    pub async fn run(
        &self,
        now: Timestamp,
        mut random: impl FnMut() -> u64,
        mut submit: impl FnMut(Message),
    ) -> io::Result<()> {
        self.reports.flush();
        let today = u64::try_from(now.seconds).unwrap_or(0) / DAY_SECONDS;
        for day in self.reports.ledger.days_before(today)? {
            for (domain, tallies) in self.reports.ledger.read(day)? {
                self.send(&domain, day, &tallies, now, &mut random, &mut submit).await?;
            }
            self.reports.ledger.forget(day)?;
        }
        Ok(())
    }

    async fn send(
        &self,
        domain: &str,
        day: u64,
        tallies: &Tallies,
        now: Timestamp,
        random: &mut impl FnMut() -> u64,
        submit: &mut impl FnMut(Message),
    ) -> io::Result<()> {
        let Ok(records) = self.resolver.texts(&format!("_smtp._tls.{domain}")).await else { return Ok(()) };
        let places = places(&records);
        if places.is_empty() {
            return Ok(());
        }
        let report = self.maker.report(domain, day, tallies, &MessageId::new(now, random()))?;
        for place in places {
            match place {
                Place::Mail(address) => {
                    submit(self.maker.message(&report, &address, MessageId::new(now, random()), now));
                }
                Place::Web { host, port, path } => self.post(&report, &host, port, &path).await,
            }
        }
        Ok(())
    }

    async fn post(&self, report: &Report, host: &str, port: u16, path: &str) {
        let request = Request::post(path)
            .header(HOST, host)
            .header(USER_AGENT, "basin")
            .header(CONTENT_TYPE, "application/tlsrpt+gzip")
            .body(Full::new(Bytes::from(report.packed.clone())));
        let Ok(request) = request else { return };
        match self.https.ask(host, port, request, ANSWER_BYTES_MAX).await {
            Ok(answer) if answer.status.is_success() => {}
            Ok(answer) => {
                tracing::info!(domain = %report.domain, %host, status = %answer.status, "a TLS report was not taken");
            }
            Err(error) => tracing::info!(domain = %report.domain, %error, "a TLS report could not be sent"),
        }
    }
}

/// Reads a domain's record (RFC 8460 §3): there is one of that kind, or none that counts.
fn places(records: &[String]) -> Vec<Place> {
    let mut ours = records.iter().filter_map(|record| {
        let rest = record.trim().strip_prefix("v=TLSRPTv1")?.trim_start();
        rest.strip_prefix(';')
    });
    let (Some(fields), None) = (ours.next(), ours.next()) else { return Vec::new() };
    let mut pairs = fields.split(';').filter_map(|pair| pair.split_once('='));
    let Some((_, places)) = pairs.find(|(key, _)| key.trim() == "rua") else { return Vec::new() };
    places.split(',').filter_map(|place| place_of(place.trim())).take(PLACES_MAX).collect()
}

fn place_of(text: &str) -> Option<Place> {
    let (scheme, rest) = text.split_once(':')?;
    if scheme.eq_ignore_ascii_case("mailto") {
        let address = rest.split('?').next().unwrap_or(rest);
        return Address::parse(&unescaped(address)?).ok().map(Place::Mail);
    }
    let uri: Uri = text.parse().ok().filter(|uri: &Uri| uri.scheme_str() == Some("https"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    Some(Place::Web { host: uri.host()?.to_ascii_lowercase(), port: uri.port_u16().unwrap_or(HTTPS_PORT), path })
}

/// Replaces `%40` and its like (RFC 3986 §2.1); commas, semicolons and exclamation marks come so.
fn unescaped(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let digits = core::str::from_utf8(after.get(..2)?).ok()?;
            out.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after.get(2..)?;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(record: &str) -> Vec<Place> {
        places(&[record.to_owned(), "v=spf1 -all".to_owned()])
    }

    #[test]
    fn places_are_read_from_the_record() {
        let mail = |text: &str| Place::Mail(Address::parse(text).expect("an address"));
        let web = Place::Web { host: "example.net".to_owned(), port: 443, path: "/v1?x=1".to_owned() };
        assert_eq!(
            found("v=TLSRPTv1; rua=mailto:a%2Bb@example.org,https://Example.net/v1?x=1 ; x=y"),
            [mail("a+b@example.org"), web]
        );
        assert_eq!(found("v=TLSRPTv1;rua=mailto:a@example.org?subject=x"), [mail("a@example.org")]);
        for bad in [
            "v=TLSRPTv1",
            "v=TLSRPTv2; rua=mailto:a@b.example",
            "v=TLSRPTv1; rua=http://example.net/",
            "rua=mailto:a@b",
        ] {
            assert_eq!(found(bad), [], "{bad}");
        }
        let twice = vec!["v=TLSRPTv1; rua=mailto:a@b.example".to_owned(); 2];
        assert_eq!(places(&twice), []);
    }
}
