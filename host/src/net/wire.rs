//! The only reader of client sockets.
//!
//! A session's input is never larger in memory than one buffer: lines are handed out where they lie, text in
//! pieces, and a line over the limit is thrown away as it comes. While a session waits, it keeps no more than what
//! has arrived of a line.

use core::time::Duration;
use std::io;

use basin_core::limits::{AUTH_RESPONSE_BYTES_MAX, COMMAND_LINE_BYTES_MAX};
use basin_core::proxy::{Header, NoHeader};
use basin_core::smtp::{Outbox, Secured};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::consume_budget;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;

use crate::shutdown::Phase;
use crate::tls::ServerTls;

/// Input buffer of a session, in octets. A usual message and the commands around it fit into one read.
const BUFFER_BYTES: usize = 16 * 1024;

/// How long a client may take to read a reply. It has nothing else to do while it waits for one.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// Memory for replies that a session keeps between two of them, in octets: most answers to EHLO fit.
const REPLIES_KEPT_BYTES: usize = 1024;

/// How long a proxy may take to send its header; it knows what to say when it connects.
const PROXY_PATIENCE: Duration = Duration::from_secs(5);

/// How long the last words wait to be read before the connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// Octets that a client may still send into a closing connection.
const LINGER_BYTES_MAX: usize = 256 * 1024;

const _: () = assert!(COMMAND_LINE_BYTES_MAX < BUFFER_BYTES, "a line fits into the buffer");
const _: () = assert!(AUTH_RESPONSE_BYTES_MAX < BUFFER_BYTES, "a response fits into the buffer");

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

/// A connection, in the open or encrypted.
#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// A handshake failed, or was broken off: nothing can be said or heard any more.
    Broken,
}

/// Why there is no encryption.
#[derive(Debug, Error)]
pub(crate) enum NoTls {
    /// The handshake failed.
    #[error("{0}")]
    Failed(io::Error),
    /// It took too long.
    #[error("it took too long")]
    TimedOut,
    /// The server stops.
    #[error("the server stops")]
    Stopped,
}

impl NoTls {
    /// There is no certificate, or too many others shake hands.
    pub(crate) fn unavailable() -> Self {
        Self::Failed(io::Error::other("TLS is not available now"))
    }
}

/// One end of a session: buffered input, and replies on their way out.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    stop: watch::Receiver<Phase>,
    buffer: Vec<u8>,
    /// Input that nobody took yet lies here.
    start: usize,
    end: usize,
    /// No line end lies before this place, so it is not looked for there again.
    searched: usize,
    is_skipping: bool,
    /// The other end did not read what it was sent.
    is_deaf: bool,
}

impl Wire {
    /// Takes over a connection.
    pub(crate) fn new(stream: TcpStream, stop: watch::Receiver<Phase>) -> Self {
        let stream = Stream::Plain(stream);
        Self { stream, stop, buffer: Vec::new(), start: 0, end: 0, searched: 0, is_skipping: false, is_deaf: false }
    }

    /// Shakes hands. Nobody may have sent anything before ([`Wire::has_input`]); what comes from now on is TLS, so
    /// nothing that was said in the open is ever taken for something said under encryption.
    pub(crate) async fn secure(&mut self, tls: &ServerTls, patience: Duration) -> Result<Secured, NoTls> {
        let Stream::Plain(stream) = core::mem::replace(&mut self.stream, Stream::Broken) else {
            return Err(NoTls::Failed(io::Error::other("the connection is encrypted already")));
        };
        (self.start, self.end, self.searched, self.is_skipping) = (0, 0, 0, false);
        let stop = self.stop.wait_for(|phase| *phase >= Phase::Ending);
        let shaken = tokio::select! {
            shaken = timeout(patience, tls.accept(stream)) => shaken,
            _ = stop => return Err(NoTls::Stopped),
        };
        match shaken {
            Ok(Ok((stream, secured))) => {
                self.stream = Stream::Tls(stream);
                Ok(secured)
            }
            Ok(Err(error)) => Err(NoTls::Failed(error)),
            Err(_) => Err(NoTls::TimedOut),
        }
    }

