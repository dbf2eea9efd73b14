//! One event's chain of sinks: whom to ask next, and what the answers add up to.

use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{
    Answer, Binding, EventKind, Failure, FailureKind, FailurePolicy, Later, Mode, Occasion, Overlay, Verdict,
};
use crate::limits::RESPONSE_DELAY_MAX;
use crate::reply::Reply;
use crate::transport::HostAddress;

/// When to raise the event again after a failed sink deferred a stored message.
const RETRY_AFTER_FAILURE: Duration = Duration::from_secs(300);

/// A binding of the plan, and the recipients that its rule selected.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The binding.
    pub binding: Arc<Binding>,
    /// What its rule's `rcpt to` condition selected; `None` where it has none.
    pub matched: Option<Arc<[crate::mail::RecipientId]>>,
}

/// A binding in the mode shadow, and what it is to be asked with: the overlay as it stood at its place of the chain.
///
/// It is asked when the chain is decided and nobody waits for it; what it says changes nothing.
#[derive(Debug, Clone)]
pub struct Shadow {
    /// The binding.
    pub asked: Asked,
    /// What it sees and edits.
    pub overlay: Box<Overlay>,
}

/// How a chain goes on behind the sink that hears the input which it asked for.
///
/// The others had not been asked when the command was set aside for that input; they are asked about the command.
#[derive(Debug, Clone)]
pub struct Behind {
    /// The command's, see [`Occasion::without_input`].
    pub occasion: Arc<Occasion>,
    /// The bindings behind, in their order.
    pub plan: Vec<Asked>,
}

/// What a chain wants next.
#[derive(Debug)]
pub enum ChainStep {
    /// Ask this binding's sink with this overlay, about [`Chain::occasion`], and call [`Chain::answer`] with what
    /// came of it.
    Ask(Chain, Asked, Box<Overlay>),
    /// The chain is decided; these shadows stood before the end of it.
    Decided(Box<Decision>, Vec<Shadow>),
}

/// What all sinks of an event said together.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The verdict; `Next` where nobody objected.
    pub verdict: Verdict,
    /// Name of the binding that gave it; `None` where nobody objected. After `AwaitInput` and `AwaitOctets` the
    /// session gives it back with the input ([`Question::only`](crate::event::Question)).
    pub by: Option<String>,
    /// The accepted effects. After `Refuse`, `DropSession` and `Defer` only those that concern the reply
    /// are left: the edits are gone.
    pub overlay: Overlay,
    /// Sinks that failed on the way, by binding.
    pub failures: Vec<(String, Failure)>,
    /// Whether any sink was asked. Where none was, nothing is to be written down.
    pub is_heard: bool,
}

impl Decision {
    /// What sinks answered in place of DNS; `None` where DNS is asked.
    ///
    /// # Errors
    /// A sink failed, or has reasons to wait. What is not to be had now is not to be had from DNS either: the sink is
    /// there because DNS is wrong.
    pub fn into_hosts(self) -> Result<Option<Vec<HostAddress>>, Reply> {
        if let Verdict::Hosts(hosts) = self.verdict {
            return Ok(Some(hosts));
        }
        self.verdict.reply().map_or(Ok(None), |reply| Err(reply.clone()))
    }

    /// What comes of asking a binding that is gone: of a command that its sink began to handle nobody else knows
    /// what to make.
    pub fn without(binding: String, overlay: Overlay, can_fail: bool) -> Self {
        let failure = Failure {
            kind: FailureKind::Load,
            detail: "the binding that asked for input is no longer in the registry, or is switched off".to_owned(),
            backtrace: Vec::new(),
            stderr: String::new(),
            fuel: 0,
        };
        let verdict = if can_fail { Verdict::Refuse(deferred()) } else { Verdict::Next };
        Self { verdict, by: Some(binding.clone()), overlay, failures: vec![(binding, failure)], is_heard: true }
    }
}

/// The chain of one event, waiting for the answer of the sink that it asked.
///
/// The plan is fixed when the chain starts; a reload of the registry meets the next chain.
#[derive(Debug)]
pub struct Chain {
    asked: Arc<Binding>,
    course: Course,
}

