use std::path::Path;

use basin_core::transport::{NextHop, Protocol, TlsDemand};

use crate::config::Config;

const MINIMAL: &str = "host-name = \"mx.example.org\"\npostmaster = \"alice@example.org\"\n\
    [[listener]]\nname = \"inbound\"\naddress = \"127.0.0.1:2525\"\n\
    [[domain]]\nname = \"example.org\"\nmailboxes = [\"alice\"]\n";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("basin.toml"), &format!("{MINIMAL}{text}")).map_err(|errors| errors.to_string())
}

#[test]
fn this_machine_alone_may_send_elsewhere_unless_others_are_named() {
    let may = |text: &str, client: &str| {
        let client = client.parse().expect("an address");
        parse(text).expect("valid").relay_clients.iter().any(|network| network.has(client))
    };
    for (client, is_in) in [("127.0.0.1", true), ("::1", true), ("10.0.0.1", false), ("2001:db8::1", false)] {
        assert_eq!(may("", client), is_in, "{client}");
        assert!(!may("[relay]\nclients = []\n", client));
    }
    assert!(may("[relay]\nclients = [\"10.0.0.0/8\"]\n", "10.0.0.1"));
}

#[test]
fn an_open_relay_cannot_be_configured() {
    for everybody in ["0.0.0.0/0", "::/0", "::ffff:0:0/96"] {
        let error = parse(&format!("[relay]\nclients = [\"{everybody}\"]\n")).expect_err("refused");
        assert!(error.contains("open relay"), "{error}");
    }
}

#[test]
fn routes_name_domains_and_servers() {
    let config = parse(
        "[outbound]\ntls = \"required\"\nconnections-per-destination = 3\n\
         [[route]]\ndomains = [\"*.example.net\"]\nhosts = [\"192.0.2.1\", \"[2001:db8::1]:2525\", \"Mail.example.net:26\"]\ntls = \"never\"\n\
         [[route]]\ndomains = [\"store.example\"]\nhosts = [\"127.0.0.1\"]\nprotocol = \"lmtp\"\nconnections = 1\n\
         [[route]]\ndomains = [\"slow.example\"]\nmessages-per-minute = 6\n",
    )
    .expect("valid");
    let route = config.routes.route("a.example.net");
    let hosts = match &route.next {
        NextHop::Hosts(hosts) => hosts.as_slice(),
        NextHop::Mx(_) => &[],
    };
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["192.0.2.1:25", "[2001:db8::1]:2525", "mail.example.net:26"]);
    assert_eq!(route.tls, TlsDemand::Never);
    let store = config.routes.route("store.example");
    assert_eq!((store.protocol, store.limits.connections_max), (Protocol::Lmtp, 1));
    assert_eq!(store.next, NextHop::Hosts(vec![super::parse_host("127.0.0.1:24", 0).expect("a host")]));
    let slow = config.routes.route("slow.example");
    assert_eq!((slow.limits.messages_per_minute, slow.limits.connections_max), (Some(6), 3));
    let other = config.routes.route("other.example");
    assert_eq!((other.tls, other.limits.connections_max), (TlsDemand::Required, 3));
}

#[test]
fn a_store_that_sinks_name_needs_no_domain() {
    let text = "[[route]]\nname = \"store\"\nhosts = [\"127.0.0.1:2424\"]\nprotocol = \"lmtp\"\n";
    let config = parse(text).expect("good");
    let store = config.routes.named("store").expect("it has a name");
    assert_eq!(store.destination.as_str(), "[127.0.0.1]:2424");
    assert_eq!(config.routes.route("any.example").next, NextHop::Mx("any.example".to_owned()));
    assert!(config.routes.named("other").is_none());
}

#[test]
fn a_source_has_a_name_for_routes_and_sinks() {
    let text = "[[source]]\nname = \"bulk\"\naddresses = [\"192.0.2.11\"]\n\
                [[route]]\ndomains = [\"news.example\"]\nsource = \"bulk\"\n";
    let config = parse(text).expect("good");
    assert_eq!(config.routes.route("news.example").source.as_deref(), Some("bulk"));
    assert_eq!(config.outbound.sources.get("bulk").map(Vec::len), Some(1));
}

#[test]
fn two_routes_may_lead_to_one_server_in_the_same_way() {
    let text = "[[route]]\ndomains = [\"a.example\"]\nhosts = [\"mx.example\"]\n\
                [[route]]\ndomains = [\"b.example\"]\nhosts = [\"mx.example\"]\n\
                [[route]]\ndomains = [\"c.example\"]\ntls = \"required\"\n\
                [[route]]\ndomains = [\"d.example\"]\ntls = \"verified\"\n";
    let config = parse(text).expect("valid");
    assert_eq!(config.routes.route("a.example"), config.routes.route("b.example"));
}

