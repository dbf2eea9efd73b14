//! Signals: when to stop, and when to read the configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How far the server has come in stopping. Later is larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// It takes mail.
    #[default]
    Running,
    /// No new connections; sessions end between two commands, work in progress is finished.
    Draining,
    /// The time for that is over; sessions end at once.
    Ending,
}

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Stop: SIGTERM or SIGINT, by that name.
    Stop(&'static str),
    /// Read configuration and registry again: SIGHUP.
    Reload,
}

/// SIGHUP, taken over before anything else is begun: whoever writes a configuration and sends it at once must not end
/// the server that is starting. What comes meanwhile is heard of later.
#[derive(Debug)]
pub struct HangUps(Signal);

impl HangUps {
    /// Takes SIGHUP over from the default action. Not from within a runtime.
    ///
    /// # Errors
    /// The system refuses.
    pub fn take() -> io::Result<Self> {
        // The handler is the process's, and whichever runtime runs later passes on what it saw. This one has no thread
        // of its own, so the process can still become another user.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _context = runtime.enter();
        signal(SignalKind::hangup()).map(Self)
    }
}

/// The signals that the server understands.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Takes the others over as well. Until then they end the process: nothing has been acknowledged yet.
    ///
    /// # Errors
    /// The system refuses.
    pub fn take(HangUps(hang_up): HangUps) -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hang_up })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Wish::Stop("SIGINT"),
            _ = self.hang_up.recv() => Wish::Reload,
        }
    }

    /// Waits for the next one that stops: the second one means at once.
    pub async fn next_stop(&mut self) -> &'static str {
        loop {
            if let Wish::Stop(reason) = self.next().await {
                return reason;
            }
        }
    }
}

/// Tells everybody how far stopping has come.
#[derive(Debug)]
pub struct Stopper {
    phase: watch::Sender<Phase>,
}

impl Default for Stopper {
    fn default() -> Self {
        Self { phase: watch::channel(Phase::Running).0 }
    }
}

impl Stopper {
    /// A listener to the phase.
    pub fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Goes on to a phase; never back.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let is_later = phase > *now;
            *now = (*now).max(phase);
            is_later
        });
    }

    /// Which phase it is.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }
}
