use super::*;
use crate::event::Rule;

const NOW: Timestamp = Timestamp::from_seconds(1_000);

fn sink(name: &str) -> SinkEntry {
    SinkEntry {
        name: name.to_owned(),
        digest: String::new(),
        source: String::new(),
        grants: Grants::default(),
        budget: BudgetOverride::default(),
        secrets: Default::default(),
        config: BTreeMap::new(),
        is_enabled: true,
    }
}

fn binding(name: &str, event: EventKind, rule: &str) -> Binding {
    Binding {
        name: name.to_owned(),
        sink: "one".to_owned(),
        event,
        rule: Rule::parse(rule, event).expect("a rule"),
        priority: crate::event::binding::PRIORITY_DEFAULT,
        listener: None,
        mode: Mode::Decide,
        instance: Default::default(),
        on_failure: event.policies().first().copied().expect("every event has a policy"),
        is_enabled: true,
        expires: None,
        max_firings: None,
        schedule: None,
    }
}

fn registry(bindings: Vec<Binding>) -> Registry {
    Registry::new(1, [sink("one"), sink("two")], bindings).expect("a good registry")
}

fn names(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| asked.binding.name.as_str()).collect()
}

#[test]
fn the_order_is_priority_then_name() {
    let event = EventKind::OnConnect;
    let bindings = [("b", 10), ("a", 10), ("z", 0), ("c", 32_767)]
        .map(|(name, priority)| Binding { priority, ..binding(name, event, "") });
    let registry = registry(bindings.to_vec());
    assert_eq!(names(&registry.plan(event, &Facts::default(), NOW, &|_| 0)), ["z", "a", "b", "c"]);
}

#[test]
fn behind_a_binding_are_those_whose_turn_is_later_whether_or_not_it_fires_itself() {
    let event = EventKind::OnInboundCommand;
    let bindings = [("b", 10), ("a", 10), ("z", 0), ("c", 11), ("y", 12)].map(|(name, priority)| {
        let mode = if name == "y" { Mode::Observe } else { Mode::Decide };
        Binding { priority, mode, ..binding(name, event, if name == "a" { "verb=MAIL" } else { "" }) }
    });
    let registry = registry(bindings.to_vec());
    let behind = |name: &str| {
        let before = registry.active(name).expect("it is switched on").binding;
        registry.plan_behind(&before, &Facts { verb: Some("RCPT"), ..Facts::default() }, NOW, &|_| 0)
    };
    assert_eq!(names(&behind("z")), ["b", "c"]);
    assert_eq!(names(&behind("a")), ["b", "c"]);
    assert_eq!(names(&behind("c")), [""; 0]);
}

#[test]
fn observers_are_apart_from_the_plan_and_at_a_notice_all_observe() {
    let observe = Binding { mode: Mode::Observe, ..binding("observer", EventKind::OnConnect, "") };
    let decide = binding("decider", EventKind::OnConnect, "");
    let notice = binding("notice", EventKind::OnReject, "");
    let registry = registry(vec![observe, decide, notice]);
    let facts = Facts::default();
    let plan = |event| registry.plan(event, &facts, NOW, &|_| 0);
    let observers = |event| registry.observers(event, &facts, NOW, &|_| 0);
    assert_eq!(names(&plan(EventKind::OnConnect)), ["decider"]);
    assert_eq!(names(&observers(EventKind::OnConnect)), ["observer"]);
    assert_eq!(names(&plan(EventKind::OnReject)), [""; 0]);
    assert_eq!(names(&observers(EventKind::OnReject)), ["notice"]);
}

