//! A server that remembers what it was told, against a client whose sinks say anything at any moment.

use std::sync::Arc;

use basin_core::event::{Decision, EventKind, EventSet, OutState, Overlay, Question, Verdict};
use basin_core::reply::Reply;
use basin_core::smtp::client::{self, Chunking, ClientPolicy, ClientStep, Closed, Hearing, Outgoing, Sent};
use basin_core::transport::Protocol;
use proptest::prelude::*;

use crate::NOW;
use crate::message::{Pieces, outgoing};
use crate::server::{BLOBS, BODY, Dice, HEADER, Mode, Server};

fn verdict(dice: &mut Dice, question: &Question) -> Verdict {
    let refusal = |dice: &mut Dice| Reply::new(dice.pick(&[450, 451, 550, 452]), None, "SINK");
    let any = |dice: &mut Dice| Reply::new(dice.pick(&[250, 354, 450, 550, 421, 452]), None, "SINK");
    if question.only.is_some() && !dice.one_in(5) {
        return Verdict::SendBlob(dice.pick(&BLOBS).to_vec());
    }
    let is_reply = question.occasion.event == EventKind::OnServerResponse;
    match dice.next(24) {
        0 if dice.one_in(3) => Verdict::DropSession(refusal(dice)),
        1 => Verdict::SkipRecipient(refusal(dice)),
        2 if dice.one_in(2) => Verdict::SkipMessage(refusal(dice)),
        3 if !is_reply => Verdict::SendFirst("XOWN".into()),
        4 if is_reply => Verdict::TreatAs(any(dice)),
        5 if is_reply => Verdict::ChangeState(dice.pick(OutState::ALL)),
        // Now and then what makes no sense there.
        6 if dice.one_in(40) => Verdict::SendFirst("RSET".into()),
        6 if dice.one_in(40) => Verdict::Refuse(Reply::new(550, None, "SINK")),
        7 if !is_reply && dice.one_in(20) => Verdict::SendBlob(b"MAIL FROM:<>\r\n".to_vec()),
        8 => Verdict::SkipRemaining,
        _ => Verdict::Next,
    }
}

fn is_unsound(verdict: &Verdict, question: &Question) -> bool {
    let event = question.occasion.event;
    !event.allows(verdict)
}

/// What became of the recipients of the message in hand, each by name.
struct Book {
    names: Vec<String>,
    results: Vec<(String, bool)>,
}

impl Book {
    fn record(&mut self, sent: &Sent, server: &Server) {
        for (id, result) in &sent.results {
            let name = format!("r{id}");
            assert!(self.results.iter().all(|(known, _)| *known != name), "two results for {name}");
            match result {
                Ok(accepted) => {
                    let text = accepted.reply.to_string();
                    let own = if server.is_lmtp { format!(".:{name}") } else { ".".to_owned() };
                    assert!(text.ends_with(&own) && accepted.reply.code() == 250, "{name} taken by {text:?}");
                    assert!(server.delivered.contains(&name), "{name} counts as taken and is not there");
                }
                Err(reply) => {
                    let text = reply.to_string();
                    let tag = text.split(' ').find(|word| word.contains(":r"));
                    assert!(
                        reply.code() == 421 || tag.is_none_or(|tag| tag.ends_with(&format!(":{name}"))),
                        "{name} has {text:?}"
                    );
                    let is_there = server.delivered.contains(&name);
                    assert!(!is_there || sent.may_be_delivered, "{name} is there and counts as failed: {text:?}");
                }
            }
            self.results.push((name, result.is_ok()));
        }
        let undecided = self.names.iter().filter(|name| self.results.iter().all(|(known, _)| known != *name)).count();
        assert_eq!(sent.is_complete, undecided == 0);
    }

    fn close(&self, closed: &Closed, server: &Server) {
        let unsent = closed.unsent.as_ref();
        let unsent: Vec<_> =
            unsent.iter().flat_map(|it| it.recipients.iter().map(|one| format!("r{}", one.id))).collect();
        for name in &self.names {
            let is_decided = self.results.iter().any(|(known, _)| known == name);
            assert_eq!(is_decided, !unsent.contains(name), "{name} at the end: {closed:?}");
            assert!(is_decided || !server.delivered.contains(name), "{name} is there and would be sent again");
        }
    }
}

fn check_response(question: &Question) {
    let Some(response) = &question.occasion.response else { return };
    let text = response.reply.lines().last().cloned().unwrap_or_default();
    let tag = text.split(':').next().unwrap_or_default();
    let is_offer = matches!(response.keyword.as_str(), "" | "EHLO" | "LHLO") && response.reply.code() / 100 == 2;
    assert!(is_offer || tag == response.keyword, "{text:?} passes for an answer to {:?}", response.keyword);
    if let (Some(name), Some(id)) = (text.split(':').nth(1), question.occasion.recipient) {
        assert_eq!(name, format!("r{id}"));
    }
}

fn events(dice: &mut Dice) -> EventSet {
    let all = [
        EventKind::OnSessionStart,
        EventKind::OnMessageStart,
        EventKind::OnPerRecipient,
        EventKind::OnBeforeData,
        EventKind::OnSessionEnd,
        EventKind::OnServerResponse,
    ];
    all.into_iter().filter(|_| !dice.one_in(3)).collect()
}

