//! `basin send`: submits one message, to see whether a server takes it.

use core::time::Duration;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use basin_core::addr::Address;

use crate::clock::now;

/// How long to wait for a reply; the one to the final dot may take the longest (RFC 5321 §4.5.3.2.6).
const REPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest reply line that is read, in octets. RFC 5321 allows 512; a server that sends more is broken, but
/// its words may say how.
const REPLY_BYTES_MAX: u64 = 8 * 1024;

/// Arguments of `basin send`.
#[derive(Debug, clap::Args)]
pub struct Send {
    /// Recipient; may be given several times.
    #[arg(long, required = true, value_name = "ADDRESS")]
    to: Vec<String>,
    /// Sender; the empty text is the null sender.
    #[arg(long, default_value = "", value_name = "ADDRESS")]
    from: String,
    /// File with the message, "-" for standard input; without it a short test message is sent.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Server.
    #[arg(long, default_value = "127.0.0.1:25", value_name = "HOST:PORT")]
    server: String,
    /// Name to greet with.
    #[arg(long, default_value = "localhost", value_name = "NAME")]
    helo: String,
    /// Print the dialogue.
    #[arg(long, short)]
    verbose: bool,
}

impl Send {
    /// Sends the message; the exit code is 0 where the server took it for every recipient.
    ///
    /// # Errors
    /// The server cannot be reached, or answered with a refusal, which is in the text.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        for address in self.to.iter().chain(Some(&self.from).filter(|from| !from.is_empty())) {
            Address::parse(address).with_context(|| format!("{address:?} is no address"))?;
        }
        let text = wire_text(&self.message()?);
        let mut dialogue = Dialogue::open(&self.server, self.verbose)?;
        dialogue.expect("the connection", None, b'2')?;
        dialogue.expect("EHLO", Some(&format!("EHLO {}", self.helo)), b'2')?;
        dialogue.expect("MAIL", Some(&format!("MAIL FROM:<{}>", self.from)), b'2')?;
        for to in &self.to {
            dialogue.expect("RCPT", Some(&format!("RCPT TO:<{to}>")), b'2')?;
        }
        dialogue.expect("DATA", Some("DATA"), b'3')?;
        dialogue.send_text(&text)?;
        let reply = dialogue.expect("the message", None, b'2')?;
        dialogue.expect("QUIT", Some("QUIT"), b'2')?;
        println!("{reply}");
        Ok(ExitCode::SUCCESS)
    }

    fn message(&self) -> anyhow::Result<Vec<u8>> {
        match &self.file {
            Some(file) if file.as_os_str() == "-" => {
                let mut text = Vec::new();
                io::stdin().read_to_end(&mut text).context("cannot read standard input")?;
                Ok(text)
            }
            Some(file) => fs::read(file).with_context(|| format!("cannot read {}", file.display())),
            None => {
                let (date, to) = (now().to_rfc5322(), self.to.join(", "));
                let from = if self.from.is_empty() { "postmaster@localhost" } else { &self.from };
                Ok(format!(
                    "Date: {date}\r\nFrom: <{from}>\r\nTo: {to}\r\nSubject: A test of basin send\r\n\r\n\
                     This message was sent by basin send.\r\n"
                )
                .into_bytes())
            }
        }
    }
}

/// Makes the text fit for the wire: CR LF at every line end, a dot before each leading dot (RFC 5321 §4.5.2).
fn wire_text(message: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(message.len() + message.len() / 32);
    let whole = message.strip_suffix(b"\n").unwrap_or(message);
    for line in whole.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b".") {
            text.push(b'.');
        }
        text.extend_from_slice(line);
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// A conversation with a server.
struct Dialogue {
    stream: BufReader<TcpStream>,
    is_verbose: bool,
}

impl Dialogue {
    fn open(server: &str, is_verbose: bool) -> anyhow::Result<Self> {
        let addresses = server.to_socket_addrs();
        let mut addresses = addresses.with_context(|| format!("{server:?} is no HOST:PORT that can be found"))?;
        let Some(address) = addresses.next() else { bail!("{server:?} has no address") };
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
        let stream = stream.with_context(|| format!("cannot connect to {address}; does a server run there?"))?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).context("cannot set a timeout")?;
        Ok(Self { stream: BufReader::new(stream), is_verbose })
    }

    /// Sends a line, if there is one, and wants a reply of a class.
    fn expect(&mut self, what: &str, line: Option<&str>, class: u8) -> anyhow::Result<String> {
        if let Some(line) = line {
            self.say(line);
            let sent = self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes());
            sent.with_context(|| format!("cannot send {what}"))?;
        }
        let reply = self.reply().with_context(|| format!("no reply to {what}"))?;
        if reply.as_bytes().first() == Some(&class) { Ok(reply) } else { bail!("{what}: {reply}") }
    }

    fn send_text(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.say(&format!("({} octets)", text.len()));
        self.say(".");
        let stream = self.stream.get_mut();
        stream.write_all(text).and_then(|()| stream.write_all(b".\r\n")).context("cannot send the message")
    }

    /// Reads a reply to its last line and returns it as one text.
    fn reply(&mut self) -> anyhow::Result<String> {
        let mut whole = String::new();
        loop {
            let mut line = Vec::new();
            self.stream.by_ref().take(REPLY_BYTES_MAX).read_until(b'\n', &mut line)?;
            let line = String::from_utf8_lossy(&line).trim_end().escape_debug().to_string();
            if line.is_empty() {
                bail!("the server closed the connection");
            }
            if self.is_verbose {
                println!("S: {line}");
            }
            let is_last = line.as_bytes().get(3) != Some(&b'-');
            if !whole.is_empty() {
                whole.push(' ');
                whole.push_str(line.get(4..).unwrap_or_default());
            } else {
                whole = line;
            }
            if is_last {
                return Ok(whole);
            }
        }
    }

    fn say(&self, line: &str) {
        if self.is_verbose {
            println!("C: {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_gets_line_ends_and_dots() {
        assert_eq!(wire_text(b"a\n.b\r\n..\n\nc"), b"a\r\n..b\r\n...\r\n\r\nc\r\n");
        assert_eq!(wire_text(b"a\r\n"), b"a\r\n");
    }

    #[test]
    fn a_bare_cr_is_left_for_the_server_to_refuse() {
        assert_eq!(wire_text(b"a\rb\n"), b"a\rb\r\n");
    }
}
