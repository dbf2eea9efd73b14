//! `make bench`: what a message costs, with sinks and without, beside a null SMTP server in the same run.
//!
//! Rounds visit all contestants in turn, so that a change of the machine's other load meets them all; each figure is
//! the median over the rounds. Absolute figures move with the machine, the ratio to the null server much less.

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use basin_tests::contest::{Contestant, Figures, Kind, recipient};
use basin_tests::generator::Load;
use basin_tests::null;
use basin_tests::server::tree;

/// Rounds of a full run; odd, so that the median is a figure that was measured.
const ROUNDS: u32 = 3;
/// Sessions at once, as in the targets of the project.
const SESSIONS: u32 = 20;
/// Octets of a message, as in the targets.
const MESSAGE_BYTES: usize = 10 * 1024;

struct Plan {
    rounds: u32,
    /// Messages of a measurement that keeps its sessions open.
    messages: u32,
    /// Messages of a measurement with a session for each.
    messages_single: u32,
    /// Word that a contestant's or shape's name must hold; for work on one figure.
    only: Option<String>,
}

struct Shape {
    name: &'static str,
    load: Load,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.and_then(|runtime| match arguments.first().map(String::as_str) {
        Some("null-server") => runtime.block_on(null_server()),
        _ => bench(&runtime, &plan(&arguments)),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn null_server() -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    null::serve(listener).await
}

fn plan(arguments: &[String]) -> Plan {
    let only = arguments.iter().position(|name| name == "--only").and_then(|at| arguments.get(at + 1)).cloned();
    if arguments.iter().any(|name| name == "--quick") {
        return Plan { rounds: 1, messages: 400, messages_single: 100, only };
    }
    Plan { rounds: ROUNDS, messages: SESSIONS * 1000, messages_single: 4000, only }
}

fn kinds() -> Vec<Kind> {
    let accept = [0, 1, 5, 10].map(|sinks| Kind::Basin { sinks, delivers: false });
    let deliver = [0, 1].map(|sinks| Kind::Basin { sinks, delivers: true });
    [Kind::Null].into_iter().chain(accept).chain(deliver).collect()
}

fn shapes(plan: &Plan) -> Vec<Shape> {
    let load = |per_session, messages, is_pipelined| Load {
        sessions: SESSIONS,
        messages,
        per_session,
        bytes: MESSAGE_BYTES,
        is_pipelined,
        recipient: recipient(),
    };
    vec![
        Shape { name: "1,000 messages in a session, not pipelined", load: load(1000, plan.messages, false) },
        Shape { name: "1,000 messages in a session, pipelined", load: load(1000, plan.messages, true) },
        Shape { name: "1 message in a session", load: load(1, plan.messages_single, false) },
    ]
}

fn bench(runtime: &tokio::runtime::Runtime, plan: &Plan) -> io::Result<()> {
    let is_wanted = |name: &str| plan.only.as_deref().is_none_or(|word| name.contains(word));
    let kinds: Vec<Kind> = kinds().into_iter().filter(|kind| *kind == Kind::Null || is_wanted(&kind.name())).collect();
    println!(
        "{SESSIONS} sessions, {} KiB messages, medians of {} rounds; CPU is that of the server process alone.",
        MESSAGE_BYTES / 1024,
        plan.rounds
    );
    for shape in shapes(plan) {
        let mut all: Vec<Vec<Figures>> = vec![Vec::new(); kinds.len()];
        for _ in 0..plan.rounds {
            for (kind, figures) in kinds.iter().zip(&mut all) {
                figures.push(runtime.block_on(async {
                    // A fresh server each time: none runs, and none has a cache, while another is measured.
                    Contestant::start(*kind).await?.measure(&shape.load).await
                })?);
            }
        }
        print_table(shape.name, &kinds, &all);
    }
    smtp_source(runtime, plan, &kinds)
}

/// The second generator: Postfix's `smtp-source`, where it is installed.
fn smtp_source(runtime: &tokio::runtime::Runtime, plan: &Plan, kinds: &[Kind]) -> io::Result<()> {
    let Some((program, libraries)) = find_smtp_source() else {
        println!("\nsmtp-source: skipped: Postfix is not installed, nor unpacked by `make test-peers`");
        return Ok(());
    };
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); kinds.len()];
    for _ in 0..plan.rounds {
        for (kind, figures) in kinds.iter().zip(&mut all) {
            let contestant = runtime.block_on(Contestant::start(*kind))?;
            let mut command = Command::new(&program);
            command.env("LD_LIBRARY_PATH", &libraries);
            command.args(["-d", "-s", &SESSIONS.to_string(), "-m", &plan.messages.to_string()]);
            command.args(["-l", &MESSAGE_BYTES.to_string(), "-f", "load@client.example", "-t", &recipient()]);
            command.arg(format!("inet:{}", contestant.address()));
            figures.push(contestant.measure_command(&mut command, plan.messages)?);
        }
    }
    print_table("smtp-source, sessions stay open (its latencies are not seen)", kinds, &all);
    Ok(())
}

/// The program and the folder of its libraries: that of the system, or the one that `make test-peers` unpacked.
fn find_smtp_source() -> Option<(PathBuf, PathBuf)> {
    let roots = [PathBuf::from("/"), tree().join("target/peers/postfix/root")];
    let places = roots.map(|root| (root.join("usr/sbin/smtp-source"), root.join("usr/lib/postfix")));
    places.into_iter().find(|(program, _)| program.is_file())
}

fn print_table(shape: &str, kinds: &[Kind], all: &[Vec<Figures>]) {
    println!("\n### {shape}\n");
    println!("| server | msg/s | of null | p50 ms | p99 ms | CPU us/msg | over null | syncs/msg | peak MiB |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let null = all.first().map(|figures| median(figures)).unwrap_or_default();
    for (kind, figures) in kinds.iter().zip(all) {
        let m = median(figures);
        let syncs = m.syncs.map_or("-".to_owned(), |syncs| format!("{syncs:.3}"));
        println!(
            "| {} | {:.0} | {:.2} | {} | {} | {:.1} | {:+.1} | {syncs} | {:.1} |",
            kind.name(),
            m.rate,
            m.rate / null.rate.max(1.0),
            milliseconds(m.p50),
            milliseconds(m.p99),
            m.cpu,
            m.cpu - null.cpu,
            m.memory
        );
    }
}

/// A latency; a generator that does not tell it leaves 0.
fn milliseconds(value: f64) -> String {
    if value > 0.0 { format!("{value:.2}") } else { "-".to_owned() }
}

/// Each figure's own median; they need not be of the same round.
fn median(figures: &[Figures]) -> Figures {
    let middle = |pick: &dyn Fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    let has_syncs = figures.iter().all(|figures| figures.syncs.is_some());
    Figures {
        rate: middle(&|f| f.rate),
        p50: middle(&|f| f.p50),
        p99: middle(&|f| f.p99),
        cpu: middle(&|f| f.cpu),
        syncs: has_syncs.then(|| middle(&|f| f.syncs.unwrap_or_default())),
        memory: middle(&|f| f.memory),
    }
}
