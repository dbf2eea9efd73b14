//! The only reader of client sockets.
//!
//! A session's input is never larger in memory than one buffer: lines are handed out where they lie, text in
//! pieces, and a line over the limit is thrown away as it comes.

use core::time::Duration;
use std::io;

use basin_core::limits::COMMAND_LINE_BYTES_MAX;
use basin_core::smtp::Outbox;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::shutdown::Phase;

/// Input buffer of a session, in octets. A usual message and the commands around it fit into one read.
const BUFFER_BYTES: usize = 16 * 1024;

/// How long a client may take to read a reply. It has nothing else to do while it waits for one.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// How long the last words wait to be read before the connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// Octets that a client may still send into a closing connection.
const LINGER_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(COMMAND_LINE_BYTES_MAX < BUFFER_BYTES, "a line fits into the buffer");

/// What came instead of a full line.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    /// A line without its CR LF.
    Complete(&'a [u8]),
    /// A line over the limit; it was read to its end and dropped.
    TooLong,
    /// Nothing, because of that.
    None(Pause),
}

/// Why there is no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// Nothing came for as long as somebody waited.
    TimedOut,
    /// The client closed the connection, or it broke.
    Closed,
    /// The server stops.
    Stopped,
}

/// One end of a session: buffered input, and replies on their way out.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    stop: watch::Receiver<Phase>,
    buffer: Vec<u8>,
    /// Input that nobody took yet lies here.
    start: usize,
    end: usize,
    /// No line end lies before this place, so it is not looked for there again.
    searched: usize,
    is_skipping: bool,
}

impl Wire {
    /// Takes over a connection.
    pub(crate) fn new(stream: TcpStream, stop: watch::Receiver<Phase>) -> Self {
        Self { stream, stop, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, searched: 0, is_skipping: false }
    }

    /// Whether a line can be handed out without waiting for the client.
    pub(crate) fn has_line(&mut self) -> bool {
        self.line_end().is_some()
    }

    /// Whether any input has arrived, in the buffer or in the kernel.
    pub(crate) fn has_input(&self) -> bool {
        // The kernel is asked itself: what the runtime knows of the socket may be older than the input.
        let peek = || recv(&self.stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        self.start < self.end || matches!(peek(), Ok((_, 1..)))
    }

    /// Hands out the next line. Waits for it until `patience` is over or the server stops.
    pub(crate) async fn line(&mut self, patience: Duration, stop_at: Phase) -> Line<'_> {
        // One deadline for the whole line: who sends an octet a minute does not get a minute for each.
        let deadline = Instant::now() + patience;
        loop {
            if let Some(end) = self.line_end() {
                let (start, was_skipping) = (self.start, self.is_skipping);
                self.start = end + 1;
                self.searched = self.start;
                self.is_skipping = false;
                let line = self.buffer.get(start..end).unwrap_or_default();
                if was_skipping || line.len() + 1 > COMMAND_LINE_BYTES_MAX {
                    return Line::TooLong;
                }
                return Line::Complete(line.strip_suffix(b"\r").unwrap_or(line));
            }
            if self.end - self.start >= COMMAND_LINE_BYTES_MAX {
                self.is_skipping = true;
                // A CR that came last may be half of the line's end.
                let is_half = self.buffer.get(self.start..self.end).is_some_and(|rest| rest.ends_with(b"\r"));
                self.start = self.end - usize::from(is_half);
            }
            if let Err(pause) = self.fill(deadline, stop_at).await {
                return Line::None(pause);
            }
        }
    }

    /// Input that has arrived, for message text; waits for some where there is none.
    pub(crate) async fn octets(&mut self, deadline: Instant, stop_at: Phase) -> Result<&[u8], Pause> {
        if self.start == self.end {
            self.fill(deadline, stop_at).await?;
        }
        Ok(self.buffer.get(self.start..self.end).unwrap_or_default())
    }

    /// Takes octets away that [`Wire::octets`] handed out.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.searched = self.start;
    }

    /// Sends what is in the outbox, after the wait that it asks for.
    pub(crate) async fn send(&mut self, outbox: &mut Outbox) -> Result<(), Pause> {
        if outbox.bytes.is_empty() {
            return Ok(());
        }
        if !outbox.delay.is_zero() {
            let stop = self.stop.wait_for(|phase| *phase >= Phase::Ending);
            // Either end of the wait is the same: the reply goes out now.
            drop(timeout(outbox.delay, stop).await);
        }
        let sent = timeout(SEND_TIMEOUT, self.stream.write_all(&outbox.bytes)).await;
        outbox.sent();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Pause::Closed),
            Err(_) => Err(Pause::TimedOut),
        }
    }

    /// Closes the connection so that the client can read the last reply.
    ///
    /// Closing a socket with unread input makes the kernel send a reset, which may overtake the reply.
    pub(crate) async fn close(mut self, expects_input: bool) {
        if self.stream.shutdown().await.is_err() || !expects_input {
            return;
        }
        let drain = async {
            let mut left = LINGER_BYTES_MAX;
            while let Ok(count @ 1..) = self.stream.read(&mut self.buffer).await {
                left = left.saturating_sub(count);
                if left == 0 {
                    break;
                }
            }
        };
        // Whoever has not read it by now does not want to.
        drop(timeout(LINGER, drain).await);
    }

    // The place of the LF that ends the line. Only CR LF does (RFC 5321 §2.3.8): what stands behind a bare LF is
    // part of the same bad line, or a client could be made to hide a command in a line that it passes on.
    fn line_end(&mut self) -> Option<usize> {
        loop {
            let rest = self.buffer.get(self.searched..self.end).unwrap_or_default();
            let Some(at) = rest.iter().position(|&octet| octet == b'\n') else {
                self.searched = self.end;
                return None;
            };
            let place = self.searched + at;
            if self.buffer.get(self.start..place).is_some_and(|line| line.ends_with(b"\r")) {
                return Some(place);
            }
            self.searched = place + 1;
        }
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.searched -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
    }

    async fn fill(&mut self, deadline: Instant, stop_at: Phase) -> Result<(), Pause> {
        self.compact();
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let stop = self.stop.wait_for(|phase| *phase >= stop_at);
        let read = timeout_at(deadline, self.stream.read(room));
        // Input that is there goes first: what a client sent before the server stopped is still handled.
        let read = tokio::select! {
            biased;
            read = read => read,
            _ = stop => return Err(Pause::Stopped),
        };
        match read {
            Ok(Ok(count @ 1..)) => {
                self.end += count;
                Ok(())
            }
            Ok(Ok(0) | Err(_)) => Err(Pause::Closed),
            Err(_) => Err(Pause::TimedOut),
        }
    }
}

/// Sends a last reply to a connection that never becomes a session.
pub(crate) fn turn_away(stream: &TcpStream, octets: &[u8]) -> io::Result<()> {
    // One attempt: the buffer of a new connection takes a line, and nothing may make the accept loop wait.
    send(stream, octets, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
