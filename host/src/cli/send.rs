//! `basin send`: submits one message, to see whether a server takes it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use basin_core::addr::Address;
use clap::ValueEnum;

use crate::cli::table::print;
use crate::cli::user;
use crate::clock::now;

mod dialogue;

use dialogue::{Dialogue, Login, Refused};

/// The variable that may hold the password of `--user`.
const PASSWORD_VARIABLE: &str = "BASIN_SEND_PASSWORD";

/// Subject of the test message when nobody gives another.
const SUBJECT_DEFAULT: &str = "A test of basin send";

/// Arguments of `basin send`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit code 0 where the server took the message for every recipient, 1 where it did not, 2 for a
mistake on the command line.
With --user the password is the first line of --password-file, else the variable BASIN_SEND_PASSWORD, else
it is asked for; it never stands on the command line, where everybody on the machine can see it, and goes
only over TLS, except to this machine itself.
Examples:
  basin send --to alice@basin.example --from you@client.example --subject hello -v
  basin send --server mx.basin.example:25 --to alice@basin.example --file letter.eml
  basin send --server mail.example.org:587 --tls starttls --user alice@example.org \\
      --from alice@example.org --to bob@elsewhere.example
  basin send --server 127.0.0.1:465 --tls implicit --insecure --user alice --to bob@basin.example -v")]
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
    /// TLS: after STARTTLS, from the first octet on (the port for it is mostly 465), or none.
    #[arg(long, value_enum, default_value_t = Tls::None, value_name = "WAY")]
    tls: Tls,
    /// Take any certificate; without it, one that the system trusts for the name in --server.
    #[arg(long)]
    insecure: bool,
    /// Log in as this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// File with the password in its first line.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Print the dialogue, without the password.
    #[arg(long, short)]
    verbose: bool,
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tls {
    Starttls,
    Implicit,
    None,
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
        let login = self.login()?;
        let mut dialogue = self.greeted()?;
        if let Some(login) = &login {
            dialogue.log_in(login)?;
        }
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

    // Up to the answer to the EHLO that counts.
    fn greeted(&self) -> anyhow::Result<Dialogue> {
        if self.insecure && self.tls == Tls::None {
            bail!("--insecure is about TLS; say --tls starttls or --tls implicit too");
        }
        let name = self.server.rsplit_once(':').map_or(self.server.as_str(), |(host, _)| host);
        let name = name.trim_start_matches('[').trim_end_matches(']');
        let ehlo = format!("EHLO {}", self.helo);
        let mut dialogue = Dialogue::open(&self.server, self.verbose)?;
        if self.tls == Tls::Implicit {
            dialogue = dialogue.secured(name, !self.insecure)?;
        }
        dialogue.expect("the connection", None, b'2')?;
        dialogue.expect("EHLO", Some(&ehlo), b'2')?;
        if self.tls == Tls::Starttls {
            if !dialogue.offers("STARTTLS", "") {
                bail!("the server does not offer STARTTLS; a port for TLS alone wants --tls implicit");
            }
            dialogue.expect("STARTTLS", Some("STARTTLS"), b'2')?;
            dialogue = dialogue.secured(name, !self.insecure)?;
            // What was offered in the open counts no more (RFC 3207 §4.2).
            dialogue.expect("EHLO", Some(&ehlo), b'2')?;
        }
        Ok(dialogue)
    }

    fn login(&self) -> anyhow::Result<Option<Login>> {
        let Some(user) = &self.user else { return Ok(None) };
        let is_input_taken = self.file.as_deref() == Some(Path::new("-"));
        let password = match (&self.password_file, std::env::var(PASSWORD_VARIABLE)) {
            (Some(file), _) => {
                let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
                text.lines().next().unwrap_or_default().to_owned()
            }
            (None, Ok(password)) => password,
            (None, Err(_)) if is_input_taken => {
                bail!("standard input is the message; the password may be in --password-file or {PASSWORD_VARIABLE}")
            }
            (None, Err(_)) => String::from_utf8(user::password(false)?).context("the password is not UTF-8")?,
        };
        if password.is_empty() {
            bail!("there is no password");
        }
        Ok(Some(Login { user: user.clone(), password }))
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write};
    use std::sync::Arc;
    use std::thread::JoinHandle;

    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;
    use crate::tls::make::self_signed;

    #[test]
    fn text_gets_line_ends_and_dots() {
        assert_eq!(wire_text(b"a\n.b\r\n..\n\nc"), b"a\r\n..b\r\n...\r\n\r\nc\r\n");
        assert_eq!(wire_text(b"a\r\n"), b"a\r\n");
    }

    #[test]
    fn a_bare_cr_is_left_for_the_server_to_refuse() {
        assert_eq!(wire_text(b"a\rb\n"), b"a\rb\r\n");
    }

    /// A server that says these lines, one for each line of the client but the text, and closes; the lines that it heard.
    fn server(replies: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let heard = std::thread::spawn(move || answer(listener.accept().expect("a client").0, replies));
        (address, heard)
    }

    /// The same, with TLS from the beginning.
    fn tls_server(replies: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
        let made = self_signed(&["mx.basin.example".to_owned()], 2020, 30).expect("made");
        let chain = vec![CertificateDer::from_pem_slice(made.certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).expect("PEM");
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let config = Arc::new(builder.with_single_cert(chain, key).expect("a pair"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let heard = std::thread::spawn(move || {
            let stream = listener.accept().expect("a client").0;
            answer(StreamOwned::new(ServerConnection::new(config).expect("set up"), stream), replies)
        });
        (address, heard)
    }

    fn answer(stream: impl Read + Write, replies: &[&str]) -> Vec<String> {
        let mut lines = BufReader::new(stream);
        let mut heard = Vec::new();
        for reply in replies {
            // A client that does not believe our certificate goes away at once.
            if lines.get_mut().write_all(reply.as_bytes()).and_then(|()| lines.get_mut().flush()).is_err() {
                return heard;
            }
            let mut line = String::new();
            loop {
                line.clear();
                if lines.read_line(&mut line).is_err()
                    || line.is_empty()
                    || !reply.starts_with("354")
                    || line == ".\r\n"
                {
                    break;
                }
            }
            heard.push(line.trim_end().to_owned());
        }
        heard
    }

    fn to(server: String) -> Send {
        Send {
            to: vec!["alice@basin.example".to_owned()],
            from: String::new(),
            file: None,
            subject: "hello".to_owned(),
            server,
            helo: "localhost".to_owned(),
            tls: Tls::None,
            insecure: false,
            user: None,
            password_file: None,
            verbose: false,
        }
    }

    fn send(server: String) -> anyhow::Result<ExitCode> {
        let send = to(server);
        let text = send.message().expect("no file is read");
        assert!(String::from_utf8_lossy(&text).contains("\r\nSubject: hello\r\n"));
        send.run()
    }

    #[test]
    fn a_message_that_was_taken_is_a_success_although_the_server_hangs_up() {
        let replies = &["220 x\r\n", "250 x\r\n", "250 x\r\n", "250 x\r\n", "354 x\r\n", "250 taken\r\n"];
        assert_eq!(send(server(replies).0).ok(), Some(ExitCode::SUCCESS));
    }

    #[test]
    fn a_refusal_is_an_error_with_the_words_of_the_server() {
        let error = send(server(&["220 x\r\n", "250 x\r\n", "250 x\r\n", "550-no\r\n550 such user\r\n"]).0);
        assert_eq!(error.expect_err("refused").to_string(), "RCPT: 550-no such user");
    }

    #[test]
    fn a_subject_cannot_add_fields() {
        let send = Send { subject: "x\r\nBcc: bob@basin.example".to_owned(), ..to("127.0.0.1:1".to_owned()) };
        assert!(send.run().expect_err("refused").to_string().starts_with("--subject"));
    }

    const TAKEN: &[&str] = &[
        "220 x\r\n",
        "250-x\r\n250 AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n",
        "235 in\r\n",
        "250 x\r\n",
        "250 x\r\n",
        "354 x\r\n",
        "250 taken\r\n",
    ];

    fn with_password(send: Send, password: &str) -> (tempfile::TempDir, Send) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        fs::write(&file, format!("{password}\nanother line\n")).expect("written");
        (folder, Send { user: Some("alice".to_owned()), password_file: Some(file), ..send })
    }

    #[test]
    fn who_logs_in_over_tls_has_the_password_from_a_file() {
        let (address, heard) = tls_server(TAKEN);
        let (_folder, send) = with_password(Send { tls: Tls::Implicit, insecure: true, ..to(address) }, "wonder land");
        assert_eq!(send.run().expect("taken"), ExitCode::SUCCESS);
        let heard = heard.join().expect("no panic");
        assert_eq!(heard.get(1).map(String::as_str), Some("AUTH PLAIN AGFsaWNlAHdvbmRlciBsYW5k"));
    }

    #[test]
    fn a_certificate_that_nobody_vouches_for_is_refused_with_advice() {
        let (address, heard) = tls_server(TAKEN);
        let error = Send { tls: Tls::Implicit, ..to(address) }.run().expect_err("nobody vouches for it");
        assert!(format!("{error:#}").contains("--insecure"), "{error:#}");
        assert_eq!(heard.join().expect("no panic"), Vec::<String>::new());
    }

    #[test]
    fn a_login_of_two_answers_is_made_where_there_is_no_plain() {
        let replies: &[&str] =
            &["220 x\r\n", "250-x\r\n250 AUTH LOGIN\r\n", "334 VXNlcm5hbWU6\r\n", "334 UGFzc3dvcmQ6\r\n", "535 no\r\n"];
        let (address, heard) = server(replies);
        let (_folder, send) = with_password(to(address), "x");
        assert_eq!(send.run().expect_err("refused").to_string(), "AUTH: 535 no");
        assert_eq!(
            heard.join().expect("no panic").get(1..4),
            Some(&["AUTH LOGIN", "YWxpY2U=", "eA=="].map(str::to_owned)[..])
        );
    }

    #[test]
    fn tls_that_is_not_offered_is_no_reason_to_go_on_without() {
        let (address, _) = server(&["220 x\r\n", "250-x\r\n250 SIZE\r\n", "500 x\r\n"]);
        let error = Send { tls: Tls::Starttls, ..to(address) }.run().expect_err("not offered");
        assert!(error.to_string().contains("does not offer STARTTLS"), "{error}");
        let (address, _) = server(&["220 x\r\n", "250-x\r\n250 STARTTLS\r\n", "220 go\r\n250 injected\r\n"]);
        let error = Send { tls: Tls::Starttls, insecure: true, ..to(address) }.run().expect_err("injected");
        assert!(error.to_string().contains("before TLS"), "{error}");
    }
}
