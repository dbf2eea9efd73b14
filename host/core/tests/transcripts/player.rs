//! A shell in memory: does what the machine asks, and checks what the transcript says.

use core::mem;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use basin_core::event::{EventSet, Overlay, Question, Verdict};
use basin_core::limits::COMMAND_LINE_BYTES_MAX;
use basin_core::mail::{Content, Message, MessageId};
use basin_core::network::Network;
use basin_core::reply::Reply;
use basin_core::smtp::{
    Accounts, AuthPolicy, Awaiting, Connection, Disposition, ListenerPolicy, Outbox, Paused, ProofOfStorage, Receiving,
    Session, Step, TlsPolicy, Wanted,
};
use basin_core::time::Timestamp;
use bytes::Bytes;

use crate::script::{Line, Numbered, fits};
use crate::words::{accounts, asked, decision, describe, directory, edit, secured, verdict, verified};

const NOW: Timestamp = Timestamp::from_seconds(1_700_000_000);

struct Stored(MessageId);

impl ProofOfStorage for Stored {
    fn id(&self) -> &MessageId {
        &self.0
    }
}

/// The shell's memory between two lines of a transcript.
struct Player {
    interest: EventSet,
    accounts: Arc<Accounts>,
    outbox: Outbox,
    step: Option<Step>,
    input: VecDeque<u8>,
    replies: VecDeque<String>,
    /// Octets that the machine is given at once.
    chunk: usize,
    draft: Vec<u8>,
    delay: Duration,
    stored: VecDeque<(Disposition, Message)>,
    last: Option<Message>,
    body: VecDeque<String>,
    notices: VecDeque<String>,
    /// Idempotency keys so far.
    keys: BTreeSet<String>,
    is_storage_full: bool,
    is_store_broken: bool,
    is_tls_gone: bool,
    saw_close: bool,
}

/// Plays a transcript; the error begins with the number of the line that is wrong.
pub(crate) fn play(script: &[Numbered], chunk: usize) -> Result<(), String> {
    let mut player = Player::new(script, chunk)?;
    let mut lines = script.iter().peekable();
    while let Some((number, line)) = lines.next() {
        let at = |fault: String| format!("{number}: {fault}");
        match line {
            Line::Limit(..) | Line::Events(_) => {}
            Line::Client(octets) => player.input.extend(octets),
            Line::Server(pattern) => player.expect_reply(pattern).map_err(at)?,
            Line::Closed => player.expect_close().map_err(at)?,
            Line::Asks { what, native } => {
                let (paused, question) = player.expect_question(what, native.as_deref()).map_err(at)?;
                let mut overlay = question.overlay;
                let verdict = loop {
                    match lines.next() {
                        Some((number, Line::Decide(text))) => match text.strip_prefix('+') {
                            Some(change) => edit(&mut overlay, change).ok_or(format!("{number}: no such change"))?,
                            None => break verdict(text).ok_or(format!("{number}: no such verdict"))?,
                        },
                        _ => return Err(at("a question needs an answer".into())),
                    }
                };
                player.resume(paused, verdict, overlay);
            }
            Line::Decide(_) => return Err(at("an answer without a question".into())),
            Line::Happens(what) => player.happen(what).map_err(at)?,
            Line::Stored(what) => player.expect_stored(what).map_err(at)?,
            Line::Header(pattern) => player.expect_header(pattern).map_err(at)?,
            Line::Body(text) => match player.body.pop_front() {
                Some(there) if there == *text => {}
                there => return Err(at(format!("the body goes on with {there:?}"))),
            },
            Line::Waits(wait) if player.delay == *wait => {}
            Line::Waits(_) => return Err(at(format!("the wait was {:?}", player.delay))),
            Line::Notice(pattern) => match player.notices.pop_front() {
                Some(notice) if fits(pattern, &notice) => {}
                notice => return Err(at(format!("the notice is {notice:?}"))),
            },
        }
    }
    player.finish().map_err(|fault| format!("end: {fault}"))
}

// What the shell makes of its draft at the end of a text or a chunk.
fn content(receiving: &Receiving, draft: &mut Vec<u8>) -> Option<Content> {
    if !receiving.is_last() || receiving.is_refused() {
        return None;
    }
    let octets = Bytes::from(mem::take(draft));
    Some(Content { len: octets.len() as u64, octets: Arc::new(octets) })
}

