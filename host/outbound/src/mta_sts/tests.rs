use super::*;

use std::fs;

use basin_core::transport::TlsDemand;
use basin_test_dns::{TestDns, Zone};
use tempfile::TempDir;

use crate::dns::DnsOptions;
use crate::tls_policy::{DestinationPolicy, TlsPolicies};
use crate::web_tests::Web;

const DOMAIN: &str = "example.org";

/// A domain with its name server and its web server, and a server that obeys its policies.
struct World {
    dns: TestDns,
    web: Web,
    directory: TempDir,
}

fn zone(id: Option<&str>) -> Zone {
    let text = "mta-sts.example.org A 127.0.0.1
        example.org MX 10 mx1.example.org
        example.org MX 20 mx.elsewhere.example
        mx1.example.org A 192.0.2.1
        mx.elsewhere.example A 192.0.2.2";
    let record = id.map_or_else(String::new, |id| format!("_mta-sts.example.org TXT v=STSv1; id={id};"));
    Zone::parse(&format!("{text}\n{record}")).expect("a zone")
}

fn page(mode: &str, max_age: u64) -> String {
    let body = format!("version: STSv1\nmode: {mode}\nmx: *.example.org\nmax_age: {max_age}\n");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

impl World {
    async fn new() -> Self {
        let dns = TestDns::start(zone(Some("1"))).await.expect("a server");
        let web = Web::start("mta-sts.example.org").await;
        web.set(page("enforce", 86_400));
        Self { dns, web, directory: TempDir::new().expect("a directory") }
    }

    /// A resolver that has forgotten every answer.
    fn resolver(&self) -> Resolver {
        let query_timeout = Duration::from_millis(100);
        let options =
            DnsOptions { servers: vec![self.dns.address()], query_timeout, retries: 0, ..DnsOptions::default() };
        Resolver::new(options).expect("a resolver")
    }

    fn start(&self) -> MtaSts {
        let options = MtaStsOptions {
            directory: Some(self.directory.path().join("policies")),
            timeout: Duration::from_millis(500),
            retry_after: Duration::ZERO,
            port: self.web.address.port(),
            ..MtaStsOptions::default()
        };
        MtaSts::new(self.resolver(), self.web.roots.clone(), options).expect("a start")
    }

    fn fetches(&self) -> usize {
        self.web.asked().len()
    }
}

fn mode(found: &Found) -> Option<Mode> {
    found.policy.as_ref().map(|policy| policy.mode)
}

#[tokio::test]
async fn a_policy_is_fetched_once_and_kept_over_a_restart() {
    let world = World::new().await;
    let known = world.start();
    assert_eq!(mode(&known.policy(DOMAIN).await), Some(Mode::Enforce));
    assert_eq!(mode(&known.policy(DOMAIN).await), Some(Mode::Enforce));
    assert_eq!(mode(&world.start().policy(DOMAIN).await), Some(Mode::Enforce));
    assert_eq!(world.fetches(), 1);
    let asked = String::from_utf8(world.web.asked().remove(0)).expect("text");
    assert!(asked.starts_with("GET /.well-known/mta-sts.txt HTTP/1.1\r\nhost: mta-sts.example.org\r\n"), "{asked}");
}

#[tokio::test]
async fn a_new_id_brings_a_new_policy_and_none_takes_it_back() {
    let world = World::new().await;
    assert_eq!(mode(&world.start().policy(DOMAIN).await), Some(Mode::Enforce));
    world.dns.set(zone(Some("2")));
    world.web.set(page("testing", 86_400));
    assert_eq!(mode(&world.start().policy(DOMAIN).await), Some(Mode::Testing));
    world.dns.set(zone(Some("3")));
    world.web.set(page("none", 86_400));
    assert_eq!(mode(&world.start().policy(DOMAIN).await), None);
    assert_eq!(world.fetches(), 3);
}

#[tokio::test]
async fn a_policy_outlives_its_record_and_its_web_server() {
    let world = World::new().await;
    assert_eq!(mode(&world.start().policy(DOMAIN).await), Some(Mode::Enforce));
    world.dns.set(zone(None));
    assert_eq!(mode(&world.start().policy(DOMAIN).await), Some(Mode::Enforce));
    world.dns.set(zone(Some("2")));
    world.web.set("HTTP/1.1 503 Not Now\r\nContent-Length: 0\r\n\r\n");
    let found = world.start().policy(DOMAIN).await;
    assert_eq!(mode(&found), Some(Mode::Enforce));
    assert_eq!(found.problem.map(|failure| failure.kind), Some(Kind::StsPolicyFetchError));
}

#[tokio::test]
async fn a_policy_holds_no_longer_than_it_says() {
    let world = World::new().await;
    world.web.set(page("enforce", 0));
    assert_eq!(mode(&world.start().policy(DOMAIN).await), None);
    assert_eq!(fs::read_dir(world.directory.path().join("policies")).expect("a directory").count(), 1);
    // The next start removes what does not hold any more.
    world.dns.set(zone(None));
    assert_eq!(mode(&world.start().policy(DOMAIN).await), None);
    assert_eq!(fs::read_dir(world.directory.path().join("policies")).expect("a directory").count(), 0);
}

#[tokio::test]
async fn what_is_no_proper_answer_is_no_policy() {
    let world = World::new().await;
    let good = page("enforce", 86_400);
    let huge = format!("{good}{}", "x: y\n".repeat(20_000)).replace("Content-Length", "X-Length");
    let elsewhere =
        format!("HTTP/1.1 301 Moved\r\nLocation: https://{}/\r\nContent-Length: 0\r\n\r\n", world.web.address);
    for (answer, kind) in [
        (elsewhere, Kind::StsPolicyFetchError),
        (good.replace("200 OK", "404 Not Found"), Kind::StsPolicyFetchError),
        (good.replace("text/plain", "text/html"), Kind::StsPolicyInvalid),
        (good.replace("STSv1", "STSv9"), Kind::StsPolicyInvalid),
        (huge, Kind::StsPolicyFetchError),
        (String::new(), Kind::StsPolicyFetchError),
        ("220 mx.example.org ESMTP\r\n".to_owned(), Kind::StsPolicyFetchError),
        (format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000)), Kind::StsPolicyFetchError),
    ] {
        world.web.set(answer.clone());
        let found = world.start().policy(DOMAIN).await;
        assert_eq!(mode(&found), None);
        assert_eq!(found.problem.map(|failure| failure.kind), Some(kind), "{}", answer.get(..40).unwrap_or(&answer));
    }
}

