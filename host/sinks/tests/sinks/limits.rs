//! Every limit bites, with its own kind of failure and a text that names it.

use basin_core::event::{BudgetOverride, EventKind, FailureKind, Verdict};
use basin_sinks::{Engine, EngineOptions};

use crate::stage::{Call, ENGINE, RUNTIME, call, component, guest, message, probe};

fn fails(call: Call, kind: FailureKind, says: &str) {
    let outcome = call.run();
    let failure = outcome.failed();
    assert_eq!(failure.kind, kind, "{failure:?}");
    assert!(failure.detail.contains(says), "{:?} lacks {says:?}", failure.detail);
    assert!(!failure.detail.contains('\n'));
}

#[test]
fn an_endless_loop_uses_up_its_fuel() {
    let outcome = call("loop_forever").run();
    let failure = outcome.failed();
    assert_eq!(failure.kind, FailureKind::Fuel, "{failure:?}");
    assert!(failure.detail.contains("--fuel"), "{}", failure.detail);
    assert_eq!(failure.fuel, outcome.report.usage.fuel);
    assert!(failure.fuel >= 100_000_000, "{}", failure.fuel);
    assert!(!failure.backtrace.is_empty());
}

#[test]
fn with_fuel_to_spare_an_endless_loop_meets_its_deadline() {
    let budget = BudgetOverride { fuel: Some(u64::MAX), deadline_ms: Some(50), ..BudgetOverride::default() };
    let outcome = call("loop_forever").budget(budget).run();
    let failure = outcome.failed();
    assert_eq!(failure.kind, FailureKind::Deadline, "{failure:?}");
    assert!(failure.detail.contains("the limit is 50 ms"), "{}", failure.detail);
    assert!(!failure.backtrace.is_empty());
}

#[test]
fn memory_without_end_is_cut_at_its_limit() {
    fails(call("eat_memory"), FailureKind::Memory, "the limit is 67108864 (--memory raises it)");
    let budget = BudgetOverride { memory: Some(4 << 20), ..BudgetOverride::default() };
    let outcome = probe("grow|1000").budget(budget).run();
    assert_eq!(outcome.lines(), ["grow: 1000"]);
    assert!((100_000..=4 << 20).contains(&outcome.report.usage.memory), "{}", outcome.report.usage.memory);
    fails(probe("grow|5000000").budget(budget), FailureKind::Memory, "the limit is 4194304");
}

#[test]
fn a_flood_of_host_calls_uses_up_its_fuel_at_once() {
    let outcome = call("flood_host_calls").run();
    assert_eq!(outcome.failed().kind, FailureKind::Fuel, "{:?}", outcome.failed());
    // Without the tariff the same fuel would buy the host's time by the second.
    assert!(outcome.report.usage.host_calls <= 40_000, "{}", outcome.report.usage.host_calls);
    assert!(outcome.log.iter().map(|(_, line)| line.len()).sum::<usize>() <= 16 * 1024 + 100);
}

#[test]
fn a_host_call_costs_its_tariff_to_the_unit() {
    let fuel = |script: &str| probe(script).run().report.usage.fuel;
    let (none, some, more) = (fuel("call-many|0"), fuel("call-many|10"), fuel("call-many|20"));
    let (first, second) = (some - none, more - some);
    assert!((25_000..40_000).contains(&second), "{second}");
    assert!(first.abs_diff(second) < 2_000, "{first} {second}");
}

#[test]
fn an_answer_for_which_the_sink_makes_room_is_paid_for() {
    let body = "b".repeat(70_000);
    let fuel = |len: u32| {
        let outcome = probe(&format!("read-body-len|0|{len}")).all_grants().message(message("", &body)).run();
        assert_eq!(outcome.lines(), [format!("read-body-len: ok {len}")]);
        outcome.report.usage.fuel
    };
    // Its memory grows for the larger one, inside of the call.
    let (small, large) = (fuel(1), fuel(65_536));
    assert!(large - small >= 65_535, "{small} {large}");
}

