//! What came of a test call, for people and for scripts.

use std::path::Path;
use std::time::Duration;

use basin_core::event::{Answer, Budget, EventKind, Failure, Overlay};
use basin_sinks::{CallReport, Component};
use serde_json::{Value, json};

use super::outcome;
use crate::cli::table::{Table, printable};
use crate::effects::{self, Effect};

/// A call and everything that is told about it.
pub(super) struct Report<'a> {
    pub(super) file: &'a Path,
    pub(super) event: EventKind,
    pub(super) component: &'a Component,
    pub(super) call: &'a CallReport,
    pub(super) before: &'a Overlay,
    pub(super) log: Vec<(&'static str, String)>,
    pub(super) budget: Budget,
    /// Times of the repetitions, shortest first.
    pub(super) warm: Vec<Duration>,
    pub(super) expected: Option<&'a str>,
}

impl Report<'_> {
    /// Whether the sink answered, as expected where something was.
    pub(super) fn is_success(&self) -> bool {
        match self.expected {
            Some(expected) => outcome(&self.call.answer) == expected,
            None => matches!(self.call.answer, Answer::Verdict(..)),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut table = Table::plain();
        table.row(["sink".to_owned(), self.file.display().to_string()]);
        table.row(["event", self.event.name()]);
        match &self.call.answer {
            Answer::Verdict(verdict, _) => {
                table.row(["verdict", verdict.word()]);
                if let Some(reply) = verdict.reply() {
                    table.row(["reply".to_owned(), reply.to_string()]);
                }
            }
            Answer::Failed(failure) => {
                table.row(["failed".to_owned(), format!("{}: {}", failure.kind.word(), failure.detail)]);
            }
        }
        self.usage_rows(&mut table);
        let mut text = table.text();
        if let Answer::Failed(failure) = &self.call.answer {
            failure_lines(failure, &mut text);
        }
        self.effect_lines(&mut text);
        self.output_lines(&mut text);
        if let Some(expected) = self.expected.filter(|_| !self.is_success()) {
            text.push_str(&format!("expected {expected}, found {}\n", outcome(&self.call.answer)));
        }
        text
    }

    fn usage_rows(&self, table: &mut Table) {
        let usage = &self.call.usage;
        table.row(["fuel".to_owned(), format!("{} of {}", usage.fuel, self.budget.fuel)]);
        let (memory, most) = (usage.memory.div_ceil(1024), self.budget.memory / 1024);
        table.row(["memory".to_owned(), format!("{memory} KiB of {most} KiB")]);
        let denied = match usage.denied {
            0 => String::new(),
            denied => format!(", {denied} denied for want of a grant"),
        };
        table.row(["host calls".to_owned(), format!("{}{denied}", usage.host_calls)]);
        let deadline = self.budget.time.as_millis();
        let (wall, instantiate) = (microseconds(usage.wall), microseconds(usage.instantiate));
        table.row(["time".to_owned(), format!("{wall} of {deadline} ms, {instantiate} of it to instantiate")]);
        table.row(["compiled in".to_owned(), format!("{} ms", self.component.compile_time().as_millis())]);
        if let Some((median, slow)) = self.warm_times() {
            let count = self.warm.len();
            let times = format!("{} median, {} at the 99th percentile", microseconds(median), microseconds(slow));
            table.row([format!("{count} warm calls"), times]);
        }
    }

    fn warm_times(&self) -> Option<(Duration, Duration)> {
        let at = |hundredths: usize| self.warm.get((self.warm.len() * hundredths / 100).min(self.warm.len() - 1));
        if self.warm.is_empty() { None } else { Some((*at(50)?, *at(99)?)) }
    }

    fn effects(&self) -> Vec<Effect> {
        match &self.call.answer {
            Answer::Verdict(_, after) => effects::of(self.before, after, "test"),
            Answer::Failed(_) => Vec::new(),
        }
    }

    fn effect_lines(&self, text: &mut String) {
        for (part, lines) in self.effects() {
            text.push_str(&format!("\n{part}\n"));
            // A folded header field has several lines; each is shown on its own.
            for line in lines.iter().flat_map(|line| line.lines()) {
                text.push_str(&format!("  {}\n", printable(line)));
            }
        }
    }

    fn output_lines(&self, text: &mut String) {
        if !self.log.is_empty() {
            text.push_str("\nlog\n");
            self.log.iter().for_each(|(level, line)| text.push_str(&format!("  {level:<6} {}\n", printable(line))));
        }
        for (name, output) in [("standard output", &self.call.stdout), ("standard error", &self.call.stderr)] {
            if !output.is_empty() {
                text.push_str(&format!("\n{name}\n"));
                output.lines().for_each(|line| text.push_str(&format!("  {}\n", printable(line))));
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        let usage = &self.call.usage;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (verdict, reply, failure) = match &self.call.answer {
            Answer::Verdict(verdict, _) => (Some(verdict.word()), verdict.reply().map(ToString::to_string), None),
            Answer::Failed(failure) => (None, None, Some(failure)),
        };
        let effects: serde_json::Map<_, _> =
            self.effects().into_iter().map(|(part, lines)| (part.to_owned(), json!(lines))).collect();
        let log: Vec<_> = self.log.iter().map(|(level, text)| json!({ "level": level, "text": text })).collect();
        json!({
            "event": self.event.name(),
            "verdict": verdict,
            "reply": reply,
            "failure": failure,
            "effects": effects,
            "log": log,
            "stdout": self.call.stdout,
            "stderr": self.call.stderr,
            "fuel": usage.fuel,
            "memory": usage.memory,
            "host-calls": usage.host_calls,
            "denied": usage.denied,
            "wall-us": micros(usage.wall),
            "instantiate-us": micros(usage.instantiate),
            "compile-ms": u64::try_from(self.component.compile_time().as_millis()).unwrap_or(u64::MAX),
            "warm-us": self.warm_times().map(|(median, slow)| json!({ "median": micros(median), "p99": micros(slow) })),
            "success": self.is_success(),
        })
    }
}

fn failure_lines(failure: &Failure, text: &mut String) {
    if !failure.backtrace.is_empty() {
        text.push_str("\nbacktrace, innermost first\n");
        failure.backtrace.iter().for_each(|frame| text.push_str(&format!("  {}\n", printable(frame))));
    }
}

fn microseconds(time: Duration) -> String {
    format!("{} us", time.as_micros())
}