/// What a chain knows besides whom it asked.
#[derive(Debug)]
struct Course {
    occasion: Arc<Occasion>,
    rest: VecDeque<Asked>,
    behind: Option<Behind>,
    start: Box<Overlay>,
    current: Box<Overlay>,
    shadows: Vec<Shadow>,
    failures: Vec<(String, Failure)>,
    can_fail_command: bool,
    is_heard: bool,
    /// Forks whose sinks are known.
    forked: usize,
}

impl Chain {
    /// Starts a chain over the bindings of `plan`, in their order.
    ///
    /// `can_fail_command` is false at QUIT, RSET and NOOP: a broken sink must not keep a client from them.
    pub fn start(occasion: Arc<Occasion>, plan: Vec<Asked>, overlay: Overlay, can_fail_command: bool) -> ChainStep {
        Course::new(occasion, plan.into(), None, overlay, can_fail_command).next()
    }

    /// Goes on with a chain that waited for input: `by` hears it, and where it says `Next` those behind are asked
    /// about the command. It is one chain: what a refusal drops and what each adds holds for all of them together.
    pub fn go_on(
        occasion: Arc<Occasion>,
        by: Asked,
        behind: Behind,
        overlay: Overlay,
        can_fail_command: bool,
    ) -> ChainStep {
        Course::new(occasion, [by].into(), Some(behind), overlay, can_fail_command).next()
    }

    /// What the sink is asked about.
    pub fn occasion(&self) -> &Arc<Occasion> {
        &self.course.occasion
    }

    /// Takes the answer of the sink that was asked.
    pub fn answer(mut self, answer: Answer) -> ChainStep {
        let verdict = match self.checked(answer) {
            Answer::Verdict(verdict, overlay) => {
                self.course.current = overlay;
                // Each sink adds to the wait of those before it; the client's patience is one for all.
                self.course.current.delay = self.course.current.delay.min(RESPONSE_DELAY_MAX);
                self.course.let_forks_go_on();
                verdict
            }
            // The effects of the failed call were in its own overlay, which is gone; `current` is untouched.
            Answer::Failed(failure) => {
                self.course.failures.push((self.asked.name.clone(), failure));
                self.verdict_of_policy()
            }
        };
        if !matches!(verdict, Verdict::Consume(_)) {
            // Who a client is says the sink that consumes; the 235 of another one does not make it true.
            self.course.current.authenticated = None;
        }
        if verdict == Verdict::Next { self.course.next() } else { self.course.decide(verdict, self.asked.name.clone()) }
    }

    fn verdict_of_policy(&self) -> Verdict {
        let Course { occasion, failures, can_fail_command, .. } = &self.course;
        let event = occasion.event;
        if !can_fail_command || event.is_notice() {
            return Verdict::Next;
        }
        match (self.asked.on_failure, event) {
            (FailurePolicy::Skip, _) => Verdict::Next,
            (FailurePolicy::Hold, _) => {
                let kind = failures.last().map_or("unknown", |(_, failure)| failure.kind.word());
                Verdict::Hold(format!("sink {} failed: {kind}", self.asked.sink))
            }
            (FailurePolicy::Defer, EventKind::OnConnect) => {
                Verdict::Refuse(Reply::new(421, Some(crate::reply::Enhanced::new(3, 0)), "try again later"))
            }
            (FailurePolicy::Defer, event) if event.is_transport() => {
                Verdict::Defer(Later { reply: deferred(), after: RETRY_AFTER_FAILURE })
            }
            // Close, try again.
            (FailurePolicy::Defer, event) if event.is_outbound() => Verdict::DropSession(deferred()),
            (FailurePolicy::Defer, _) => Verdict::Refuse(deferred()),
            (
                FailurePolicy::Refuse,
                EventKind::OnAuthenticated | EventKind::OnInboundCommand | EventKind::OnInboundInput,
            ) => Verdict::Refuse(Reply::with(550, 3, 0, "a filter of this server failed")),
            (FailurePolicy::Refuse | FailurePolicy::Fail, _) => {
                Verdict::Refuse(Reply::with(554, 3, 0, "a filter of this server failed"))
            }
        }
    }

