//! The doc text of every key, in one place.

use super::reference::{Key, Table};

/// The tables in the order of the page.
pub const TABLES: &[Table] = &[
    Table { name: "", is_list: false, text: "What stands at the top of the file, before the first table." },
    Table { name: "spool", is_list: false, text: "Where accepted messages are kept until they are delivered." },
    Table { name: "registry", is_list: false, text: "Where the registered sinks are kept." },
    Table { name: "maildir", is_list: false, text: "Where mail is delivered to." },
    Table { name: "admin", is_list: false, text: "The local HTTP port for `/metrics` and `/health`." },
    Table {
        name: "listener",
        is_list: true,
        text: "A port that takes mail. There must be one at least; each has a name of its own.",
    },
    Table {
        name: "certificate",
        is_list: true,
        text: "A certificate that listeners show their clients. Its files are looked at every two seconds: a new pair is in force without a restart, and one that cannot be used changes nothing and is logged as an error.",
    },
    Table { name: "auth", is_list: false, text: "Who may log in." },
    Table {
        name: "sender",
        is_list: true,
        text: "Which addresses a user of submission listeners may send from (RFC 6409 §6.1); any other is refused at MAIL with 550 5.7.1. What is compared is the address of MAIL FROM alone, which results and notifications go to; the From field of the message is not looked at, because people send for others by lists and shared addresses (RFC 5322 §3.6.2). To compare it is the work of a sink at `on-end-of-headers`, which has the field and the user. A user whose name is an address may always send from that; one who has no row sends from every address of the local domains.",
    },
    Table {
        name: "domain",
        is_list: true,
        text: "A domain that this server takes mail for. Mail for any other domain is refused: Basin is no open relay.",
    },
    Table {
        name: "aliases",
        is_list: false,
        text: "Addresses that stand for others. Each key is an address of a local domain, its value an address or a list of them; an alias may lead to further aliases, and ends at mailboxes of this server: what forwards mail elsewhere is a sink at `on-categorize`, such as the sample `mailing-list`, because the next server checks the sender (SPF, DMARC). Addresses may have letters of any script (RFC 6531).",
    },
    Table {
        name: "relay",
        is_list: false,
        text: "Who may send mail through this server to domains that are not its own. Nobody else may: a server that sends for anybody is an open relay, and is used as one within the hour.",
    },
    Table {
        name: "queue",
        is_list: false,
        text: "How long, and how often, mail is tried that does not leave at once.",
    },
    Table { name: "outbound", is_list: false, text: "How mail leaves for other servers." },
    Table {
        name: "source",
        is_list: true,
        text: "Addresses to connect from under a name, for routes and for sinks that choose where mail goes (`next-hop.set-source`).",
    },
    Table {
        name: "route",
        is_list: true,
        text: "Which way the mail of some domains leaves: to the servers that are named here, or to their own mail exchangers with other limits than usual. The first route that names a domain is taken; a domain that none names goes to its mail exchangers (RFC 5321 §5.1).",
    },
    Table {
        name: "credentials",
        is_list: true,
        text: "A name and a password that routes log in with at the next server (RFC 4954).",
    },
    Table { name: "dns", is_list: false, text: "Where names are looked up." },
    Table {
        name: "tls",
        is_list: false,
        text: "Which certificates of other servers are trusted, where a route or their policy demands a verified one.",
    },
    Table {
        name: "dkim",
        is_list: true,
        text: "A key that signs mail of a domain (DKIM, RFC 6376). Every key of a domain signs: an RSA and an Ed25519 key side by side are usual. Signed is what clients of `relay` send, what comes from the pickup directory and what this server makes, where it leaves for another server; docs/signing.md says more.",
    },
    Table {
        name: "arc",
        is_list: false,
        text: "The key that seals mail which came from elsewhere and leaves again (ARC, RFC 8617). Without it such mail is not sealed.",
    },
    Table {
        name: "message-auth",
        is_list: false,
        text: "What is stated of messages that come: the results of SPF, DKIM, DMARC and ARC in an Authentication-Results field on top (RFC 8601). Fields that claim to be this server's are taken out of every message before sinks see it, whatever is set here. What a result leads to is for sinks to decide.",
    },
    Table {
        name: "pickup",
        is_list: false,
        text: "A directory out of which files are taken as messages. Whoever can write into it can send as anybody.",
    },
    Table { name: "limits", is_list: false, text: "What the server may use." },
    Table {
        name: "tracking",
        is_list: false,
        text: "The tracking log: a line of JSON for each step of each message, which `basin trace` tells stories from. Addresses of senders and recipients stand in it, texts of messages do not.",
    },
    Table {
        name: "audit",
        is_list: false,
        text: "The audit log: a line of JSON for each change of the registry and each act of an operator, and in its folder `traffic` for each login, each thing that a sink was denied and each call of a sink that failed. See docs/operations.md.",
    },
    Table { name: "log", is_list: false, text: "What is logged, and how. Log lines go to standard error." },
];

