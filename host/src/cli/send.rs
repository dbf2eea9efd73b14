//! `basin send`: submits one message, to see whether a server takes it.

use core::time::Duration;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use basin_core::addr::Address;

use crate::cli::table::print;
use crate::clock::now;

/// How long to wait for a reply; the one to the final dot may take the longest (RFC 5321 §4.5.3.2.6).
const REPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest reply line that is read, in octets. RFC 5321 allows 512; a server that sends more is broken, but
/// its words may say how.
const REPLY_BYTES_MAX: u64 = 8 * 1024;

/// Most lines of a reply that are read; a server that sends more never ends.
const REPLY_LINES_MAX: usize = 1_000;

/// Subject of the test message when nobody gives another.
const SUBJECT_DEFAULT: &str = "A test of basin send";

/// Arguments of `basin send`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0 where the server took the message for every recipient, 1 where it did not, 2 for a
mistake on the command line.
Examples:
  basin send --to alice@basin.example --from you@client.example --subject hello -v
  basin send --server mx.basin.example:25 --to alice@basin.example --file letter.eml")]
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
    /// Subject of the test message.
    #[arg(long, value_name = "TEXT", conflicts_with = "file", default_value = SUBJECT_DEFAULT)]
    subject: String,
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
        for (name, text) in [("--subject", &self.subject), ("--helo", &self.helo)] {
            if !text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic()) {
                bail!(
                    "{name} {text:?} has other characters than printable ASCII; write the message into a file and give --file"
                );
            }
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
        let sent = dialogue.send_text(&text);
        // A server that has had enough says so and closes; its words explain more than the broken connection.
        let reply = match (dialogue.expect("the message", None, b'2'), sent) {
            (Err(refused), Err(_)) if refused.downcast_ref::<Refused>().is_some() => return Err(refused),
            (_, Err(error)) => return Err(error),
            (reply, Ok(())) => reply?,
        };
        print(format!("{reply}\n"))?;
        // The server has the message, whatever happens now; who is told otherwise sends it twice.
        if let Err(error) = dialogue.expect("QUIT", Some("QUIT"), b'2') {
            eprintln!("basin: the server took the message, but did not take leave: {error:#}");
        }
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
                let (date, to, subject) = (now().to_rfc5322(), self.to.join(",\r\n "), &self.subject);
                let from = if self.from.is_empty() { "postmaster@localhost" } else { &self.from };
                Ok(format!(
                    "Date: {date}\r\nFrom: <{from}>\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n\
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

/// The server said no; its words.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reply}")]
struct Refused {
    what: String,
    reply: String,
}

/// A conversation with a server.
struct Dialogue {
    stream: BufReader<TcpStream>,
    is_verbose: bool,
}

impl Dialogue {
    fn open(server: &str, is_verbose: bool) -> anyhow::Result<Self> {
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
                    return Ok(Self { stream: BufReader::new(stream), is_verbose });
                }
                Err(error) => {
                    let text = format!("cannot connect to {address}; does a server run there?");
                    failed = anyhow::Error::new(error).context(text);
                }
            }
        }
        Err(failed)
    }

    /// Sends a line, if there is one, and wants a reply of a class.
    fn expect(&mut self, what: &str, line: Option<&str>, class: u8) -> anyhow::Result<String> {
        if let Some(line) = line {
            self.say(line)?;
            let sent = self.stream.get_mut().write_all(format!("{line}\r\n").as_bytes());
            sent.with_context(|| format!("cannot send {what}"))?;
        }
        let reply = self.reply().with_context(|| format!("no reply to {what}"))?;
        let is_wanted = reply.as_bytes().first() == Some(&class);
        if is_wanted { Ok(reply) } else { Err(Refused { what: what.to_owned(), reply }.into()) }
    }

    fn send_text(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.say(&format!("({} octets)", text.len()))?;
        self.say(".")?;
        let stream = self.stream.get_mut();
        stream.write_all(text).and_then(|()| stream.write_all(b".\r\n")).context("cannot send the message")
    }

    /// Reads a reply to its last line and returns it as one text.
    fn reply(&mut self) -> anyhow::Result<String> {
        let mut whole = String::new();
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
        bail!("the reply has more than {REPLY_LINES_MAX} lines");
    }

    fn say(&self, line: &str) -> anyhow::Result<()> {
        if self.is_verbose { print(format!("C: {line}\n")) } else { Ok(()) }
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

    /// A server that says these lines, one for each line of the client but the text, and closes.
    fn server(replies: &'static [&'static str]) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut lines = BufReader::new(stream);
            for reply in replies {
                lines.get_mut().write_all(reply.as_bytes()).expect("the client reads");
                let mut line = String::new();
                if reply.starts_with("354") {
                    while line != ".\r\n" {
                        line.clear();
                        lines.read_line(&mut line).expect("the client writes");
                    }
                } else {
                    lines.read_line(&mut line).expect("the client writes");
                }
            }
        });
        address
    }

    fn send(server: String) -> anyhow::Result<ExitCode> {
        let send = Send {
            to: vec!["alice@basin.example".to_owned()],
            from: String::new(),
            file: None,
            subject: "hello".to_owned(),
            server,
            helo: "localhost".to_owned(),
            verbose: false,
        };
        let text = send.message().expect("no file is read");
        assert!(String::from_utf8_lossy(&text).contains("\r\nSubject: hello\r\n"));
        send.run()
    }

    #[test]
    fn a_message_that_was_taken_is_a_success_although_the_server_hangs_up() {
        let replies = &["220 x\r\n", "250 x\r\n", "250 x\r\n", "250 x\r\n", "354 x\r\n", "250 taken\r\n"];
        assert_eq!(send(server(replies)).ok(), Some(ExitCode::SUCCESS));
    }

    #[test]
    fn a_refusal_is_an_error_with_the_words_of_the_server() {
        let error = send(server(&["220 x\r\n", "250 x\r\n", "250 x\r\n", "550-no\r\n550 such user\r\n"]));
        assert_eq!(error.expect_err("refused").to_string(), "RCPT: 550-no such user");
    }

    #[test]
    fn a_subject_cannot_add_fields() {
        let send = Send {
            to: vec!["alice@basin.example".to_owned()],
            from: String::new(),
            file: None,
            subject: "x\r\nBcc: bob@basin.example".to_owned(),
            server: "127.0.0.1:1".to_owned(),
            helo: "localhost".to_owned(),
            verbose: false,
        };
        assert!(send.run().expect_err("refused").to_string().starts_with("--subject"));
    }
}