#[tokio::test]
async fn a_web_server_that_cannot_prove_its_name_has_no_policy() {
    let mut world = World::new().await;
    world.web = Web::start("www.example.org").await;
    world.web.set(page("enforce", 86_400));
    let found = world.start().policy(DOMAIN).await;
    assert_eq!(found.problem.map(|failure| failure.kind), Some(Kind::StsWebpkiInvalid));
    assert_eq!(world.fetches(), 0);
}

#[tokio::test]
async fn a_failed_fetch_is_not_tried_again_at_once() {
    let world = World::new().await;
    world.web.set("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    let mut known = world.start();
    known.options.retry_after = Duration::from_secs(300);
    assert!(known.policy(DOMAIN).await.problem.is_some());
    assert!(known.policy(DOMAIN).await.problem.is_none());
    assert_eq!(world.fetches(), 1);
}

#[tokio::test]
async fn a_domain_without_a_record_is_not_asked_for_a_policy() {
    let world = World::new().await;
    world.dns.set(zone(None));
    assert_eq!(mode(&world.start().policy(DOMAIN).await), None);
    assert_eq!(world.fetches(), 0);
}

#[tokio::test]
async fn enforcing_takes_listed_exchangers_with_proof_and_testing_takes_any() {
    let world = World::new().await;
    let exchangers = world.resolver().exchangers(DOMAIN, 1).await.expect("exchangers");
    let plans = async |known: MtaSts| {
        let policies = TlsPolicies::new(world.web.roots.clone()).with_mta_sts(Arc::new(known));
        let policy: DestinationPolicy = policies.destination(TlsDemand::Opportunistic, &exchangers).await;
        let listed = policies.plan(&policy, &exchangers.hosts[0], 25).await.map(|plan| plan.needs_tls());
        let other = policies.plan(&policy, &exchangers.hosts[1], 25).await.map(|plan| plan.needs_tls());
        (listed, other.map_err(|failure| failure.to_string()))
    };
    let (listed, other) = plans(world.start()).await;
    assert_eq!(listed, Ok(true));
    assert!(other.expect_err("not listed").starts_with("451 4.7.5 MTA-STS"));
    world.dns.set(zone(Some("2")));
    world.web.set(page("testing", 86_400));
    assert_eq!(plans(world.start()).await, (Ok(false), Ok(false)));
}
