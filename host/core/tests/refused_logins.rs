//! Logins that fail: who they count against, and what of them nobody is shown.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test says what went wrong")]

use std::sync::Arc;

use basin_core::event::{Decision, EventKind, EventSet, Verdict};
use basin_core::mail::Auth;
use basin_core::network::Network;
use basin_core::reply::Reply;
use basin_core::smtp::{Accounts, AuthPolicy, Connection, ListenerPolicy, Outbox, Session, Step, StoredKeys, Verified};
use basin_core::time::Timestamp;

const NOW: Timestamp = Timestamp::from_seconds(0);

/// A session with a sink that answers AUTH and verbs of its own as it is told to.
struct Talk {
    step: Option<Step>,
    outbox: Outbox,
    interest: EventSet,
    verdict: Verdict,
    is_fault: bool,
    user: Option<&'static str>,
    asked: u32,
    is_barred: bool,
    compared_for: Option<String>,
}

impl Talk {
    fn new(interest: &[EventKind]) -> Self {
        let mut policy = ListenerPolicy::new("mx", "basin.example", Arc::default());
        policy.xclient_from = Network::parse("192.0.2.7").into_iter().collect();
        let keys = StoredKeys::derive("rabbit hole", b"12345678", 4096).unwrap();
        let accounts = Accounts::parse(&Accounts::line("alice", &keys).unwrap(), [7; 32]).unwrap();
        policy.auth = Some(AuthPolicy { needs_tls: false, ..AuthPolicy::new(Arc::new(accounts)) });
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
        outbox.take_bytes();
        let mut talk = Self {
            step: Some(step),
            outbox,
            interest: interest.iter().copied().collect(),
            verdict: Verdict::Next,
            is_fault: false,
            user: None,
            asked: 0,
            is_barred: false,
            compared_for: None,
        };
        talk.say("EHLO client.example");
        talk
    }

    fn say(&mut self, line: &str) -> String {
        let mut step = match self.step.take().unwrap() {
            Step::Read(mut session) => {
                session.is_barred(self.is_barred);
                session.line(line.as_bytes(), NOW, self.interest, &mut self.outbox)
            }
            Step::Input(awaiting, _) => awaiting.input(line.as_bytes(), NOW, self.interest, &mut self.outbox),
            Step::Ask(..)
            | Step::StartTls(_)
            | Step::Verify(..)
            | Step::Receive(_)
            | Step::Examine(_)
            | Step::Store(..)
            | Step::Close(_) => {
                panic!("the session does not read")
            }
        };
        loop {
            step = match step {
                Step::Ask(paused, question) => {
                    self.asked += 1;
                    let mut overlay = question.overlay;
                    overlay.is_protocol_error = self.is_fault;
                    overlay.authenticated = self.user.map(|user| Auth { user: user.into(), mechanism: "X-OWN".into() });
                    let decision = Decision {
                        verdict: self.verdict.clone(),
                        by: Some("sink".into()),
                        overlay,
                        failures: Vec::new(),
                        is_heard: true,
                    };
                    paused.resume(decision, NOW, &mut self.outbox)
                }
                Step::Verify(verifying, _) => {
                    self.compared_for = Some(verifying.client().ip().to_string());
                    verifying.verified(Verified::Wrong, NOW, &mut self.outbox)
                }
                step @ (Step::Read(_) | Step::StartTls(_) | Step::Input(..)) => break self.step = Some(step),
                step @ (Step::Receive(_) | Step::Examine(_) | Step::Store(..) | Step::Close(_)) => {
                    break self.step = Some(step);
                }
            };
        }
        String::from_utf8(self.outbox.take_bytes()).unwrap()
    }

    fn failed(&mut self) -> Vec<(String, Option<String>)> {
        self.outbox.failed_logins.drain(..).map(|failed| (failed.client.to_string(), failed.user)).collect()
    }

    fn errors(&self) -> u32 {
        match self.step.as_ref().unwrap() {
            Step::Read(session) => session.facts().errors,
            Step::Close(ended) => ended.facts().errors,
            Step::Ask(..)
            | Step::StartTls(_)
            | Step::Verify(..)
            | Step::Input(..)
            | Step::Receive(_)
            | Step::Examine(_)
            | Step::Store(..) => {
                panic!("the session is in the middle of something")
            }
        }
    }
}

fn reply(code: u16) -> Reply {
    Reply::with(code, 7, 8, "no")
}