    /// Reads the header that a proxy begins its connections with, and nothing beyond it.
    pub(crate) async fn proxy_header(&mut self) -> Result<Header, NoHeader> {
        let deadline = Instant::now() + PROXY_PATIENCE;
        let mut octets = Vec::new();
        loop {
            let more = match Header::parse(&octets) {
                Err(NoHeader::Incomplete(more)) => more,
                decided => return decided,
            };
            let mut room = vec![0; more];
            match timeout_at(deadline, self.stream.read(&mut room)).await {
                Ok(Ok(count @ 1..)) => octets.extend_from_slice(room.get(..count).unwrap_or_default()),
                Ok(Ok(0) | Err(_)) => return Err(NoHeader::Missing),
                Err(_) => return Err(NoHeader::Incomplete(more)),
            }
        }
    }

    /// Lets time pass, until the server stops.
    pub(crate) async fn pause(&mut self, time: Duration) {
        let stop = self.stop.wait_for(|phase| *phase >= Phase::Draining);
        // Either end of the wait is the same.
        drop(timeout(time, stop).await);
    }

    /// Sends a last reply to a client that gets no session, where the socket takes it at once.
    pub(crate) fn turn_away(&self, octets: &[u8]) -> io::Result<()> {
        match &self.stream {
            Stream::Plain(stream) => turn_away(stream, octets),
            Stream::Tls(_) | Stream::Broken => Ok(()),
        }
    }

    /// Whether a line can be handed out without waiting for the client.
    pub(crate) fn has_line(&mut self) -> bool {
        self.line_end().is_some()
    }

    /// Whether any input has arrived, in the buffer, in the TLS library or in the kernel.
    pub(crate) fn has_input(&mut self) -> bool {
        // The kernel is asked itself: what the runtime knows of the socket may be older than the input.
        let peek = |stream: &TcpStream| {
            let peeked = recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
            matches!(peeked, Ok((_, 1..)))
        };
        let waits = match &mut self.stream {
            Stream::Plain(stream) => peek(stream),
            Stream::Tls(stream) => {
                let (stream, connection) = stream.get_mut();
                io::BufRead::fill_buf(&mut connection.reader()).is_ok_and(|octets| !octets.is_empty()) || peek(stream)
            }
            Stream::Broken => false,
        };
        waits || self.start < self.end
    }

