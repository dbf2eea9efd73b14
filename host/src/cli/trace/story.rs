//! A story as people read it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{plain, show_time};
use crate::registry::quantity::show_size;
use crate::tracking::search::Story;
use crate::tracking::{By, Line, Notified, Step};

/// What a sink cost over the life of a message.
#[derive(Default)]
struct Cost {
    calls: u64,
    failures: u64,
    micros: u64,
    fuel: u64,
}

/// Whether the last of these lines leave a message in the queue.
pub(super) fn is_here(lines: &[Line<'_>]) -> bool {
    let came_or_went = lines.iter().rfind(|line| matches!(line.step, Step::Received { .. } | Step::Removed { .. }));
    came_or_went.is_some_and(|line| matches!(line.step, Step::Received { .. }))
}

/// Tells the story of a message: where it came from, each step with its time after the first, what it waits for now,
/// what it cost.
pub(super) fn tell(id: &str, story: &Story, waits: &[String]) -> String {
    let Some(first) = story.lines.first() else { return format!("message {id}: nothing is known\n") };
    let mut text = format!("message {}, first seen {}\n", plain(id), first.at.to_rfc3339());
    for line in &story.lines {
        let after = show_time(line.at.since(first.at));
        text.push_str(&format!("{:>12}  {}\n", format!("+{after}"), step(line)));
    }
    if story.left_out > 0 {
        text.push_str(&format!("{:>12}  {} further steps, left out here\n", "", story.left_out));
    }
    text.push_str(&format!("{:>12}  {}\n", "=", ending(&story.lines)));
    for why in waits {
        text.push_str(&format!("{:>12}  {}\n", "", plain(why)));
    }
    text + &costs(&story.lines)
}

fn ending(lines: &[Line<'_>]) -> String {
    // The last word on each recipient.
    let mut recipients: BTreeMap<&str, &'static str> = BTreeMap::new();
    let mut end = None;
    let mut is_known = false;
    for line in lines {
        match &line.step {
            Step::Received { .. } => is_known = true,
            Step::Removed { end: how } => end = how.as_deref(),
            Step::Refused { .. } => return "refused; it was never in the queue".to_owned(),
            Step::Delivered { recipient, .. } => drop(recipients.insert(recipient, "delivered")),
            Step::Deferred { recipient, .. } => drop(recipients.insert(recipient, "waiting")),
            Step::Relayed { recipient, .. } => drop(recipients.insert(recipient, "relayed")),
            Step::Failed { recipient, .. } => drop(recipients.insert(recipient, "failed")),
            Step::Expired { recipient, .. } => drop(recipients.insert(recipient, "expired")),
            Step::Sink { .. }
            | Step::Submitted
            | Step::Categorized { .. }
            | Step::Enqueued { .. }
            | Step::Attempt { .. }
            | Step::Notified { .. }
            | Step::Suppressed { .. }
            | Step::Held { .. }
            | Step::Bad { .. }
            | Step::Operator { .. }
            | Step::Lost { .. } => {}
        }
    }
    let count = |wanted: &str| recipients.values().filter(|word| **word == wanted).count();
    let mut parts: Vec<String> = ["delivered", "relayed", "waiting", "failed", "expired"]
        .into_iter()
        .filter(|word| count(word) > 0)
        .map(|word| format!("{} {word}", count(word)))
        .collect();
    // What an operator took out did not come to its own end.
    parts.extend(match end {
        Some("deleted") => Some("deleted by an operator".to_owned()),
        Some("moved") => Some("moved to another queue by an operator".to_owned()),
        Some(_) | None => None,
    });
    parts.push(match (is_known, is_here(lines)) {
        (_, true) => "in the queue".to_owned(),
        (true, false) => "out of the queue".to_owned(),
        (false, false) => "the log does not say that it was accepted".to_owned(),
    });
    parts.join(", ")
}

fn costs(lines: &[Line<'_>]) -> String {
    let mut sinks: BTreeMap<&str, Cost> = BTreeMap::new();
    for line in lines {
        if let Step::Sink { sink, failure, micros, fuel, .. } = &line.step {
            let cost = sinks.entry(sink).or_default();
            cost.calls += 1;
            cost.failures += u64::from(failure.is_some());
            cost.micros += micros;
            cost.fuel += fuel;
        }
    }
    let show = |(sink, cost): (&&str, &Cost)| {
        let failures = if cost.failures > 0 { format!(", {} failed", cost.failures) } else { String::new() };
        let (calls, time, fuel) = (cost.calls, micros(cost.micros), cost.fuel);
        format!("{:>12}  sink {}: {calls} calls, {time}, fuel {fuel}{failures}\n", "", plain(sink))
    };
    sinks.iter().map(show).collect()
}

fn micros(micros: u64) -> String {
    match micros {
        0..=999 => format!("{micros} µs"),
        1_000..=999_999 => {
            let (whole, part) = (micros / 1_000, micros % 1_000 / 100);
            format!("{whole}.{part} ms")
        }
        _ => show_time(Duration::from_micros(micros)),
    }
}

fn step(line: &Line<'_>) -> String {
    let text = match &line.step {
        Step::Received { .. } => received(&line.step),
        Step::Refused { reply } => format!("refused: {reply}"),
        Step::Sink { sink, binding, event, verdict, failure, fuel, micros: time, memory, .. } => {
            let failure = failure.as_deref().map_or(String::new(), |failure| format!(" ({failure})"));
            let binding = if binding == sink { String::new() } else { format!(" [{binding}]") };
            let (time, memory) = (micros(*time), show_size(*memory));
            format!("sink {sink}{binding} at {event}: {verdict}{failure} in {time}, fuel {fuel}, memory {memory}")
        }
        Step::Submitted => "passed submission; delivery begins".to_owned(),
        Step::Categorized { recipients } => format!("is for {}", recipients.join(", ")),
        Step::Enqueued { destination, recipients } => format!("queued for {destination}: {}", recipients.join(", ")),
        Step::Attempt { destination, host, address, tls, reply, by, micros: time } => {
            let address = address.as_deref().map_or(String::new(), |address| format!(" ({address})"));
            let tls = tls.as_deref().unwrap_or("no TLS");
            format!("tried {host}{address} for {destination}, {tls}, {}: {reply}{}", micros(*time), whose(by))
        }
        Step::Delivered { recipient, to, reply } => {
            let reply = reply.as_deref().map_or(String::new(), |reply| format!(": {reply}"));
            format!("delivered <{recipient}> to {to}{reply}")
        }
        Step::Deferred { recipient, reply, by, until, attempts } => {
            format!("deferred <{recipient}> until {until} after {attempts} tries: {reply}{}", whose(by))
        }
        Step::Relayed { recipient, to, reply } => format!("relayed <{recipient}> to {to}: {reply}"),
        Step::Failed { recipient, reply, by } => format!("failed <{recipient}>: {reply}{}", whose(by)),
        Step::Expired { recipient, reply, by } => format!("expired <{recipient}>: {reply}{}", whose(by)),
        Step::Notified { of, child, recipients } => {
            let of = match of {
                Notified::Failed => "the failure",
                Notified::Delayed => "the delay",
                Notified::Delivered => "the delivery",
                Notified::Relayed => "the relay",
            };
            format!("told the sender of {of} of {}: see basin trace {child}", recipients.join(", "))
        }
        Step::Suppressed { recipients } => {
            format!("did not tell the sender of {}: a sink keeps the notification back", recipients.join(", "))
        }
        Step::Held { reason } => format!("held: {reason}"),
        Step::Bad { reason } => format!("set aside as bad: {reason}"),
        Step::Operator { did, by, detail } => {
            let by = by.as_deref().unwrap_or("an operator");
            format!("{} by {by}{}", did.word(), detail.as_deref().map_or(String::new(), |detail| format!(": {detail}")))
        }
        Step::Removed { end } => {
            format!("left the queue{}", end.as_deref().map_or(String::new(), |end| format!(": {end}")))
        }
        Step::Lost { lines, why } => format!("{lines} lines of the log are missing here: {why}"),
    };
    plain(&text)
}

// Whose word a reply is, where it is none of the server that was asked.
fn whose(by: &Option<By<'_>>) -> String {
    let Some(By { sink, said }) = by else { return String::new() };
    let sink = if sink.is_empty() { "a sink of this server".to_owned() } else { format!("sink {sink}") };
    let said = said.as_ref().map(|said| format!("; the server said: {said}")).unwrap_or_default();
    format!(" (says {sink}{said})")
}

fn received(step: &Step<'_>) -> String {
    let Step::Received { origin, session, listener, client, helo, sender, recipients, size, message_id, parent } = step
    else {
        return String::new();
    };
    let mut text = format!("accepted from <{sender}> for {}, {}", recipients.join(", "), show_size(*size));
    text.push_str(&format!(" by {origin} at {listener}"));
    let mut add = |what: &str, value: Option<&str>| {
        if let Some(value) = value {
            text.push_str(&format!(", {what} {value}"));
        }
    };
    add("client", client.as_deref());
    add("HELO", helo.as_deref());
    add("session", session.as_deref());
    add("Message-ID", message_id.as_deref());
    add("about message", parent.as_deref());
    text
}

#[cfg(test)]
mod tests {
    use basin_core::time::Timestamp;

    use super::*;

    fn line(milliseconds: u32, step: Step<'static>) -> Line<'static> {
        let at = Timestamp { seconds: 1_790_000_000, nanoseconds: milliseconds * 1_000_000 };
        Line { at, id: "m1".into(), step }
    }

    fn sink(verdict: &'static str, failure: Option<&'static str>) -> Step<'static> {
        Step::Sink {
            sink: "spam".into(),
            binding: "spam".into(),
            event: "on-submission".into(),
            verdict: verdict.into(),
            failure: failure.map(Into::into),
            fuel: 1_000,
            micros: 1_500,
            queued_micros: 0,
            memory: 65_536,
            session: None,
        }
    }

    #[test]
    fn a_story_has_relative_times_an_end_and_the_cost_of_each_sink() {
        let received = Step::Received {
            origin: "smtp".into(),
            session: Some("s1".into()),
            listener: "mx".into(),
            client: Some("192.0.2.1:5".into()),
            helo: None,
            sender: "a@x.example".into(),
            recipients: vec!["b@y.example".into(), "c@y.example".into()],
            size: 2_048,
            message_id: None,
            parent: None,
        };
        let delivered = Step::Delivered { recipient: "b@y.example".into(), to: "mailbox".into(), reply: None };
        let failed = Step::Failed { recipient: "c@y.example".into(), reply: "550 \u{1b}[31mno".into(), by: None };
        let notified =
            Step::Notified { of: Notified::Failed, child: "m2".into(), recipients: vec!["c@y.example".into()] };
        let steps = [
            sink("proceed", None),
            received,
            sink("failed", Some("trap")),
            delivered,
            failed,
            notified,
            Step::Removed { end: None },
        ];
        let lines = steps.into_iter().zip(0..).map(|(step, at)| line(at * 100, step)).collect();
        let text = tell("m1", &Story { lines, left_out: 0 }, &[]);
        for wanted in [
            "+0.000 s  sink spam at on-submission: proceed in 1.5 ms, fuel 1000, memory 64KiB",
            "+0.100 s  accepted from <a@x.example> for b@y.example, c@y.example, 2KiB by smtp at mx, client 192.0.2.1:5, session s1",
            "+0.200 s  sink spam at on-submission: failed (trap)",
            "see basin trace m2",
            "=  1 delivered, 1 failed, out of the queue",
            "sink spam: 2 calls, 3.0 ms, fuel 2000, 1 failed",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "no octet of anybody's text steers a terminal");
    }
    #[test]
    fn a_story_says_what_a_message_waits_for_and_that_it_was_moved() {
        let received = || Step::Received {
            origin: "smtp".into(),
            session: None,
            listener: "mx".into(),
            client: None,
            helo: None,
            sender: "a@x.example".into(),
            recipients: vec!["b@y.example".into()],
            size: 1,
            message_id: None,
            parent: None,
        };
        let story = Story { lines: vec![line(0, received())], left_out: 0 };
        let waits = ["waits for y.example, which is down".to_owned()];
        let text = tell("m1", &story, &waits);
        assert!(is_here(&story.lines) && text.contains("=  in the queue\n"), "{text}");
        assert!(text.ends_with("  waits for y.example, which is down\n"), "{text}");
        for (end, words) in [("moved", "moved to another queue by an operator"), ("deleted", "deleted by an operator")]
        {
            let removed = Step::Removed { end: Some(end.into()) };
            let story = Story { lines: vec![line(0, received()), line(1, removed)], left_out: 0 };
            let text = tell("m1", &story, &[]);
            assert!(!is_here(&story.lines), "{end}");
            assert!(text.contains(&format!("=  {words}, out of the queue\n")), "{text}");
        }
    }
}
