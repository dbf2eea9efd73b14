//! Servers of the tests: one that records what it gets octet for octet, with a mischief at any moment.

use core::time::Duration;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::HandshakeKind;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A connection of any kind.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Where in a dialogue a mischief happens: in place of the reply to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Greeting,
    Ehlo,
    StartTls,
    Mail,
    Rcpt,
    Data,
    /// The end of the content.
    End,
}

pub(crate) const MOMENTS: [Moment; 6] =
    [Moment::Greeting, Moment::Ehlo, Moment::Mail, Moment::Rcpt, Moment::Data, Moment::End];

/// What a bad server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// Nothing, for ever.
    Silence,
    /// Closes.
    Close,
    /// Resets the connection.
    Reset,
    /// Sends lines of one reply without end.
    EndlessReply,
    /// Sends one line without end.
    EndlessLine,
    /// Replies as it should, after that time.
    Late(Duration),
    /// Says this in place of the reply.
    Say(&'static str),
    /// Says this and closes.
    SayAndClose(&'static str),
    /// Says this and reads no more.
    SayAndStopReading(&'static str),
}

/// What a server got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Commands of the transaction.
    pub(crate) commands: Vec<String>,
    /// Octets of the content, without the transparency of DATA.
    pub(crate) content: Vec<u8>,
    /// Whether it came by BDAT.
    pub(crate) is_chunked: bool,
    /// Whether it came over TLS.
    pub(crate) is_secured: bool,
}

/// A server to be.
#[derive(Clone, Default)]
pub(crate) struct Plan {
    pub(crate) offers: Vec<&'static str>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) is_tls_implicit: bool,
    pub(crate) is_lmtp: bool,
    pub(crate) mischief: Option<(Moment, Mischief)>,
    /// Closes after so many messages.
    pub(crate) messages_max: Option<usize>,
    /// Sends each octet in a packet of its own.
    pub(crate) is_dripping: bool,
    /// Throws away what came behind a command in the same packet.
    pub(crate) is_forgetful: bool,
}

/// A server that runs until it is dropped.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Log {
    messages: Mutex<Vec<Recorded>>,
    connections: Mutex<usize>,
    resumed: Mutex<usize>,
    /// Octets of the other side's commands outside any message.
    heard: Mutex<Vec<String>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// Starts a server on a free port of the loopback interface.
    pub(crate) async fn start(plan: Plan) -> Self {
        Self::start_at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), plan).await
    }

    /// Starts a server there.
    pub(crate) async fn start_at(address: SocketAddr, plan: Plan) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let log = Arc::new(Log::default());
        let shared = log.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *lock(&shared.connections) += 1;
                tokio::spawn(serve(stream, plan.clone(), shared.clone()));
            }
        });
        Self { address, log, task }
    }

    /// Starts a server on a socket of this machine.
    pub(crate) async fn start_unix(path: &Path, plan: Plan) -> Self {
        let listener = UnixListener::bind(path).expect("a free path");
        let log = Arc::new(Log::default());
        let shared = log.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *lock(&shared.connections) += 1;
                let (plan, log) = (plan.clone(), shared.clone());
                tokio::spawn(async move { drop(Dialogue::serve(Box::new(stream), plan, log).await) });
            }
        });
        Self { address: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), log, task }
    }

    /// What it took.
    pub(crate) fn messages(&self) -> Vec<Recorded> {
        lock(&self.log.messages).clone()
    }

    /// How often somebody connected.
    pub(crate) fn connections(&self) -> usize {
        *lock(&self.log.connections)
    }

    /// How many sessions of implicit TLS were resumed.
    pub(crate) fn resumed(&self) -> usize {
        *lock(&self.log.resumed)
    }

    /// Every command it heard.
    pub(crate) fn heard(&self) -> Vec<String> {
        lock(&self.log.heard).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// Its errors are those of a client that hung up.
async fn serve(stream: TcpStream, plan: Plan, log: Arc<Log>) {
    let serving = async {
        stream.set_nodelay(true)?;
        if plan.mischief.is_some_and(|(_, mischief)| mischief == Mischief::Reset) {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        }
        let stream: Box<dyn Duplex> = match plan.tls.clone().filter(|_| plan.is_tls_implicit) {
            Some(config) => {
                let stream = TlsAcceptor::from(config).accept(stream).await?;
                let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                *lock(&log.resumed) += usize::from(is_resumed);
                Box::new(stream)
            }
            None => Box::new(stream),
        };
        Dialogue::serve(stream, plan, log).await
    };
    drop(serving.await);
}

/// A server's end of a connection.
pub(crate) struct Dialogue {
    stream: BufReader<Box<dyn Duplex>>,
    plan: Plan,
    log: Arc<Log>,
    is_secured: bool,
    current: Recorded,
    recipients: usize,
    taken: usize,
}

impl Dialogue {
    async fn serve(stream: Box<dyn Duplex>, plan: Plan, log: Arc<Log>) -> io::Result<()> {
        let is_secured = plan.is_tls_implicit;
        let stream = BufReader::new(stream);
        let current = Recorded { is_secured, ..Recorded::default() };
        let mut dialogue = Self { stream, plan, log, is_secured, current, recipients: 0, taken: 0 };
        dialogue.answer(Moment::Greeting, "220 peer.example ESMTP\r\n").await?;
        while dialogue.turn().await? {}
        Ok(())
    }

    // One command. Whether there may be another.
    async fn turn(&mut self) -> io::Result<bool> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(false);
        }
        if self.plan.is_forgetful {
            let forgotten = self.stream.buffer().len();
            self.stream.consume(forgotten);
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        lock(&self.log.heard).push(line.clone());
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        if matches!(verb.as_str(), "MAIL" | "RCPT") {
            self.current.commands.push(line.clone());
        }
        match verb.as_str() {
            "EHLO" | "LHLO" => self.greet().await?,
            "STARTTLS" => {
                self.answer(Moment::StartTls, "220 go\r\n").await?;
                return self.secure().await;
            }
            "MAIL" => self.answer(Moment::Mail, "250 2.1.0 ok\r\n").await?,
            "RCPT" => {
                self.recipients += 1;
                self.answer(Moment::Rcpt, "250 2.1.5 ok\r\n").await?;
            }
            "DATA" => {
                self.answer(Moment::Data, "354 go\r\n").await?;
                self.data().await?;
                self.end().await?;
            }
            "BDAT" => {
                let mut words = line.split(' ').skip(1);
                let size: usize = words.next().and_then(|size| size.parse().ok()).expect("a size");
                let mut chunk = vec![0; size];
                self.stream.read_exact(&mut chunk).await?;
                self.current.content.extend(chunk);
                self.current.is_chunked = true;
                match words.next() {
                    Some(_) => self.end().await?,
                    None => self.say("250 2.0.0 more\r\n").await?,
                }
            }
            "RSET" | "NOOP" => self.say("250 2.0.0 ok\r\n").await?,
            "AUTH" => self.say("235 2.7.0 ok\r\n").await?,
            "QUIT" => {
                self.say("221 2.0.0 bye\r\n").await?;
                self.stream.shutdown().await?;
                return Ok(false);
            }
            _ => self.say("500 5.5.2 what\r\n").await?,
        }
        Ok(self.plan.messages_max.is_none_or(|max| self.taken < max))
    }

    async fn greet(&mut self) -> io::Result<()> {
        let mut lines = vec!["peer.example".to_owned()];
        lines.extend(self.plan.offers.iter().map(|&offer| offer.to_owned()));
        if self.plan.tls.is_some() && !self.is_secured {
            lines.push("STARTTLS".to_owned());
        }
        let last = lines.len() - 1;
        let shown = lines.iter().enumerate();
        let text: String =
            shown.map(|(at, line)| format!("250{}{line}\r\n", if at == last { ' ' } else { '-' })).collect();
        self.answer(Moment::Ehlo, &text).await
    }

    async fn secure(&mut self) -> io::Result<bool> {
        let Some(config) = self.plan.tls.clone() else { return Ok(false) };
        let nothing: Box<dyn Duplex> = Box::new(tokio::io::empty());
        let plain = core::mem::replace(&mut self.stream, BufReader::new(nothing)).into_inner();
        self.stream = BufReader::new(Box::new(TlsAcceptor::from(config).accept(plain).await?));
        self.is_secured = true;
        self.current.is_secured = true;
        Ok(true)
    }

    async fn data(&mut self) -> io::Result<()> {
        loop {
            let mut line = Vec::new();
            if self.stream.read_until(b'\n', &mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line == b".\r\n" {
                return Ok(());
            }
            self.current.content.extend(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    async fn end(&mut self) -> io::Result<()> {
        let empty = Recorded { is_secured: self.is_secured, ..Recorded::default() };
        let taken = core::mem::replace(&mut self.current, empty);
        let replies = if self.plan.is_lmtp { self.recipients } else { 1 };
        self.recipients = 0;
        for _ in 0..replies {
            self.answer(Moment::End, "250 2.0.0 taken\r\n").await?;
        }
        self.taken += 1;
        lock(&self.log.messages).push(taken);
        Ok(())
    }

    async fn answer(&mut self, moment: Moment, text: &str) -> io::Result<()> {
        match self.plan.mischief.filter(|(when, _)| *when == moment) {
            None => self.say(text).await,
            Some((_, Mischief::Late(time))) => {
                tokio::time::sleep(time).await;
                self.say(text).await
            }
            Some((_, mischief)) => self.misbehave(mischief).await,
        }
    }

    async fn misbehave(&mut self, mischief: Mischief) -> io::Result<()> {
        let closed = || io::Error::from(io::ErrorKind::ConnectionAborted);
        match mischief {
            // Whoever waits here is dropped with the runtime of the test.
            Mischief::Silence | Mischief::Late(_) => core::future::pending().await,
            Mischief::Close | Mischief::Reset => Err(closed()),
            Mischief::EndlessReply => loop {
                self.stream.write_all(&b"250-and so on\r\n".repeat(1_000)).await?;
            },
            Mischief::EndlessLine => loop {
                self.stream.write_all(&[b'x'; 16 * 1024]).await?;
            },
            Mischief::Say(text) => self.say(text).await,
            Mischief::SayAndStopReading(text) => {
                self.say(text).await?;
                core::future::pending().await
            }
            Mischief::SayAndClose(text) => {
                self.say(text).await?;
                Err(closed())
            }
        }
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        if self.plan.is_dripping {
            for octet in text.as_bytes() {
                self.stream.write_all(core::slice::from_ref(octet)).await?;
                self.stream.flush().await?;
                tokio::task::yield_now().await;
            }
            return Ok(());
        }
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await
    }
}
