//! Instances that outlive a call: what survives in them, what does not, and that limits hold for each call.

use std::sync::Arc;

use basin_core::event::{BudgetOverride, EventKind, FailureKind, InstanceMode};
use basin_core::mail::MessageId;
use basin_sinks::{Component, Engine, EngineOptions, Scopes};

use crate::stage::{Call, ENGINE, NOW, RUNTIME, guest, probe};

fn id(number: u64) -> MessageId {
    MessageId::new(NOW, number)
}

fn kept(script: &str, mode: InstanceMode, scopes: &Scopes) -> Call {
    probe(script).instance(mode, Some(scopes))
}

#[test]
fn what_a_sink_remembers_lives_as_long_as_its_session() {
    let mut session = ENGINE.instances();
    let scopes = session.scopes(None);
    let calls =
        |event| kept("calls", InstanceMode::Session, &scopes).all_grants().at(event).run().lines()[0].to_owned();
    assert_eq!(calls(EventKind::OnConnect), "calls: 1");
    assert_eq!(calls(EventKind::OnEndOfData), "calls: 2", "all bindings of the sink share it");
    let mut other = ENGINE.instances();
    let outcome = kept("calls", InstanceMode::Session, &other.scopes(None)).run();
    assert_eq!(outcome.lines(), ["calls: 1"], "another session has another");
    let observed = kept("calls", InstanceMode::Session, &scopes).read_only().run();
    assert_eq!(observed.lines(), ["calls: 1"], "who is told has an instance of its own");
    let end = kept("calls", InstanceMode::Session, &scopes).at(EventKind::OnDisconnect).run();
    assert_eq!(end.lines(), ["calls: 3"], "the end is told to the one that decided");
    assert_eq!(probe("calls").run().lines(), ["calls: 1"], "without a word an instance lives for a call");
}

#[test]
fn a_transaction_ends_with_its_message() {
    let mut session = ENGINE.instances();
    let mut calls = |message: Option<u64>| {
        let message = message.map(id);
        let scopes = session.scopes(message.as_ref());
        kept("calls", InstanceMode::Transaction, &scopes).run().lines()[0].to_owned()
    };
    assert_eq!((calls(Some(1)), calls(Some(1))), ("calls: 1".into(), "calls: 2".into()));
    assert_eq!(calls(Some(2)), "calls: 1", "another message");
    assert_eq!(calls(None), "calls: 1", "outside of a transaction there is nothing to live as long as");
    assert_eq!(calls(None), "calls: 1");
    let scopes = session.scopes(Some(&id(3)));
    kept("calls", InstanceMode::Transaction, &scopes).run();
    session.end_transaction();
    let scopes = session.scopes(Some(&id(3)));
    assert_eq!(kept("calls", InstanceMode::Transaction, &scopes).run().lines(), ["calls: 1"], "it was over");
}

// An engine of its own, so that nobody else keeps instances in it, and what it runs.
fn engine(calls_max: u32) -> (Engine, Arc<Component>) {
    let engine = Engine::new(EngineOptions { calls_max, ..EngineOptions::default() }).expect("an engine");
    let component = engine.load(&guest("probe")).expect("a component");
    (engine, component)
}

#[test]
fn a_warm_instance_serves_whoever_comes_and_a_failure_ends_it() {
    let (engine, component) = engine(8);
    let run = |script: &str, event| {
        let call = probe(script).component(&component).instance(InstanceMode::Warm, None).at(event);
        RUNTIME.block_on(call.start(&engine))
    };
    assert_eq!(run("calls", EventKind::OnConnect).lines(), ["calls: 1"]);
    assert_eq!(run("calls", EventKind::OnSubmission).lines(), ["calls: 2"]);
    assert_eq!(engine.instances_kept(), 1);
    for (script, kind) in [
        ("panic", FailureKind::Panic),
        ("recurse|10000000", FailureKind::Stack),
        ("exit", FailureKind::Exit),
        ("sender", FailureKind::Denied),
    ] {
        run("calls", EventKind::OnConnect);
        assert_eq!(run(script, EventKind::OnEndOfData).failed().kind, kind);
        assert_eq!(engine.instances_kept(), 0, "{script}");
        assert_eq!(run("calls", EventKind::OnConnect).lines(), ["calls: 1"], "a fresh one after {script}");
    }
    let refused = probe("").component(&component).instance(InstanceMode::Warm, None).verdict("refuse 250 - x");
    assert_eq!(RUNTIME.block_on(refused.start(&engine)).failed().kind, FailureKind::Verdict);
    assert_eq!(engine.instances_kept(), 0, "a verdict that is not allowed is a failure too");
}

#[test]
fn a_call_that_is_cut_off_leaves_no_instance() {
    let (engine, component) = engine(8);
    let call = |script: &str| {
        let budget = BudgetOverride { deadline_ms: Some(50), fuel: Some(40_000_000_000), ..BudgetOverride::default() };
        probe(script).component(&component).instance(InstanceMode::Warm, None).budget(budget)
    };
    RUNTIME.block_on(async {
        call("calls").start(&engine).await;
        let cut = tokio::time::timeout(core::time::Duration::from_millis(5), call("sleep|600000").start(&engine)).await;
        assert!(cut.is_err() && engine.instances_kept() == 0);
        assert_eq!(call("calls").start(&engine).await.lines(), ["calls: 1"]);
    });
    let late = RUNTIME.block_on(call("recurse|10\ncall-many|100000000").start(&engine));
    assert_eq!(late.failed().kind, FailureKind::Deadline);
    assert_eq!(engine.instances_kept(), 0);
}

