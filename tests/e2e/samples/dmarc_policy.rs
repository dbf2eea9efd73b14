//! DMARC, with a name server of its own.

use basin_tests::client::Reply;
use basin_tests::server::TestServer;
use basin_tests::wait::PATIENCE;

use super::{Dns, server_of};
use crate::{Outcome, USER};

/// One domain that sends from here, three that do not and ask for different things, and one whose servers are dead.
const ZONE: &str = "good.example TXT v=spf1 ip4:127.0.0.1 -all\n_dmarc.good.example TXT v=DMARC1; p=reject\n\
    strict.example TXT v=spf1 -all\n_dmarc.strict.example TXT v=DMARC1; p=reject\n\
    careful.example TXT v=spf1 -all\n_dmarc.careful.example TXT v=DMARC1; p=quarantine\n\
    easy.example TXT v=spf1 -all\n_dmarc.easy.example TXT v=DMARC1; p=none\n\
    dead.example TXT v=spf1 -all\n!servfail _dmarc.dead.example";

struct Net {
    server: TestServer,
    _dns: Dns,
}

impl Net {
    fn with(more: &[&str]) -> std::io::Result<Self> {
        let dns = Dns::with(ZONE)?;
        let flags =
            ["--grant", "message-auth", "--grant", "read-headers", "--grant", "edit-headers", "--grant", "reply"];
        let server = server_of(dns.settings(), "dmarc-policy", "on-end-of-data", &[&flags[..], more].concat())?;
        Ok(Self { server, _dns: dns })
    }

    /// A message whose author is of that domain, as is its sender; with a mark that somebody forged.
    fn send(&self, domain: &str) -> std::io::Result<Reply> {
        let sender = format!("ann@{domain}");
        let text = format!(
            "From: <{sender}>\r\nTo: <{USER}>\r\nSubject: hi\r\nX-DMARC: pass forged\r\n\
             Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <1@{domain}>\r\n\r\nHello.\r\n"
        );
        self.server.client()?.deliver(&sender, &[USER], text.as_bytes())
    }
}

#[test]
fn what_a_domain_asks_for_is_done() -> Outcome {
    let net = Net::with(&[])?;
    let refused = net.send("strict.example")?.require(550)?;
    assert_eq!(refused.lines, ["5.7.26 strict.example asks to reject what fails DMARC"]);
    net.send("dead.example")?.require(451)?;
    for domain in ["good.example", "careful.example", "easy.example"] {
        net.send(domain)?.require(250)?;
    }
    let mails = net.server.maildir("user").wait_for(3, PATIENCE)?;
    assert_eq!(mails.len(), 3);
    for mail in mails {
        let from = mail.header("From").unwrap_or_default();
        let marks = mail.headers("X-DMARC");
        let outcome =
            if from.contains("good.example") { "pass (good.example, spf=pass good.example" } else { "fail (" };
        assert!(marks.len() == 1 && marks.iter().all(|mark| mark.starts_with(outcome)), "{from}: {marks:?}");
        assert_eq!(mail.header("X-Spam-Flag").is_some(), from.contains("careful.example"), "{from}");
    }
    Ok(())
}

#[test]
fn quarantine_can_wait_for_an_operator_and_a_dead_dns_can_be_passed_over() -> Outcome {
    let net = Net::with(&["--set", "quarantine=hold", "--set", "unknown=pass"])?;
    net.send("careful.example")?.require(250)?;
    net.send("dead.example")?.require(250)?;
    let mails = net.server.maildir("user").wait_for(1, PATIENCE)?;
    assert!(mails.iter().all(|mail| mail.header("From").is_some_and(|from| from.contains("dead.example"))));
    let held = net.server.basin_ok(&["queue", "list"])?;
    assert!(held.contains("careful.example"), "{held}");
    Ok(())
}
