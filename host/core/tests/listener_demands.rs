//! What a listener demands of its clients beyond what the transcripts show.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong")]

use core::time::Duration;
use std::sync::Arc;

use basin_core::addr::Address;
use basin_core::event::EventSet;
use basin_core::limits::DATA_RATE_WINDOW;
use basin_core::network::Network;
use basin_core::smtp::{AuthPolicy, Extensions, TlsPolicy};
use basin_core::smtp::{Connection, Disagreements, ListenerPolicy, Outbox, OwnDomains, Session, Step};
use basin_core::time::Timestamp;
use basin_core::transport::{Directory, Tables};

const NOW: Timestamp = Timestamp::from_seconds(0);

fn policy() -> ListenerPolicy {
    let address = |text: &str| Address::parse(text).unwrap();
    let tables = Tables {
        domains: vec!["basin.example".into(), "other.example".into(), "xn--bcher-kva.example".into()],
        mailboxes: ["alice@basin.example", "bob@other.example"].map(|text| (address(text), text.into())).into(),
        aliases: Vec::new(),
        postmaster: "alice@basin.example".into(),
        catch_all: Vec::new(),
        host_names: vec!["mx.basin.example".into()],
    };
    ListenerPolicy::new("mx", "mx.basin.example", Arc::new(Directory::new(tables).unwrap()))
}

struct Talk {
    step: Option<Step>,
    outbox: Outbox,
    table: Disagreements,
}

impl Talk {
    fn new(policy: ListenerPolicy) -> Self {
        let connection = Connection {
            id: "s".into(),
            client: "192.0.2.7:4".parse().unwrap(),
            server: "192.0.2.1:25".parse().unwrap(),
            started: NOW,
            random: 1,
            client_name: None,
            tls: None,
        };
        let mut outbox = Outbox::new();
        let step = Session::start(Arc::new(policy), connection, EventSet::default(), &mut outbox);
        let mut talk = Self { step: Some(step), outbox, table: Disagreements::default() };
        talk.outbox.take_bytes();
        talk.say("EHLO client.example");
        talk
    }

    fn say(&mut self, line: &str) -> String {
        let Some(Step::Read(mut session)) = self.step.take() else { panic!("the session does not read") };
        session.recall(&self.table, NOW);
        self.step = Some(session.line(line.as_bytes(), NOW, EventSet::default(), &mut self.outbox));
        String::from_utf8(self.outbox.take_bytes()).unwrap()
    }
}

#[test]
fn a_listener_of_its_own_takes_mail_for_its_own_domains_alone() {
    let own = ListenerPolicy { domains: Some(OwnDomains::new(["Basin.example", "b\u{fc}cher.example"])), ..policy() };
    let mut talk = Talk::new(own.clone());
    talk.say("MAIL FROM:<a@client.example>");
    for (recipient, answer) in [
        ("alice@basin.EXAMPLE", "250 "),
        ("nobody@basin.example", "550 5.1.1 "),
        ("bob@other.example", "550 5.7.1 relaying denied"),
        ("nobody@other.example", "550 5.7.1 relaying denied"),
        ("x@far.example", "550 5.7.1 relaying denied"),
        ("postmaster", "250 "),
        ("Postmaster@MX.basin.example", "250 "),
        ("alice@mx.basin.example", "550 5.7.1 relaying denied"),
        ("postmaster@other.example", "550 5.7.1 relaying denied"),
        ("nobody@xn--bcher-kva.example", "550 5.1.1 "),
    ] {
        let said = talk.say(&format!("RCPT TO:<{recipient}>"));
        assert!(said.starts_with(answer), "{recipient}: {said}");
    }
    let mut talk =
        Talk::new(ListenerPolicy { relay_clients: Network::parse("192.0.2.7").into_iter().collect(), ..own });
    talk.say("MAIL FROM:<a@client.example>");
    assert!(talk.say("RCPT TO:<bob@other.example>").starts_with("250 "), "who may relay sends there too");
}

#[test]
fn help_names_the_verbs_that_are_to_be_had() {
    let help = |policy| Talk::new(policy).say("HELP");
    assert_eq!(help(policy()), "214 2.0.0 HELO EHLO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT\r\n");
    let tls = Some(TlsPolicy { is_required: false });
    let auth = |needs_tls| Some(AuthPolicy { needs_tls, ..AuthPolicy::new(Arc::default()) });
    let extensions = Extensions { chunking: false, ..Extensions::default() };
    let both = ListenerPolicy { tls, auth: auth(false), extensions, ..policy() };
    assert_eq!(help(both), "214 2.0.0 HELO EHLO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY HELP QUIT\r\n");
    let later = help(ListenerPolicy { tls, auth: auth(true), ..policy() });
    assert!(later.contains(" STARTTLS ") && !later.contains(" AUTH "), "AUTH has to wait for TLS: {later}");
}

#[test]
fn a_login_may_be_demanded_of_everybody() {
    let mut talk = Talk::new(ListenerPolicy { is_auth_required: true, ..policy() });
    assert!(talk.say("MAIL FROM:<a@client.example>").starts_with("530 5.7.0 "));
    assert!(talk.say("RCPT TO:<alice@basin.example>").starts_with("503 "));
    assert!(talk.say("NOOP").starts_with("250 "));
}

#[test]
fn a_text_that_comes_too_slowly_ends_the_session() {
    for opening in ["DATA", "BDAT 100000"] {
        let mut talk = Talk::new(ListenerPolicy { data_rate_min: 10, ..policy() });
        talk.say("MAIL FROM:<a@client.example>");
        talk.say("RCPT TO:<alice@basin.example>");
        talk.say(opening);
        let Some(Step::Receive(mut receiving)) = talk.step.take() else { panic!("no text is taken") };
        let second = Duration::from_secs(1);
        let seconds = (1..=100).find(|_| receiving.is_too_slow(1, second)).unwrap();
        assert_eq!(Duration::from_secs(seconds), DATA_RATE_WINDOW);
        assert!(matches!(receiving.too_slow(NOW, &mut talk.outbox), Step::Close(_)));
        let said = String::from_utf8(talk.outbox.take_bytes()).unwrap();
        assert!(said.starts_with("421 4.4.2 "), "{said}");
    }
}

#[test]
fn one_recipient_cannot_be_named_for_ever() {
    let mut talk = Talk::new(ListenerPolicy { recipients_max: 100, ..policy() });
    talk.say("MAIL FROM:<a@client.example>");
    for _ in 0..100 {
        assert!(talk.say("RCPT TO:<alice@basin.example>").starts_with("250 "));
    }
    assert!(talk.say("RCPT TO:<alice@basin.example>").starts_with("452 4.5.3 "));
}