impl Player {
    fn new(script: &[Numbered], chunk: usize) -> Result<Self, String> {
        let mut policy = ListenerPolicy::new("mx", "basin.example", Arc::new(directory()));
        let mut accounts = accounts();
        let mut interest = EventSet::default();
        for (number, line) in script {
            let small = |value: &u64| u32::try_from(*value).map_err(|_| format!("{number}: too large"));
            if let Line::Events(events) = line {
                interest = events.iter().copied().collect();
            } else if let Line::Limit(key, value) = line {
                match key.as_str() {
                    "message-bytes-max" => policy.message_bytes_max = *value,
                    "recipients-max" => policy.recipients_max = small(value)? as usize,
                    "errors-max" => policy.errors_max = small(value)?,
                    "errors-soft" => policy.errors_soft = Some(small(value)?),
                    "tls" => policy.tls = Some(TlsPolicy { is_required: *value > 0 }),
                    "auth" => {
                        let auth = AuthPolicy::new(accounts.clone());
                        policy.auth = Some(AuthPolicy { needs_tls: *value > 0, ..auth });
                    }
                    "no-accounts" => accounts = Arc::new(Accounts::unavailable()),
                    "xclient" => policy.xclient_from = Network::parse("192.0.2.7").into_iter().collect(),
                    "idle-commands-max" => policy.idle_commands_max = small(value)?,
                    "hard-max" => policy.message_bytes_hard_max = Some(*value),
                    "submission" => policy.is_submission = *value > 0,
                    "hold-max" => policy.hold_max = Some(Duration::from_secs(*value)),
                    "deliver-by-min" => policy.deliver_by_min = Duration::from_secs(*value),
                    "mails-max" => policy.mails_max = Some(small(value)?),
                    "chunking" => policy.extensions.chunking = *value > 0,
                    "prdr" => policy.extensions.prdr = *value > 0,
                    _ => return Err(format!("{number}: no such limit")),
                }
            }
        }
        let connection = Connection {
            id: "s1".into(),
            client: "192.0.2.7:40000".parse().expect("an address"),
            server: "192.0.2.1:25".parse().expect("an address"),
            started: NOW,
            random: 7,
            client_name: None,
            tls: None,
        };
        let mut outbox = Outbox::new();
        let step = Session::start(Arc::new(policy), connection, interest, &mut outbox);
        Ok(Self {
            interest,
            accounts,
            outbox,
            step: Some(step),
            input: VecDeque::new(),
            replies: VecDeque::new(),
            chunk,
            draft: Vec::new(),
            delay: Duration::ZERO,
            stored: VecDeque::new(),
            last: None,
            body: VecDeque::new(),
            notices: VecDeque::new(),
            keys: BTreeSet::new(),
            is_storage_full: false,
            is_store_broken: false,
            is_tls_gone: false,
            saw_close: false,
        })
    }

    // Does one thing for the machine; false where it waits for input or is over.
    fn advance(&mut self) -> bool {
        let Some(step) = self.step.take() else { return false };
        let (step, went_on) = match step {
            Step::Read(session) => self.read(session),
            Step::Ask(paused, question) => {
                self.keep_key(&question);
                let decision = decision(Verdict::Next, question.overlay);
                (paused.resume(decision, NOW, &mut self.outbox), true)
            }
            Step::Receive(receiving) => self.receive(receiving),
            Step::Examine(examining) => (examining.examined(&[]), true),
            Step::Store(storing, message, disposition) => {
                let proof = Stored(message.id.clone());
                let step = if mem::take(&mut self.is_store_broken) {
                    storing.not_stored(Reply::with(452, 3, 1, "disk full"), NOW, &mut self.outbox)
                } else {
                    self.stored.push_back((disposition, message));
                    storing.stored(&proof, NOW, &mut self.outbox)
                };
                (step, true)
            }
            Step::StartTls(securing) => (Step::StartTls(securing), false),
            Step::Verify(verifying, login) => {
                (verifying.verified(verified(&self.accounts, login), NOW, &mut self.outbox), true)
            }
            Step::Input(awaiting, wanted) => self.more(awaiting, wanted),
            Step::Close(ended) => (Step::Close(ended), false),
        };
        self.step = Some(step);
        self.check_early_input();
        self.take_outbox();
        went_on
    }

    fn read(&mut self, session: Session) -> (Step, bool) {
        let (head, tail) = self.input.as_slices();
        let input = [head, tail].concat();
        let Some(len) = input.windows(2).position(|pair| pair == b"\r\n") else { return (Step::Read(session), false) };
        self.input.drain(..len + 2);
        if len + 2 > COMMAND_LINE_BYTES_MAX {
            return (session.line_too_long(NOW, &mut self.outbox), true);
        }
        (session.line(&input[..len], NOW, self.interest, &mut self.outbox), true)
    }

