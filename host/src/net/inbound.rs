//! The loop that drives a session: it does what the machine asks and has no opinion of its own.

use core::net::SocketAddr;
use std::sync::Arc;

use basin_core::mail::Message;
use basin_core::smtp::{
    Awaiting, Connection, Disposition, Ended, Examining, Login, Outbox, Receiving, Refusal, Securing, Session, Step,
    Storing, Verified, Verifying, Wanted, Wanting, Wants,
};
use basin_spool::{Draft, SpoolFault};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ask::SinkTime;
use crate::clock::now;
use crate::net::crowd::Place;
use crate::net::door::{Door, HANDSHAKE_PATIENCE};
use crate::net::wire::{Line, Pause, Wire};
use crate::services::Services;
use crate::shutdown::Phase;
use crate::telemetry::clients::{Encrypted, HandshakeFailed, LoginTried};
use crate::telemetry::records::{CommandReceived, MessageAccepted, Refused, SessionBegun, SessionEnded, StorageFailed};
use crate::transport::on_disk;

/// Text of a large message that is gathered before it is written to the draft's file, in octets. Fewer, larger
/// writes; each one takes the thread away from other sessions for its time.
const SPILL_BYTES: usize = 128 * 1024;

/// Replies that are gathered before they are sent although more commands lie there, in octets. Sinks can make
/// long replies, and a client that pipelines could have memory filled with them.
const REPLIES_BYTES_MAX: usize = 32 * 1024;

/// Memory for message text that a session keeps between two messages, in octets.
const TEXT_KEPT_BYTES: usize = 16 * 1024;

/// One session on its connection.
pub(crate) struct Inbound {
    services: Arc<Services>,
    door: Arc<Door>,
    session: String,
    client: SocketAddr,
    /// Given back when the session is over.
    place: Place,
    wire: Wire,
    outbox: Outbox,
    sink_time: SinkTime,
    /// The message that arrives, over all its chunks.
    draft: Option<Draft>,
    /// Decoded text on its way into the draft; kept, so that its memory serves all messages of the session.
    text: Vec<u8>,
}

impl Inbound {
    /// Serves a connection to its end.
    pub(crate) async fn serve(
        services: Arc<Services>,
        door: Arc<Door>,
        wire: Wire,
        connection: Connection,
        place: Place,
    ) {
        let begun = SessionBegun { session: &connection.id, listener: &door.policy.name, client: connection.client };
        begun.record();
        let mut inbound = Self {
            wire,
            sink_time: services.ask.session_time(),
            outbox: Outbox::new(),
            draft: None,
            text: Vec::new(),
            session: connection.id.clone(),
            client: connection.client,
            place,
            door,
            services,
        };
        let interest = inbound.services.ask.interest();
        let step = Session::start(inbound.door.policy.clone(), connection, interest, &mut inbound.outbox);
        let ended = inbound.run(step).await;
        inbound.end(ended).await;
    }

    async fn run(&mut self, mut step: Step) -> Ended {
        loop {
            self.after_step();
            step = match step {
                Step::Read(session) => self.read(session).await,
                Step::Ask(paused, question) => {
                    let decision = self.services.ask.decide(*question, &mut self.sink_time).await;
                    paused.resume(decision, now(), &mut self.outbox)
                }
                Step::StartTls(securing) => self.start_tls(securing).await,
                Step::Verify(verifying, login) => self.verify(verifying, login).await,
                Step::Input(awaiting, wanted) => self.input(awaiting, wanted).await,
                Step::Receive(receiving) => self.receive(receiving).await,
                Step::Examine(examining) => self.examine(examining).await,
                Step::Store(storing, message, disposition) => self.store(storing, message, disposition).await,
                Step::Close(ended) => return ended,
            };
        }
    }

