//! `make bench`: what a message costs, with sinks and without, beside a null SMTP server in the same run; and what it
//! costs to relay one, beside Postfix.
//!
//! Rounds visit all contestants in turn, so that a change of the machine's other load meets them all; each figure is
//! the median over the rounds. Absolute figures move with the machine, the ratio to the null server much less.

use std::io;
use std::process::ExitCode;

use basin_tests::contest::{Contestant, Figures, Kind, recipient};
use basin_tests::generator::Load;
use basin_tests::null;
use basin_tests::patience;
use basin_tests::relay::{self, Relay, Tools};

/// Rounds of a full run; odd, so that the median is a figure that was measured.
const ROUNDS: u32 = 3;
/// Sessions at once, as in the targets of the project.
const SESSIONS: u32 = 20;
/// Octets of a message, as in the targets.
const MESSAGE_BYTES: usize = 10 * 1024;

/// Sessions that do nothing, and sessions that send an octet a second, as in the targets.
const IDLE_SESSIONS: u32 = 10_000;
const SLOW_SESSIONS: u32 = 1_000;
/// What others have left beside them, of what they have without: less is more than the noise of some turns.
const RATIO_MIN: f64 = 0.9;
/// What a line of 4 MiB without an end may take, in KiB.
const GROWTH_KIB_MAX: f64 = 1024.0;

const USAGE: &str = "usage: bench [--relay | --idle] [--quick] [--only WORD]
  --relay      relaying alone: Basin beside Postfix
  --idle       idle and slow sessions and endless lines alone
  --quick      one short round, to see whether it works
  --only WORD  contestants whose name holds the word";

#[derive(Default)]
struct Options {
    is_relay: bool,
    is_idle: bool,
    is_quick: bool,
    only: Option<String>,
}

struct Plan {
    rounds: u32,
    /// Messages of a measurement that keeps its sessions open.
    messages: u32,
    /// Messages of a measurement with a session for each.
    messages_single: u32,
    /// Messages of a measurement of relaying.
    messages_relayed: u32,
    /// Word that a contestant's or shape's name must hold; for work on one figure.
    only: Option<String>,
}

struct Shape {
    name: &'static str,
    load: Load,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match (arguments.as_slice(), options(&arguments)) {
        ([only], _) if only == "null-server" => runtime.and_then(|runtime| runtime.block_on(null_server())),
        (_, Some(options)) => runtime.and_then(|runtime| bench(&runtime, &options)),
        (_, None) => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &[String]) -> Option<Options> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--relay" => options.is_relay = true,
            "--idle" => options.is_idle = true,
            "--quick" => options.is_quick = true,
            "--only" => options.only = Some(rest.next()?.clone()),
            _ => return None,
        }
    }
    Some(options)
}

async fn null_server() -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    null::serve(listener).await
}