    fn more(&mut self, awaiting: Awaiting, wanted: Wanted) -> (Step, bool) {
        let input = self.input.make_contiguous();
        let (len, end) = match wanted {
            Wanted::Line { .. } => match input.windows(2).position(|pair| pair == b"\r\n") {
                Some(len) => (len, len + 2),
                None => return (Step::Input(awaiting, wanted), false),
            },
            Wanted::Octets(count) => {
                let count = usize::try_from(count).expect("small");
                if input.len() < count {
                    return (Step::Input(awaiting, wanted), false);
                }
                (count, count)
            }
        };
        let octets = input[..len].to_vec();
        self.input.drain(..end);
        match wanted {
            Wanted::Line { bytes_max } if end > bytes_max => (awaiting.too_long(NOW, &mut self.outbox), true),
            Wanted::Line { .. } | Wanted::Octets(_) => {
                (awaiting.input(&octets, NOW, self.interest, &mut self.outbox), true)
            }
        }
    }

    fn receive(&mut self, mut receiving: Receiving) -> (Step, bool) {
        if mem::take(&mut self.is_storage_full) {
            receiving.storage_failed(Reply::with(452, 3, 1, "disk full"));
        }
        if receiving.is_new() {
            self.draft.clear();
        }
        let len = self.chunk.min(self.input.len());
        let input: Vec<u8> = self.input.iter().take(len).copied().collect();
        let fed = receiving.feed(&input, &mut self.draft);
        self.input.drain(..fed.consumed);
        if fed.is_paused {
            return (receiving.pause(NOW), true);
        }
        if !fed.is_end {
            return (Step::Receive(receiving), len > 0);
        }
        let content = content(&receiving, &mut self.draft);
        (receiving.finish(content, NOW, &mut self.outbox), true)
    }

    fn resume(&mut self, paused: Paused, verdict: Verdict, overlay: Overlay) {
        self.step = Some(paused.resume(decision(verdict, overlay), NOW, &mut self.outbox));
        self.check_early_input();
        self.take_outbox();
    }

    fn check_early_input(&mut self) {
        self.step = match self.step.take() {
            Some(Step::Read(session)) if session.forbids_early_input() && !self.input.is_empty() => {
                self.input.clear();
                Some(session.early_input(NOW, &mut self.outbox))
            }
            Some(Step::StartTls(securing)) if mem::take(&mut self.is_tls_gone) => {
                Some(securing.unavailable(NOW, &mut self.outbox))
            }
            Some(Step::StartTls(securing)) if !self.input.is_empty() => {
                self.input.clear();
                Some(securing.injected(NOW, &mut self.outbox))
            }
            Some(Step::Input(awaiting, _)) if !self.input.is_empty() => {
                self.input.clear();
                Some(awaiting.early(NOW, &mut self.outbox))
            }
            step => step,
        };
    }

    fn take_outbox(&mut self) {
        if !self.outbox.bytes.is_empty() {
            self.delay = self.outbox.delay;
            let bytes = self.outbox.take_bytes();
            let text = String::from_utf8(bytes).expect("replies are ASCII");
            self.replies.extend(text.split_terminator("\r\n").map(str::to_owned));
        }
        for notice in self.outbox.notices.drain(..).collect::<Vec<_>>() {
            self.keep_key(&notice);
            self.notices.push_back(describe(&notice));
        }
        if let Some(Step::Close(_)) = &self.step
            && let Some(Step::Close(ended)) = self.step.take()
        {
            // The notice is read out once; what is left is a closed session.
            let facts = ended.facts().clone();
            if let Some(notice) = ended.notice() {
                self.keep_key(&notice);
                self.notices.push_back(describe(&notice));
            }
            assert!(facts.end_reason.is_some(), "a session that ended says why");
        }
    }

    // A key belongs to one question or notice (`wit/types.wit`, `idempotency-key`).
    fn keep_key(&mut self, question: &Question) {
        let key = question.occasion.idempotency_key.clone();
        assert!(self.keys.insert(key.clone()), "{key} is the key of another one");
    }

    fn is_closed(&self) -> bool {
        self.step.is_none()
    }

    fn expect_reply(&mut self, pattern: &str) -> Result<(), String> {
        let is_complete = |replies: &VecDeque<String>| replies.iter().any(|line| line.as_bytes().get(3) == Some(&b' '));
        self.take_outbox();
        while !is_complete(&self.replies) {
            if self.is_closed() || !self.advance() {
                return Err(format!("no reply, expected {pattern}"));
            }
        }
        let mut lines = Vec::new();
        while let Some(line) = self.replies.pop_front() {
            let is_last = line.as_bytes().get(3) == Some(&b' ');
            lines.push(line);
            if is_last {
                break;
            }
        }
        let is_match = match (pattern.split_once(" ... "), lines.as_slice()) {
            (Some((first, last)), [start, .., end]) => fits(first, start) && fits(last, end),
            (None, [line]) => fits(pattern, line),
            _ => false,
        };
        if is_match { Ok(()) } else { Err(format!("expected {pattern}, got {}", lines.join(" / "))) }
    }