    /// Hands out the next line of a command. Waits for it until `patience` is over or the server stops.
    pub(crate) async fn line(&mut self, patience: Duration, stop_at: Phase) -> Line<'_> {
        self.line_of(COMMAND_LINE_BYTES_MAX, patience, stop_at).await
    }

    /// The same with another longest line, CR LF included; at most the buffer's length.
    pub(crate) async fn line_of(&mut self, bytes_max: usize, patience: Duration, stop_at: Phase) -> Line<'_> {
        // One deadline for the whole line: who sends an octet a minute does not get a minute for each.
        let deadline = Instant::now() + patience;
        loop {
            if let Some(end) = self.line_end() {
                let (start, was_skipping) = (self.start, self.is_skipping);
                self.start = end + 1;
                self.searched = self.start;
                self.is_skipping = false;
                let line = self.buffer.get(start..end).unwrap_or_default();
                if was_skipping || line.len() + 1 > bytes_max {
                    return Line::TooLong;
                }
                return Line::Complete(line.strip_suffix(b"\r").unwrap_or(line));
            }
            if self.end - self.start >= bytes_max {
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

    /// Waits for as long as the outbox asks for; [`Wire::send`] does not do it again. Whoever looks for input that came
    /// too early looks afterwards: what comes during the wait was sent without having read the reply as well.
    pub(crate) async fn wait(&mut self, outbox: &mut Outbox) {
        if outbox.bytes.is_empty() || outbox.delay.is_zero() {
            return;
        }
        let delay = core::mem::take(&mut outbox.delay);
        // Who is kept waiting is to hold a connection, and no memory.
        self.compact();
        self.shrink();
        let stop = self.stop.wait_for(|phase| *phase >= Phase::Ending);
        // Either end of the wait is the same: the reply goes out now.
        drop(timeout(delay, stop).await);
    }

    /// Sends what is in the outbox, after the wait that it asks for.
    pub(crate) async fn send(&mut self, outbox: &mut Outbox) -> Result<(), Pause> {
        if outbox.bytes.is_empty() {
            return Ok(());
        }
        // Whoever read nothing for so long is not waited for a second time, to be told that it took too long.
        if self.is_deaf {
            outbox.sent();
            return Err(Pause::TimedOut);
        }
        self.wait(outbox).await;
        let sent = timeout(SEND_TIMEOUT, self.stream.write_all(&outbox.bytes)).await;
        outbox.sent();
        outbox.bytes.shrink_to(REPLIES_KEPT_BYTES);
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Pause::Closed),
            Err(_) => {
                self.is_deaf = true;
                Err(Pause::TimedOut)
            }
        }
    }

    /// Closes the connection so that the client can read the last reply.
    ///
    /// Closing a socket with unread input makes the kernel send a reset, which may overtake the reply.
    pub(crate) async fn close(mut self, expects_input: bool) {
        // A client that reads nothing must not hold the connection with a close_notify that does not fit.
        let shut = timeout(SEND_TIMEOUT, self.stream.shutdown()).await;
        if !matches!(shut, Ok(Ok(()))) || !expects_input {
            return;
        }
        let drain = async {
            let mut left = LINGER_BYTES_MAX;
            self.buffer.resize(BUFFER_BYTES, 0);
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

    // Gives back what a session that waits does not need: ten thousand of them wait at a time.
    fn shrink(&mut self) {
        self.buffer.truncate(self.end);
        self.buffer.shrink_to_fit();
    }

    async fn fill(&mut self, deadline: Instant, stop_at: Phase) -> Result<(), Pause> {
        self.compact();
        // Input that is there is read at once, which the runtime does not count: who sends faster than it is decoded
        // would have a worker for itself.
        consume_budget().await;
        loop {
            self.buffer.resize(BUFFER_BYTES, 0);
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            if let Some(read) = self.stream.read_now(room) {
                return match read {
                    Ok(count @ 1..) => {
                        self.end += count;
                        Ok(())
                    }
                    Ok(0) | Err(_) => Err(Pause::Closed),
                };
            }
            self.shrink();
            let stop = self.stop.wait_for(|phase| *phase >= stop_at);
            // Input that is there goes first: what a client sent before the server stopped is still handled.
            let ready = tokio::select! {
                biased;
                ready = timeout_at(deadline, self.stream.ready()) => ready,
                _ = stop => return Err(Pause::Stopped),
            };
            match ready {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Pause::Closed),
                Err(_) => return Err(Pause::TimedOut),
            }
        }
    }
}

impl Stream {
    /// Reads what is there; `None` where nothing is.
    fn read_now(&mut self, room: &mut [u8]) -> Option<io::Result<usize>> {
        let read = match self {
            Self::Plain(stream) => stream.try_read(room),
            // What rustls has decrypted; [`Stream::ready`] has it read and decrypt more. At the end it says 0, and
            // where the client went without saying so, an error. What follows the client's close_notify is never
            // read (RFC 8446 §6.1).
            Self::Tls(stream) => io::Read::read(&mut stream.get_mut().1.reader(), room),
            Self::Broken => Ok(0),
        };
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            read => Some(read),
        }
    }

    /// Waits until something can be read, without a buffer to read it into.
    async fn ready(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.readable().await,
            Self::Tls(stream) => stream.fill_buf().await.map(drop),
            Self::Broken => Ok(()),
        }
    }

    async fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(room).await,
            Self::Tls(stream) => stream.read(room).await,
            Self::Broken => Ok(0),
        }
    }

    async fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(octets).await,
            Self::Tls(stream) => {
                stream.write_all(octets).await?;
                // Records may wait in the library for a socket that was full.
                stream.flush().await
            }
            Self::Broken => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    // Under TLS it says close_notify first.
    async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::Broken => Err(io::ErrorKind::BrokenPipe.into()),
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
