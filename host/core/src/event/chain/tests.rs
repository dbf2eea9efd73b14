use core::time::Duration;

use super::*;
use crate::addr::Address;
use crate::event::{Mode, Rule};
use crate::mail::{Arrival, Envelope, Message, MessageId, Origin};
use crate::time::Timestamp;

fn binding(name: &str, on_failure: FailurePolicy) -> Asked {
    let binding = Binding {
        name: name.to_owned(),
        sink: "filter".to_owned(),
        event: EventKind::OnEndOfData,
        rule: Rule::default(),
        priority: 1,
        listener: None,
        mode: Mode::Decide,
        instance: Default::default(),
        on_failure,
        is_enabled: true,
        expires: None,
        max_firings: None,
        schedule: None,
    };
    Asked { binding: Arc::new(binding), matched: None }
}

fn plan(names: &[&str]) -> Vec<Asked> {
    names.iter().map(|name| binding(name, FailurePolicy::Defer)).collect()
}

fn failure(kind: FailureKind) -> Answer {
    Answer::Failed(Failure { kind, detail: String::new(), backtrace: Vec::new(), stderr: String::new(), fuel: 0 })
}

fn overlay() -> Overlay {
    let arrival = Arrival {
        origin: Origin::Smtp,
        at: Timestamp::from_seconds(0),
        listener: "mx".into(),
        client: None,
        server: None,
        helo: None,
        is_esmtp: true,
        session: None,
        depth: 0,
        vouched: Default::default(),
    };
    let id = MessageId::parse("m").expect("an id");
    let envelope = Envelope::new(Address::parse("a@b.example").ok());
    Overlay { message: Some(Message::new(id, arrival, envelope)), ..Overlay::default() }
}

fn occasion(event: EventKind) -> Arc<Occasion> {
    Arc::new(Occasion::of(event, Timestamp::default()))
}

// Runs a chain with what `answer` says for each binding.
fn run(event: EventKind, plan: Vec<Asked>, mut answer: impl FnMut(&str, Box<Overlay>) -> Answer) -> Decision {
    let mut step = Chain::start(occasion(event), plan, overlay(), true);
    loop {
        step = match step {
            ChainStep::Ask(chain, asked, overlay) => chain.answer(answer(&asked.binding.name, overlay)),
            ChainStep::Decided(decision, _) => return *decision,
        }
    }
}

// A sink's edit: it leaves its name in the banner and one more on the priority.
fn edited(name: &str, mut overlay: Box<Overlay>) -> Box<Overlay> {
    overlay.banner = Some(format!("{}{name}", overlay.banner.unwrap_or_default()));
    if let Some(message) = &mut overlay.message {
        message.priority += 1;
    }
    overlay
}

fn marks(decision: &Decision) -> (String, i32) {
    let priority = decision.overlay.message.as_ref().map_or(0, |message| message.priority);
    (decision.overlay.banner.clone().unwrap_or_default(), priority)
}

fn refusal() -> Verdict {
    Verdict::Refuse(Reply::with(550, 7, 1, "no"))
}

#[test]
fn an_empty_plan_decides_next_and_changes_nothing() {
    let decision = run(EventKind::OnEndOfData, Vec::new(), |_, _| failure(FailureKind::Host));
    assert_eq!(
        (decision.verdict.clone(), decision.by.clone(), marks(&decision)),
        (Verdict::Next, None, ("".into(), 0))
    );
}

#[test]
fn sinks_are_asked_in_order_and_each_sees_the_edits_before_it() {
    let mut seen = Vec::new();
    let decision = run(EventKind::OnEndOfData, plan(&["a", "b", "c"]), |name, overlay| {
        seen.push(overlay.banner.clone().unwrap_or_default());
        Answer::Verdict(Verdict::Next, edited(name, overlay))
    });
    assert_eq!(seen, ["", "a", "ab"]);
    assert_eq!((decision.by.as_deref(), marks(&decision)), (None, ("abc".into(), 3)));
}

#[test]
fn the_first_verdict_that_is_not_next_ends_the_chain() {
    for verdict in [
        Verdict::SkipRemaining,
        refusal(),
        Verdict::DropSession(Reply::with(554, 7, 1, "go")),
        Verdict::Discard,
        Verdict::Hold("why".into()),
    ] {
        let mut asked = Vec::new();
        let decision = run(EventKind::OnEndOfData, plan(&["a", "b", "c"]), |name, overlay| {
            asked.push(name.to_owned());
            Answer::Verdict(if name == "b" { verdict.clone() } else { Verdict::Next }, edited(name, overlay))
        });
        assert_eq!(asked, ["a", "b"], "{verdict:?}");
        assert_eq!((decision.verdict, decision.by.as_deref()), (verdict, Some("b")));
    }
}

