use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(&format!("2026-11-22T{text}Z")).expect("a moment")
}

fn cron(text: &str) -> Cron {
    text.parse().expect("a schedule")
}

fn timers(schedule: &str, now: &str) -> Timers {
    let mut timers = Timers::default();
    timers.arrange([("a".to_owned(), cron(schedule), None)], at(now));
    timers
}

fn due(timers: &mut Timers, now: &str) -> Vec<String> {
    timers.due(at(now), |_| true).into_iter().map(|due| due.at.to_rfc3339()).collect()
}

#[test]
fn a_timer_is_due_once_at_its_time() {
    let mut timers = timers("*/5 * * * *", "12:00:00");
    assert_eq!(timers.next(), Some(at("12:05:00")));
    assert!(due(&mut timers, "12:04:59").is_empty());
    assert_eq!(due(&mut timers, "12:05:00"), ["2026-11-22T12:05:00Z"]);
    timers.ended("a");
    assert!(due(&mut timers, "12:05:01").is_empty());
    let facts = timers.facts("a").expect("it is there");
    assert_eq!((facts.next, facts.last, facts.is_running), (Some(at("12:10:00")), Some(at("12:05:00")), false));
    assert_eq!(timers.facts("b"), None);
}

#[test]
fn what_was_slept_over_is_one_call() {
    let mut timers = timers("* * * * *", "12:00:30");
    assert_eq!(due(&mut timers, "18:00:20"), ["2026-11-22T12:01:00Z"]);
    timers.ended("a");
    assert!(due(&mut timers, "18:00:59").is_empty());
    assert_eq!(due(&mut timers, "18:01:00"), ["2026-11-22T18:01:00Z"]);
    assert_eq!(timers.facts("a").expect("it is there").left_out, 0);
}

#[test]
fn a_call_that_is_due_while_the_last_one_runs_is_left_out_and_counted() {
    let mut timers = timers("* * * * *", "12:00:00");
    assert_eq!(due(&mut timers, "12:01:00").len(), 1);
    assert!(due(&mut timers, "12:02:00").is_empty());
    assert!(due(&mut timers, "12:03:00").is_empty());
    let facts = timers.facts("a").expect("it is there");
    assert_eq!((facts.left_out, facts.is_running, facts.last), (2, true, Some(at("12:01:00"))));
    timers.ended("a");
    assert!(due(&mut timers, "12:03:30").is_empty(), "what was left out is not made up for");
    assert_eq!(due(&mut timers, "12:04:00").len(), 1);
}

#[test]
fn a_clock_that_is_set_back_a_little_repeats_nothing_and_one_that_was_wrong_is_forgotten() {
    let mut timers = timers("0 * * * *", "12:30:00");
    assert_eq!(due(&mut timers, "13:00:00").len(), 1);
    timers.ended("a");
    assert!(due(&mut timers, "12:59:00").is_empty());
    assert!(due(&mut timers, "13:00:00").is_empty());
    assert_eq!(timers.next(), Some(at("14:00:00")));
    assert!(due(&mut timers, "06:30:00").is_empty());
    assert_eq!(timers.next(), Some(at("07:00:00")));
}

#[test]
fn a_reload_leaves_what_is_the_same_alone_and_begins_what_is_new() {
    let mut timers = timers("0 * * * *", "12:30:00");
    let (same, other) = (cron("0 * * * *"), cron("*/10 * * * *"));
    timers.arrange([("a".to_owned(), same, None), ("b".to_owned(), other.clone(), None)], at("13:05:00"));
    assert_eq!(due(&mut timers, "13:05:00"), ["2026-11-22T13:00:00Z"], "it was due before the reload");
    assert_eq!(timers.facts("b").and_then(|facts| facts.next), Some(at("13:10:00")));
    timers.arrange([("a".to_owned(), other, None)], at("13:06:00"));
    let facts = timers.facts("a").expect("it is there");
    assert_eq!((facts.next, facts.last, facts.is_running), (Some(at("13:10:00")), Some(at("13:05:00")), true));
    assert!(!timers.contains("b"));
    assert!(due(&mut timers, "13:10:00").is_empty(), "the call of before still runs");
}

#[test]
fn after_a_start_a_timer_is_due_as_if_the_server_had_run_since() {
    let arranged = |ran: &str| {
        let mut timers = Timers::default();
        timers.arrange([("a".to_owned(), cron("0 7 * * *"), Some(at(ran)))], at("09:00:00"));
        timers.next().map(Timestamp::to_rfc3339)
    };
    assert_eq!(arranged("06:00:00").as_deref(), Some("2026-11-22T07:00:00Z"));
    assert_eq!(arranged("08:00:00").as_deref(), Some("2026-11-23T07:00:00Z"));
    assert_eq!(arranged("23:00:00").as_deref(), Some("2026-11-23T07:00:00Z"), "a clock that was ahead");
}

#[test]
fn what_does_not_fire_passes() {
    let mut timers = timers("0 * * * *", "12:30:00");
    assert!(timers.due(at("13:00:00"), |_| false).is_empty());
    assert!(due(&mut timers, "13:01:00").is_empty());
    let facts = timers.facts("a").expect("it is there");
    assert_eq!((facts.last, facts.is_running, facts.left_out), (None, false, 0));
}

#[test]
fn a_mark_is_read_as_it_was_written() {
    let mark = Mark { at: at("12:00:00"), batches: 7, schedule: "*/5 * * * *".to_owned() };
    let (timer, mut edits) = (timer_id("digest/on-timer"), TableEdits::default());
    mark.join(&timer, &mut edits);
    let edit = edits.of(MARKS, timer.as_str()).expect("it is there");
    assert_eq!(Mark::parse(&edit.value.as_ref().expect("set").octets), Some(mark));
    assert_eq!(Mark::parse(b"7"), None);
    assert!(is_timer(&timer) && timer != timer_id("digest/on-timer/2"));
    assert!(!is_timer(&MessageId::new(at("12:00:00"), 1)));
}

#[test]
fn a_call_out_of_turn_changes_nothing_about_the_next_one_and_waits_for_none() {
    let mut timers = timers("0 * * * *", "12:30:00");
    assert!(timers.begin("a", at("12:40:00")));
    assert!(!timers.begin("a", at("12:41:00")) && !timers.begin("b", at("12:41:00")));
    let facts = timers.facts("a").expect("it is there");
    assert_eq!((facts.next, facts.last, facts.is_running), (Some(at("13:00:00")), Some(at("12:40:00")), true));
    timers.ended("a");
    assert_eq!(due(&mut timers, "13:00:00").len(), 1);
}