fn policy(dice: &mut Dice) -> ClientPolicy {
    let verbs = ["RSET", "MAIL", "RCPT", "BDAT"];
    let judged = verbs.into_iter().filter(|_| dice.one_in(2)).map(str::to_owned).collect();
    let hearing = Hearing { events: events(dice), judged, ..Hearing::default() };
    let mut policy = ClientPolicy::new("me.example");
    policy.hearing = Some(Arc::new(hearing));
    policy.protocol = dice.pick(&[Protocol::Smtp, Protocol::Smtp, Protocol::Lmtp]);
    policy.chunking = dice.pick(&[Chunking::Never, Chunking::Preferred]);
    policy.chunk_bytes = dice.pick(&[5, 1_000]);
    policy
}

struct Run {
    dice: Dice,
    server: Server,
    wire: Vec<u8>,
    book: Book,
    messages: Vec<Outgoing>,
}

impl Run {
    fn new(seed: u64, recipients: usize) -> (Self, ClientPolicy) {
        let mut dice = Dice(seed | 1);
        let policy = policy(&mut dice);
        let offers = [
            "250-mx\r\n250-X\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 DSN\r\n",
            "250 mx\r\n",
            "250-mx\r\n250-X\r\n250 CHUNKING\r\n",
            "250-mx\r\n250-X\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=2\r\n",
        ];
        let offers = dice.pick(&offers).to_owned();
        let is_lmtp = policy.protocol == Protocol::Lmtp;
        let server = Server {
            mode: Mode::Commands,
            dice: Dice(seed.rotate_left(17) | 1),
            input: Vec::new(),
            output: b"220 mx\r\n".to_vec(),
            offers,
            is_lmtp,
            is_open: false,
            is_spoiled: false,
            is_broken: false,
            taken: Vec::new(),
            content: Vec::new(),
            delivered: Vec::new(),
            likes_blobs: seed.is_multiple_of(3),
            debris: 0,
            is_cut: false,
            is_out_of_step: false,
        };
        let messages = (0..3).map(|_| outgoing(recipients, HEADER, Arc::new(Pieces::whole(BODY)))).collect();
        let book = Book { names: Vec::new(), results: Vec::new() };
        (Self { dice, server, wire: Vec::new(), book, messages }, policy)
    }

    fn play(mut self, policy: ClientPolicy) -> bool {
        let mut step = client::start(Arc::new(policy), None, NOW);
        for _ in 0..20_000 {
            let is_waiting = matches!(step, ClientStep::Ask(..)) && self.dice.one_in(2);
            if !is_waiting {
                let wire = core::mem::take(&mut self.wire);
                self.server.take(&wire);
            }
            step = match step {
                ClientStep::Read(reading) => {
                    let bound = if self.server.likes_blobs { 12 } else { 60 };
                    let len = usize::try_from(1 + self.dice.next(bound)).expect("small").min(self.server.output.len());
                    let octets: Vec<u8> = self.server.output.drain(..len).collect();
                    match (octets.is_empty(), &self.server.mode) {
                        (true, Mode::Closed) => reading.lost("closed"),
                        // It waits for the rest of octets: a sink's own affair, which time ends.
                        (true, _) => panic!("both wait: {}", reading.awaited()),
                        (false, _) => reading.feed(&octets, NOW, &mut self.wire),
                    }
                }
                ClientStep::Send(sending) => sending.more(NOW, &mut self.wire),
                ClientStep::Idle(idle) => match self.messages.pop() {
                    Some(message) => {
                        let names = message.recipients.iter().map(|one| format!("r{}", one.id)).collect();
                        self.book = Book { names, results: Vec::new() };
                        self.server.delivered.clear();
                        idle.transact(message, NOW, &mut self.wire)
                    }
                    None => idle.quit(NOW, &mut self.wire),
                },
                ClientStep::Sent(sent, reported) => {
                    self.book.record(&sent, &self.server);
                    reported.go_on(NOW, &mut self.wire)
                }
                ClientStep::Ask(asking, question) => self.ask(asking, *question),
                ClientStep::Close(closed) => {
                    self.book.close(&closed, &self.server);
                    return true;
                }
                ClientStep::StartTls(_) => panic!("nobody offered TLS"),
            };
        }
        false
    }

    fn ask(&mut self, asking: client::Asking, question: Question) -> ClientStep {
        check_response(&question);
        let mut verdict = verdict(&mut self.dice, &question);
        let is_command = question.occasion.event != EventKind::OnServerResponse && question.only.is_none();
        if self.server.likes_blobs && is_command && self.dice.one_in(3) {
            verdict = Verdict::SendFirst("XOWN".into());
        }
        let mut overlay = question.overlay.clone();
        if let Some(command) = overlay.out_command.as_mut().filter(|_| self.dice.one_in(4)) {
            let line = format!("{} X=1", command.line());
            // Not every server has extensions, and the length of a chunk is not the sink's.
            let has_parameters = matches!(command.keyword().as_str(), "MAIL" | "RCPT");
            let facts = question.occasion.outbound.clone().unwrap_or_default();
            let is_known = facts.extensions.iter().any(|line| line == "X");
            let is_refused = command.keyword() == "BDAT" || has_parameters && !is_known;
            assert_eq!(command.set_line(&line).is_err(), is_refused, "{line}");
        }
        let by = Some(self.dice.pick(&["a", "b"]).to_owned());
        let by = question.only.clone().or(by);
        // What an event does not know never gets past a chain; the machine must survive it all the same.
        let overlay = if is_unsound(&verdict, &question) { Overlay::default() } else { overlay };
        asking.decided(Decision { verdict, by, overlay, failures: Vec::new(), is_heard: true }, NOW, &mut self.wire)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn whatever_sinks_and_servers_say_they_stay_in_step_and_results_stay_true(
        seed in any::<u64>(),
        recipients in 1..6usize,
    ) {
        let (run, policy) = Run::new(seed, recipients);
        prop_assert!(run.play(policy), "it goes on for ever");
    }
}
