//! `make crash`: the server is killed again and again under load, and nothing that it acknowledged may be lost.
//!
//! Each cycle starts the real server, lets clients loose on it, kills it at a moment that the seed chooses, starts
//! it again and demands every acknowledged letter where it belongs, octet for octet: in a Maildir, at the next hop,
//! which puts some off and takes some without saying so, or in a notification where the next hop refused it. A
//! letter of which the client saw no answer may arrive or not. Half of the cycles run with a sink bound that edits
//! every message.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use basin_tests::ledger::{Balance, Ledger};
use basin_tests::next_hop::{Manners, NextHop};
use basin_tests::random::Random;
use basin_tests::server::{TestServer, guest};
use basin_tests::settings::{DOMAIN, Settings};
use basin_tests::storm::{Storm, Weather};
use basin_tests::tally::Tally;
use basin_tests::wait::{self, let_pass};

/// Cycles when nobody says otherwise.
const CYCLES_DEFAULT: u32 = 200;
/// Clients at once.
const CLIENTS: u32 = 8;
/// Shortest and longest life of a server under load, in milliseconds. Long enough for some hundred messages, short
/// enough that many kills fall into start, recovery and the first commits.
const LIFE_MILLISECONDS: (u64, u64) = (20, 400);
/// Largest body: over the limit up to which a draft stays in memory, so that draft files are torn too.
const BODY_BYTES_MAX: u32 = 600_000;
/// Wait until what was acknowledged before a kill is delivered after it.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);
/// Domain whose mail goes to the next hop.
const AWAY: &str = "away.example";
/// Longest wait until the next hop has seen the end of the connections of a server that was killed.
const HOP_LIMIT: Duration = Duration::from_secs(10);
/// Field that the bound sink adds.
const STAMP: &str = "X-Basin-Sink";

struct Options {
    cycles: u32,
    seed: u64,
}

struct Crash {
    server: TestServer,
    hop: NextHop,
    ledger: Arc<Mutex<Ledger>>,
    random: Random,
    seed: u64,
    life: u32,
    worst_recovery: Duration,
    killed_in_recovery: u32,
    is_stamping: bool,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\nusage: crash [--cycles N] [--seed N]");
            return ExitCode::from(2);
        }
    };
    println!("crash: {} cycles of kill -9 under {CLIENTS} clients, seed {}", options.cycles, options.seed);
    let mut tally = Tally::default();
    if let Err(error) = run(&options, &mut tally) {
        tally.check("the run gets to its end", Err(format!("{error} (again with --seed {})", options.seed)));
    }
    tally.close()
}