#[test]
fn refuse_drop_and_defer_drop_every_edit_and_hold_discard_and_skip_keep_them() {
    let later = Later { reply: Reply::with(451, 7, 1, "later"), after: Duration::from_secs(1) };
    for (event, verdict, kept) in [
        (EventKind::OnEndOfData, refusal(), ""),
        (EventKind::OnEndOfData, Verdict::DropSession(Reply::with(421, 7, 0, "go")), ""),
        (EventKind::OnSubmission, Verdict::Defer(later), ""),
        (EventKind::OnSubmission, Verdict::Hold("why".into()), "ab"),
        (EventKind::OnSubmission, Verdict::BadMail("why".into()), "ab"),
        (EventKind::OnSubmission, Verdict::Discard, "ab"),
        (EventKind::OnEndOfData, Verdict::SkipRemaining, "ab"),
        (EventKind::OnInboundCommand, Verdict::Consume(Reply::new(250, None, "done")), "ab"),
    ] {
        let decision = run(event, plan(&["a", "b"]), |name, overlay| {
            Answer::Verdict(if name == "b" { verdict.clone() } else { Verdict::Next }, edited(name, overlay))
        });
        let priority = i32::try_from(kept.len()).expect("small");
        assert_eq!(marks(&decision), (kept.to_owned(), priority), "{verdict:?}");
    }
}

#[test]
fn a_refusal_keeps_how_the_reply_is_sent() {
    let decision = run(EventKind::OnInboundCommand, plan(&["a"]), |_, mut overlay| {
        overlay.delay = Duration::from_secs(3);
        overlay.is_protocol_error = true;
        overlay.appended.push("gone".into());
        Answer::Verdict(refusal(), overlay)
    });
    assert_eq!((decision.overlay.delay, decision.overlay.is_protocol_error), (Duration::from_secs(3), true));
    assert_eq!(decision.overlay.appended, [""; 0]);
}

#[test]
fn the_sinks_of_a_chain_cannot_delay_longer_than_one() {
    let decision = run(EventKind::OnInboundCommand, plan(&["a", "b", "c"]), |_, mut overlay| {
        overlay.delay += Duration::from_secs(25);
        Answer::Verdict(Verdict::Next, overlay)
    });
    assert_eq!(decision.overlay.delay, RESPONSE_DELAY_MAX);
}

