//! What is told when the decision is made: notices, observers and shadows. Nobody waits for them.

use core::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use basin_core::event::{Answer, Asked, Occasion, Overlay, Shadow, Verdict};
use basin_core::mail::Message;
use basin_sinks::Scopes;
use tokio::sync::{Semaphore, mpsc};

use crate::ask::{Ask, Asking};
use crate::clock::now;
use crate::control::Difference;
use crate::effects;
use crate::registry::Loaded;
use crate::telemetry::sinks::ShadowCompared;

/// Most notices that are handled at once. Nobody waits for them, so they get a small share of the machine.
const NOTICES_AT_ONCE: usize = 4;

/// Memory of the notices that wait, in octets. Each may hold a message with its body, or its open file.
const NOTICES_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Memory of a notice without a message, in octets; a round number above what is usual.
const NOTICE_BYTES: u64 = 4 * 1024;

/// Lines of a difference that are kept; the last of each shadow is.
const DIFFERENCE_LINES_MAX: usize = 40;

/// Longest line of a difference that is kept, in characters.
const DIFFERENCE_CHARACTERS_MAX: usize = 200;

/// Something that happened or was decided, and who is told.
pub(super) struct Notice {
    pub(super) occasion: Arc<Occasion>,
    /// As it was decided.
    pub(super) overlay: Overlay,
    /// `None` where there was nothing to decide.
    pub(super) decided: Option<Decided>,
    pub(super) told: Vec<Asked>,
    pub(super) shadows: Vec<Shadow>,
    pub(super) loaded: Arc<Loaded>,
    pub(super) scopes: Option<Scopes>,
}

/// What a chain came to.
pub(super) struct Decided {
    pub(super) verdict: Verdict,
    pub(super) by: Option<String>,
}

/// The way to those who are told later.
pub(super) struct Later {
    notices: mpsc::Sender<(Notice, Place)>,
    backlog: Arc<Backlog>,
}

/// Its other end.
pub(super) struct Queue(mpsc::Receiver<(Notice, Place)>);

/// How much waits to be told.
#[derive(Debug, Default)]
struct Backlog {
    notices: AtomicUsize,
    bytes: AtomicU64,
}

/// A notice's share of the backlog; given back when dropped, however that comes about.
struct Place {
    backlog: Arc<Backlog>,
    bytes: u64,
}