macro_rules! keys {
    ($( $table:literal, $name:literal, $form:literal, $default:expr, $example:literal, $text:literal; )*) => {
        /// Every key, in the order of the page.
        pub const KEYS: &[Key] = &[ $( Key { table: $table, name: $name, form: $form, default: $default, example: $example, text: $text }, )* ];
    };
}

keys! {
    "", "host-name", "domain name", None, "\"mail.example.org\"",
        "The name of this server: in the banner, in the reply to EHLO, in Received fields. The default is the name of the machine, if that has a domain.";
    "", "user", "user name or number", None, "\"basin\"",
        "Whom to become after the ports are bound. A server started as root refuses to run without it, unless all listeners are on loopback or `--allow-root` is given; one that is not started as root cannot change and warns.";
    "", "group", "group name or number", None, "\"basin\"",
        "The group that goes with `user`. The default is that user's own group.";
    "", "postmaster", "address", None, "\"alice@example.org\"",
        "Who reads mail for `postmaster`, which every domain must accept (RFC 5321 §4.5.1). The default is a mailbox `postmaster` in the first domain.";
    "spool", "directory", "path", Some("\"/var/lib/basin/spool\""), "\"/var/lib/basin/spool\"",
        "The spool directory. It is made if it is missing, must belong to the server's user, and needs a file system that honours fsync. The control socket lies in it.";
    "registry", "directory", "path", Some("\"/var/lib/basin/registry\""), "\"/var/lib/basin/registry\"",
        "The registry directory: `registry.toml`, and the components under their digests. Changed by `basin sink`; a running server applies a change within a second.";
    "registry", "cache", "path", None, "\"/var/cache/basin\"",
        "The directory of compiled code; by default `cache` in the registry directory. It is made if it is missing, and must belong to the server's user and to nobody else: what lies in it runs outside of the sandbox.";
    "maildir", "directory", "path", Some("\"/var/lib/basin/mail\""), "\"/var/lib/basin/mail\"",
        "Each mailbox is a Maildir below this directory, named `DOMAIN/LOCAL-PART`.";
    "admin", "address", "IP:PORT, or \"off\"", Some("\"127.0.0.1:9525\""), "\"127.0.0.1:9525\"",
        "Address of the admin port. It has no access control, so keep it on loopback; another address is a warning.";
    "listener", "name", "word", None, "\"inbound\"",
        "Name of the listener: in rules (`listener=`), bindings, logs and metrics.";
    "listener", "address", "IP:PORT", None, "\"[::]:25\"",
        "Address and port. `[::]:25` takes IPv4 as well, so there is no other listener with that port beside it.";
    "listener", "kind", "\"mx\" or \"submission\"", Some("\"mx\""), "\"mx\"",
        "What the port is for: mail of other servers, or mail programs that submit (RFC 6409, port 587 or 465). A submission listener takes mail from those who logged in alone, so `auth = false` is an error there.";
    "listener", "host-name", "domain name", None, "\"mail.example.net\"",
        "The name of this server to clients of this listener. The default is that at the top.";
    "listener", "banner", "text", Some("\"ESMTP Basin\""), "\"ESMTP Basin\"",
        "What stands behind the host name in the greeting.";
    "listener", "domains", "list of domain names", None, "[\"example.org\"]",
        "The local domains that this listener takes mail for, where it is a server of its own to its clients. Mail for the others is refused as for any foreign domain, unless the client may relay. The default is all of them.";
    "listener", "tls", "\"off\", \"starttls\", \"required\" or \"implicit\"", None, "\"starttls\"",
        "When connections are encrypted: never; where the client says STARTTLS (RFC 3207); the same, and no mail is taken without; from the first octet on (RFC 8314, port 465). The default is \"starttls\" where there is a `[[certificate]]`, else \"off\". Do not demand TLS on port 25: mail would be lost that other servers have no other way for.";
    "listener", "certificates", "list of names", None, "[\"main\"]",
        "Which certificates are shown: the one for the name that the client asks for (SNI), else the first. The default is all of them.";
    "listener", "client-ca", "path", None, "\"/etc/basin/tls/clients.pem\"",
        "A PEM file with the authorities of client certificates. With it clients are asked for one, and one that does not verify ends the handshake. Its subject is known to sinks and rules; it gives no rights by itself. Looked at like certificates.";
    "listener", "require-client-certificate", "true or false", Some("false"), "false",
        "Whether a client without a certificate is turned away in the handshake.";
    "listener", "auth", "true, false or \"required\"", None, "false",
        "Whether clients can log in with AUTH (RFC 4954). The default is true for a submission listener and where `users-file` is set here. Who is logged in may send to any domain. With \"required\" MAIL is answered with 530 5.7.0 before a login, as it always is on a submission listener.";
    "listener", "auth-mechanisms", "list of mechanisms", None, "[\"SCRAM-SHA-256-PLUS\", \"SCRAM-SHA-256\", \"PLAIN\", \"LOGIN\"]",
        "Mechanisms of the server's own that are offered. The default is all four where there are users. Sinks bring further ones, such as OAUTHBEARER.";
    "listener", "auth-without-tls", "true or false", Some("false"), "false",
        "Whether clients can log in on a connection that is not encrypted. Only on loopback.";
    "listener", "users-file", "path", None, "\"/etc/basin/users\"",
        "The users of this listener. The default is that of `[auth]`.";
    "listener", "max-login-attempts", "number", Some("3"), "3",
        "Failed logins of one session; the next one is answered with 421.";
    "listener", "relay-clients", "list of addresses and networks", None, "[\"10.0.0.0/8\"]",
        "As `relay.clients`, for this listener.";
    "listener", "proxy-protocol", "list of addresses and networks", Some("[]"), "[]",
        "Proxies in front of this listener. A connection from them begins with a header of the PROXY protocol (version 1 or 2) that names the client, and is closed where it does not; from everybody else such a header is no command.";
    "listener", "xclient", "list of addresses and networks", Some("[]"), "[]",
        "Clients that may say with XCLIENT for whom they speak, such as a content filter or a proxy.";
    "listener", "greet-delay", "time, at most 60s", Some("\"0s\""), "\"0s\"",
        "How long the greeting waits. A client that speaks before it is answered with 554: mail programs wait, programs that send spam often do not. Nothing waits where TLS begins with the connection.";
    "listener", "client-names", "true or false", Some("false"), "true",
        "Whether the name of each client is looked up: what its address points to, if that name has the address in turn. It stands in Received and Authentication-Results (`iprev`), and sinks see it. The greeting waits for it, beside `greet-delay`, 2 seconds at most; a client whose name is not found by then has none.";
    "listener", "max-message-size", "size", Some("\"25MiB\""), "\"25MiB\"",
        "Largest message, announced with SIZE (RFC 1870), `\"64KiB\"` at least (RFC 5321 §4.5.3.1.7). A larger one is refused with 552.";
    "listener", "hard-max-message-size", "size", None, "\"100MiB\"",
        "Largest message that a sink may let through at `on-max-msg-size`. The default is `max-message-size`: none.";
    "listener", "extensions-off", "list of keywords", Some("[]"), "[]",
        "Extensions that are not offered here, of CHUNKING, BINARYMIME, SMTPUTF8, LIMITS, REQUIRETLS, DELIVERBY, MT-PRIORITY and PRDR.";
    "listener", "max-recipients", "number, 100 or more", Some("1000"), "1000",
        "Most recipients of one message; more are answered with 452 (RFC 5321 §4.5.3.1.10). RFC 5321 requires 100 at least.";
    "listener", "max-messages-per-session", "number, at most 999999", None, "100",
        "Most messages of one session, announced as MAILMAX (RFC 9422); MAIL gets 421 then. The default is no limit.";
    "listener", "max-hold", "time, 1s to 365d", None, "\"7d\"",
        "How long a message is held back at most where its sender asks for that with HOLDFOR or HOLDUNTIL (FUTURERELEASE, RFC 4865). Only on a submission listener. Without it the extension is not offered.";
    "listener", "min-deliver-by", "time", Some("\"0s\""), "\"0s\"",
        "Shortest time in which a message may be demanded to arrive, announced with DELIVERBY (RFC 2852); less is answered with 501.";
    "listener", "command-timeout", "time", Some("\"5m\""), "\"5m\"",
        "How long to wait for the next command. RFC 5321 §4.5.3.2.7 asks for 5 minutes at least.";
    "listener", "data-timeout", "time", Some("\"3m\""), "\"3m\"",
        "How long to wait for the next block of a message.";
    "listener", "data-total", "time", Some("\"1h\""), "\"1h\"",
        "How long one message may take in all.";
    "listener", "min-data-rate", "size in a second, at most 16KiB", Some("\"0B\""), "\"64B\"",
        "Fewest octets of a message in a second, over each minute that the server waited for them. A slower client is answered with 421; with `\"0B\"` none is.";
    "listener", "max-connections", "number", Some("1000"), "1000",
        "Most connections of this listener at once; the next one gets 421.";
    "listener", "max-connections-per-client", "number", Some("100"), "100",
        "Most connections from one client at once; the next one gets 421. A client is an address, of IPv6 a /64: see `client-prefix-ipv4` and `client-prefix-ipv6`.";
    "listener", "max-connections-per-minute", "number", None, "60",
        "Most connections from one client in a minute; the next one gets 421. The default is no limit.";
    "listener", "max-messages-per-minute", "number", None, "100",
        "Most messages from one client in a minute; MAIL gets 451 then. The default is no limit.";
    "listener", "max-recipients-per-minute", "number", None, "1000",
        "Most recipients from one client in a minute; RCPT gets 451 then. The default is no limit.";
    "listener", "client-prefix-ipv4", "number, 8 to 32", Some("32"), "32",
        "How many bits of an IPv4 address are one client, for the limits above.";
    "listener", "client-prefix-ipv6", "number, 16 to 128", Some("64"), "64",
        "The same for IPv6. One customer has a /64 at least, so single addresses would be no limit.";
    "listener", "max-errors", "number", Some("20"), "20",
        "Protocol errors of one session before it is closed with 421.";
    "listener", "max-idle-commands", "number", Some("100"), "100",
        "Commands without use for any mail (NOOP, RSET, VRFY and such) between two messages before the session is closed with 421. With `command-timeout` it says how long a client can hold a connection.";
    "certificate", "name", "word", None, "\"main\"",
        "What listeners call it. The default is `certificate-1`, `certificate-2` and so on.";
    "certificate", "chain-file", "path", None, "\"/etc/basin/tls/mail.example.org.pem\"",
        "A PEM file with the certificate, and behind it those between it and its authority.";
    "certificate", "key-file", "path", None, "\"/etc/basin/tls/mail.example.org.key\"",
        "A PEM file with its private key. The server's user must be able to read it, others must not.";
    "auth", "users-file", "path", None, "\"/etc/basin/users\"",
        "The users of all listeners that clients can log in to, with what is kept of their passwords; `basin user` changes it. It is looked at every two seconds, and one that cannot be used changes nothing.";
    "sender", "user", "user name", None, "\"ann\"",
        "The name that the user logs in with.";
    "sender", "addresses", "list of addresses", Some("[]"), "[\"ann@example.org\", \"@lists.example.org\"]",
        "What the user may send from; `@` and a domain stand for all addresses of it.";
    "domain", "name", "domain name", None, "\"example.org\"",
        "Name of the domain.";
    "domain", "mailboxes", "list of local parts", Some("[]"), "[\"alice\", \"bob\"]",
        "Mailboxes of the domain: letters and digits of any script, `.`, `_`, `+` and `-`. Two that differ in case, or in how Unicode writes a letter (they are compared in normal form C), are one. One with other letters than ASCII gets mail of clients that use SMTPUTF8 (RFC 6531), and of all by an alias. Mail for any other local part is refused with 550 at RCPT, unless an alias or `catch-all` takes it.";
    "domain", "mailbox-file", "path", None, "\"/etc/basin/mailboxes.example.org\"",
        "A file with further local parts, one on a line; empty lines and lines that begin with `#` are left out. Read again at SIGHUP.";
    "domain", "catch-all", "local part", None, "\"alice\"",
        "The mailbox that takes what no other one and no alias does. It must be one of the domain's mailboxes.";
    "aliases", "*", "address or list of addresses", None, "[\"alice@example.org\", \"bob@example.org\"]",
        "Where mail for the address in the key goes.";
    "relay", "clients", "list of addresses and networks", Some("[\"127.0.0.0/8\", \"::1\"]"), "[\"127.0.0.0/8\", \"::1\"]",
        "Clients that may send to any domain. The default is this machine alone; `[]` is nobody. Mail for any other domain is refused from everybody else with 550 5.7.1.";
    "queue", "lifetime", "time", Some("\"5d\""), "\"5d\"",
        "How long a message is tried before its sender is told that it failed. RFC 5321 §4.5.4.1 asks for 4 to 5 days at least.";
    "queue", "bounce-lifetime", "time", Some("\"1d\""), "\"1d\"",
        "How long a notification (null sender) is tried. Most that cannot be delivered answer forged mail.";
    "queue", "delay-notice", "time, or \"off\"", Some("\"4h\""), "\"4h\"",
        "When a sender is told, once, that a message is late. It is never told for a null sender, and only where NOTIFY of the client allows it.";
    "queue", "first-waits", "list of times", Some("[\"5m\", \"10m\", \"20m\", \"30m\"]"), "[\"5m\", \"10m\", \"20m\", \"30m\"]",
        "How long to wait after the first attempts of a message, in their order. Each wait is moved by up to a tenth, so that what failed together is not tried together.";
    "queue", "longest-wait", "time", Some("\"2h\""), "\"2h\"",
        "Later waits double from the last of `first-waits` up to this. RFC 5321 §4.5.4.1 asks for 30 minutes at least between late attempts.";
    "queue", "max-messages", "number", Some("1000000"), "1000000",
        "Most messages in the spool; beyond it MAIL is answered with 452 4.3.1 until some have left.";
    "outbound", "connections", "number, 0 to 2000", Some("200"), "200",
        "Most connections to other servers at once. 0 sends nothing: mail for other domains stays in the spool.";
    "outbound", "connections-per-destination", "number, 1 or more", Some("10"), "10",
        "Most connections to one destination (a domain, or the servers of a route) at once.";
    "outbound", "messages-per-connection", "number, 1 or more", Some("100"), "100",
        "Most messages over one connection; then it is closed and another destination has its turn.";
    "outbound", "messages-per-minute", "number, 1 or more", None, "600",
        "Most messages to one destination in a minute. The default is no limit.";
    "outbound", "helo-name", "domain name", None, "\"mail.example.org\"",
        "The name given in EHLO. The default is `host-name`. Many servers refuse a name whose address is not the one that mail comes from.";
    "outbound", "source-addresses", "list of addresses", Some("[]"), "[\"192.0.2.10\", \"2001:db8::10\"]",
        "Addresses of this machine that connections start from, one of each family is enough. The default is what the system chooses.";
    "outbound", "tls", "\"never\", \"opportunistic\", \"required\" or \"verified\"", Some("\"opportunistic\""), "\"opportunistic\"",
        "The least TLS towards domains without a route: none; where it is offered, with any certificate; always, with any certificate; always, with a certificate of a trusted authority for that name.";
    "outbound", "chunking", "\"never\", \"binary\" or \"preferred\"", Some("\"binary\""), "\"binary\"",
        "When messages are sent with BDAT (RFC 3030) in place of DATA: never; only where the content needs it; wherever it is offered.";
    "outbound", "mx-port", "number", Some("25"), "25",
        "The port of mail exchangers. The world uses 25 and no other; a closed network may have its own.";
    "outbound", "connect-timeout", "time", Some("\"30s\""), "\"30s\"",
        "How long to wait for a connection to one address.";
    "outbound", "command-timeout", "time", Some("\"5m\""), "\"5m\"",
        "How long to wait for the greeting and for the reply to a command (RFC 5321 §4.5.3.2 asks for 5 minutes at least), and for a server to take the next block of a message.";
    "outbound", "final-timeout", "time", Some("\"10m\""), "\"10m\"",
        "How long to wait for the reply to the end of a message. Who gives up earlier than the 10 minutes of RFC 5321 §4.5.3.2.6 sends messages twice.";
    "source", "name", "word", None, "\"bulk\"",
        "What routes and sinks call them.";
    "source", "addresses", "list of IP", None, "[\"192.0.2.11\"]",
        "As `outbound.source-addresses`: the first of the family that the server's address has.";
    "route", "name", "word", None, "\"store\"",
        "What sinks call the LMTP server when they choose where mail goes (`next-hop.lmtp` at `on-route`). It needs `protocol = \"lmtp\"`; `domains` can be left out then.";
    "route", "domains", "list of domains", None, "[\"example.com\", \"*.example.com\"]",
        "Which domains it is for: `example.com` is that domain, `*.example.com` every one below it, `*` every one there is.";
    "route", "hosts", "list of HOST or HOST:PORT", None, "[\"smtp.example.net:587\"]",
        "The servers, tried in this order; names or addresses (`[2001:db8::1]:25`). No MX is asked for. Without the key mail goes to the mail exchangers of the domain. The port is 25, for LMTP 24. Routes to the same first server must have the same keys, `domains` apart: their mail shares connections.";
    "route", "protocol", "\"smtp\" or \"lmtp\"", Some("\"smtp\""), "\"lmtp\"",
        "What is spoken there: SMTP (RFC 5321), or LMTP (RFC 2033) for a mail store. LMTP needs `hosts`.";
    "route", "tls", "as `outbound.tls`", None, "\"verified\"",
        "The least TLS. The default is that of `outbound`, with credentials \"verified\".";
    "route", "implicit-tls", "true or false", Some("false"), "false",
        "Whether TLS begins with the connection (RFC 8314, port 465) in place of STARTTLS.";
    "route", "credentials", "name", None, "\"relay\"",
        "Which `[[credentials]]` to log in with. It needs `hosts`, and TLS where they are not on loopback.";
    "route", "source", "name", None, "\"bulk\"",
        "Which `[[source]]` to connect from.";
    "route", "connections", "number, 1 or more", None, "10",
        "As `outbound.connections-per-destination`, for this route.";
    "route", "messages-per-connection", "number, 1 or more", None, "100",
        "As `outbound.messages-per-connection`, for this route.";
    "route", "messages-per-minute", "number, 1 or more", None, "600",
        "As `outbound.messages-per-minute`, for this route.";
    "credentials", "name", "word", None, "\"relay\"",
        "What routes call them.";
    "credentials", "user", "text", None, "\"basin@example.org\"",
        "The name to log in with.";
    "credentials", "password-file", "path", None, "\"/etc/basin/relay.password\"",
        "The file whose first line is the password. It must be readable by the server's user and should be by nobody else. Read again at SIGHUP.";
    "dns", "servers", "list of IP or IP:PORT", Some("[]"), "[\"127.0.0.1\"]",
        "The resolvers to ask. The default is what `/etc/resolv.conf` names. DANE needs `dnssec`.";
    "dns", "dnssec", "true or false", Some("false"), "false",
        "Whether answers are validated here by their signatures (DNSSEC), so that DANE (RFC 7672) says with which servers TLS is spoken. The resolvers must pass signatures on; with one that strips them, signed domains cannot be mailed to.";
    "dns", "trust-anchor", "path", None, "\"/usr/share/dns/root.key\"",
        "A file of DNSKEY records, in the form of a zone file, that validation begins with. The default is the keys of the root.";
    "tls", "mta-sts", "true or false", Some("true"), "true",
        "Whether the MTA-STS policies of domains are obeyed (RFC 8461): they are fetched over HTTPS, and in `enforce` mode nothing goes to a server without the certificate that they ask for.";
    "tls", "dane", "true or false", Some("true"), "true",
        "Whether the TLSA records of other servers are obeyed (RFC 7672). Without `dns.dnssec` there are none that count.";
    "tls", "reports-from", "address", None, "\"tls-reports@example.org\"",
        "Who reports about TLS are from (RFC 8460), which other domains may ask for. Its domain should sign with DKIM. Without this key nothing is counted and no reports are sent.";
    "tls", "roots", "path", None, "\"/etc/ssl/certs/ca-certificates.crt\"",
        "A PEM file with the authorities to trust. The default is what the system trusts.";
    "dkim", "domain", "domain name", None, "\"example.org\"",
        "The domain that signs, `d=`. It signs for authors in that domain (the From field), and for mail of senders in it whose author's domain has no key.";
    "dkim", "selector", "word", None, "\"2026a\"",
        "The selector, `s=`: the public key is in DNS at `SELECTOR._domainkey.DOMAIN`. `basin dkim record` prints it.";
    "dkim", "key-file", "path", None, "\"/etc/basin/dkim/2026a.pem\"",
        "The private key in PEM form, RSA of 2048 bits or more, or Ed25519. The server's user must be able to read it, others must not. Read again at SIGHUP.";
    "dkim", "headers", "list of field names", None, "[\"From\", \"To\", \"Subject\", \"Date\"]",
        "Fields to sign where they are there. The default is a list that suits all mail; of From, To, Cc, Subject, Date, Reply-To, Message-ID and the MIME fields nobody can add another one.";
    "dkim", "canonicalization", "\"relaxed\" or \"simple\", twice", Some("\"relaxed/relaxed\""), "\"relaxed/relaxed\"",
        "How header and body are brought into one form. Relaxed survives changes of white space, simple none.";
    "dkim", "expires-after", "time", None, "\"14d\"",
        "How long a signature holds. The default is for ever.";
    "dkim", "subdomains", "true or false", Some("false"), "false",
        "Whether the key signs for authors in domains below its own that have no key, too.";
    "arc", "domain", "domain name", None, "\"example.org\"",
        "The domain that seals.";
    "arc", "selector", "word", None, "\"2026a\"",
        "The selector; the public key is published like that of DKIM, and may be the same.";
    "arc", "key-file", "path", None, "\"/etc/basin/dkim/2026a.pem\"",
        "The private key. Many verifiers of seals know RSA only. Read again at SIGHUP.";
    "arc", "headers", "list of field names", None, "[\"From\", \"To\", \"Subject\", \"Date\"]",
        "As in `[[dkim]]`.";
    "message-auth", "authserv-id", "domain name", None, "\"mail.example.org\"",
        "The name that results are stated under. The default is `host-name`. Fields with this name, with `host-name` or with that of a listener are taken out of what comes.";
    "message-auth", "check", "\"off\", \"on-demand\", \"strangers\" or \"always\"", None, "\"strangers\"",
        "What is stated: nothing; what sinks asked for with `message-auth`; everything of mail whose sender neither logged in nor is one of `relay-clients`, found out before the message is stored; the same, and of who logged in `auth=pass` and the user's name, which leave with the mail. The default is \"strangers\" for listeners that others than this machine reach, on another address than loopback or by `proxy-protocol`, but for submission listeners; \"on-demand\" for the others, so that a server on loopback asks no name server.";
    "message-auth", "max-time", "time, at most 120s", Some("\"10s\""), "\"10s\"",
        "How long a message waits for its results with `check = \"strangers\"` or `\"always\"`. What is not known by then is stated as `temperror`.";
    "message-auth", "trusted", "list of addresses and networks", Some("[]"), "[\"10.0.0.0/8\"]",
        "Servers of the same administration, which have examined their mail: their fields stay in it, and nothing is added.";
    "pickup", "directory", "path", None, "\"/var/spool/basin/pickup\"",
        "The directory. It is made if it is missing, must belong to the server's user, and takes whole files that are renamed into it; see docs/operations.md. Without it there is none.";
    "pickup", "max-message-size", "size", Some("\"25MiB\""), "\"25MiB\"",
        "Largest message; a larger file is set aside.";
    "pickup", "max-recipients", "number", Some("1000"), "1000",
        "Most recipients of one message.";
    "limits", "sink-calls", "number, 1 to 8000", Some("1000"), "1000",
        "Most calls of sinks at once. Each takes up to 64 MiB of address space at the default memory limit, and 6 memory maps of the kernel's `vm.max_map_count`.";
    "limits", "sink-time-per-transaction", "time", Some("\"60s\""), "\"60s\"",
        "What all sinks of one message together may take before it is accepted. Clients wait 10 minutes after the final dot at most (RFC 5321 §4.5.3.2.6) and send again when they give up.";
    "limits", "compile-time", "time, 1s to 10m", Some("\"60s\""), "\"60s\"",
        "How long a component may take to be compiled, in a process of its own.";
    "limits", "compile-memory", "size, 256MiB or more", Some("\"2GiB\""), "\"2GiB\"",
        "How much address space that process may take.";
    "limits", "waiting-notices", "number", Some("4096"), "4096",
        "Most notices (`on-reject`, `on-disconnect`, bindings that observe) that wait for their sinks. More are dropped and counted in `basin_notices_dropped_total`.";
    "limits", "deliveries", "number, 0 to 256", Some("32"), "32",
        "Most stored messages worked on at once: their sinks at `on-submission`, their way into mailboxes. 0 takes mail in and delivers none of it, and no timer of a sink is called.";
    "limits", "drain-time", "time", Some("\"30s\""), "\"30s\"",
        "How long sessions and deliveries may go on after SIGTERM before they are cut off. What was not acknowledged will be sent again by the client; what was is in the spool.";
    "tracking", "enabled", "true or false", Some("true"), "true",
        "Whether steps are taken down at all.";
    "tracking", "directory", "path", None, "\"/var/lib/basin/spool/tracking\"",
        "Where the files are, `YYYY-MM-DD.NNNN.jsonl` by day (UTC) and part. The default is `tracking` in the spool directory; on another disk, it takes nothing from mail.";
    "tracking", "days", "number, 1 or more", Some("30"), "30",
        "For how many days files are kept.";
    "tracking", "max-size", "size, 8MiB or more", Some("\"2GiB\""), "\"2GiB\"",
        "Most that all files take together; the oldest go first, also before their days are over. Nothing is written either while the disk has less than 64 MiB left. What could not be written is counted in `basin_tracking_lost_total`, and a line `lost` stands in its place.";
    "audit", "enabled", "true or false", Some("true"), "true",
        "Whether such lines are kept apart from the log at all.";
    "audit", "directory", "path", None, "\"/var/lib/basin/registry/audit\"",
        "Where the files are, `YYYY-MM-DD.NNNN.jsonl` by day (UTC) and part. The default is `audit` in the registry's directory.";
    "audit", "days", "number, 1 or more", Some("90"), "90",
        "For how many days files are kept.";
    "audit", "max-size", "size, 8MiB or more", Some("\"256MiB\""), "\"256MiB\"",
        "Most that all files take together, half of it for `traffic`, so that who knocks at the door washes nothing away that operators did; the oldest go first, also before their days are over. Nothing is written either while the disk has less than 64 MiB left. What could not be written is counted in `basin_audit_lost_total`, and a line says so in its place.";
    "log", "level", "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"", Some("\"info\""), "\"info\"",
        "How much is logged: error, a person must act; warn, a person should look this week; info, a line for each stage of a message; debug, a line for each command.";
    "log", "format", "\"text\" or \"json\"", Some("\"text\""), "\"text\"",
        "One line of text or one JSON object for each occurrence.";
}