    /// Sends what is due and reads a line.
    async fn read(&mut self, mut session: Session) -> Step {
        if !session.keeps_draft() {
            self.draft = None;
        }
        // Replies to a pipelined group leave together; with no input left they must not be kept (RFC 2920 §3.2).
        let is_due = self.outbox.flush_now
            || !self.outbox.delay.is_zero()
            || self.outbox.bytes.len() >= REPLIES_BYTES_MAX
            || !self.wire.has_line();
        if is_due {
            self.wire.wait(&mut self.outbox).await;
        }
        // Before the reply is sent: what has arrived by now was sent without having read it.
        let is_early = session.forbids_early_input() && self.wire.has_input();
        if !self.wire.has_line() {
            // Ten thousand sessions that wait hold no memory for the messages that they had.
            self.text = Vec::new();
        }
        if is_due && let Err(pause) = self.wire.send(&mut self.outbox).await {
            return pause_session(session, pause, &mut self.outbox);
        }
        if is_early {
            return session.early_input(now(), &mut self.outbox);
        }
        match self.wire.line(session.patience(), Phase::Draining).await {
            Line::Complete(line) => {
                CommandReceived { session: &self.session, line: session.without_secrets(line) }.record();
                // Only some commands look at these, and they cost locks.
                let is = |verb: &[u8]| line.get(..4).is_some_and(|found| found.eq_ignore_ascii_case(verb));
                let (client, guard) = (session.facts().client.ip(), &self.services.guard);
                session.queue_is_full(is(b"MAIL") && self.services.queue.is_full());
                session.is_over_rate(self.place.is_over_rate(client, line, now()));
                session.is_barred(is(b"AUTH") && guard.is_barred(client, now()));
                if is(b"RCPT") {
                    session.recall(&guard.disagreements(), now());
                }
                session.line(line, now(), self.services.ask.interest(), &mut self.outbox)
            }
            Line::TooLong => session.line_too_long(now(), &mut self.outbox),
            Line::None(pause) => pause_session(session, pause, &mut self.outbox),
        }
    }

    /// Encrypts the connection.
    async fn start_tls(&mut self, securing: Securing) -> Step {
        // Before a place is taken: a client that is kept waiting shakes no hands.
        self.wire.wait(&mut self.outbox).await;
        // Before the 220 is sent: what has arrived by now was sent in the open, perhaps by somebody else.
        if self.wire.has_input() {
            return securing.injected(now(), &mut self.outbox);
        }
        let door = self.door.clone();
        let services = self.services.clone();
        let permit = services.guard.handshakes.try_acquire();
        let (Some(tls), Ok(_permit)) = (&door.tls, permit) else {
            return securing.unavailable(now(), &mut self.outbox);
        };
        if self.wire.send(&mut self.outbox).await.is_err() {
            return securing.peer_closed(now());
        }
        match self.wire.secure(tls, HANDSHAKE_PATIENCE).await {
            Ok(secured) => {
                Encrypted { session: &self.session, facts: &secured.facts }.record();
                securing.secured(secured)
            }
            Err(error) => {
                let (listener, cause) = (door.policy.name.as_str(), error.to_string());
                let client = self.client;
                HandshakeFailed { session: &self.session, listener, client, cause: &cause }.record(&services.metrics);
                securing.failed(now())
            }
        }
    }

    /// Compares a password, where nobody else has to wait for it.
    async fn verify(&mut self, verifying: Verifying, login: Login) -> Step {
        let (services, user, client) = (self.services.clone(), login.user.clone(), verifying.client());
        let tried = |result| {
            LoginTried { session: &self.session, client, user: &user, result }.record(&services.metrics);
        };
        let may = || services.guard.may_log_in(client.ip(), &user, now());
        // Who is barred waits for no place. And who waited for one asks again: the guesses of many connections may have
        // been counted meanwhile. The semaphore is never closed.
        let permit = if may() { services.guard.logins.acquire().await.ok().filter(|_| may()) } else { None };
        let Some(_permit) = permit else {
            tried("barred");
            return verifying.verified(Verified::Unavailable, now(), &mut self.outbox);
        };
        let accounts = self.door.policy.auth.as_ref().map(|auth| auth.accounts.clone());
        let compare = move || accounts.map_or(Verified::Unavailable, |accounts| accounts.verify(&login));
        let verified = tokio::task::spawn_blocking(compare).await.unwrap_or(Verified::Unavailable);
        tried(match verified {
            Verified::Right => "right",
            Verified::Wrong => "wrong",
            Verified::Unavailable => "unavailable",
        });
        let step = verifying.verified(verified, now(), &mut self.outbox);
        // Before the place is given back: whoever gets it is to see that this one was wrong.
        services.guard.take_note(&mut self.outbox, now());
        step
    }

