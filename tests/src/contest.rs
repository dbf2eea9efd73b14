//! One server under measurement: what it costs to take a load, seen from outside.

use std::io::{self, BufRead, BufReader, Error};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client::Client;
use crate::generator::{self, Load, Seen};
use crate::process;
use crate::server::{TestServer, guest};
use crate::settings::{DOMAIN, Settings};
use crate::wait;

/// Messages before the measured ones: the first allocate buffers, open files and map the sinks' memory.
const WARM_UP_MESSAGES: u32 = 200;
/// Wait until everything taken is delivered, where delivery is part of what is measured.
const DELIVERY_LIMIT: Duration = Duration::from_secs(120);
/// Counter of syncs on the metrics page.
const SYNCS: &str = "basin_spool_syncs_total";

/// What a contestant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The null server of this crate, in a process of its own.
    Null,
    /// Basin with so many sinks that do nothing at on-end-of-data.
    Basin {
        /// How many sinks.
        sinks: u32,
        /// Whether accepted mail goes on into Maildirs, or stays in the spool.
        delivers: bool,
    },
}

impl Kind {
    /// What the table calls it.
    pub fn name(self) -> String {
        match self {
            Self::Null => "null server".to_owned(),
            Self::Basin { sinks, delivers: false } => format!("accept alone, {sinks} sinks"),
            Self::Basin { sinks, delivers: true } => format!("with Maildir delivery, {sinks} sinks"),
        }
    }
}

/// The figures of one run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Messages a second.
    pub rate: f64,
    /// Median latency, in milliseconds.
    pub p50: f64,
    /// Latency that 99 of 100 stay under, in milliseconds.
    pub p99: f64,
    /// CPU time of the server for each message, in microseconds.
    pub cpu: f64,
    /// Syncs of the spool for each message.
    pub syncs: Option<f64>,
    /// Largest resident memory, in MiB.
    pub memory: f64,
}

/// A server that runs and can be measured.
#[derive(Debug)]
pub enum Contestant {
    /// The null server.
    Null(NullServer),
    /// Basin.
    Basin(Box<TestServer>, bool),
}

/// The null server as a child process.
#[derive(Debug)]
pub struct NullServer {
    child: Child,
    address: SocketAddr,
}

impl Drop for NullServer {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end the null server: {error}");
        }
    }
}

impl NullServer {
    fn start() -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("null-server").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or_else(|| Error::other("the null server has no output"))?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().map_err(Error::other)?;
        Ok(Self { child, address })
    }
}

impl Contestant {
    /// Starts it and sends some messages through.
    pub async fn start(kind: Kind) -> io::Result<Self> {
        let contestant = match kind {
            Kind::Null => Self::Null(NullServer::start()?),
            Kind::Basin { sinks, delivers } => Self::Basin(Box::new(basin(sinks, delivers)?), delivers),
        };
        let warm_up = Load {
            sessions: 10,
            messages: WARM_UP_MESSAGES,
            per_session: WARM_UP_MESSAGES,
            bytes: 1024,
            is_pipelined: true,
            recipient: recipient(),
        };
        generator::run(contestant.address(), &warm_up).await?;
        contestant.settle()?;
        Ok(contestant)
    }

    /// Sends the load and measures.
    pub async fn measure(&self, load: &Load) -> io::Result<Figures> {
        let (cpu, syncs) = (process::cpu_time(self.pid())?, self.syncs());
        let seen = generator::run(self.address(), load).await?;
        self.settle()?;
        let spent = process::cpu_time(self.pid())?.saturating_sub(cpu);
        self.figures(&seen, spent, syncs)
    }

    /// The same with a load of a program of its own, such as `smtp-source`; its latencies are not seen.
    pub fn measure_command(&self, command: &mut Command, messages: u32) -> io::Result<Figures> {
        let (cpu, syncs) = (process::cpu_time(self.pid())?, self.syncs());
        let start = std::time::Instant::now();
        let output = command.output()?;
        if !output.status.success() {
            return Err(Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let seen = Seen { wall: start.elapsed(), accepted: messages, latencies: Vec::new() };
        self.settle()?;
        let spent = process::cpu_time(self.pid())?.saturating_sub(cpu);
        self.figures(&seen, spent, syncs)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Null(server) => server.address,
            Self::Basin(server, _) => server.smtp(),
        }
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Null(server) => server.child.id(),
            Self::Basin(server, _) => server.pid(),
        }
    }

    fn figures(&self, seen: &Seen, cpu: Duration, syncs: Option<f64>) -> io::Result<Figures> {
        let messages = f64::from(seen.accepted.max(1));
        let syncs = self.syncs().zip(syncs).map(|(after, before)| (after - before) / messages);
        let memory = process::memory_peak_kib(self.pid())?;
        Ok(Figures {
            rate: seen.rate(),
            p50: seen.percentile(50).as_secs_f64() * 1e3,
            p99: seen.percentile(99).as_secs_f64() * 1e3,
            cpu: cpu.as_secs_f64() * 1e6 / messages,
            syncs,
            memory: f64::from(u32::try_from(memory).unwrap_or(u32::MAX)) / 1024.0,
        })
    }

    fn syncs(&self) -> Option<f64> {
        match self {
            Self::Null(_) => None,
            Self::Basin(server, _) => server.metrics().ok()?.total(SYNCS),
        }
    }

    /// With delivery, a message's cost ends when it lies in its mailbox: waits until the spool holds none.
    fn settle(&self) -> io::Result<()> {
        let Self::Basin(server, true) = self else { return Ok(()) };
        let is_empty = || server.metrics().is_ok_and(|metrics| metrics.total(LIVE) == Some(0.0));
        if wait::until_true(DELIVERY_LIMIT, is_empty) {
            return Ok(());
        }
        Err(Error::other(format!("the spool does not become empty:\n{}", server.log())))
    }
}

/// Gauge of messages in the spool on the metrics page.
const LIVE: &str = "basin_spool_messages";

/// The mailbox that takes the load.
pub fn recipient() -> String {
    format!("user@{DOMAIN}")
}

fn basin(sinks: u32, delivers: bool) -> io::Result<TestServer> {
    let mut settings = Settings::usual();
    settings.listener = "max-connections-per-client = 1000\n".to_owned();
    settings.tables = "[log]\nlevel = \"warn\"\n".to_owned();
    if !delivers {
        settings.limits = "deliveries = 0\n".to_owned();
    }
    let mut server = TestServer::prepare(settings)?;
    for number in 0..sinks {
        server.sink_add(&guest("noop"), &format!("noop-{number}"), "on-end-of-data", &[])?;
    }
    server.launch()?;
    // One greeting tells that the listener is really the one of this server.
    Client::greeted(server.smtp())?.quit()?;
    Ok(server)
}