impl Place {
    /// Takes a place, unless so much waits that memory is at stake.
    fn take(backlog: &Arc<Backlog>, bytes: u64) -> Option<Self> {
        let place = Self { backlog: backlog.clone(), bytes };
        backlog.notices.fetch_add(1, Ordering::Relaxed);
        let before = backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
        // One notice is let in whatever its size, or a large message would never be told of.
        (before == 0 || before.saturating_add(bytes) <= NOTICES_BYTES_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.backlog.notices.fetch_sub(1, Ordering::Relaxed);
        self.backlog.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Later {
    /// A queue for so many notices.
    pub(super) fn with_room_for(notices: usize) -> (Self, Queue) {
        let (notices, queue) = mpsc::channel(notices);
        (Self { notices, backlog: Arc::default() }, Queue(queue))
    }

    /// Notices that were taken and are not told yet.
    pub(super) fn waiting(&self) -> usize {
        self.backlog.notices.load(Ordering::Relaxed)
    }

    /// Takes a notice, unless there is no room; says whether it did.
    pub(super) fn take(&self, notice: Notice) -> bool {
        // A shadow has an overlay of its own, whose edits may differ.
        let copies = 1 + notice.shadows.len() as u64;
        let message = notice.overlay.message.as_ref().map_or(0, Message::memory_bytes);
        let place = Place::take(&self.backlog, NOTICE_BYTES + message.saturating_mul(copies));
        place.is_some_and(|place| self.notices.try_send((notice, place)).is_ok())
    }
}

impl Queue {
    /// Tells what comes, a few at a time, as long as anybody can send.
    pub(super) async fn tell(mut self, ask: Arc<Ask>) {
        let places = Arc::new(Semaphore::new(NOTICES_AT_ONCE));
        while let Some((notice, share)) = self.0.recv().await {
            // The semaphore is never closed.
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let ask = ask.clone();
            tokio::spawn(async move {
                notice.tell_all(&ask).await;
                drop((share, place));
            });
        }
    }
}

impl Notice {
    async fn tell_all(mut self, ask: &Ask) {
        for shadow in mem::take(&mut self.shadows) {
            self.try_shadow(ask, shadow).await;
        }
        for asked in &self.told {
            let mut overlay = Box::new(self.overlay.clone());
            overlay.matched.clone_from(&asked.matched);
            // What the client heard, where somebody else's reply took the place of the server's.
            if let Some(reply) = self.decided.as_ref().and_then(|decided| decided.verdict.reply()) {
                overlay.response = Some(reply.clone());
                overlay.appended.clear();
            }
            // What it answers changes nothing; that it failed is recorded by the call.
            drop(
                ask.call(&self.loaded, &asked.binding, self.asking(overlay, true), ask.transaction_time(), |said| said)
                    .await,
            );
        }
    }

    // What it does happens to a copy that nobody looks at again, but to compare.
    async fn try_shadow(&self, ask: &Ask, shadow: Shadow) {
        let Shadow { asked, overlay } = shadow;
        let binding = &asked.binding;
        let answer =
            ask.call(&self.loaded, binding, self.asking(overlay, false), ask.transaction_time(), |said| said).await;
        let (Answer::Verdict(verdict, overlay), Some(decided)) = (answer, &self.decided) else { return };
        let lines = difference(decided, &self.overlay, (&verdict, &overlay), &binding.sink);
        let compared = ShadowCompared { binding, event: self.occasion.event, difference: &lines };
        compared.record(&ask.metrics);
        let session = self.occasion.session.as_ref().map(|session| session.id.clone());
        let difference = (!lines.is_empty()).then(|| Difference {
            at: now(),
            event: self.occasion.event,
            session,
            message: self.overlay.message.as_ref().map(|message| message.id.to_string()),
            lines,
        });
        ask.activity.compare(&binding.name, difference);
    }

    fn asking(&self, overlay: Box<Overlay>, is_read_only: bool) -> Asking<'_> {
        Asking { occasion: &self.occasion, overlay, is_read_only, scopes: self.scopes.as_ref() }
    }
}

// What was decided against what the shadow says, in lines; none where they agree. Edits count where both let the
// message or the command go on: those of a refusal are gone.
fn difference(decided: &Decided, left: &Overlay, shadow: (&Verdict, &Overlay), sink: &str) -> Vec<String> {
    let (verdict, overlay) = shadow;
    if outcome(&decided.verdict) != outcome(verdict) {
        let by = decided.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        return vec![format!("- {}{by}", spoken(&decided.verdict)), format!("+ {}", spoken(verdict))];
    }
    if drops_edits(verdict) {
        return Vec::new();
    }
    let effects = effects::of(left, overlay, sink);
    let lines =
        effects.into_iter().flat_map(|(what, lines)| lines.into_iter().map(move |line| format!("{what}: {line}")));
    lines.take(DIFFERENCE_LINES_MAX).map(|line| line.chars().take(DIFFERENCE_CHARACTERS_MAX).collect()).collect()
}

// `next` and `skip-remaining` come to the same for whoever waits; a text is not what matters about a reply.
fn outcome(verdict: &Verdict) -> (&'static str, Option<u16>) {
    let word = if *verdict == Verdict::SkipRemaining { Verdict::Next.word() } else { verdict.word() };
    (word, verdict.reply().map(basin_core::reply::Reply::code))
}

fn drops_edits(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refuse(_) | Verdict::DropSession(_) | Verdict::Defer(_))
}

fn spoken(verdict: &Verdict) -> String {
    match verdict.reply() {
        Some(reply) => format!("{} {reply}", verdict.word()),
        None => verdict.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use basin_core::mail::{Arrival, Envelope, MessageId, Origin};
    use basin_core::reply::Reply;
    use basin_core::time::Timestamp;

    use super::*;

    #[test]
    fn notices_wait_within_a_bound_of_memory_and_one_always_fits() {
        let backlog = Arc::new(Backlog::default());
        let large = Place::take(&backlog, NOTICES_BYTES_MAX * 2).expect("the first one fits");
        assert!(Place::take(&backlog, 1).is_none());
        assert_eq!(backlog.notices.load(Ordering::Relaxed), 1, "one that was refused does not count");
        drop(large);
        let _half = Place::take(&backlog, NOTICES_BYTES_MAX / 2).expect("there is room");
        let _other = Place::take(&backlog, NOTICES_BYTES_MAX / 2).expect("there is room");
        assert!(Place::take(&backlog, 1).is_none());
    }

    fn overlay(priority: i32) -> Overlay {
        let arrival = Arrival {
            origin: Origin::Smtp,
            at: Timestamp::default(),
            listener: String::new(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: true,
            session: None,
            depth: 0,
            vouched: Default::default(),
        };
        let mut message = Message::new(MessageId::new(Timestamp::default(), 1), arrival, Envelope::new(None));
        message.priority = priority;
        Overlay { message: Some(message), ..Overlay::default() }
    }

    fn refuse(code: u16, text: &str) -> Verdict {
        Verdict::Refuse(Reply::new(code, None, text))
    }

    // What was decided and the priority that it left, against a shadow's.
    fn lines(decided: (Verdict, i32), shadow: (Verdict, i32)) -> Vec<String> {
        let (verdict, priority) = decided;
        let decided = Decided { verdict, by: Some("filter/x".into()) };
        difference(&decided, &overlay(priority), (&shadow.0, &overlay(shadow.1)), "filter")
    }

    #[test]
    fn a_shadow_agrees_where_it_would_have_come_to_the_same() {
        for (decided, shadow) in [
            ((Verdict::Next, 3), (Verdict::SkipRemaining, 3)),
            ((refuse(550, "no"), 0), (refuse(550, "not you"), 9)),
            ((Verdict::Hold("a".into()), 1), (Verdict::Hold("b".into()), 1)),
        ] {
            assert_eq!(lines(decided.clone(), shadow), [""; 0], "{decided:?}");
        }
    }

    #[test]
    fn a_difference_says_what_was_decided_and_what_the_shadow_did() {
        let decided = (refuse(550, "no"), 0);
        assert_eq!(lines(decided.clone(), (Verdict::Next, 0)), ["- refuse 550 no by filter/x", "+ next"]);
        assert_eq!(lines(decided, (refuse(450, "no"), 0)), ["- refuse 550 no by filter/x", "+ refuse 450 no"]);
        let edits = lines((Verdict::Next, 0), (Verdict::Next, 2));
        assert_eq!(edits, ["envelope: - priority 0", "envelope: + priority 2"]);
    }
}