#[test]
fn host_calls_of_wasi_cost_the_same() {
    let outcome = probe("print|x|1\nprint|x|1").run();
    let once = probe("print|x|1").run();
    assert!(outcome.report.usage.fuel > once.report.usage.fuel + 4 * 2_500);
}

#[test]
fn a_stack_that_runs_over_is_a_failure_of_its_own() {
    fails(probe("recurse|10000000"), FailureKind::Stack, "512 KiB");
}

#[test]
fn a_panic_is_told_with_its_message_and_its_frames() {
    let outcome = call("trap").run();
    let failure = outcome.failed();
    assert_eq!(failure.kind, FailureKind::Panic, "{failure:?}");
    assert!(failure.stderr.contains("this sink panics on purpose, raised 3 times before"), "{}", failure.stderr);
    assert!(!failure.backtrace.is_empty());
}

#[test]
fn exit_is_a_failure() {
    fails(probe("exit"), FailureKind::Exit, "exit with status");
}

#[test]
fn one_argument_carries_at_most_a_mebibyte() {
    let outcome = probe("long-argument|900000").run();
    assert_eq!(outcome.lines(), ["long-argument: None"]);
    fails(probe("long-argument|1100000"), FailureKind::Quota, "1048576 octets");
}

#[test]
fn a_call_holds_at_most_4096_handles() {
    let outcome = probe("hold-handles|4000").all_grants().run();
    assert_eq!(outcome.lines(), ["hold-handles: 4000"]);
    fails(probe("hold-handles|5000").all_grants(), FailureKind::Quota, "4096 handles");
}

#[test]
fn the_log_is_cut_and_says_so_and_the_call_goes_on() {
    let outcome = probe("fill-log|100").run();
    assert_eq!(outcome.answered().0, &Verdict::Next);
    assert_eq!(outcome.log.len(), 17, "sixteen lines and the one that says it is cut");
    assert!(outcome.lines().last().is_some_and(|line| line.contains("cut")));
}

#[test]
fn empty_lines_of_log_are_cut_too() {
    let outcome = probe(&"log|\n".repeat(300)).run();
    assert_eq!(outcome.log.len(), 257, "256 lines and the one that says it is cut");
}

#[test]
fn the_properties_of_all_recipients_together_are_bounded() {
    let value = "x".repeat(60_000);
    let script: String = (0..17).map(|n| format!("add-recipient|p{n}@a.example\n")).collect();
    let script = (0..18).fold(script, |script, n| format!("{script}rcpt-set-property|{n}|k|{value}\n"));
    let outcome = probe(&script).all_grants().run();
    let lines = outcome.lines();
    let refused = lines.iter().filter(|line| line.contains("octets of properties on recipients")).count();
    assert_eq!(refused, 1, "{:?}", lines.last());
}

#[test]
fn output_is_cut_and_the_call_goes_on() {
    let outcome = probe("print|0123456789|5000").run();
    assert_eq!((outcome.report.stdout.len(), outcome.report.stderr.len()), (16 * 1024, 16 * 1024));
    assert_eq!(outcome.answered().0, &Verdict::Next);
}

#[test]
fn text_of_a_sink_is_escaped() {
    let outcome = probe("log|a~b\nprint|\u{1b}[31m|1").run();
    assert_eq!(outcome.lines().first(), Some(&"a\\n\\u{1b}b"));
    assert_eq!(outcome.report.stdout, "\\u{1b}[31m");
}

#[test]
fn a_sink_that_sleeps_is_ended_when_its_wait_is_over() {
    // Takes the second that a call may wait; sleeping is the one way to wait in this version.
    let outcome = probe("sleep|3600000").at(EventKind::OnConnect).run();
    assert_eq!(outcome.failed().kind, FailureKind::Deadline, "{:?}", outcome.failed());
    assert!(outcome.failed().detail.contains("waited"), "{}", outcome.failed().detail);
}

