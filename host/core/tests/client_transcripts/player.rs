//! A shell in memory: does what the machine asks, and checks what the transcript says.

use std::collections::VecDeque;
use std::sync::Arc;

use basin_core::smtp::client::{self, ClientPolicy, ClientStep, Closed, Sent, TlsFacts, TlsProof};
use basin_core::time::Timestamp;

use crate::words::{Draft, fits, octets, policy};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// The shell's memory between two lines of a transcript.
struct Player {
    step: Option<ClientStep>,
    wire: Vec<u8>,
    /// Octets of the other server that have not been handed over.
    input: VecDeque<u8>,
    chunk: usize,
    /// Lines that left and that the transcript has not named.
    said: Vec<u8>,
    results: VecDeque<String>,
    addresses: Vec<String>,
    closed: Option<String>,
}

/// Plays a transcript; the error begins with the number of the line that is wrong.
pub(crate) fn play(text: &str, chunk: usize) -> Result<(), String> {
    let lines: Vec<(usize, &str, &str)> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            let (kind, rest) = line.split_at_checked(2).ok_or_else(|| format!("{}: no line", index + 1))?;
            Ok((index + 1, kind, rest.strip_prefix(' ').unwrap_or(rest)))
        })
        .collect::<Result<_, String>>()?;
    if chunk < usize::MAX && lines.iter().any(|(_, kind, text)| (*kind, *text) == ("%:", "at-once")) {
        return Ok(());
    }
    let mut settings = ClientPolicy::new("basin.example");
    for (number, _, text) in lines.iter().filter(|(_, kind, text)| *kind == "%:" && *text != "at-once") {
        policy(&mut settings, text).ok_or_else(|| format!("{number}: no such setting"))?;
    }
    let mut player = Player {
        step: Some(client::start(Arc::new(settings), None, NOW)),
        wire: Vec::new(),
        input: VecDeque::new(),
        chunk,
        said: Vec::new(),
        results: VecDeque::new(),
        addresses: Vec::new(),
        closed: None,
    };
    let (mut draft, mut before) = (Draft::default(), "");
    for (number, kind, text) in lines {
        let at = |fault: String| format!("{number}: {fault}");
        let form = || at("not a line of a transcript".to_owned());
        match kind {
            "%:" => {}
            "S:" => {
                // Lines in a row are one group; the first of them comes when nothing is left to do.
                if before != "S:" {
                    player.settle();
                }
                player.input.extend(octets(text).ok_or_else(form)?);
            }
            "!:" => player.input.extend(octets(text).ok_or_else(form)?),
            "C:" => player.expect_line(text).map_err(at)?,
            "M:" => draft.add(text).ok_or_else(form)?,
            "T:" => player.transact(core::mem::take(&mut draft), text).map_err(at)?,
            "E:" => player.happen(text).map_err(at)?,
            "R:" => player.expect_result(text).map_err(at)?,
            "X:" => player.expect_close(text).map_err(at)?,
            _ => return Err(form()),
        }
        before = kind;
    }
    player.finish().map_err(|fault| format!("end: {fault}"))
}

impl Player {
    fn settle(&mut self) {
        while self.advance() {}
    }

    // Does one thing for the machine; false where it waits for something or is over.
    fn advance(&mut self) -> bool {
        self.said.append(&mut self.wire);
        let Some(step) = self.step.take() else { return false };
        let len = self.chunk.min(self.input.len());
        let has_input = len > 0;
        let mut input = || self.input.drain(..len).collect::<Vec<u8>>();
        let (step, went_on) = match step {
            ClientStep::Read(reading) if has_input => (reading.feed(&input(), NOW, &mut self.wire), true),
            ClientStep::Idle(idle) if has_input => (idle.feed(&input()), true),
            ClientStep::Send(sending) if has_input => (sending.feed(&input(), NOW), true),
            ClientStep::Send(sending) => (sending.more(NOW, &mut self.wire), true),
            ClientStep::Sent(sent, reported) => {
                self.record(&sent);
                (reported.go_on(NOW, &mut self.wire), true)
            }
            ClientStep::Close(closed) => {
                self.closed = Some(describe(&closed));
                self.input.clear();
                self.said.append(&mut self.wire);
                return false;
            }
            step @ (ClientStep::Read(_) | ClientStep::Idle(_) | ClientStep::StartTls(_) | ClientStep::Ask(..)) => {
                (step, false)
            }
        };
        self.step = Some(step);
        went_on
    }