#[test]
fn a_handle_of_an_earlier_call_ends_the_call() {
    let mut session = ENGINE.instances();
    let scopes = session.scopes(None);
    let run = |script: &str| kept(script, InstanceMode::Session, &scopes).all_grants().run();
    assert!(run("keep-recipient\nuse-kept").lines()[1].contains("b@basin.example"), "it is good in its own call");
    let outcome = run("use-kept");
    assert_eq!(outcome.failed().kind, FailureKind::Trap);
    assert!(outcome.failed().detail.contains("a handle of an earlier call"), "{}", outcome.failed().detail);
    run("keep-recipient\ncalls");
    assert_eq!(run("drop-kept\ncalls").lines(), ["drop-kept: 1", "calls: 2"], "to let go of one is no use of it");
}

#[test]
fn a_result_of_an_earlier_verification_ends_the_call() {
    let mut session = ENGINE.instances();
    let scopes = session.scopes(None);
    let run = |script: &str| kept(script, InstanceMode::Session, &scopes).all_grants().run();
    assert_eq!(run("keep-result|spf\nuse-kept-result").lines()[1], "use-kept-result: \"pass\"");
    // It does not become the result that has its place in the next call.
    let outcome = run("verify|spf\nuse-kept-result");
    assert_eq!(outcome.failed().kind, FailureKind::Trap);
    assert!(outcome.failed().detail.contains("a handle of an earlier call"), "{}", outcome.failed().detail);
    run("keep-result|spf\ncalls");
    assert_eq!(run("drop-kept-result\ncalls").lines(), ["drop-kept-result: 1", "calls: 2"]);
}

#[test]
fn fuel_log_and_output_are_counted_for_each_call_and_memory_for_the_instance() {
    let mut session = ENGINE.instances();
    let scopes = session.scopes(None);
    let run = |script: &str| kept(script, InstanceMode::Session, &scopes).run();
    let first = run("fill-log|15\nprint|x|1000\nrecurse|1000");
    let second = run("fill-log|15\nprint|y|1000\nrecurse|1000");
    assert_eq!(second.log.len(), first.log.len(), "each call has its own share of the log");
    assert_eq!((first.report.stdout.len(), second.report.stdout.as_str()), (1_000, &*"y".repeat(1_000)));
    let (one, other) = (first.report.usage, second.report.usage);
    assert!(other.fuel > 0 && other.fuel <= one.fuel, "the second need not start: {} after {}", other.fuel, one.fuel);
    assert_eq!(second.report.usage.instantiate, core::time::Duration::ZERO);
    let fuel = BudgetOverride { fuel: Some(3_000_000), ..BudgetOverride::default() };
    for _ in 0..3 {
        let outcome = kept("call-many|400", InstanceMode::Session, &scopes).budget(fuel).run();
        outcome.answered();
    }
    let memory = BudgetOverride { memory: Some(8 * 1024 * 1024), ..BudgetOverride::default() };
    let hoard = || kept("hoard|3000000", InstanceMode::Session, &scopes).budget(memory).run();
    hoard().answered();
    hoard().answered();
    assert_eq!(hoard().failed().kind, FailureKind::Memory, "what it has grown to counts on");
    hoard().answered();
}

#[test]
fn room_is_bounded_and_the_longest_unused_goes_first() {
    let (engine, component) = engine(8);
    let mut sessions: Vec<_> = (0..3).map(|_| engine.instances()).collect();
    let scopes: Vec<_> = sessions.iter_mut().map(|session| session.scopes(None)).collect();
    let calls = |session: usize| {
        let call = probe("calls").component(&component).instance(InstanceMode::Session, Some(&scopes[session]));
        RUNTIME.block_on(call.start(&engine)).lines()[0].to_owned()
    };
    assert_eq!((calls(0), calls(1)), ("calls: 1".into(), "calls: 1".into()));
    assert_eq!(calls(0), "calls: 2");
    assert_eq!((calls(2), engine.instances_kept()), ("calls: 1".into(), 2), "a quarter of eight");
    assert_eq!((calls(0), calls(1)), ("calls: 3".into(), "calls: 1".into()), "the second made room");
    drop(sessions);
    assert_eq!(engine.instances_kept(), 2, "who is still to be told holds the session");
    drop(scopes);
    assert_eq!(engine.instances_kept(), 0);
    assert_eq!(engine.pool_use(), Some(basin_sinks::PoolUse::default()));
}

#[test]
fn a_shadow_edits_a_copy_and_shares_no_instance_with_those_that_decide() {
    let mut session = ENGINE.instances();
    let scopes = session.scopes(None);
    let run = |script: &str| kept(script, InstanceMode::Session, &scopes).all_grants();
    run("calls").run();
    let outcome = run("calls\nadd-header|X-Shadow|yes").shadow().run();
    assert_eq!(outcome.lines(), ["calls: 1", "add-header: ok ()"]);
    assert!(outcome.header().contains("X-Shadow: yes"));
}