#[test]
fn a_password_is_read_from_its_file_and_never_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), "open sesame\nmore\n").expect("written");
    let text = "[[credentials]]\nname = \"relay\"\nuser = \"basin\"\npassword-file = \"secret\"\n\
                [[route]]\ndomains = [\"*\"]\nhosts = [\"smtp.example.net:587\"]\ncredentials = \"relay\"\n";
    let config = Config::parse(&folder.path().join("basin.toml"), &format!("{MINIMAL}{text}")).expect("valid");
    assert_eq!(config.credentials[0].password, "open sesame");
    assert_eq!(config.routes.route("any.example").tls, TlsDemand::Verified, "the default of a login");
    assert!(!format!("{config:?}{}", config.describe()).contains("sesame"));
}

#[test]
fn what_the_way_out_cannot_be_is_refused_with_advice() {
    for (text, expected) in [
        ("[relay]\nclients = [\"host\"]", "relay.clients[0]: expected 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32"),
        ("[queue]\ndelay-notice = \"never\"", "queue.delay-notice: expected a time such as \"4h\", or \"off\""),
        ("[queue]\nfirst-waits = []", "queue.first-waits: expected 1 to 32 times"),
        ("[queue]\nfirst-waits = [\"0s\"]", "queue.first-waits: expected 1 to 32 times"),
        ("[queue]\nlongest-wait = \"1m\"", "queue.longest-wait: this is shorter than the last of `first-waits`"),
        ("[queue]\nmax-messages = 0", "queue.max-messages: 0 would take no mail"),
        ("[outbound]\nconnections = 5000", "outbound.connections: expected 0 to 2000"),
        ("[outbound]\nmessages-per-minute = 0", "outbound.messages-per-minute: 0 would send nothing"),
        ("[outbound]\ntls = \"yes\"", "outbound.tls: expected \"never\", \"opportunistic\""),
        ("[outbound]\nhelo-name = \"a b\"", "outbound.helo-name: \"a b\" is no domain name"),
        ("[outbound]\nsource-addresses = [\"eth0\"]", "outbound.source-addresses[0]: expected an address"),
        ("[[route]]\nhosts = [\"a.example\"]", "route[0].domains: a route needs the domains"),
        ("[[route]]\nname = \"a b\"\nhosts = [\"a.example\"]\nprotocol = \"lmtp\"", "route[0].name: expected 1 to 64"),
        ("[[source]]\nname = \"a\"", "source[0].addresses: a source needs the addresses"),
        ("[[source]]\nname = \"a=b\"\naddresses = [\"192.0.2.1\"]", "source[0].name: expected 1 to 64"),
        (
            "[[source]]\nname = \"a\"\naddresses = [\"x\"]",
            "source[0].addresses[0]: expected an address of this machine",
        ),
        ("[[route]]\ndomains = [\"*\"]\nsource = \"a\"", "route[0].source: there is no `[[source]]` with name \"a\""),
        ("[[route]]\nname = \"a\"\nhosts = [\"a.example\"]", "route[0].name: sinks name LMTP servers alone"),
        (
            "[[route]]\nname = \"a\"\nhosts = [\"a.example\"]\nprotocol = \"lmtp\"\n\
             [[route]]\nname = \"a\"\nhosts = [\"b.example\"]\nprotocol = \"lmtp\"",
            "route[1].name: an earlier route is called \"a\" too",
        ),
        ("[[route]]\ndomains = [\"*x\"]", "route[0].domains: expected a domain, \"*.domain\" or \"*\""),
        ("[[route]]\ndomains = [\"*\"]\nhosts = [\"a b\"]", "route[0].hosts: expected HOST or HOST:PORT"),
        ("[[route]]\ndomains = [\"*\"]\nprotocol = \"lmtp\"", "route[0].protocol: this needs `hosts`"),
        ("[[route]]\ndomains = [\"*\"]\nhosts = [\"a.example\"]\ncredentials = \"x\"", "there are no [[credentials]]"),
        (
            "[[route]]\ndomains = [\"*\"]\nhosts = [\"a.example\"]\ncredentials = \"x\"\ntls = \"opportunistic\"",
            "route[0].tls: credentials need tls = \"verified\"",
        ),
        (
            "[[route]]\ndomains = [\"a.example\"]\nhosts = [\"mx.example\"]\n\
             [[route]]\ndomains = [\"b.example\"]\nhosts = [\"MX.example:25\"]\ntls = \"required\"",
            "route[1].hosts: an earlier route leads to the same server in another way",
        ),
        ("[[route]]\ndomains = [\"*\"]\nconnections = 0", "route[0].connections: 0 would send nothing"),
        ("[[credentials]]\nname = \"x\"", "credentials[0]: credentials need `name`, `user` and `password-file`"),
        ("[dns]\nservers = [\"localhost\"]", "dns.servers[0]: expected an address"),
        ("[dns]\ndnssec = true\ntrust-anchor = \"/nonexistent/root.key\"", "dns.trust-anchor: cannot read"),
        ("[tls]\nreports-from = \"somebody\"", "tls.reports-from: \"somebody\" is no address"),
        ("[tls]\nroots = \"/nonexistent/roots.pem\"", "tls.roots: cannot read /nonexistent/roots.pem"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}