#[test]
fn edits_of_a_failing_sink_vanish_and_those_of_others_stay() {
    let skip = |name| binding(name, FailurePolicy::Skip);
    let mut seen = Vec::new();
    let decision = run(EventKind::OnEndOfData, vec![skip("a"), skip("b"), skip("c")], |name, overlay| {
        seen.push(overlay.banner.clone().unwrap_or_default());
        let overlay = edited(name, overlay);
        if name == "b" { failure(FailureKind::Trap) } else { Answer::Verdict(Verdict::Next, overlay) }
    });
    assert_eq!(seen, ["", "a", "a"]);
    assert_eq!((marks(&decision), decision.verdict), (("ac".into(), 2), Verdict::Next));
    assert_eq!(decision.failures.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_policy_of_hold_keeps_the_edits_of_the_sinks_before() {
    let plan = vec![binding("a", FailurePolicy::Hold), binding("b", FailurePolicy::Hold)];
    let decision = run(EventKind::OnEndOfData, plan, |name, overlay| {
        let overlay = edited(name, overlay);
        if name == "b" { failure(FailureKind::Fuel) } else { Answer::Verdict(Verdict::Next, overlay) }
    });
    assert_eq!((marks(&decision), decision.by.as_deref()), (("a".into(), 1), Some("b")));
    assert_eq!(decision.verdict, Verdict::Hold("sink filter failed: fuel".into()));
}

// What the table of docs/events promises: event, policy, and the verdict with its code.
fn promised(event: EventKind, policy: FailurePolicy) -> &'static str {
    use EventKind as E;
    match (policy, event) {
        (FailurePolicy::Skip, _) => "next",
        (FailurePolicy::Hold, _) => "hold",
        (FailurePolicy::Defer, E::OnConnect) => "refuse 421",
        (
            FailurePolicy::Defer,
            E::OnSubmission
            | E::OnPreCategorize
            | E::OnCategorize
            | E::OnPostCategorize
            | E::OnRoute
            | E::OnDnsResolve
            | E::OnLocalDelivery,
        ) => "defer 451",
        (FailurePolicy::Defer, event) if event.is_outbound() => "drop-session 451",
        (FailurePolicy::Defer, _) => "refuse 451",
        (FailurePolicy::Refuse, E::OnAuthenticated | E::OnInboundCommand | E::OnInboundInput) => "refuse 550",
        (FailurePolicy::Refuse | FailurePolicy::Fail, _) => "refuse 554",
    }
}

#[test]
fn every_event_has_the_policies_that_its_row_promises() {
    for event in EventKind::ALL.iter().copied() {
        for policy in event.policies().iter().copied() {
            let decision = run(event, vec![binding("a", policy)], |_, _| failure(FailureKind::Deadline));
            let code = decision.verdict.reply().map(|reply| format!(" {}", reply.code())).unwrap_or_default();
            let got = format!("{}{code}", decision.verdict.word());
            assert_eq!(got, promised(event, policy), "{event} {policy:?}");
            assert_eq!(decision.failures.len(), 1, "{event}: the failure is reported whatever the policy");
        }
    }
}

#[test]
fn a_notice_is_never_stopped_by_a_failure() {
    for event in EventKind::ALL.iter().copied().filter(|event| event.is_notice()) {
        let mut asked = 0;
        let decision = run(event, plan(&["a", "b"]), |_, _| {
            asked += 1;
            failure(FailureKind::Trap)
        });
        assert_eq!((asked, decision.verdict), (2, Verdict::Next), "{event}");
    }
}

#[test]
fn a_command_that_must_work_is_never_failed_by_a_sink() {
    let step = Chain::start(occasion(EventKind::OnInboundCommand), plan(&["a"]), overlay(), false);
    let ChainStep::Ask(chain, _, _) = step else { unreachable!("the plan has a sink") };
    let ChainStep::Decided(decision, _) = chain.answer(failure(FailureKind::Trap)) else {
        unreachable!("the plan has one sink")
    };
    assert_eq!((decision.verdict, decision.failures.len()), (Verdict::Next, 1));
}

#[test]
fn a_verdict_that_the_event_does_not_allow_is_a_failure_of_the_sink() {
    for (event, verdict) in [
        (EventKind::OnConnect, Verdict::Discard),
        (EventKind::OnEndOfData, Verdict::Accept),
        (EventKind::OnSubmission, Verdict::DropSession(Reply::with(554, 7, 1, "go"))),
        (EventKind::OnEndOfData, Verdict::Refuse(Reply::new(250, None, "taken, not"))),
        (EventKind::OnSubmission, Verdict::Refuse(Reply::with(451, 7, 1, "nobody waits for this"))),
        (EventKind::OnEndOfData, Verdict::DropSession(Reply::with(451, 7, 1, "neither 421 nor 5yz"))),
        (EventKind::OnInboundCommand, Verdict::AwaitInput(Reply::new(250, None, "go on"))),
        (EventKind::OnInboundCommand, Verdict::Consume(Reply::new(354, None, "go on"))),
    ] {
        let skip = vec![binding("a", FailurePolicy::Skip)];
        let decision = run(event, skip, |name, overlay| Answer::Verdict(verdict.clone(), edited(name, overlay)));
        assert_eq!(
            (decision.verdict.clone(), marks(&decision)),
            (Verdict::Next, ("".into(), 0)),
            "{event} {verdict:?}"
        );
        assert_eq!(decision.failures.first().map(|(_, failure)| failure.kind), Some(FailureKind::Verdict));
    }
}

#[test]
fn what_one_rule_selected_is_not_seen_by_the_next_sink_nor_left_in_the_decision() {
    let mut first = binding("a", FailurePolicy::Defer);
    first.matched = Some(Arc::from([7]));
    let mut seen = Vec::new();
    let decision = run(EventKind::OnEndOfData, vec![first, binding("b", FailurePolicy::Defer)], |_, overlay| {
        seen.push(overlay.matched.clone());
        Answer::Verdict(Verdict::Next, overlay)
    });
    assert_eq!(seen, [Some(Arc::from([7])), None]);
    assert_eq!(decision.overlay.matched, None);
}

#[test]
fn a_shadow_gets_what_a_sink_at_its_place_would_get_and_is_not_asked() {
    let shadow = |name: &str| {
        let asked = binding(name, FailurePolicy::Defer);
        Asked { binding: Arc::new(Binding { mode: Mode::Shadow, ..(*asked.binding).clone() }), ..asked }
    };
    let decider = |name: &str| binding(name, FailurePolicy::Defer);
    let plan = vec![shadow("s1"), decider("a"), shadow("s2"), decider("b"), shadow("s3"), decider("c")];
    let mut step = Chain::start(occasion(EventKind::OnEndOfData), plan, overlay(), true);
    let mut asked_names = Vec::new();
    let (decision, shadows) = loop {
        step = match step {
            ChainStep::Ask(chain, asked, overlay) => {
                let name = asked.binding.name.clone();
                let verdict = if name == "b" { refusal() } else { Verdict::Next };
                let answer = Answer::Verdict(verdict, edited(&name, overlay));
                asked_names.push(name);
                chain.answer(answer)
            }
            ChainStep::Decided(decision, shadows) => break (decision, shadows),
        }
    };
    assert_eq!((asked_names, decision.by.as_deref()), (vec!["a".to_owned(), "b".to_owned()], Some("b")));
    let seen: Vec<_> = shadows
        .iter()
        .map(|shadow| (shadow.asked.binding.name.as_str(), shadow.overlay.banner.clone().unwrap_or_default()))
        .collect();
    assert_eq!(seen, [("s1", String::new()), ("s2", "a".to_owned())], "the chain ended before the third");
}

#[test]
fn who_a_client_is_says_the_sink_that_consumes_and_no_other_one() {
    let login = |consumer: &str, by: &str| {
        let decision = run(EventKind::OnInboundCommand, plan(&["a", "b"]), |name, mut overlay| {
            if name == by {
                overlay.authenticated = Some(crate::mail::Auth { user: "carol".into(), mechanism: "X-OWN".into() });
            }
            let yes = Verdict::Consume(Reply::with(235, 7, 0, "welcome"));
            Answer::Verdict(if name == consumer { yes } else { Verdict::Next }, overlay)
        });
        decision.overlay.authenticated.map(|auth| auth.user)
    };
    assert_eq!(login("b", "b").as_deref(), Some("carol"));
    assert_eq!(login("b", "a"), None);
    assert_eq!(login("nobody", "b"), None);
}

// Goes on with a chain whose asking binding hears input, over `behind`; what was asked of whom, and the decision.
fn go_on(behind: &[&str], mut answer: impl FnMut(&str) -> Verdict) -> (Vec<String>, Decision) {
    let mut about = Occasion::of(EventKind::OnInboundInput, Timestamp::default());
    about.input = crate::secret::Secret::new(b"the answer");
    about.idempotency_key = "1-2-on-inbound-input".to_owned();
    let behind = Behind { occasion: Arc::new(about.without_input()), plan: plan(behind) };
    let by = binding("asker", FailurePolicy::Defer);
    let mut step = Chain::go_on(Arc::new(about), by, behind, overlay(), true);
    let mut asked_for = Vec::new();
    loop {
        step = match step {
            ChainStep::Ask(chain, asked, overlay) => {
                let (name, Occasion { idempotency_key, input, .. }) = (&asked.binding.name, chain.occasion().as_ref());
                let input = String::from_utf8_lossy(input.reveal()).into_owned();
                asked_for.push(format!("{name} {idempotency_key} {input}"));
                let verdict = answer(name);
                chain.answer(Answer::Verdict(verdict, edited(name, overlay)))
            }
            ChainStep::Decided(decision, _) => return (asked_for, *decision),
        }
    }
}

#[test]
fn behind_the_sink_that_heard_its_input_the_others_are_asked_about_the_command() {
    let (asked, decision) = go_on(&["b", "c"], |_| Verdict::Next);
    let heard = "asker 1-2-on-inbound-input the answer";
    assert_eq!(asked, [heard, "b 1-2-on-inbound-command ", "c 1-2-on-inbound-command "]);
    assert_eq!((decision.verdict.clone(), marks(&decision)), (Verdict::Next, ("askerbc".into(), 3)));

    let (asked, decision) = go_on(&["b", "c"], |name| if name == "b" { refusal() } else { Verdict::Next });
    assert_eq!(asked.len(), 2);
    assert_eq!((decision.by.as_deref(), marks(&decision)), (Some("b"), ("".into(), 0)), "of one chain nothing is left");

    let (asked, decision) = go_on(&["b"], |_| Verdict::Consume(Reply::with(250, 0, 0, "done")));
    assert_eq!((asked.len(), decision.by.as_deref()), (1, Some("asker")), "whoever ends it is the last");
}

#[test]
fn no_sink_asks_for_input_where_the_client_means_something_else_by_what_follows() {
    let asks = || Verdict::AwaitInput(Reply::new(354, None, "go on"));
    for (verb, may) in [
        ("MAIL", true),
        ("AUTH", true),
        ("XOWN", true),
        ("DATA", false),
        ("BDAT", false),
        ("STARTTLS", false),
        ("XCLIENT", false),
        ("QUIT", false),
    ] {
        let decision = run(EventKind::OnInboundCommand, vec![binding("a", FailurePolicy::Refuse)], |_, mut overlay| {
            overlay.command = Some(Arc::new(crate::event::Command { keyword: verb.into(), ..Default::default() }));
            Answer::Verdict(asks(), overlay)
        });
        assert_eq!((decision.verdict == asks(), decision.failures.is_empty()), (may, may), "{verb}");
    }
}