#[test]
fn a_mechanism_of_a_sink_counts_guesses_like_one_of_the_server() {
    for (verdict, count) in [
        (Verdict::Consume(reply(535)), 1),
        (Verdict::Refuse(reply(535)), 1),
        (Verdict::DropSession(reply(421)), 1),
        (Verdict::Refuse(reply(454)), 0),
        (Verdict::Next, 0),
    ] {
        let mut talk = Talk::new(&[EventKind::OnInboundCommand]);
        (talk.verdict, talk.user) = (verdict.clone(), Some("carol"));
        talk.say("AUTH X-OWN");
        let expected = vec![("192.0.2.7".to_owned(), Some("carol".to_owned())); count];
        assert_eq!(talk.failed(), expected, "{verdict:?}");
    }
}

#[test]
fn behind_a_proxy_guesses_are_those_of_the_client() {
    let mut talk = Talk::new(&[]);
    talk.say("XCLIENT ADDR=198.51.100.9");
    talk.say("EHLO client.example");
    assert!(talk.say("AUTH PLAIN AGFsaWNlAHg=").starts_with("535 "));
    assert_eq!(talk.compared_for.as_deref(), Some("198.51.100.9"));
    assert_eq!(talk.failed(), [("198.51.100.9".to_owned(), Some("alice".to_owned()))]);
    talk.interest = [EventKind::OnInboundCommand].into_iter().collect();
    talk.verdict = Verdict::Refuse(reply(535));
    assert!(talk.say("AUTH X-OWN").starts_with("535 "));
    assert_eq!(talk.failed(), [("198.51.100.9".to_owned(), None)]);
}

#[test]
fn who_is_barred_is_not_heard_by_a_sink_either() {
    let mut talk = Talk::new(&[EventKind::OnInboundCommand]);
    (talk.is_barred, talk.asked) = (true, 0);
    assert!(talk.say("AUTH X-OWN").starts_with("454 4.7.0 "));
    assert_eq!((talk.asked, talk.failed()), (0, Vec::new()));
}

#[test]
fn an_error_that_a_sink_sees_in_a_login_is_counted_once() {
    for verdict in [
        Verdict::DropSession(reply(535)),
        Verdict::Consume(reply(535)),
        Verdict::Refuse(reply(535)),
        Verdict::AwaitInput(Reply::new(334, None, "")),
        Verdict::Discard,
        Verdict::Next,
    ] {
        let mut talk = Talk::new(&[EventKind::OnInboundCommand]);
        (talk.verdict, talk.is_fault) = (verdict.clone(), true);
        let said = talk.say("AUTH X-OWN");
        if said.starts_with("334") {
            (talk.verdict, talk.is_fault) = (Verdict::Refuse(reply(535)), false);
            talk.say("b25l");
        }
        // EHLO was asked about too, and went through.
        assert_eq!(talk.errors(), 1, "{verdict:?}");
    }
}

#[test]
fn what_follows_a_refused_login_is_shown_to_nobody() {
    let (user, password) = ("YWxpY2U=", "cmFiYml0IGhvbGU=");
    for opening in ["AUTH LOGIN", "AUTH X-OWN", "AUTH LOGIN a b", " AUTH LOGIN", "AUTH PLAIN AGEAYg=="] {
        let mut talk = Talk::new(&[EventKind::OnInboundCommand, EventKind::OnReject]);
        talk.is_barred = true;
        let opened = talk.say(opening);
        assert!(opened.starts_with(['4', '5']), "{opening}: {opened}");
        talk.asked = 0;
        for line in [user, password, "rabbit-hole", "rabbit hole"] {
            let Some(Step::Read(session)) = &talk.step else { panic!("{opening}: the session is over") };
            assert_eq!(session.without_secrets(line.as_bytes()), b"", "{opening} {line}");
            assert!(talk.say(line).starts_with("500 5.5"), "{opening} {line}");
        }
        let lines = talk.outbox.refusals.iter().map(|refusal| &refusal.line).skip(1);
        let told = talk.outbox.notices.iter().map(|notice| &notice.occasion.line).skip(1);
        assert!(lines.chain(told).all(Vec::is_empty), "{opening}: {:?}", talk.outbox.refusals);
        // What has the form of a response is for no sink; any other word may be a verb of its own.
        assert_eq!(talk.asked, 2, "{opening}");
        talk.say("NOOP");
        let Some(Step::Read(session)) = &talk.step else { panic!("the session is over") };
        assert_eq!(session.without_secrets(b"XOWN"), b"XOWN");
    }
}
