//! A shell in memory: it does what the session machine asks, and checks what holds for every session.

use core::time::Duration;
use std::sync::Arc;

use basin_core::event::{Decision, EventKind, EventSet, Question, Verdict};
use basin_core::limits::COMMAND_LINE_BYTES_MAX;
use basin_core::mail::{Content, Message, MessageId};
use basin_core::smtp::{
    Awaiting, Disposition, ListenerPolicy, Login, Outbox, ProofOfStorage, Receiving, Securing, Session, Step, Storing,
    Verified, Wanted, Wants,
};
use bytes::Bytes;

use crate::wire::{Heard, replies};
use crate::world::{NOW, USER, accounts, connection, secured};

/// Most octets that one step may say: a reply of every line that there can be.
const STEP_WIRE_BYTES_MAX: usize = 64 * 512;

/// How a session is played.
pub struct Scene<'a> {
    /// What the listener demands.
    pub policy: Arc<ListenerPolicy>,
    /// The events that somebody is bound to.
    pub interest: EventSet,
    /// Lengths of the pieces in which the input arrives, over and over; all of it at once where there are none.
    pub pieces: &'a [usize],
    /// What the sinks say; they may change the overlay of the question before.
    pub decide: &'a mut dyn FnMut(&mut Question) -> Verdict,
}

/// A message that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Its sender; empty for the null sender.
    pub sender: String,
    /// Its recipients in order.
    pub recipients: Vec<String>,
    /// The text without the field that the server put on top.
    pub text: Vec<u8>,
    /// Accepted, held or discarded.
    pub disposition: Disposition,
}

/// What came of a session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// All replies in order.
    pub replies: Vec<Heard>,
    /// The messages that were stored, in order.
    pub letters: Vec<Letter>,
    /// The events at which sinks were asked, in order.
    pub asked: Vec<EventKind>,
    /// The lines that were read as commands, as they came.
    pub commands: Vec<Vec<u8>>,
    /// The lines of refusals, as logs and sinks are told them.
    pub told: Vec<Vec<u8>>,
    /// Passwords that were right.
    pub logins: u32,
    /// How long the client was made to wait in all.
    pub waited: Duration,
    /// Why the session ended, where it did.
    pub end_reason: Option<&'static str>,
}

impl Outcome {
    /// The codes of the replies in order.
    pub fn codes(&self) -> Vec<u16> {
        self.replies.iter().map(|reply| reply.code).collect()
    }
}

/// Plays a session to the end of its input.
///
/// # Panics
/// Where the machine breaks what holds for every session: replies that are not well formed, more or fewer of them
/// than there are commands, memory without bound, steps without end.
pub fn play<'a>(input: &'a [u8], scene: Scene<'a>) -> Outcome {
    let mut shell = Shell {
        input,
        at: 0,
        arrived: 0,
        turn: 0,
        searched: 0,
        outbox: Outbox::new(),
        text: Vec::new(),
        commands: 0,
        for_recipients: 0,
        outcome: Outcome::default(),
        scene,
    };
    shell.run();
    shell.outcome
}

struct Stored(MessageId);

impl ProofOfStorage for Stored {
    fn id(&self) -> &MessageId {
        &self.0
    }
}

struct Shell<'a> {
    input: &'a [u8],
    /// Octets of the input that were handed to the machine.
    at: usize,
    /// Octets of the input that have arrived.
    arrived: usize,
    turn: usize,
    /// No line end begins before this place; without it a long line that arrives octet by octet takes for ever.
    searched: usize,
    outbox: Outbox,
    text: Vec<u8>,
    /// Commands so far; each has one final reply.
    commands: usize,
    /// Replies for single recipients, which a 353 announces.
    for_recipients: usize,
    outcome: Outcome,
    scene: Scene<'a>,
}