fn plan(options: &Options) -> Plan {
    let only = options.only.clone();
    if options.is_quick {
        return Plan { rounds: 1, messages: 400, messages_single: 100, messages_relayed: 400, only };
    }
    Plan { rounds: ROUNDS, messages: SESSIONS * 1000, messages_single: 4000, messages_relayed: 10_000, only }
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

fn bench(runtime: &tokio::runtime::Runtime, options: &Options) -> io::Result<()> {
    let plan = plan(options);
    if options.is_idle {
        return runtime.block_on(idling(options.is_quick));
    }
    println!(
        "{SESSIONS} sessions, {} KiB messages, medians of {} rounds; CPU is that of the server alone.",
        MESSAGE_BYTES / 1024,
        plan.rounds
    );
    if !options.is_relay {
        accepting(runtime, &plan)?;
    }
    relaying(&plan)?;
    // The word is one for contestants; these have none.
    if options.is_relay || options.only.is_some() { Ok(()) } else { runtime.block_on(idling(options.is_quick)) }
}

/// What clients cost that do nothing, or do it slowly.
async fn idling(is_quick: bool) -> io::Result<()> {
    let (idle, slow, messages) = if is_quick { (500, 100, 2_000) } else { (IDLE_SESSIONS, SLOW_SESSIONS, 20_000) };
    let fitting = patience::raise_descriptors()?;
    if fitting < idle {
        println!("\nonly {fitting} sessions: the limit of open files (ulimit -Hn) allows no more");
    }
    let idle = patience::idle(idle.min(fitting)).await?;
    let beside = patience::beside(slow.min(fitting), messages).await?;
    let [command, text] = patience::endless().await?;
    println!("\n### Clients that do nothing, or do it slowly\n");
    println!("| what | without | with | what it costs | aim |\n| --- | ---: | ---: | ---: | --- |");
    let cost = format!("{:.1} KiB each", idle.each_kib());
    println!(
        "| resident KiB with {} idle sessions | {} | {} | {cost} | - |",
        idle.sessions, idle.before_kib, idle.after_kib
    );
    let [alone, silent, sending] = beside.rates();
    let aim = met(beside.ratio_sending() >= RATIO_MIN, &format!("ratio of {RATIO_MIN} at least"));
    let what = format!("messages a second beside {} sessions that send an octet a second", beside.slow);
    println!("| {what} | {:.0} | {:.0} | ratio {:.2} | {aim} |", alone, sending, beside.ratio_sending());
    let ratio = beside.ratio_silent();
    println!("| the same beside the same sessions silent | {:.0} | {:.0} | ratio {ratio:.2} | - |", alone, silent);
    for (what, line) in [("command", command), ("line of text", text)] {
        let aim = met(line.growth_kib() < GROWTH_KIB_MAX, &format!("less than {GROWTH_KIB_MAX} KiB"));
        let (before, peak, growth) = (line.before_kib, line.peak_kib, line.growth_kib());
        println!(
            "| resident KiB at most for a {what} of 4 MiB without CR LF | {before} | {peak} | {growth:+.0} KiB | {aim} |"
        );
    }
    Ok(())
}

/// An aim, and whether a figure has it.
fn met(is_met: bool, aim: &str) -> String {
    format!("{aim}: {}", if is_met { "met" } else { "missed" })
}

fn accepting(runtime: &tokio::runtime::Runtime, plan: &Plan) -> io::Result<()> {
    let is_wanted = |name: &str| plan.only.as_deref().is_none_or(|word| name.contains(word));
    let kinds: Vec<Kind> = kinds().into_iter().filter(|kind| *kind == Kind::Null || is_wanted(&kind.name())).collect();
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

const NO_TOOLS: &str = "skipped: Postfix is not installed, nor unpacked by `make test-peers`";

/// The second generator: Postfix's `smtp-source`, where it is installed.
fn smtp_source(runtime: &tokio::runtime::Runtime, plan: &Plan, kinds: &[Kind]) -> io::Result<()> {
    let Some(tools) = Tools::find() else {
        println!("\nsmtp-source: {NO_TOOLS}");
        return Ok(());
    };
    let mut all: Vec<Vec<Figures>> = vec![Vec::new(); kinds.len()];
    for _ in 0..plan.rounds {
        for (kind, figures) in kinds.iter().zip(&mut all) {
            let contestant = runtime.block_on(Contestant::start(*kind))?;
            let mut command = tools.command("smtp-source");
            command.args(["-d", "-s", &SESSIONS.to_string(), "-m", &plan.messages.to_string()]);
            command.args(["-l", &MESSAGE_BYTES.to_string(), "-f", "load@client.example", "-t", &recipient()]);
            command.arg(format!("inet:{}", contestant.address()));
            figures.push(contestant.measure_command(&mut command, plan.messages)?);
        }
    }
    print_table("smtp-source, sessions stay open (its latencies are not seen)", kinds, &all);
    Ok(())
}

/// From `smtp-source` through a server to `smtp-sink`, beside Postfix. Each of the servers has every message on disk,
/// synced, before it says 250.
fn relaying(plan: &Plan) -> io::Result<()> {
    let Some(tools) = Tools::find() else {
        println!("\nrelaying: {NO_TOOLS}");
        return Ok(());
    };
    let kinds = [relay::Kind::Postfix, relay::Kind::Basin { signs: false }, relay::Kind::Basin { signs: true }];
    let is_wanted = |kind: &relay::Kind| {
        *kind == relay::Kind::Postfix || plan.only.as_deref().is_none_or(|word| kind.name().contains(word))
    };
    let kinds: Vec<_> = kinds.into_iter().filter(is_wanted).collect();
    for (name, is_kept_open) in [("sessions stay open", true), ("1 message in a session", false)] {
        let load =
            relay::Load { sessions: SESSIONS, messages: plan.messages_relayed, bytes: MESSAGE_BYTES, is_kept_open };
        let mut all: Vec<Vec<relay::Figures>> = vec![Vec::new(); kinds.len()];
        for _ in 0..plan.rounds {
            for (kind, figures) in kinds.iter().zip(&mut all) {
                figures.push(Relay::start(*kind, &tools)?.measure(&load)?);
            }
        }
        print_relay_table(name, &kinds, &all);
    }
    Ok(())
}

fn print_relay_table(shape: &str, kinds: &[relay::Kind], all: &[Vec<relay::Figures>]) {
    println!("\n### Relaying, {shape}\n");
    println!("| server | msg/s | of Postfix | CPU us/msg | of Postfix |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    let medians: Vec<(f64, f64)> =
        all.iter().map(|figures| (middle(figures, |f| f.rate), middle(figures, |f| f.cpu))).collect();
    let first = medians.first().copied().unwrap_or_default();
    for (kind, (rate, cpu)) in kinds.iter().zip(&medians) {
        println!("| {} | {rate:.0} | {:.2} | {cpu:.0} | {:.2} |", kind.name(), rate / first.0, cpu / first.1);
    }
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
    let has_syncs = figures.iter().all(|figures| figures.syncs.is_some());
    Figures {
        rate: middle(figures, |f| f.rate),
        p50: middle(figures, |f| f.p50),
        p99: middle(figures, |f| f.p99),
        cpu: middle(figures, |f| f.cpu),
        syncs: has_syncs.then(|| middle(figures, |f| f.syncs.unwrap_or_default())),
        memory: middle(figures, |f| f.memory),
    }
}

fn middle<F>(figures: &[F], pick: impl Fn(&F) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(pick).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
