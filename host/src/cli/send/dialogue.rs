//! The dialogue of `basin send` with a server, in the open or over TLS.

use core::time::Duration;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use basin_core::base64;
use basin_outbound::{TrustStore, client_config};
use rustls::{ClientConnection, StreamOwned};
use rustls_pki_types::ServerName;

use crate::cli::table::print;

/// How long to wait for a reply; the one to the final dot may take the longest (RFC 5321 §4.5.3.2.6).
const REPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest reply line that is read, in octets. RFC 5321 allows 512; a server that sends more is broken, but
/// its words may say how.
const REPLY_BYTES_MAX: u64 = 8 * 1024;

/// Most lines of a reply that are read; a server that sends more never ends.
const REPLY_LINES_MAX: usize = 1_000;

/// What `-v` shows in place of a password.
const HIDDEN: &str = "(hidden)";

/// The server said no; its words.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reply}")]
pub(super) struct Refused {
    what: String,
    reply: String,
}

/// A user and the password.
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// A conversation with a server.
pub(super) struct Dialogue {
    stream: BufReader<Stream>,
    is_verbose: bool,
    /// The lines of the last reply, without code and separator.
    lines: Vec<String>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(octets),
            Self::Tls(stream) => stream.read(octets),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(octets),
            Self::Tls(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Dialogue {
    /// Connects; nothing is read yet.
    pub(super) fn open(server: &str, is_verbose: bool) -> anyhow::Result<Self> {
        let addresses = server.to_socket_addrs();
        let addresses =
            addresses.with_context(|| format!("cannot find the server {server:?} (--server takes HOST:PORT)"))?;
        let mut failed = anyhow!("{server:?} has no address");
        // A name may have several, such as ::1 and 127.0.0.1, and the server listens on one.
        for address in addresses {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(REPLY_TIMEOUT)).context("cannot set a timeout")?;
                    stream.set_write_timeout(Some(REPLY_TIMEOUT)).context("cannot set a timeout")?;
                    let stream = BufReader::new(Stream::Plain(stream));
                    return Ok(Self { stream, is_verbose, lines: Vec::new() });
                }
                Err(error) => {
                    let text = format!("cannot connect to {address}; does a server run there?");
                    failed = anyhow::Error::new(error).context(text);
                }
            }
        }
        Err(failed)
    }

    /// Goes on over TLS with the server of that name, proved by the system's authorities where `is_proved`.
    pub(super) fn secured(self, name: &str, is_proved: bool) -> anyhow::Result<Self> {
        // What was sent behind the reply to STARTTLS was sent in the open, perhaps by somebody else.
        if !self.stream.buffer().is_empty() {
            bail!("the server said more before TLS than it was asked; somebody may have put words into its mouth");
        }
        let Stream::Plain(mut stream) = self.stream.into_inner() else { bail!("the connection has TLS already") };
        let config = client_config(is_proved.then_some(&TrustStore::System))?;
        let shown = ServerName::try_from(name.to_owned()).with_context(|| format!("{name:?} is no name for TLS"))?;
        let mut connection = ClientConnection::new(Arc::new(config), shown).context("cannot set up TLS")?;
        while connection.is_handshaking() {
            let advice = if is_proved { "; --insecure takes any certificate" } else { "" };
            let done = connection.complete_io(&mut stream);
            done.with_context(|| format!("TLS with {name} failed{advice}"))?;
        }
        let is_verbose = self.is_verbose;
        let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        if is_verbose {
            print(format!("({})\n", version.replace('_', ".")))?;
        }
        let stream = BufReader::new(Stream::Tls(Box::new(StreamOwned::new(connection, stream))));
        Ok(Self { stream, is_verbose, lines: Vec::new() })
    }

    /// Whether nobody on the way can read along: there is TLS, or no way.
    fn is_private(&self) -> bool {
        match self.stream.get_ref() {
            Stream::Tls(_) => true,
            Stream::Plain(stream) => stream.peer_addr().is_ok_and(|peer| is_loopback(peer.ip())),
        }
    }

    /// Whether the last reply, to EHLO, has a keyword with that parameter, or the keyword where that is empty.
    pub(super) fn offers(&self, keyword: &str, parameter: &str) -> bool {
        let is_it = |line: &String| {
            let mut words = line.split_ascii_whitespace();
            let is_keyword = words.next().is_some_and(|word| word.eq_ignore_ascii_case(keyword));
            is_keyword && (parameter.is_empty() || words.any(|word| word.eq_ignore_ascii_case(parameter)))
        };
        self.lines.iter().skip(1).any(is_it)
    }

    /// Logs in (RFC 4954) with what the server offered last.
    pub(super) fn log_in(&mut self, login: &Login) -> anyhow::Result<()> {
        if !self.is_private() {
            bail!("a password goes only over TLS, except to this machine itself: add --tls starttls or --tls implicit");
        }
        let Login { user, password } = login;
        if self.offers("AUTH", "PLAIN") {
            let answer = base64::encode(format!("\0{user}\0{password}").as_bytes());
            self.ask("AUTH", &format!("AUTH PLAIN {answer}"), &format!("AUTH PLAIN {HIDDEN}"), b'2')?;
        } else if self.offers("AUTH", "LOGIN") {
            self.ask("AUTH", "AUTH LOGIN", "AUTH LOGIN", b'3')?;
            self.ask("AUTH", &base64::encode(user.as_bytes()), HIDDEN, b'3')?;
            self.ask("AUTH", &base64::encode(password.as_bytes()), HIDDEN, b'2')?;
        } else {
            bail!("the server offers no login with PLAIN or LOGIN here; most want TLS first, see --tls");
        }
        Ok(())
    }

    /// Sends a line, if there is one, and wants a reply of a class.
    pub(super) fn expect(&mut self, what: &str, line: Option<&str>, class: u8) -> anyhow::Result<String> {
        match line {
            Some(line) => self.ask(what, line, line, class),
            None => self.reply_of(what, class),
        }
    }

    fn ask(&mut self, what: &str, line: &str, shown: &str, class: u8) -> anyhow::Result<String> {
        self.say(shown)?;
        let stream = self.stream.get_mut();
        let sent = stream.write_all(format!("{line}\r\n").as_bytes()).and_then(|()| stream.flush());
        sent.with_context(|| format!("cannot send {what}"))?;
        self.reply_of(what, class)
    }

    fn reply_of(&mut self, what: &str, class: u8) -> anyhow::Result<String> {
        let reply = self.reply().with_context(|| format!("no reply to {what}"))?;
        let is_wanted = reply.as_bytes().first() == Some(&class);
        if is_wanted { Ok(reply) } else { Err(Refused { what: what.to_owned(), reply }.into()) }
    }

    /// Sends the message and the dot that ends it.
    pub(super) fn send_text(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.say(&format!("({} octets)", text.len()))?;
        self.say(".")?;
        let stream = self.stream.get_mut();
        let sent = stream.write_all(text).and_then(|()| stream.write_all(b".\r\n")).and_then(|()| stream.flush());
        sent.context("cannot send the message")
    }

    /// Reads a reply to its last line and returns it as one text.
    fn reply(&mut self) -> anyhow::Result<String> {
        let mut whole = String::new();
        self.lines.clear();
        for _ in 0..REPLY_LINES_MAX {
            let mut line = Vec::new();
            self.stream.by_ref().take(REPLY_BYTES_MAX).read_until(b'\n', &mut line)?;
            let line = String::from_utf8_lossy(&line).trim_end().escape_debug().to_string();
            if line.is_empty() {
                bail!("the server closed the connection");
            }
            if self.is_verbose {
                print(format!("S: {line}\n"))?;
            }
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            let text = line.get(4..).unwrap_or_default().to_owned();
            if !whole.is_empty() {
                whole.push(' ');
                whole.push_str(&text);
            } else {
                whole = line;
            }
            self.lines.push(text);
            if is_last {
                return Ok(whole);
            }
        }
        bail!("the reply has more than {REPLY_LINES_MAX} lines");
    }

    fn say(&self, line: &str) -> anyhow::Result<()> {
        if self.is_verbose { print(format!("C: {line}\n")) } else { Ok(()) }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
