//! One relay under measurement: mail comes from Postfix's `smtp-source`, goes through the server and ends at its
//! `smtp-sink`. Postfix itself is the other contestant, with the same generator, sink, sessions and disk.

use std::fs;
use std::io::{self, BufRead, BufReader, Error, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process;
use crate::server::{TestServer, tree};
use crate::settings::{Settings, free_address};
use crate::wait;

/// Messages before the measured ones, as much for one contestant as for the other.
const WARM_UP_MESSAGES: u32 = 200;
/// Connections to the next hop at once: the default of Postfix.
const CONNECTIONS: u32 = 20;
/// Longest time until everything sent is at the sink.
const LIMIT: Duration = Duration::from_secs(300);
/// Gauge of messages in the spool on the metrics page.
const LIVE: &str = "basin_spool_messages";

/// What relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Postfix as Debian has it.
    Postfix,
    /// Basin, with a DKIM signature (RSA, 2,048 bits) of its own on each message or without.
    Basin {
        /// Whether it signs.
        signs: bool,
    },
}

impl Kind {
    /// What the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postfix => "Postfix",
            Self::Basin { signs: false } => "Basin",
            Self::Basin { signs: true } => "Basin, signing",
        }
    }
}

/// What is sent through.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Connections of `smtp-source` at once.
    pub sessions: u32,
    /// Messages of one measurement.
    pub messages: u32,
    /// Octets of message text.
    pub bytes: usize,
    /// Whether a connection is kept for further messages.
    pub is_kept_open: bool,
}

/// The figures of one run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Messages a second, from the first connection of the source to the last message at the sink.
    pub rate: f64,
    /// CPU time of all processes of the server for each message, in microseconds.
    pub cpu: f64,
}

/// Where Postfix's test programs are: on the system, or unpacked by `make test-peers`.
#[derive(Debug, Clone)]
pub struct Tools {
    root: PathBuf,
}

impl Tools {
    /// Finds them.
    pub fn find() -> Option<Self> {
        let roots = [PathBuf::from("/"), tree().join("target/peers/postfix/root")];
        roots.into_iter().find(|root| root.join("usr/sbin/smtp-source").is_file()).map(|root| Self { root })
    }

    /// One of them, not started yet.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.root.join("usr/sbin").join(name));
        command.env("LD_LIBRARY_PATH", self.root.join("usr/lib/postfix"));
        command
    }
}

/// `smtp-sink`, and how many messages it has.
#[derive(Debug)]
struct Sink {
    child: Child,
    address: SocketAddr,
    count: Arc<AtomicU64>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end smtp-sink: {error}");
        }
    }
}