impl<'a> Shell<'a> {
    fn run(&mut self) {
        let policy = self.scene.policy.clone();
        let mut step = Session::start(policy, connection(), self.scene.interest, &mut self.outbox);
        // The machine is asked for something at every octet at most, and a few times for each command.
        let mut steps_left = 64 + 16 * self.input.len();
        loop {
            step = self.too_early(step);
            self.after_step();
            assert!(steps_left > 0, "the session goes on without end");
            steps_left -= 1;
            let next = match step {
                Step::Read(session) => {
                    self.check_count();
                    self.read(session)
                }
                Step::Ask(paused, mut question) => {
                    self.outcome.asked.push(question.occasion.event);
                    assert!(question.occasion.session.is_some(), "a session asks, so the sinks are told which");
                    let verdict = (self.scene.decide)(&mut question);
                    let by = Some("a binding".to_owned());
                    let decision =
                        Decision { verdict, by, overlay: question.overlay, failures: Vec::new(), is_heard: true };
                    Some(paused.resume(decision, NOW, &mut self.outbox))
                }
                Step::StartTls(securing) => Some(securing.secured(secured())),
                Step::Verify(verifying, login) => {
                    let verified = if is_right(&login) { Verified::Right } else { Verified::Wrong };
                    self.outcome.logins += u32::from(verified == Verified::Right);
                    Some(verifying.verified(verified, NOW, &mut self.outbox))
                }
                Step::Input(awaiting, wanted) => self.more(awaiting, wanted),
                Step::Receive(receiving) => self.receive(receiving),
                Step::Examine(examining) => Some(examining.examined(&[])),
                Step::Store(storing, message, disposition) => Some(self.store(storing, &message, disposition)),
                Step::Close(ended) => {
                    self.outcome.end_reason = ended.facts().end_reason;
                    assert!(self.outcome.end_reason.is_some(), "a session that ended says why");
                    return;
                }
            };
            match next {
                Some(next) => step = next,
                None => return,
            }
        }
    }

    /// Input that lies there before a 220 or 3yz is sent was sent by somebody who did not wait for it.
    fn too_early(&mut self, step: Step) -> Step {
        if self.there().is_empty() {
            return step;
        }
        match step {
            Step::StartTls(securing) => self.injected(securing),
            Step::Input(awaiting, _) => awaiting.early(NOW, &mut self.outbox),
            Step::Read(_)
            | Step::Ask(..)
            | Step::Verify(..)
            | Step::Receive(_)
            | Step::Examine(_)
            | Step::Store(..)
            | Step::Close(_) => step,
        }
    }

    fn injected(&mut self, securing: Securing) -> Step {
        let step = securing.injected(NOW, &mut self.outbox);
        assert!(matches!(step, Step::Close(_)), "nobody goes on with what was put in before the handshake");
        step
    }

    /// Lets the next piece of the input arrive; false where there is none.
    fn fill(&mut self) -> bool {
        let pieces = self.scene.pieces;
        let piece = pieces.get(self.turn % pieces.len().max(1)).copied().unwrap_or(usize::MAX);
        self.turn += 1;
        let before = self.arrived;
        self.arrived = self.arrived.saturating_add(piece.max(1)).min(self.input.len());
        self.arrived > before
    }

    fn there(&self) -> &[u8] {
        self.input.get(self.at..self.arrived).unwrap_or_default()
    }

    /// Reads a line as the server does: only CR LF ends it, and one over the limit is thrown away as it comes.
    fn read(&mut self, session: Session) -> Option<Step> {
        if session.forbids_early_input() && !self.there().is_empty() {
            self.commands += 1;
            return Some(session.early_input(NOW, &mut self.outbox));
        }
        let (line, is_too_long) = self.line(COMMAND_LINE_BYTES_MAX)?;
        self.commands += 1;
        self.outcome.commands.push(line.to_vec());
        Some(if is_too_long {
            session.line_too_long(NOW, &mut self.outbox)
        } else {
            session.line(line, NOW, self.scene.interest, &mut self.outbox)
        })
    }