#[test]
fn explain_gives_the_first_reason_of_every_binding_that_does_not_fire() {
    let event = EventKind::OnConnect;
    let base = |name| binding(name, event, "");
    let mut off = sink("two");
    off.is_enabled = false;
    let bindings = vec![
        base("a-fires"),
        Binding { is_enabled: false, ..base("b-off") },
        Binding { sink: "two".into(), ..base("c-sink-off") },
        Binding { listener: Some("mx".into()), ..base("d-listener") },
        Binding { expires: Some(Timestamp::from_seconds(999)), ..base("e-expired") },
        Binding { expires: Some(NOW), ..base("f-expires-now") },
        Binding { max_firings: Some(3), ..base("g-fired") },
        Binding { max_firings: Some(4), ..base("h-one-left") },
        binding("i-rule", event, "client=10.0.0.0/8"),
    ];
    let registry = Registry::new(1, [sink("one"), off], bindings).expect("a good registry");
    let facts = Facts { listener: Some("submission"), client: "192.0.2.1".parse().ok(), ..Facts::default() };
    let rows = registry.explain(event, &facts, NOW, &|_| 3);
    let reasons: Vec<_> = rows.iter().map(|row| row.why_not.as_deref()).collect();
    assert_eq!(
        reasons,
        [
            None,
            Some("the binding is disabled"),
            Some("the sink \"two\" is disabled"),
            Some("it is bound to the listener \"mx\", this is \"submission\""),
            Some("it expired at 1970-01-01T00:16:39Z"),
            None,
            Some("it fired 3 times since the server started, which is its maximum"),
            None,
            Some("its rule wants \"client=10.0.0.0/8\" and found 192.0.2.1"),
        ]
    );
    let plan = registry.plan(event, &facts, NOW, &|_| 3);
    assert_eq!(names(&plan), ["a-fires", "f-expires-now", "h-one-left"], "plan and explain agree");
}

#[test]
fn interest_is_what_somebody_who_is_switched_on_is_bound_to() {
    let off = Binding { is_enabled: false, ..binding("a", EventKind::OnConnect, "") };
    let on = binding("b", EventKind::OnDisconnect, "");
    let interest = registry(vec![off, on]).interest();
    assert!(interest.has(EventKind::OnDisconnect));
    assert!(!interest.has(EventKind::OnConnect));
    assert_eq!(Registry::default().interest(), EventSet::default());
}

#[test]
fn what_cannot_work_is_refused() {
    let event = EventKind::OnConnect;
    let new = |sinks: Vec<SinkEntry>, bindings: Vec<Binding>| {
        Registry::new(1, sinks, bindings).expect_err("a bad registry").to_string()
    };
    let one = || vec![sink("one")];
    for name in ["", "One", "1one", "-one", "o_ne", "../x", &"o".repeat(65)] {
        assert!(new(vec![sink(name)], vec![]).starts_with("sink name"), "{name}");
    }
    assert_eq!(new(vec![sink("one"), sink("one")], vec![]), "there are two sinks \"one\"");
    let twice = vec![binding("a", event, ""), binding("a", EventKind::OnReject, "")];
    assert_eq!(new(one(), twice), "there are two bindings \"a\"");
    assert!(new(one(), vec![binding("a b", event, "")]).starts_with("binding name"));
    let unknown = Binding { sink: "three".into(), ..binding("a", event, "") };
    assert_eq!(new(one(), vec![unknown]), "binding \"a\" is for the sink \"three\", which is not registered");
    let hold = Binding { on_failure: FailurePolicy::Hold, ..binding("a", event, "") };
    assert_eq!(
        new(one(), vec![hold]),
        "binding \"a\": on-connect has no failure policy \"hold\"; it has defer, refuse, skip"
    );
    let late = Binding { priority: PRIORITY_MAX + 1, ..binding("a", event, "") };
    assert!(new(one(), vec![late]).contains("not 32768"));
}

#[test]
fn a_timer_has_a_schedule_and_no_listener_and_nobody_else_has_one() {
    let schedule = || Some("@hourly".parse().expect("a schedule"));
    let refused = |binding: Binding| Registry::new(1, [sink("one")], [binding]).expect_err("refused").to_string();
    let timer = || Binding { schedule: schedule(), ..binding("a", EventKind::OnTimer, "") };
    assert!(Registry::new(1, [sink("one")], [timer()]).is_ok());
    assert!(refused(Binding { schedule: None, ..timer() }).contains("on-timer needs a schedule"));
    assert!(refused(Binding { listener: Some("smtp".into()), ..timer() }).contains("leave the listener out"));
    let track = Binding { listener: Some("smtp".into()), ..binding("a", EventKind::OnTrack, "") };
    assert!(refused(track).contains("leave the listener out"));
    let other = Binding { schedule: schedule(), ..binding("a", EventKind::OnReject, "") };
    assert!(refused(other).contains("on-reject has no schedule"));
}