#[test]
fn a_panic_of_host_code_fails_the_call_and_nothing_else() {
    fails(probe("server|a|b").host_that_panics(), FailureKind::Host, "a bug of the host");
    assert_eq!(probe("server|basin.example|x").run().lines(), ["server: (\"mx.basin.example\", true, false)"]);
}

#[test]
fn a_full_engine_is_busy_and_no_fault_of_the_sink() {
    let engine = Engine::new(EngineOptions { calls_max: 1, ..EngineOptions::default() }).expect("an engine");
    let component = engine.load(&guest("probe")).expect("loads");
    let sleeper = probe("sleep|60000").component(&component);
    let waiter = probe("").component(&component);
    let outcome = RUNTIME.block_on(async {
        tokio::select! {
            biased;
            _ = sleeper.start(&engine) => panic!("it sleeps longer"),
            outcome = waiter.start(&engine) => outcome,
        }
    });
    assert_eq!(outcome.failed().kind, FailureKind::Busy, "{:?}", outcome.failed());
    // The sleeper was dropped in the middle of its call; its place is free again.
    assert_eq!(engine.pool_use().map(|pool| pool.instances), Some(0));
    let outcome = RUNTIME.block_on(probe("").component(&component).start(&engine));
    assert_eq!(outcome.answered().0, &Verdict::Next);
}

#[test]
fn a_thousand_calls_leave_nothing_behind() {
    let engine = Engine::new(EngineOptions { calls_max: 8, ..EngineOptions::default() }).expect("an engine");
    let names = ["noop", "trap", "eat_memory"];
    let components = names.map(|name| engine.load(&guest(name)).expect("loads"));
    for turn in 0..1_000 {
        // A trap or a growing memory every few calls: what they leave must go as well.
        let index = match turn % 50 {
            10 => 1,
            20 => 2,
            _ => 0,
        };
        let outcome = RUNTIME.block_on(call("noop").component(&components[index]).start(&engine));
        assert_eq!(matches!(outcome.report.answer, basin_core::event::Answer::Verdict(..)), index == 0, "{turn}");
    }
    assert_eq!(engine.pool_use(), Some(basin_sinks::PoolUse::default()));
}

#[test]
fn a_spinning_sink_delays_nobody() {
    // One thread for both: the spinning call has to give way for the other ones to be made at all.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let budget = BudgetOverride { fuel: Some(u64::MAX), deadline_ms: Some(10_000), ..BudgetOverride::default() };
    let spinner = call("loop_forever").budget(budget);
    component("noop");
    runtime.block_on(async {
        let quick = async {
            // The spinner goes first.
            tokio::task::yield_now().await;
            for _ in 0..5 {
                assert_eq!(call("noop").start(&ENGINE).await.answered().0, &Verdict::Next);
            }
        };
        tokio::select! {
            biased;
            outcome = spinner.start(&ENGINE) => panic!("it spins longer than that: {:?}", outcome.failed()),
            () = quick => {}
        }
    });
}

#[test]
fn under_an_address_space_limit_sinks_run_without_a_pool() {
    // The limit holds for a process, so the test runs another one of itself.
    let run = format!("ulimit -v {}; exec \"$0\" --exact limits::exit_is_a_failure", 12 * 1024 * 1024);
    let output =
        std::process::Command::new("sh").args(["-c", &run]).arg(std::env::current_exe().expect("a path")).output();
    let output = output.expect("sh runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_call_starts_from_nothing() {
    let first = probe("grow|100000\nrandom").run();
    let second = probe("grow|100000\nrandom").run();
    assert_eq!(first.report.usage.fuel, second.report.usage.fuel);
    assert_eq!(first.report.usage.memory, second.report.usage.memory);
    assert_eq!(first.lines(), second.lines());
    assert!(component("probe").imports().iter().any(|import| import.starts_with("wasi:cli/")));
}