impl Sink {
    fn start(tools: &Tools) -> io::Result<Self> {
        let address = free_address();
        let mut command = tools.command("smtp-sink");
        // It refuses to run as root.
        let user: &[&str] = if rustix::process::geteuid().is_root() { &["-u", "nobody"] } else { &[] };
        command.args(user).args(["-c", &format!("inet:{address}"), "1000"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| Error::other("smtp-sink has no output"))?;
        let count = Arc::new(AtomicU64::new(0));
        let counted = count.clone();
        thread::spawn(move || follow(output, &counted));
        let sink = Self { child, address, count };
        let answers = || std::net::TcpStream::connect(address).is_ok();
        if wait::until_true(wait::PATIENCE, answers) { Ok(sink) } else { Err(Error::other("smtp-sink does not start")) }
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

// The counters come as `... mesg=N`, each followed by a carriage return.
fn follow(mut output: ChildStdout, count: &AtomicU64) {
    let (mut chunk, mut text) = (vec![0; 4096], String::new());
    while let Ok(length) = output.read(&mut chunk)
        && length > 0
    {
        text.push_str(&String::from_utf8_lossy(chunk.get(..length).unwrap_or_default()));
        let whole = text.rfind('\r').map_or(0, |end| end + 1);
        let seen = text.get(..whole).and_then(|text| text.rsplit_once("mesg=")).map(|(_, number)| number.trim_end());
        if let Some(number) = seen.and_then(|number| number.parse().ok()) {
            count.store(number, Ordering::Release);
        }
        text.drain(..whole);
    }
}

#[derive(Debug)]
enum Server {
    Basin { server: Box<TestServer>, _keys: TempDir },
    Postfix { script: Child, until: Option<ChildStdin>, address: SocketAddr, master: u32, queue: PathBuf },
}

impl Drop for Server {
    fn drop(&mut self) {
        // The script ends Postfix and tidies up when its standard input ends; a Basin ends with its own value.
        if let Self::Postfix { script, until, .. } = self {
            drop(until.take());
            if let Err(error) = script.wait() {
                eprintln!("cannot wait for the end of Postfix: {error}");
            }
        }
    }
}

/// A server that relays, between a source and a sink.
#[derive(Debug)]
pub struct Relay {
    tools: Tools,
    server: Server,
    sink: Sink,
}

impl Relay {
    /// Starts it and sends some messages through.
    pub fn start(kind: Kind, tools: &Tools) -> io::Result<Self> {
        let sink = Sink::start(tools)?;
        let server = match kind {
            Kind::Postfix => postfix(sink.address)?,
            Kind::Basin { signs } => basin(sink.address, signs)?,
        };
        let relay = Self { tools: tools.clone(), server, sink };
        relay.send(&Load { sessions: 10, messages: WARM_UP_MESSAGES, bytes: 1024, is_kept_open: true })?;
        Ok(relay)
    }

    /// Sends the load through and measures.
    pub fn measure(&self, load: &Load) -> io::Result<Figures> {
        let before = self.cpu_time()?;
        let took = self.send(load)?;
        let spent = self.cpu_time()?.saturating_sub(before);
        let messages = f64::from(load.messages.max(1));
        Ok(Figures { rate: messages / took.as_secs_f64(), cpu: spent.as_secs_f64() * 1e6 / messages })
    }

    // How long until the last message was at the sink. What is lost or comes twice is no speed: an error.
    fn send(&self, load: &Load) -> io::Result<Duration> {
        let wanted = self.sink.count() + u64::from(load.messages);
        let mut source = self.tools.command("smtp-source");
        source.args([
            "-s",
            &load.sessions.to_string(),
            "-m",
            &load.messages.to_string(),
            "-l",
            &load.bytes.to_string(),
        ]);
        source.args(["-f", "load@signed.example", "-t", "next@hop.example"]);
        source.args(load.is_kept_open.then_some("-d")).arg(format!("inet:{}", self.address()));
        let start = Instant::now();
        let output = source.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            return Err(Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let is_there = || self.sink.count() >= wanted;
        if !wait::until_true(LIMIT, is_there) {
            return Err(Error::other(format!("{} of {wanted} messages are at the sink", self.sink.count())));
        }
        let took = start.elapsed();
        if !wait::until_true(LIMIT, || self.is_empty()) || self.sink.count() != wanted {
            return Err(Error::other(format!("{} messages came, {wanted} were sent", self.sink.count())));
        }
        Ok(took)
    }

    fn address(&self) -> SocketAddr {
        match &self.server {
            Server::Basin { server, .. } => server.smtp(),
            Server::Postfix { address, .. } => *address,
        }
    }

    fn cpu_time(&self) -> io::Result<Duration> {
        match &self.server {
            Server::Basin { server, .. } => process::cpu_time(server.pid()),
            Server::Postfix { master, .. } => process::cpu_time_with_children(*master),
        }
    }

    fn is_empty(&self) -> bool {
        match &self.server {
            Server::Basin { server, .. } => server.metrics().is_ok_and(|metrics| metrics.total(LIVE) == Some(0.0)),
            Server::Postfix { queue, .. } => {
                ["maildrop", "incoming", "active", "deferred"].iter().all(|name| has_no_file(&queue.join(name)))
            }
        }
    }
}

// Postfix may keep empty folders in a queue, by the first digits of names.
fn has_no_file(folder: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(folder) else { return true };
    entries.all(|entry| entry.is_ok_and(|entry| entry.path().is_dir() && has_no_file(&entry.path())))
}

fn basin(sink: SocketAddr, signs: bool) -> io::Result<Server> {
    let keys = tempfile::Builder::new().prefix("basin-bench-").tempdir()?;
    let mut settings = Settings::usual();
    settings.listener = "max-connections-per-client = 1000\n".to_owned();
    settings.relay_clients = "[\"127.0.0.1\"]".to_owned();
    settings.tables = format!(
        "[outbound]\nconnections-per-destination = {CONNECTIONS}\n\
         [[route]]\ndomains = [\"*\"]\nhosts = [\"{sink}\"]\ntls = \"never\"\n"
    );
    if signs {
        let key = keys.path().join("key.pem");
        let made = Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048").output()?;
        if !made.status.success() {
            return Err(Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let key = key.display();
        settings.tables +=
            &format!("[[dkim]]\ndomain = \"signed.example\"\nselector = \"bench\"\nkey-file = \"{key}\"\n");
    }
    Ok(Server::Basin { server: Box::new(TestServer::start_with(settings)?), _keys: keys })
}

fn postfix(sink: SocketAddr) -> io::Result<Server> {
    let mut command = Command::new(tree().join("tests/peers/bench_postfix.sh"));
    let mut script = command.arg(sink.port().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (Some(until), Some(output)) = (script.stdin.take(), script.stdout.take()) else {
        return Err(Error::other("the script of Postfix has no pipes"));
    };
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(port), Some(master), Some(queue)) = (words.next(), words.next(), words.next()) else {
        return Err(Error::other("Postfix does not start; see above"));
    };
    let port: u16 = port.parse().map_err(Error::other)?;
    let master = master.parse().map_err(Error::other)?;
    let address = ([127, 0, 0, 1], port).into();
    Ok(Server::Postfix { script, until: Some(until), address, master, queue: queue.into() })
}
