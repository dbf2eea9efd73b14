//! What operators and senders read when mail cannot leave: `docs/errors.md` has it from here.

use core::time::Duration;
use std::path::Path;

use basin_core::transport::{Route, TlsDemand};
use basin_outbound::dns::DnsOptions;
use basin_outbound::{OutboundOptions, VisitLimits};
use basin_test_dns::{TestDns, Zone};

use crate::certs::Authority;
use crate::feed::{hasty, options, route, visit};
use crate::peer::{Mischief, Moment, Peer, Plan};

const ZONE: &str =
    "null.example MX 0 .\nself.example MX 10 out.example\nout.example A 127.0.0.1\n!servfail broken.example";

/// A situation of the table, and what is made of it.
type Row = (&'static str, String);

// What one message to that server comes to.
async fn said(plan: Plan, options: OutboundOptions, demand: TlsDemand) -> String {
    let peer = Peer::start(plan).await;
    let (visit, messages) = visit(options, &route(&[peer.address], demand), 1).await;
    let told = messages.results().into_iter().find_map(|result| result.as_ref().err().cloned());
    let text = told.or(visit.failure).expect("a failure").to_string();
    text.replace(&peer.address.port().to_string(), "25")
}

async fn servers() -> Vec<Row> {
    let patient = Duration::from_secs(30);
    let bad = |moment, mischief| Plan { mischief: Some((moment, mischief)), ..Plan::default() };
    let at = |moment, text| said(bad(moment, Mischief::SayAndClose(text)), options(), TlsDemand::Opportunistic);
    let authority = Authority::new();
    let stranger = Plan { tls: Some(crate::certs::self_signed()), ..Plan::default() };
    let late = VisitLimits { reach: Duration::from_millis(50), ..VisitLimits::default() };
    let late = OutboundOptions { limits: late, ..options() };
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
    let (unreached, _) = visit(hasty(patient), &route(&[nobody], TlsDemand::Never), 1).await;
    let refused = unreached.failure.expect("a failure").to_string().replace(&nobody.port().to_string(), "25");
    vec![
        ("nobody listens there", refused),
        ("no greeting in time", said(bad(Moment::Greeting, Mischief::Silence), late, TlsDemand::Never).await),
        ("the server is busy", at(Moment::Greeting, "421 4.3.2 too many connections\r\n").await),
        ("the server refuses everybody", at(Moment::Greeting, "554 5.7.1 not from your network\r\n").await),
        ("the server never takes mail", at(Moment::Greeting, "521 5.3.2 no mail here\r\n").await),
        ("no SMTP is spoken there", at(Moment::Greeting, "HTTP/1.1 400 Bad Request\r\n").await),
        ("the server hangs up", said(bad(Moment::Mail, Mischief::Close), options(), TlsDemand::Never).await),
        ("the server hangs up after the text", at(Moment::End, "").await),
        ("the route demands TLS, the server has none", said(Plan::default(), options(), TlsDemand::Required).await),
        (
            "the route demands a certificate, the server's is its own",
            said(stranger, authority.trusted(options()), TlsDemand::Verified).await,
        ),
    ]
}

async fn domains() -> Vec<Row> {
    let dns = TestDns::start(Zone::parse(ZONE).expect("a zone")).await.expect("a server");
    let own_names = vec!["out.example".to_owned()];
    let dns = DnsOptions { servers: vec![dns.address()], own_names, ..DnsOptions::default() };
    let options = OutboundOptions { dns, ..options() };
    let mut rows = Vec::new();
    for (what, domain) in [
        ("there is no such domain", "nowhere.example"),
        ("the domain takes no mail (null MX)", "null.example"),
        ("this server is the domain's best exchanger", "self.example"),
    ] {
        let (visit, _) = visit(options.clone(), &Route::mx(domain), 1).await;
        rows.push((what, visit.failure.expect("a failure").to_string()));
    }
    let route = Route {
        credentials: Some("relay".to_owned()),
        ..route(&["127.0.0.1:25".parse().expect("an address")], TlsDemand::Never)
    };
    let (visit, _) = visit(options, &route, 1).await;
    rows.push(("the route's credentials are not configured", visit.failure.expect("a failure").to_string()));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_errors_says_what_is_said_of_mail_that_cannot_leave() {
    let rows: Vec<_> = domains().await.into_iter().chain(servers().await).collect();
    let line = |(what, text): &Row| format!("| {what} | `` {text} `` |\n");
    let made: String = rows.iter().map(line).collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let page = std::fs::read_to_string(&path).expect("docs/errors.md");
    let begin = "<!-- begin outbound -->\n| situation | what is kept with the recipient |\n|---|---|\n";
    let (head, rest) = page.split_once(begin).expect("the table of docs/errors.md");
    let (there, tail) = rest.split_once("<!-- end outbound -->").expect("its end");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, format!("{head}{begin}{made}<!-- end outbound -->{tail}")).expect("written");
    } else {
        assert_eq!(there, made, "run the test with BLESS=1 to rewrite docs/errors.md");
    }
}
