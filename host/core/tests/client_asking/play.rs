//! The client's shell in memory, with a sink that says what the test wants.

use std::sync::Arc;

use basin_core::event::{Decision, EventKind, Overlay, Question, Verdict};
use basin_core::reply::Reply;
use basin_core::smtp::client::{self, Asking, ClientPolicy, ClientStep, Closed, Hearing, Sent};

use crate::NOW;
use crate::message::{Pieces, outgoing};

/// A connection, and what has left over it.
pub(crate) struct Play {
    pub(crate) step: Option<ClientStep>,
    pub(crate) wire: Vec<u8>,
    pub(crate) sent: Vec<Sent>,
}

impl Play {
    pub(crate) fn new(events: &[EventKind], judged: &[&str]) -> Self {
        let judged = judged.iter().map(|verb| (*verb).to_owned()).collect();
        let hearing = Hearing { events: events.iter().copied().collect(), judged, attempt: 1, ..Hearing::default() };
        let policy = ClientPolicy { hearing: Some(Arc::new(hearing)), ..ClientPolicy::new("me.example") };
        Self { step: Some(client::start(Arc::new(policy), None, NOW)), wire: Vec::new(), sent: Vec::new() }
    }

    /// A connection that is ready for mail.
    pub(crate) fn ready(events: &[EventKind], judged: &[&str], offers: &str) -> Self {
        let mut play = Self::new(events, judged);
        for said in ["220 mx ready\r\n", offers] {
            play.hear(said);
            while play.is_asked() {
                play.answer(Verdict::Next);
            }
        }
        play.said();
        play
    }

    // Takes the results on the way, and gives the content.
    pub(crate) fn settle(&mut self, step: ClientStep) {
        let mut step = step;
        loop {
            step = match step {
                ClientStep::Sent(sent, reported) => {
                    self.sent.push(sent);
                    reported.go_on(NOW, &mut self.wire)
                }
                ClientStep::Send(sending) => sending.more(NOW, &mut self.wire),
                step @ (ClientStep::Read(_)
                | ClientStep::StartTls(_)
                | ClientStep::Idle(_)
                | ClientStep::Ask(..)
                | ClientStep::Close(_)) => {
                    self.step = Some(step);
                    return;
                }
            };
        }
    }

    pub(crate) fn transact(&mut self, recipients: usize) {
        let Some(ClientStep::Idle(idle)) = self.step.take() else { panic!("not idle") };
        let outgoing = outgoing(recipients, b"Subject: x\r\n", Arc::new(Pieces::whole(b"text\r\n")));
        let step = idle.transact(outgoing, NOW, &mut self.wire);
        self.settle(step);
    }

    pub(crate) fn quit(&mut self) {
        let Some(ClientStep::Idle(idle)) = self.step.take() else { panic!("not idle") };
        let step = idle.quit(NOW, &mut self.wire);
        self.settle(step);
    }

    pub(crate) fn hear(&mut self, octets: &str) {
        let step = self.step.take();
        let Some(ClientStep::Read(reading)) = step else { panic!("it does not read {octets:?}: {step:?}") };
        let step = reading.feed(octets.as_bytes(), NOW, &mut self.wire);
        self.settle(step);
    }

    pub(crate) fn is_asked(&self) -> bool {
        matches!(self.step, Some(ClientStep::Ask(..)))
    }

    pub(crate) fn asking(&mut self) -> (Asking, Question) {
        let step = self.step.take();
        let Some(ClientStep::Ask(asking, question)) = step else { panic!("nobody is asked: {step:?}") };
        (asking, *question)
    }

    /// What the sinks are asked about: the event, and the command or the verb of the reply.
    pub(crate) fn topic(&self) -> (EventKind, String) {
        let Some(ClientStep::Ask(_, question)) = &self.step else { panic!("nobody is asked: {:?}", self.step) };
        let command = question.overlay.out_command.as_ref().map(|command| command.line().to_owned());
        let response = question.occasion.response.as_ref().map(|response| response.keyword.clone());
        (question.occasion.event, command.or(response).unwrap_or_default())
    }

    pub(crate) fn answer(&mut self, verdict: Verdict) {
        self.answer_with(verdict, |_| {});
    }

    pub(crate) fn answer_with(&mut self, verdict: Verdict, edit: impl FnOnce(&mut Overlay)) {
        let (asking, question) = self.asking();
        let mut overlay = question.overlay;
        edit(&mut overlay);
        let decision = Decision { verdict, by: Some("a".into()), overlay, failures: Vec::new(), is_heard: true };
        let step = asking.decided(decision, NOW, &mut self.wire);
        self.settle(step);
    }

    /// What left, a bar for each line end.
    pub(crate) fn said(&mut self) -> String {
        String::from_utf8(core::mem::take(&mut self.wire)).unwrap().replace("\r\n", "|")
    }

    /// Code and text of each result, with the recipient's number.
    pub(crate) fn results(&self) -> Vec<String> {
        let result = |(id, result): &(u32, Result<client::Accepted, Reply>)| match result {
            Ok(accepted) => format!("{id} taken {}", accepted.reply.code()),
            Err(reply) => format!("{id} {}", reply.code()),
        };
        self.sent.iter().flat_map(|sent| sent.results.iter().map(result)).collect()
    }

    /// Whose refusal is a sink's word, which sink, and the code that it did not leave as it was.
    pub(crate) fn by_sinks(&self) -> Vec<String> {
        let each = self.sent.iter().flat_map(|sent| &sent.by_sinks);
        let said =
            |said: &Option<Reply>| said.as_ref().map(|said| format!(", not {}", said.code())).unwrap_or_default();
        each.map(|(id, by)| format!("{id} {}{}", by.binding, said(&by.said))).collect()
    }

    pub(crate) fn closed(&self) -> &Closed {
        let Some(ClientStep::Close(closed)) = &self.step else { panic!("not closed: {:?}", self.step) };
        closed
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.step, Some(ClientStep::Idle(_)))
    }
}
