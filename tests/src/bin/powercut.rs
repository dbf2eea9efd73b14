//! `make powercut`: the file system under the spool loses its power under load.
//!
//! A `kill -9` leaves in the kernel what was written and not synced; a power cut does not. So the spool is put on a
//! loop-mounted ext4 that is shut down without flushing its journal. Maildirs stay on the disk of the machine, and
//! the check is the same as that of the crash run. Needs Linux and root; says so and ends well where it has neither.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use basin_tests::ledger::Ledger;
use basin_tests::powercut::LoopDisk;
use basin_tests::random::Random;
use basin_tests::server::TestServer;
use basin_tests::settings::{DOMAIN, Settings};
use basin_tests::storm::{Storm, Weather};
use basin_tests::tally::Tally;
use basin_tests::wait::{self, let_pass};

/// Rounds when nobody says otherwise.
const ROUNDS_DEFAULT: u32 = 20;
/// Clients at once.
const CLIENTS: u32 = 8;
/// Largest body. The disk is small, so drafts stay small as well.
const BODY_BYTES_MAX: u32 = 300_000;
/// Wait until what was acknowledged before the cut is delivered after it.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let rounds = std::env::args().skip_while(|name| name != "--rounds").nth(1);
    let rounds = rounds.and_then(|value| value.parse().ok()).unwrap_or(ROUNDS_DEFAULT);
    let folder = match tempfile::Builder::new().prefix("basin-power-").tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            eprintln!("powercut: no temporary folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    let disk = match LoopDisk::make(folder.path()) {
        Ok(disk) => disk,
        Err(error) => {
            println!("powercut: skipped: this machine cannot mount a file system in a file ({error})");
            return ExitCode::SUCCESS;
        }
    };
    let mut tally = Tally::default();
    if let Err(error) = run(disk, rounds, &mut tally) {
        tally.check("the run gets to its end", Err(error.to_string()));
    }
    tally.close()
}

fn run(mut disk: LoopDisk, rounds: u32, tally: &mut Tally) -> io::Result<()> {
    let mut settings = Settings::usual();
    settings.spool = Some(disk.path().join("spool").display().to_string());
    let mut server = TestServer::start_with(settings)?;
    let ledger: Arc<Mutex<Ledger>> = Arc::default();
    let mut random = Random::new(u64::from(std::process::id()));
    let books = || -> MutexGuard<'_, Ledger> { ledger.lock().unwrap_or_else(PoisonError::into_inner) };
    let look = |server: &TestServer, life| -> io::Result<()> {
        ["user", "alice"]
            .iter()
            .try_for_each(|mailbox| books().look(&format!("{mailbox}@{DOMAIN}"), &server.maildir(mailbox), life, &[]))
    };
    println!("| round | acknowledged | outstanding at the cut |\n| --- | --- | --- |");
    for round in 1..=rounds {
        let weather = Weather {
            server: server.smtp(),
            run: u64::from(std::process::id()),
            life: round,
            body_bytes_max: BODY_BYTES_MAX,
            recipients: ["user", "alice"].map(|name| format!("{name}@{DOMAIN}")).to_vec(),
            sender: "load@client.example".to_owned(),
            ledger: Arc::clone(&ledger),
        };
        let before = books().acknowledged();
        let storm = Storm::rise(&weather, CLIENTS);
        let_pass(Duration::from_millis(random.between(50, 500)));
        let begun = Instant::now();
        disk.cut()?;
        let ended = Instant::now();
        // Until it is killed the server meets a disk on which everything fails, and must say so.
        let_pass(Duration::from_millis(random.between(0, 30)));
        server.kill()?;
        storm.settle()?;
        look(&server, round)?;
        let on_a_dead_disk = books().cut(begun, ended);
        let outcome = if on_a_dead_disk == 0 { Ok(()) } else { Err(format!("{on_a_dead_disk} letters")) };
        tally.check(&format!("round {round}: nothing is acknowledged on a dead disk"), outcome);
        let acknowledged = books().acknowledged() - before;
        println!("| {round} | {acknowledged} | {} |", books().outstanding());
        disk.unmount()?;
        disk.mount()?;
        server.launch()?;
        wait::until_true(DELIVERY_LIMIT, || look(&server, round).is_ok() && books().outstanding() == 0);
        look(&server, round + 1)?;
        let missing: Vec<String> =
            books().missing().map(|(due, life)| format!("{} of round {life}", due.0.id())).collect();
        let outcome = if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) };
        let is_whole = outcome.is_ok();
        tally.check(&format!("round {round}: nothing acknowledged is lost"), outcome);
        if !is_whole {
            let kept = std::env::temp_dir().join("basin-powercut.log");
            std::fs::write(&kept, server.log())?;
            println!("the server's log is kept as {}", kept.display());
            println!("its queue:\n{}", server.basin_ok(&["queue", "list"])?);
            break;
        }
    }
    server.kill()?;
    let balance = books().balance();
    let damaged = if balance.damaged.is_empty() { Ok(()) } else { Err(format!("{:?}", balance.damaged)) };
    tally.check("no letter is torn, mixed or invented", damaged);
    let some = if balance.acknowledged > 0 { Ok(()) } else { Err("the server took nothing".to_owned()) };
    tally.check("letters were acknowledged at all", some);
    println!("{} acknowledged, {} came twice over a cut", balance.acknowledged, balance.twice_over_a_kill);
    Ok(())
}