    /// Asks for more of a command and reads it.
    async fn input(&mut self, awaiting: Awaiting, wanted: Wanted) -> Step {
        self.wire.wait(&mut self.outbox).await;
        // Before the 3yz is sent: what has arrived by now was sent without having read it.
        if self.wire.has_input() {
            return awaiting.early(now(), &mut self.outbox);
        }
        if let Err(pause) = self.wire.send(&mut self.outbox).await {
            return pause_awaiting(awaiting, pause, &mut self.outbox);
        }
        let deadline = Instant::now() + awaiting.patience();
        let mut left = match wanted {
            Wanted::Line { bytes_max } => {
                match self.wire.line_of(bytes_max, awaiting.patience(), Phase::Draining).await {
                    Line::Complete(line) => {
                        return awaiting.input(line, now(), self.services.ask.interest(), &mut self.outbox);
                    }
                    Line::TooLong => return awaiting.too_long(now(), &mut self.outbox),
                    Line::None(pause) => return pause_awaiting(awaiting, pause, &mut self.outbox),
                }
            }
            Wanted::Octets(count) => usize::try_from(count).unwrap_or(usize::MAX),
        };
        let mut gathered = Vec::new();
        while left > 0 {
            let octets = match self.wire.octets(deadline, Phase::Draining).await {
                Ok(octets) => octets,
                Err(pause) => return pause_awaiting(awaiting, pause, &mut self.outbox),
            };
            let octets = octets.get(..left).unwrap_or(octets);
            gathered.extend_from_slice(octets);
            let count = octets.len();
            left -= count;
            self.wire.consume(count);
        }
        awaiting.input(&gathered, now(), self.services.ask.interest(), &mut self.outbox)
    }

    /// Takes the text of a message, or a chunk of it, into the draft.
    async fn receive(&mut self, mut receiving: Receiving) -> Step {
        if let Err(pause) = self.wire.send(&mut self.outbox).await {
            return pause_receiving(receiving, pause, &mut self.outbox);
        }
        let end_of_patience = Instant::now() + receiving.patience_in_all(now());
        if receiving.is_new() {
            self.draft = Some(self.services.spool.draft());
            self.text.clear();
        }
        loop {
            let octets: &[u8] = if receiving.wants() == Wants::Octets(0) {
                &[]
            } else {
                let begun = Instant::now();
                let deadline = end_of_patience.min(begun + receiving.patience());
                match self.wire.octets(deadline, Phase::Ending).await {
                    Ok(octets) if receiving.is_too_slow(octets.len(), begun.elapsed()) => {
                        return receiving.too_slow(now(), &mut self.outbox);
                    }
                    Ok(octets) => octets,
                    Err(pause) => return pause_receiving(receiving, pause, &mut self.outbox),
                }
            };
            let fed = receiving.feed(octets, &mut self.text);
            self.wire.consume(fed.consumed);
            if receiving.is_refused() {
                // Nobody will read it, so it need not lie on the disk until its end comes.
                self.draft = None;
                self.text.clear();
            }
            if let Some(open) = &mut self.draft
                && let Err(fault) = self.services.write_draft(open, &mut self.text, fed.is_end)
            {
                self.storage_failed(receiving.message_id(), &fault);
                receiving.storage_failed(fault.reply());
                self.draft = None;
            }
            if fed.is_end {
                self.text.shrink_to(TEXT_KEPT_BYTES);
                return self.finish(receiving);
            }
            if fed.is_paused {
                return receiving.pause(now());
            }
        }
    }

    fn finish(&mut self, mut receiving: Receiving) -> Step {
        let draft = if receiving.is_last() { self.draft.take() } else { None };
        let content = match draft.map(Draft::finish) {
            Some(Ok(content)) => Some(content),
            Some(Err(fault)) => {
                self.storage_failed(receiving.message_id(), &fault);
                receiving.storage_failed(fault.reply());
                None
            }
            None => None,
        };
        receiving.finish(content, now(), &mut self.outbox)
    }

    /// Finds out what the message proves.
    async fn examine(&self, examining: Examining) -> Step {
        let outbound = self.services.outbound.load_full();
        let results = match examining.wanted() {
            Wanting::Known => outbound.verifier().known(examining.message()),
            // The future is large, and most sessions wait for something else.
            Wanting::All(time_max) => Box::pin(outbound.verifier().examine(examining.message(), time_max)).await,
        };
        examining.examined(&results)
    }