    /// Reads what a 3yz asked for.
    fn more(&mut self, awaiting: Awaiting, wanted: Wanted) -> Option<Step> {
        let input = match wanted {
            Wanted::Line { bytes_max } => {
                let (line, is_too_long) = self.line(bytes_max)?;
                if is_too_long {
                    return Some(awaiting.too_long(NOW, &mut self.outbox));
                }
                line
            }
            Wanted::Octets(count) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                while self.there().len() < count {
                    if !self.fill() {
                        return None;
                    }
                }
                self.at += count;
                self.input.get(self.at - count..self.at).unwrap_or_default()
            }
        };
        Some(awaiting.input(input, NOW, self.scene.interest, &mut self.outbox))
    }

    /// The next line without its end, and whether it is longer than it may be.
    fn line(&mut self, bytes_max: usize) -> Option<(&'a [u8], bool)> {
        loop {
            let from = self.searched.max(self.at);
            let fresh = self.input.get(from..self.arrived).unwrap_or_default();
            let line_end = fresh.windows(2).position(|pair| pair == b"\r\n");
            self.searched = self.arrived.saturating_sub(1);
            if let Some(len) = line_end {
                let len = from + len - self.at;
                let input: &'a [u8] = self.input;
                let line = input.get(self.at..self.at + len).unwrap_or_default();
                self.searched = 0;
                self.at += len + 2;
                return Some((line, len + 2 > bytes_max));
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn receive(&mut self, mut receiving: Receiving) -> Option<Step> {
        if receiving.wants() != Wants::Octets(0) && self.there().is_empty() && !self.fill() {
            return None;
        }
        if receiving.is_new() {
            self.text.clear();
        }
        let there = self.input.get(self.at..self.arrived).unwrap_or_default();
        let fed = receiving.feed(there, &mut self.text);
        assert!(fed.consumed <= there.len() && (fed.is_end || fed.consumed == there.len()), "text is used up");
        self.at += fed.consumed;
        let text_max = usize::try_from(self.scene.policy.message_bytes_max).unwrap_or(usize::MAX);
        // The server ends a last line that has no end (CR LF).
        let bound = text_max.saturating_add(there.len() + 2);
        assert!(self.text.len() <= bound, "text over the limit is not kept");
        if receiving.is_refused() {
            self.text.clear();
        }
        if fed.is_paused {
            return Some(receiving.pause(NOW));
        }
        if !fed.is_end {
            return Some(Step::Receive(receiving));
        }
        let content = (receiving.is_last() && !receiving.is_refused()).then(|| {
            let octets = Bytes::from(core::mem::take(&mut self.text));
            Content { len: octets.len() as u64, octets: Arc::new(octets) }
        });
        Some(receiving.finish(content, NOW, &mut self.outbox))
    }

    fn store(&mut self, storing: Storing, message: &Message, disposition: Disposition) -> Step {
        self.outcome.letters.push(letter(message, disposition));
        storing.stored(&Stored(message.id.clone()), NOW, &mut self.outbox)
    }

    fn after_step(&mut self) {
        self.outcome.waited += self.outbox.delay;
        let wire = self.outbox.take_bytes();
        assert!(wire.len() <= STEP_WIRE_BYTES_MAX, "one step says {} octets", wire.len());
        let heard = replies(&wire);
        // draft-hall-prdr §4.5: behind 353 come those for each recipient, and last the one for the message.
        let announced = heard.iter().position(|reply| reply.code == 353).map_or(0, |at| heard.len() - at);
        self.for_recipients += announced.saturating_sub(2);
        self.outcome.replies.extend(heard);
        assert!(self.outbox.refusals.iter().all(|refusal| refusal.reply.is_refusal()), "only refusals are told");
        self.outcome.told.extend(self.outbox.refusals.drain(..).map(|refusal| refusal.line));
        self.outcome.told.extend(self.outbox.notices.drain(..).map(|notice| notice.occasion.line.clone()));
    }

    /// The banner and every command have one final reply each, when the next command is awaited.
    fn check_count(&self) {
        let finals = self.outcome.replies.iter().filter(|reply| !reply.is_intermediate()).count();
        assert_eq!(
            finals,
            1 + self.commands + self.for_recipients,
            "each command has one reply: {:?}",
            self.outcome.codes()
        );
    }
}

fn is_right(login: &Login) -> bool {
    match login.password() {
        // What `Accounts::verify` says, in less time; it has tests of its own.
        Some(password) => (login.user.as_bytes(), password.reveal()) == (USER.0.as_bytes(), USER.1.as_bytes()),
        None => accounts().verify(login) == Verified::Right,
    }
}

fn letter(message: &Message, disposition: Disposition) -> Letter {
    let header = message.header.to_bytes();
    // The server's own field is the first one, and the only one that it adds.
    let first = message.header.fields().first().map_or(0, |field| field.raw().len());
    let body = message.body.read(0, usize::MAX).expect("memory");
    Letter {
        sender: message.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default(),
        recipients: message.envelope.recipients.iter().map(|recipient| recipient.address.to_string()).collect(),
        text: [header.get(first..).unwrap_or_default(), message.separator(), &body].concat(),
        disposition,
    }
}