#[test]
fn input_comes_to_the_binding_that_asked_and_cannot_be_bound() {
    let bound = binding("b", EventKind::OnInboundInput, "");
    let error = Registry::new(1, [sink("one")], [bound]).expect_err("nobody binds it");
    assert!(error.to_string().contains("bind the sink to on-inbound-command"), "{error}");
    let asked = binding("asked", EventKind::OnInboundCommand, "verb=AUTH");
    let off = Binding { is_enabled: false, ..binding("off", EventKind::OnInboundCommand, "") };
    let registry = registry(vec![asked, off]);
    assert!(registry.active("asked").is_some_and(|asked| asked.binding.name == "asked"));
    assert!(registry.active("off").is_none() && registry.active("gone").is_none());
}

#[test]
fn a_shadow_needs_a_decision_and_a_kept_instance_something_to_be_kept_for() {
    let new = |binding| Registry::new(1, [sink("one")], [binding]).map(|_| ()).map_err(|error| error.to_string());
    let shadow = |event| new(Binding { mode: Mode::Shadow, ..binding("a", event, "") });
    assert_eq!(shadow(EventKind::OnConnect), Ok(()));
    assert!(shadow(EventKind::OnReject).is_err_and(|error| error.contains("nothing to shadow")));
    let kept = |event, instance| new(Binding { instance, ..binding("a", event, "") });
    for instance in [InstanceMode::Transaction, InstanceMode::Session] {
        assert_eq!(kept(EventKind::OnDisconnect, instance), Ok(()));
        assert!(kept(EventKind::OnSubmission, instance).is_err_and(|error| error.contains("there is no session")));
    }
    assert_eq!(kept(EventKind::OnSubmission, InstanceMode::Warm), Ok(()));
}

#[test]
fn a_shadow_stands_in_the_plan_at_its_place() {
    let event = EventKind::OnConnect;
    let of = |name, mode, priority| Binding { mode, priority, ..binding(name, event, "") };
    let bindings =
        vec![of("decides", Mode::Decide, 2), of("shadow", Mode::Shadow, 1), of("observes", Mode::Observe, 0)];
    let registry = registry(bindings);
    assert_eq!(names(&registry.plan(event, &Facts::default(), NOW, &|_| 0)), ["shadow", "decides"]);
}

#[test]
fn a_rule_about_a_tracking_record_asks_what_it_says() {
    let facts = crate::event::TrackFacts {
        kind: "deferred".to_owned(),
        at: NOW,
        message_id: "m".to_owned(),
        sender: "a@client.example".to_owned(),
        recipient: Some("b@basin.example".to_owned()),
        remote: None,
        reply: Some(crate::reply::Reply::with(450, 2, 0, "busy")),
        size: 2_000,
        elapsed: core::time::Duration::ZERO,
    };
    let event = EventKind::OnTrack;
    let occasion = crate::event::Occasion { track: Some(Arc::new(facts)), ..crate::event::Occasion::of(event, NOW) };
    let (occasion, overlay) = (Arc::new(occasion), crate::event::Overlay::default());
    let question = crate::event::Question { occasion, overlay, can_fail: true, only: None, rest: None };
    let fires = |rule: &str| {
        let registry = registry(vec![binding("a", event, rule)]);
        !registry.observers(event, &question.facts(), NOW, &|_| 0).is_empty()
    };
    for rule in ["", "rcpt to=*@basin.example", "mail from=a@*;size>1000", "code=4*", "code!=5*"] {
        assert!(fires(rule), "{rule}");
    }
    for rule in ["rcpt to=c@*", "mail from=<>", "size>2000", "code=5*"] {
        assert!(!fires(rule), "{rule}");
    }
}