fn options() -> Result<Options, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|error| error.to_string())?;
    let mut options = Options { cycles: CYCLES_DEFAULT, seed: u64::from(now.subsec_nanos()) ^ now.as_secs() };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(format!("{name} has no value"))?;
        let wrong = |error| format!("{name} {value}: {error}");
        match name.as_str() {
            "--cycles" => options.cycles = value.parse().map_err(wrong)?,
            "--seed" => options.seed = value.parse().map_err(wrong)?,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

fn run(options: &Options, tally: &mut Tally) -> io::Result<()> {
    let hop = NextHop::start(Manners { script: Arc::new(unreliable), ..Manners::default() })?;
    let tables = format!(
        "[queue]\nfirst-waits = [\"1s\"]\nlongest-wait = \"1s\"\n[[route]]\ndomains = [\"{AWAY}\"]\nhosts = [\"{}\"]\n",
        hop.address()
    );
    let server =
        TestServer::start_with(Settings { tables, relay_clients: "[\"127.0.0.1\"]".to_owned(), ..Settings::usual() })?;
    let random = Random::new(options.seed);
    let mut crash = Crash {
        server,
        hop,
        ledger: Arc::default(),
        random,
        seed: options.seed,
        life: 0,
        worst_recovery: Duration::ZERO,
        killed_in_recovery: 0,
        is_stamping: false,
    };
    println!("| cycle | sink | alive ms | acknowledged | outstanding at the kill | back after ms |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for cycle in 1..=options.cycles {
        if cycle == options.cycles / 2 + 1 {
            crash.bind_stamp()?;
        }
        if !crash.cycle(cycle)? {
            tally.check(&format!("cycle {cycle}: what was acknowledged arrives"), Err(crash.outstanding()));
            break;
        }
    }
    let log = crash.server.log();
    let balance = crash.finish()?;
    report(&balance, &crash, tally);
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
    tally.check("the server never panics", if panics.is_empty() { Ok(()) } else { Err(format!("{panics:?}")) });
    Ok(())
}

/// The will of the next hop: `later` is put off once in three times, `refused` never taken, and now and then a connection ends
/// after the content is taken and before that is said.
fn unreliable(line: &str, seen: u32) -> Option<String> {
    if line.starts_with("RCPT") && line.contains("<refused@") {
        return Some("550 5.1.1 nobody here".to_owned());
    }
    if line.starts_with("RCPT") && line.contains("<later@") && seen.is_multiple_of(3) {
        return Some("451 4.7.1 later".to_owned());
    }
    (line == "." && seen % 50 == 49).then(String::new)
}

fn report(balance: &Balance, crash: &Crash, tally: &mut Tally) {
    println!();
    println!("| what | number |\n| --- | --- |");
    println!("| lives of the server | {} |", crash.life);
    println!("| of these killed while recovering | {} |", crash.killed_in_recovery);
    println!("| slowest start, ms | {} |", crash.worst_recovery.as_millis());
    println!("| acknowledged | {} |", balance.acknowledged);
    println!("| arrived | {} |", balance.arrived);
    println!("| arrived though the answer was lost | {} |", balance.arrived_unanswered);
    println!("| twice, delivery overlapped a kill | {} |", balance.twice_over_a_kill);
    println!("| twice, the next hop took it and did not say so | {} |", balance.twice_after_a_lost_reply);
    println!("| twice without excuse | {} |", balance.twice_in_one_life.len());
    println!("| lost | {} |", balance.lost.len());
    println!("| damaged | {} |\n", balance.damaged.len());
    let none = |list: &[String]| match list {
        [] => Ok(()),
        [first, ..] => Err(format!("{} of them, first {first}", list.len())),
    };
    let some = if balance.acknowledged > 0 { Ok(()) } else { Err("nothing was acknowledged".to_owned()) };
    tally.check("letters were acknowledged at all", some);
    tally.check("no acknowledged letter is lost", none(&balance.lost));
    tally.check("no letter is torn, mixed or invented", none(&balance.damaged));
    tally.check("no letter comes twice but over a kill or a lost reply", none(&balance.twice_in_one_life));
}

/// Mailboxes here, then those of the next hop.
fn recipients() -> Vec<String> {
    let here = ["user", "alice"].map(|name| format!("{name}@{DOMAIN}"));
    let away = ["user", "later", "refused"].map(|name| format!("{name}@{AWAY}"));
    [here.as_slice(), away.as_slice()].concat()
}

impl Crash {
    /// Load, kill, restart, check. Whether everything acknowledged arrived.
    fn cycle(&mut self, cycle: u32) -> io::Result<bool> {
        self.life += 1;
        let weather = Weather {
            server: self.server.smtp(),
            run: self.seed,
            life: self.life,
            body_bytes_max: BODY_BYTES_MAX,
            recipients: recipients(),
            sender: format!("bob@{DOMAIN}"),
            ledger: Arc::clone(&self.ledger),
        };
        let before = self.books().acknowledged();
        let storm = Storm::rise(&weather, CLIENTS);
        let alive = Duration::from_millis(self.random.between(LIFE_MILLISECONDS.0, LIFE_MILLISECONDS.1));
        let_pass(alive);
        self.server.kill()?;
        storm.settle()?;
        // What the dead server had written may still be on its way through the kernel.
        wait::until_true(HOP_LIMIT, || self.hop.open() == 0);
        self.look()?;
        let acknowledged = self.books().acknowledged() - before;
        let outstanding = self.books().outstanding();
        let recovery = self.come_back()?;
        let is_complete = wait::until_true(DELIVERY_LIMIT, || self.look().is_ok() && self.books().outstanding() == 0);
        let sink = if self.is_stamping { "stamp-header" } else { "-" };
        println!(
            "| {cycle} | {sink} | {} | {acknowledged} | {outstanding} | {} |",
            alive.as_millis(),
            recovery.as_millis()
        );
        Ok(is_complete)
    }

    /// Starts the server again; once in six times it is killed during its start and has to begin anew.
    fn come_back(&mut self) -> io::Result<Duration> {
        if self.random.once_in(6) {
            self.life += 1;
            self.killed_in_recovery += 1;
            self.server.launch_without_waiting()?;
            let_pass(Duration::from_millis(self.random.between(0, 120)));
            self.server.kill()?;
            self.look()?;
        }
        self.life += 1;
        let start = Instant::now();
        self.server.launch()?;
        let recovery = start.elapsed();
        self.worst_recovery = self.worst_recovery.max(recovery);
        Ok(recovery)
    }

    fn bind_stamp(&mut self) -> io::Result<()> {
        self.server.sink_add(&guest("stamp-header"), "stamp", "on-end-of-data", &["--grant", "edit-headers"])?;
        self.is_stamping = true;
        Ok(())
    }

    /// Ends the server in peace and adds up.
    fn finish(&mut self) -> io::Result<Balance> {
        let status = self.server.terminate()?;
        if !status.success() {
            return Err(io::Error::other(format!("at SIGTERM the server ended with {status}")));
        }
        self.look()?;
        Ok(self.books().balance())
    }

    fn look(&self) -> io::Result<()> {
        for mailbox in ["user", "alice", "bob"] {
            let recipient = format!("{mailbox}@{DOMAIN}");
            self.books().look(&recipient, &self.server.maildir(mailbox), self.life, &[STAMP])?;
        }
        let transactions = self.hop.take_transactions();
        self.books().look_at_hop(&transactions, self.life, &[STAMP]);
        Ok(())
    }

    fn books(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outstanding(&self) -> String {
        let queue = self.server.basin_ok(&["queue", "list"]).unwrap_or_else(|error| error.to_string());
        format!("{} letters are missing; the queue holds:\n{queue}", self.books().outstanding())
    }
}
