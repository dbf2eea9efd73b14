//! Visits whose sinks are asked, over real sockets.

use core::time::Duration;
use std::net::Ipv4Addr;
use std::sync::Arc;

use basin_core::event::{Decision, EventKind, OutSession, Question, Verdict};
use basin_core::reply::Reply;
use basin_core::smtp::client::{Hearing, Outgoing, Sent};
use basin_core::transport::{HostAddress, Route, TlsDemand};
use basin_outbound::{Feed, HopFacts, Outbound};

use crate::feed::{Messages, hasty, options, route};
use crate::peer::{Peer, Plan};

/// A feed whose sink says what the test wants.
struct Sinks<F> {
    messages: Messages,
    sessions: Vec<OutSession>,
    hosts: Option<Vec<HostAddress>>,
    /// Whose word a result was, where it was a sink's.
    by_sinks: Vec<String>,
    verdict: F,
}

impl<F: FnMut(&mut Question) -> Option<Verdict> + Send> Sinks<F> {
    fn new(messages: usize, verdict: F) -> Self {
        Self { messages: Messages::new(messages), sessions: Vec::new(), hosts: None, by_sinks: Vec::new(), verdict }
    }
}

impl<F: FnMut(&mut Question) -> Option<Verdict> + Send> Feed for Sinks<F> {
    async fn begins_without_tls(&mut self) -> bool {
        self.messages.begins_without_tls().await
    }

    async fn next(&mut self) -> Option<Outgoing> {
        self.messages.next().await
    }

    async fn hosts(&mut self, _domain: &str) -> Result<Option<Vec<HostAddress>>, Reply> {
        Ok(self.hosts.clone())
    }

    async fn hearing(&mut self, session: OutSession) -> Option<Hearing> {
        self.sessions.push(session.clone());
        let events = EventKind::ALL.iter().copied().filter(|event| event.is_outbound()).collect();
        Some(Hearing { session: Arc::new(session), attempt: 1, events, judged: Vec::new() })
    }

    async fn ask(&mut self, mut question: Question) -> Decision {
        // A sink that never answers.
        let Some(verdict) = (self.verdict)(&mut question) else { return core::future::pending().await };
        Decision { verdict, by: Some("a".into()), overlay: question.overlay, failures: Vec::new(), is_heard: true }
    }

    async fn done(&mut self, sent: Sent, facts: &HopFacts) {
        self.by_sinks.extend(sent.by_sinks.values().map(ToString::to_string));
        self.messages.done(sent, facts).await;
    }
}

#[tokio::test]
async fn what_sinks_say_is_what_the_other_server_hears() {
    let peer = Peer::start(Plan { offers: vec!["PIPELINING", "DSN", "XOWN"], ..Plan::default() }).await;
    let mut recipients = 0;
    let mut feed = Sinks::new(1, |question| {
        let first = question.occasion.outbound.as_ref().expect("a session").previous_reply("a").is_some();
        let event = question.occasion.event;
        if event == EventKind::OnSessionEnd && !first {
            return Some(Verdict::SendFirst("XOWN bye".into()));
        }
        if event == EventKind::OnMessageStart {
            let command = question.overlay.out_command.as_mut().expect("a command");
            command.append_parameter("XOWN=1").expect("it is offered");
        }
        recipients += u32::from(event == EventKind::OnPerRecipient);
        let is_first = event == EventKind::OnPerRecipient && recipients == 1;
        Some(if is_first { Verdict::SkipRecipient(Reply::with(450, 7, 1, "not now")) } else { Verdict::Next })
    });
    let outbound = Outbound::new(options()).expect("good options");
    let visit = outbound.visit(&route(&[peer.address], TlsDemand::Never), &mut feed).await;
    assert_eq!(visit.failure, None);
    let heard = peer.heard();
    let heard: Vec<&str> = heard.iter().map(String::as_str).collect();
    let rcpt = "RCPT TO:<c@peer.example> ORCPT=rfc822;c@peer.example";
    let expected = ["EHLO out.example", "MAIL FROM:<a@sender.example> XOWN=1", rcpt, "DATA", "XOWN bye", "QUIT"];
    assert_eq!(heard, expected);
    assert_eq!((feed.messages.accepted(), feed.messages.results().len()), (1, 2));
    let session = feed.sessions.first().expect("one connection");
    assert_eq!((session.remote, session.local.map(|local| local.ip())), (Some(peer.address), Some(peer.address.ip())));
}

#[tokio::test]
async fn a_session_that_a_sink_drops_is_tried_later_and_not_elsewhere() {
    let peers = [Peer::start(Plan::default()).await, Peer::start(Plan::default()).await];
    let mut feed = Sinks::new(1, |question| {
        let is_before_mail = question.occasion.event == EventKind::OnMessageStart;
        Some(if is_before_mail { Verdict::DropSession(Reply::with(451, 7, 1, "not this one")) } else { Verdict::Next })
    });
    let servers: Vec<_> = peers.iter().map(|peer| peer.address).collect();
    let outbound = Outbound::new(options()).expect("good options");
    let visit = outbound.visit(&route(&servers, TlsDemand::Never), &mut feed).await;
    let words = "sink a at on-message-start";
    assert_eq!(feed.by_sinks, [words, words], "it is not the word of the server");
    assert_eq!(visit.dropped_by.map(|by| by.to_string()).as_deref(), Some(words));
    assert_eq!(
        visit.hops.iter().map(|hop| hop.by.as_ref().map(ToString::to_string)).collect::<Vec<_>>(),
        [Some(words.into())]
    );
    let codes: Vec<_> = feed.messages.results().iter().filter_map(|it| it.as_ref().err().map(Reply::code)).collect();
    assert_eq!(codes, [451, 451]);
    assert_eq!(peers.iter().map(Peer::connections).sum::<usize>(), 1);
}

#[tokio::test]
async fn a_sink_that_never_answers_holds_no_connection_for_ever() {
    let peer = Peer::start(Plan::default()).await;
    let mut feed =
        Sinks::new(1, |question| (question.occasion.event != EventKind::OnSessionStart).then_some(Verdict::Next));
    let outbound = Outbound::new(hasty(Duration::from_millis(20))).expect("good options");
    let visit = outbound.visit(&route(&[peer.address], TlsDemand::Never), &mut feed).await;
    assert_eq!(visit.failure.map(|reply| reply.code()), Some(451));
    let by = visit.dropped_by.map(|by| by.to_string());
    assert_eq!(by.as_deref(), Some("a sink of this server at on-session-start"));
    assert!(!peer.heard().iter().any(|line| line.starts_with("EHLO")));
}

#[tokio::test]
async fn hosts_of_a_sink_take_the_place_of_dns_and_never_lead_home() {
    let peer = Peer::start(Plan::default()).await;
    let host = HostAddress { name: "given.example".into(), addresses: vec![Ipv4Addr::LOCALHOST.into()] };
    for is_home in [false, true] {
        let listeners = if is_home { vec![peer.address] } else { Vec::new() };
        let options = basin_outbound::OutboundOptions {
            mx_port: peer.address.port(),
            mta_sts: None,
            is_dane: false,
            listeners,
            ..options()
        };
        let mut feed = Sinks::new(1, |_| Some(Verdict::Next));
        feed.hosts = Some(vec![host.clone()]);
        let outbound = Outbound::new(options).expect("good options");
        let visit = outbound.visit(&Route::mx("nowhere.example"), &mut feed).await;
        assert_eq!(feed.messages.accepted(), if is_home { 0 } else { 2 });
        assert_eq!(visit.hops.first().map(|hop| hop.host.as_str()), Some("given.example"));
    }
}