    fn record(&mut self, sent: &Sent) {
        for (id, result) in &sent.results {
            let address = self.addresses.get(usize::try_from(*id).expect("small")).expect("a recipient of the message");
            self.results.push_back(match result {
                Ok(accepted) if accepted.is_dsn_passed => format!("taken+dsn {address} {}", accepted.reply),
                Ok(accepted) => format!("taken {address} {}", accepted.reply),
                Err(reply) => format!("failed {address} {reply}"),
            });
        }
        let word = if sent.is_complete { "complete" } else { "incomplete" };
        let doubt = if sent.may_be_delivered { ", may be delivered" } else { "" };
        self.results.push_back(format!("{word}{doubt}"));
    }

    fn transact(&mut self, draft: Draft, text: &str) -> Result<(), String> {
        self.settle();
        let outgoing = draft.send(text).ok_or("no such message")?;
        self.addresses = outgoing.recipients.iter().map(|recipient| recipient.address.to_string()).collect();
        match self.step.take() {
            Some(ClientStep::Idle(idle)) => self.step = Some(idle.transact(outgoing, NOW, &mut self.wire)),
            step => return Err(format!("the connection is not idle: {step:?}, closed: {:?}", self.closed)),
        }
        Ok(())
    }

    fn happen(&mut self, what: &str) -> Result<(), String> {
        if what != "lost-now" {
            self.settle();
        }
        let facts = |proof| TlsFacts { version: "TLSv1.3".into(), cipher: "c".into(), proof };
        self.step = Some(match (self.step.take(), what) {
            (Some(ClientStep::Idle(idle)), "quit") => idle.quit(NOW, &mut self.wire),
            (Some(ClientStep::Idle(idle)), "lost") => idle.lost("reset"),
            (Some(ClientStep::Read(reading)), "timeout") => reading.timed_out(),
            (Some(ClientStep::Read(reading)), "lost") => reading.lost("reset"),
            (Some(ClientStep::Read(reading)), "shutdown") => reading.shut_down(),
            (Some(ClientStep::Send(sending)), "lost-now") => sending.lost("reset"),
            (Some(ClientStep::StartTls(upgrading)), "secured") => {
                upgrading.secured(facts(TlsProof::None), NOW, &mut self.wire)
            }
            (Some(ClientStep::StartTls(upgrading)), "verified") => {
                upgrading.secured(facts(TlsProof::Authority), NOW, &mut self.wire)
            }
            (Some(ClientStep::StartTls(upgrading)), "not-secured") => upgrading.not_secured("no common cipher"),
            (step, _) => return Err(format!("{what} cannot happen here: {step:?}, closed: {:?}", self.closed)),
        });
        Ok(())
    }

    fn expect_line(&mut self, pattern: &str) -> Result<(), String> {
        let end = |said: &[u8]| said.windows(2).position(|pair| pair == b"\r\n");
        self.said.append(&mut self.wire);
        while end(&self.said).is_none() {
            let before = self.said.len();
            let went_on = self.advance();
            self.said.append(&mut self.wire);
            if !went_on && self.said.len() == before {
                let said = String::from_utf8_lossy(&self.said).into_owned();
                return Err(format!("nothing is said, only {said:?}; closed: {:?}", self.closed));
            }
        }
        let line: Vec<u8> = self.said.drain(..end(&self.said).expect("there is one") + 2).collect();
        let line = String::from_utf8_lossy(&line);
        if fits(pattern, line.trim_end_matches("\r\n")) { Ok(()) } else { Err(format!("said was {line:?}")) }
    }

    fn expect_result(&mut self, pattern: &str) -> Result<(), String> {
        self.settle();
        match self.results.pop_front() {
            Some(result) if fits(pattern, &result) => Ok(()),
            result => Err(format!("the result is {result:?}")),
        }
    }

    fn expect_close(&mut self, pattern: &str) -> Result<(), String> {
        self.settle();
        match self.closed.take() {
            Some(closed) if fits(pattern, &closed) => Ok(()),
            closed => Err(format!("closed is {closed:?}, the step is {:?}", self.step)),
        }
    }

    fn finish(mut self) -> Result<(), String> {
        self.settle();
        if let Some(closed) = self.closed {
            return Err(format!("closed with {closed}"));
        }
        if !self.said.is_empty() || !self.results.is_empty() || !self.input.is_empty() {
            let said = String::from_utf8_lossy(&self.said);
            return Err(format!("left over: {said:?} {:?} {} octets of input", self.results, self.input.len()));
        }
        Ok(())
    }
}

fn describe(closed: &Closed) -> String {
    let mut text = format!("{} {}", closed.why.word(), closed.reply);
    if let Some(unsent) = &closed.unsent {
        text.push_str(" | unsent");
        unsent.recipients.iter().for_each(|recipient| text.push_str(&format!(" {}", recipient.address)));
    }
    text
}