    /// Stores a message and lets the client know.
    async fn store(&mut self, storing: Storing, message: Message, disposition: Disposition) -> Step {
        let state = disposition.state();
        let (done, receipt) = oneshot::channel();
        let (copy, begin) = (message.clone(), state.clone());
        // The session waits for nothing else; it is gone only where the process ends.
        on_disk(&message, || self.services.spool.commit(copy, begin, move |result| drop(done.send(result))));
        match receipt.await.unwrap_or(Err(SpoolFault::Closed)) {
            Ok(receipt) => {
                self.accepted(&message, disposition.word());
                self.services.queue.stored(message, state);
                storing.stored(&receipt, now(), &mut self.outbox)
            }
            Err(fault) => {
                self.storage_failed(message.id.as_str(), &fault);
                storing.not_stored(fault.reply(), now(), &mut self.outbox)
            }
        }
    }

    /// Sends the last words, closes, tells the sinks.
    async fn end(mut self, ended: Ended) {
        let sent = self.wire.send(&mut self.outbox).await;
        let facts = ended.facts();
        let reason = facts.end_reason.unwrap_or("dropped");
        SessionEnded { session: &self.session, reason, messages: facts.messages }.record();
        self.after_step();
        if let Some(notice) = ended.notice() {
            self.services.ask.tell(notice, &mut self.sink_time);
        }
        if sent.is_ok() {
            // After QUIT the client sends nothing more; after any other end it may be in the middle of it.
            self.wire.close(reason != "quit").await;
        }
    }

    /// Tells those who listen and the log what the last step led to.
    fn after_step(&mut self) {
        for Refusal { reply, line } in self.outbox.refusals.drain(..) {
            let refused =
                Refused { session: &self.session, listener: &self.door.policy.name, reply: &reply, line: &line };
            refused.record(&self.services.metrics);
        }
        self.services.guard.take_note(&mut self.outbox, now());
        for notice in self.outbox.notices.drain(..) {
            self.services.ask.tell(notice, &mut self.sink_time);
        }
    }

    fn accepted(&self, message: &Message, disposition: &'static str) {
        let (metrics, listener) = (&self.services.metrics, [self.door.policy.name.as_str()]);
        metrics.messages_accepted.with_label_values(&listener).inc();
        metrics.message_bytes_accepted.with_label_values(&listener).inc_by(message.size());
        MessageAccepted { session: &self.session, message, disposition }.record();
        self.services.tracking.received(message, None);
    }

    fn storage_failed(&self, message: &str, fault: &SpoolFault) {
        let (kind, cause) = (fault_kind(fault), fault.to_string());
        StorageFailed { session: &self.session, message, kind, cause: &cause }.record(&self.services.metrics);
    }
}

impl Services {
    /// Moves gathered text into the draft, unless it is better to gather more.
    fn write_draft(&self, draft: &mut Draft, text: &mut Vec<u8>, is_end: bool) -> Result<(), SpoolFault> {
        let fits_into_memory = draft.len() + text.len() as u64 <= basin_core::limits::DRAFT_MEMORY_BYTES_MAX as u64;
        if !fits_into_memory && text.len() < SPILL_BYTES && !is_end {
            return Ok(());
        }
        let written = if fits_into_memory {
            draft.write(text)
        } else {
            // A file is written here: other sessions go on on another thread meanwhile.
            tokio::task::block_in_place(|| draft.write(text))
        };
        text.clear();
        written
    }
}

/// A word for the kind of a fault, for metrics.
pub(crate) fn fault_kind(fault: &SpoolFault) -> &'static str {
    match fault {
        SpoolFault::Full(_) => "full",
        SpoolFault::Io { .. } => "io",
        SpoolFault::Damaged { .. } => "damaged",
        SpoolFault::Unknown(_) => "unknown",
        SpoolFault::Closed => "closed",
    }
}

fn pause_session(session: Session, pause: Pause, outbox: &mut Outbox) -> Step {
    match pause {
        Pause::TimedOut => session.timed_out(now(), outbox),
        Pause::Closed => session.peer_closed(now()),
        Pause::Stopped => session.shut_down(now(), outbox),
    }
}

fn pause_awaiting(awaiting: Awaiting, pause: Pause, outbox: &mut Outbox) -> Step {
    match pause {
        Pause::TimedOut => awaiting.timed_out(now(), outbox),
        Pause::Closed => awaiting.peer_closed(now()),
        Pause::Stopped => awaiting.shut_down(now(), outbox),
    }
}

fn pause_receiving(receiving: Receiving, pause: Pause, outbox: &mut Outbox) -> Step {
    match pause {
        Pause::TimedOut => receiving.timed_out(now(), outbox),
        Pause::Closed => receiving.peer_closed(now()),
        Pause::Stopped => receiving.shut_down(now(), outbox),
    }
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