    /// What the chain makes of an answer: one whose verdict cannot be carried out here is a failure, and drops the
    /// effects of its call like any other. Whoever writes down what came of a call asks for this first.
    // The caller of the sink checks grants and says precisely what was wrong; this is the last door, and it does not
    // depend on who called.
    pub fn checked(&self, answer: Answer) -> Answer {
        let occasion = &self.course.occasion;
        let event = occasion.event;
        let detail = match &answer {
            Answer::Verdict(verdict, _) if !event.allows(verdict) => {
                Some(format!("{event} does not allow the verdict {}", verdict.word()))
            }
            Answer::Verdict(verdict, _) if !verdict.has_fitting_reply(event) => {
                Some(format!("the reply of the verdict {} is of the wrong class", verdict.word()))
            }
            Answer::Verdict(Verdict::AwaitInput(_) | Verdict::AwaitOctets(..), overlay) => {
                let command = overlay.command.as_ref().filter(|command| !may_be_interrupted(&command.keyword));
                command.map(|command| format!("what follows {} is never input for a sink", command.keyword))
            }
            Answer::Verdict(verdict, _) => occasion.objection(verdict, &self.asked.name),
            Answer::Failed(_) => None,
        };
        let Some(detail) = detail else { return answer };
        Answer::Failed(Failure {
            kind: FailureKind::Verdict,
            detail,
            backtrace: Vec::new(),
            stderr: String::new(),
            fuel: 0,
        })
    }
}

impl Course {
    fn new(
        occasion: Arc<Occasion>,
        rest: VecDeque<Asked>,
        behind: Option<Behind>,
        overlay: Overlay,
        can_fail_command: bool,
    ) -> Self {
        let start = Box::new(overlay);
        let current = start.clone();
        let is_heard = !rest.is_empty();
        let (shadows, failures) = (Vec::new(), Vec::new());
        Self { occasion, rest, behind, start, current, shadows, failures, can_fail_command, is_heard, forked: 0 }
    }

    fn next(mut self) -> ChainStep {
        while let Some(asked) = self.next_asked() {
            let mut overlay = self.current.clone();
            overlay.matched.clone_from(&asked.matched);
            if asked.binding.mode == Mode::Shadow {
                self.shadows.push(Shadow { asked, overlay });
                continue;
            }
            return ChainStep::Ask(Chain { asked: asked.binding.clone(), course: self }, asked, overlay);
        }
        let overlay = self.accepted();
        let decision =
            Decision { verdict: Verdict::Next, by: None, overlay, failures: self.failures, is_heard: self.is_heard };
        ChainStep::Decided(Box::new(decision), self.shadows)
    }

    fn next_asked(&mut self) -> Option<Asked> {
        if self.rest.is_empty()
            && let Some(Behind { occasion, plan }) = self.behind.take()
        {
            (self.occasion, self.rest) = (occasion, plan.into());
        }
        self.rest.pop_front()
    }

    fn decide(mut self, verdict: Verdict, by: String) -> ChainStep {
        let drops_edits = matches!(verdict, Verdict::Refuse(_) | Verdict::DropSession(_) | Verdict::Defer(_));
        let overlay = if drops_edits {
            // The message, the command and the session bag go back to what they were; how the reply is sent
            // (a tarpit, a counted error) belongs to the refusal itself.
            let current = &self.current;
            Overlay { delay: current.delay, is_protocol_error: current.is_protocol_error, ..*self.start }
        } else {
            self.accepted()
        };
        let decision = Decision { verdict, by: Some(by), overlay, failures: self.failures, is_heard: true };
        ChainStep::Decided(Box::new(decision), self.shadows)
    }

    // A fork meets the sinks that the one who made it had behind itself; those before it have seen what it was made of.
    fn let_forks_go_on(&mut self) {
        let rest: Vec<String> = self.rest.iter().map(|asked| asked.binding.name.clone()).collect();
        let new = self.current.forks.iter_mut().skip(self.forked);
        new.for_each(|fork| fork.rest.clone_from(&rest));
        self.forked = self.current.forks.len();
    }

    // What a rule selected was one binding's view, not an edit.
    fn accepted(&mut self) -> Overlay {
        let mut overlay = core::mem::take(&mut *self.current);
        overlay.matched.clone_from(&self.start.matched);
        overlay
    }
}

/// Whether a sink may ask for input in the middle of this command: not where the client takes any 3yz for a go-ahead of
/// its own, not where what follows it is a content or a handshake, and not where it leaves.
pub fn may_be_interrupted(verb: &str) -> bool {
    !matches!(verb, "DATA" | "BDAT" | "STARTTLS" | "XCLIENT" | "QUIT")
}

fn deferred() -> Reply {
    Reply::with(451, 3, 0, "a filter of this server is out of order, try again later")
}

#[cfg(test)]
mod tests;