    fn expect_question(&mut self, what: &str, native: Option<&str>) -> Result<(Paused, Question), String> {
        loop {
            if self.is_closed() {
                return Err("the session is over".into());
            }
            match self.step.take() {
                Some(Step::Ask(paused, question)) if fits(what, &asked(&question)) => {
                    let there = question.occasion.native_response.as_ref().map(ToString::to_string);
                    let there = there.unwrap_or_default();
                    if native.is_some_and(|native| !fits(native, &there)) {
                        return Err(format!("the native response is {there}"));
                    }
                    self.keep_key(&question);
                    return Ok((paused, *question));
                }
                step => self.step = step,
            }
            if !self.advance() {
                return Err(format!("nobody asks: {what}"));
            }
        }
    }

    fn expect_close(&mut self) -> Result<(), String> {
        while !self.is_closed() && self.advance() {}
        match self.replies.front() {
            Some(reply) => Err(format!("one more reply: {reply}")),
            None if self.is_closed() => {
                self.saw_close = true;
                Ok(())
            }
            None => Err("the session is open".into()),
        }
    }

    fn expect_stored(&mut self, what: &str) -> Result<(), String> {
        let (disposition, message) = self.stored.pop_front().ok_or("no message was stored")?;
        let word = disposition.word();
        let recipients = message.envelope.recipients.iter().map(|recipient| format!(" {}", recipient.address));
        let there = format!("{word}{}", recipients.collect::<String>());
        let octets = message.body.read(0, usize::MAX).expect("memory");
        let text = String::from_utf8_lossy(&octets).into_owned();
        self.body = text.split_terminator("\r\n").map(str::to_owned).collect();
        self.last = Some(message);
        if fits(what, &there) { Ok(()) } else { Err(format!("stored was {there}")) }
    }

    fn expect_header(&self, pattern: &str) -> Result<(), String> {
        let fields = self.last.as_ref().map(|message| message.header.fields()).unwrap_or_default();
        let texts: Vec<_> = fields.iter().map(|field| format!("{}: {}", field.name(), field.value())).collect();
        if texts.iter().any(|text| fits(pattern, text)) { Ok(()) } else { Err(format!("the fields are {texts:?}")) }
    }

    fn happen(&mut self, what: &str) -> Result<(), String> {
        match what {
            "storage-full" => self.is_storage_full = true,
            "tls-unavailable" => self.is_tls_gone = true,
            "not-stored" => self.is_store_broken = true,
            _ => {
                while self.advance() {}
                let outbox = &mut self.outbox;
                let step = match (self.step.take(), what) {
                    (Some(Step::Read(session)), "timeout") => session.timed_out(NOW, outbox),
                    (Some(Step::Read(session)), "shutdown") => session.shut_down(NOW, outbox),
                    (Some(Step::Read(session)), "peer-closed") => session.peer_closed(NOW),
                    (Some(Step::StartTls(securing)), "secured") => securing.secured(secured()),
                    (Some(Step::StartTls(securing)), "handshake-failed") => securing.failed(NOW),
                    (Some(Step::Input(awaiting, _)), "timeout") => awaiting.timed_out(NOW, outbox),
                    (Some(Step::Input(awaiting, _)), "shutdown") => awaiting.shut_down(NOW, outbox),
                    (Some(Step::Input(awaiting, _)), "peer-closed") => awaiting.peer_closed(NOW),
                    (Some(Step::Receive(receiving)), "timeout") => receiving.timed_out(NOW, outbox),
                    (Some(Step::Receive(receiving)), "shutdown") => receiving.shut_down(NOW, outbox),
                    (Some(Step::Receive(receiving)), "peer-closed") => receiving.peer_closed(NOW),
                    _ => return Err(format!("{what} cannot happen here")),
                };
                self.step = Some(step);
                self.take_outbox();
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), String> {
        while !self.is_closed() && self.advance() {}
        let has_asked = self.interest != EventSet::default();
        if let Some(reply) = self.replies.front() {
            return Err(format!("one more reply: {reply}"));
        }
        if self.is_closed() != self.saw_close {
            return Err("whether the session is over was not said".into());
        }
        if !self.is_closed() && !self.input.is_empty() {
            return Err("input is left".into());
        }
        if self.is_closed() && !has_asked && !self.notices.is_empty() {
            return Err("a notice that nobody is bound to".into());
        }
        Ok(())
    }
}
