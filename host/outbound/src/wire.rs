//! The only reader of the sockets of other servers.
//!
//! The dialogue keeps what it has not understood yet, within its own bounds; what lies here is one read, and
//! what came while something was written.

use core::future::{Future as _, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

/// Octets of one read. Replies are short; a thousand of them to pipelined commands come in a few reads.
const READ_BYTES: usize = 8 * 1024;

/// Octets kept of what arrives while something is written; what is more stays in the kernel.
///
/// A server may stop to read as long as nobody reads its replies (RFC 2920 §3.1), so they are taken out of its
/// way: the replies to a thousand pipelined recipients fit.
const EARLY_BYTES_MAX: usize = 128 * 1024;

/// How long input that the kernel has takes to come through the runtime and, where there is TLS, to turn out
/// to be no text but the protocol's own.
const ARRIVED_PATIENCE: Duration = Duration::from_millis(5);

/// How long an orderly end of TLS may take; nobody depends on it.
const GOODBYE_PATIENCE: Duration = Duration::from_secs(1);

/// A connection, whatever it is made of.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Plain text over the network.
    Tcp(TcpStream),
    /// Plain text within this machine.
    Unix(UnixStream),
    /// TLS over the network.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    // Whether the kernel has input. The runtime may not have heard of it yet.
    fn has_arrived(&self) -> bool {
        let mut octet = [MaybeUninit::uninit(); 1];
        let peeked = match self {
            Self::Tcp(stream) => SockRef::from(stream).peek(&mut octet),
            Self::Unix(stream) => SockRef::from(stream).peek(&mut octet),
            Self::Tls(stream) => SockRef::from(stream.get_ref().0).peek(&mut octet),
        };
        // The end of the stream has arrived, too.
        peeked.is_ok()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

/// What came of waiting for the other server.
#[derive(Debug)]
pub(crate) enum Input {
    /// Octets.
    Octets(Vec<u8>),
    /// Nothing for as long as somebody waited.
    TimedOut,
    /// The connection is over, for that reason.
    Ended(String),
}

/// This server's end of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    early: Vec<u8>,
}

impl Wire {
    /// Takes over a connection.
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, early: Vec::new() }
    }

    /// The connection itself, for the handshake of TLS; `None` where it cannot have one. What came before and
    /// nobody read is thrown away: it was not protected (RFC 3207 §6).
    pub(crate) fn into_tcp(self) -> Option<TcpStream> {
        match self.stream {
            Stream::Tcp(stream) => Some(stream),
            Stream::Unix(_) | Stream::Tls(_) => None,
        }
    }

    /// Waits for octets until the deadline.
    pub(crate) async fn read(&mut self, deadline: Instant) -> Input {
        if !self.early.is_empty() {
            return Input::Octets(self.take_early());
        }
        let mut buffer = Vec::with_capacity(READ_BYTES);
        match timeout_at(deadline, self.stream.read_buf(&mut buffer)).await {
            Ok(read) => input(read, buffer),
            Err(_) => Input::TimedOut,
        }
    }

    /// What has arrived already; `None` where nothing has.
    pub(crate) async fn arrived(&mut self) -> Option<Input> {
        if self.early.is_empty() {
            // Text may lie in TLS, which has taken it from the kernel in one go with what was read before.
            let mut buffer = Vec::with_capacity(READ_BYTES);
            let mut reading = pin!(self.stream.read_buf(&mut buffer));
            let read = poll_fn(|cx| Poll::Ready(reading.as_mut().poll(cx))).await;
            match read {
                Poll::Ready(read) => return Some(input(read, buffer)),
                Poll::Pending if !self.stream.has_arrived() => return None,
                Poll::Pending => {}
            }
        }
        match self.read(Instant::now() + ARRIVED_PATIENCE).await {
            Input::TimedOut => None,
            input @ (Input::Octets(_) | Input::Ended(_)) => Some(input),
        }
    }

    /// Takes what came while something was written.
    pub(crate) fn take_early(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.early)
    }

    /// Writes everything, while it reads what comes meanwhile, which [`Wire::read`] hands out next.
    ///
    /// # Errors
    /// The connection broke, or the other server did not take the octets before the deadline.
    pub(crate) async fn write(&mut self, octets: &[u8], deadline: Instant) -> io::Result<()> {
        let mut rest = octets;
        let (stream, early) = (&mut self.stream, &mut self.early);
        let writing = poll_fn(|cx| {
            while !rest.is_empty() {
                match Pin::new(&mut *stream).poll_write(cx, rest) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(count)) => rest = rest.get(count..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return take_early(stream, early, cx),
                }
            }
            match Pin::new(&mut *stream).poll_flush(cx) {
                Poll::Pending => take_early(stream, early, cx),
                Poll::Ready(done) => Poll::Ready(done),
            }
        });
        timeout_at(deadline, writing).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Closes the connection; a server under TLS is told so.
    pub(crate) async fn close(mut self) {
        // The dialogue is over whether or not the other side hears it.
        drop(timeout(GOODBYE_PATIENCE, self.stream.shutdown()).await);
    }
}

fn input(read: io::Result<usize>, octets: Vec<u8>) -> Input {
    match read {
        Ok(1..) => Input::Octets(octets),
        Ok(0) => Input::Ended("the server closed the connection".to_owned()),
        Err(error) => Input::Ended(format!("the connection broke: {error}")),
    }
}

// Nothing can be written now. Reads what is there, as long as there is room for it; never ready but with an error.
fn take_early(stream: &mut Stream, early: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut octets = [0; 1024];
    while early.len() + octets.len() <= EARLY_BYTES_MAX {
        let mut buffer = ReadBuf::new(&mut octets);
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            Poll::Ready(Ok(())) => early.extend_from_slice(buffer.filled()),
        }
    }
    Poll::Pending
}
