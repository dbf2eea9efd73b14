//! The arguments that `add` and `bind` share: events with their rules, and what a binding has besides.

use anyhow::{Context as _, anyhow, bail};
use basin_core::event::binding::PRIORITY_DEFAULT;
use basin_core::event::{Binding, Cron, EventKind, Grants, Rule};
use basin_sinks::Component;

use super::places::Places;
use crate::registry::words::{
    check_firings, check_place, check_priority, default_policy, parse_event, parse_instance, parse_mode, parse_moment,
    parse_policy, parse_schedule,
};
use crate::registry::{Edit, suggest};

/// What a binding is made of.
#[derive(Debug, clap::Args)]
pub(super) struct BindingArgs {
    /// An event, and after a colon the rule under which the binding fires: field=pattern joined by ";".
    #[arg(long = "event", value_name = "EVENT[:RULE]")]
    pub(super) events: Vec<String>,
    /// Place in the order: 0 is asked first, 32767 last; 24575 where nothing is said.
    #[arg(long, value_name = "NUMBER")]
    priority: Option<i64>,
    /// Only at this listener of the configuration.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// What happens when the sink fails: defer, refuse, skip or hold; each event has its own set and default.
    #[arg(long, value_name = "POLICY")]
    on_failure: Option<String>,
    /// decide; observe: told after the decision, read-only; or shadow: run as if it decided, compared, without effect.
    /// Observers and shadows cost the client nothing.
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// How long an instance and its memory live: call, transaction, session or warm.
    #[arg(long, value_name = "LIFE")]
    instance: Option<String>,
    /// Fires at most so often after each start of the server.
    #[arg(long, value_name = "NUMBER")]
    max_firings: Option<i64>,
    /// Fires until then, as in 2030-01-31T12:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// When on-timer is due, in UTC: minute, hour, day of month, month and day of week, as in "*/5 * * * *", or @hourly,
    /// @daily, @weekly, @monthly, @yearly.
    #[arg(long, value_name = "SCHEDULE")]
    schedule: Option<String>,
    /// Register it switched off.
    #[arg(long)]
    pub(super) disabled: bool,
}

impl BindingArgs {
    /// The events with their rules, checked; `own` where none was named.
    pub(super) fn events(&self, own: &[EventKind]) -> anyhow::Result<Vec<(EventKind, Rule)>> {
        let mut events: Vec<_> = self.events.iter().map(|text| parse_bound(text)).collect::<anyhow::Result<_>>()?;
        if events.is_empty() {
            events = own.iter().map(|event| (*event, Rule::default())).collect();
        }
        if events.is_empty() {
            bail!("name an event with --event; `basin sink inspect FILE` shows which the component answers");
        }
        if self.schedule.is_some() && !events.iter().any(|(event, _)| *event == EventKind::OnTimer) {
            bail!("--schedule: none of the events is on-timer, and no other has a schedule");
        }
        for (event, _) in &events {
            self.schedule_of(*event)?;
            if self.listener.is_some() {
                check_place(*event).map_err(|error| anyhow!("--listener: {error}"))?;
            }
        }
        Ok(events)
    }

    // One command may bind a sink to its timer and to other events, which have none.
    fn schedule_of(&self, event: EventKind) -> anyhow::Result<Option<Cron>> {
        let text = self.schedule.as_deref().filter(|_| event == EventKind::OnTimer);
        parse_schedule(text, event).map_err(|error| anyhow!("--schedule: {error}"))
    }

    /// The reading grants that the events need.
    pub(super) fn reading(events: &[(EventKind, Rule)]) -> Grants {
        events.iter().flat_map(|(event, _)| Grants::reading(*event).iter().collect::<Vec<_>>()).collect()
    }

    /// Adds the bindings to an edit and returns their names.
    pub(super) fn add_to(
        &self,
        edit: &mut Edit,
        sink: &str,
        events: &[(EventKind, Rule)],
        places: &Places,
    ) -> anyhow::Result<Vec<String>> {
        if let Some(listener) = &self.listener {
            check_listener(listener, places)?;
        }
        let mut file = edit.before().clone();
        let mut names = Vec::new();
        for (event, rule) in events {
            let binding = self.binding(file.free_binding_name(sink, *event), sink, *event, rule)?;
            names.push(binding.name.clone());
            edit.add_binding(&binding);
            file.bindings.push(binding);
        }
        Ok(names)
    }

    fn binding(&self, name: String, sink: &str, event: EventKind, rule: &Rule) -> anyhow::Result<Binding> {
        Ok(Binding {
            name,
            sink: sink.to_owned(),
            event,
            rule: rule.clone(),
            priority: match self.priority {
                Some(priority) => check_priority(priority).map_err(|error| anyhow!(error))?,
                None => PRIORITY_DEFAULT,
            },
            listener: self.listener.clone(),
            mode: self.mode.as_deref().map(parse_mode).transpose().map_err(|error| anyhow!(error))?.unwrap_or_default(),
            instance: self
                .instance
                .as_deref()
                .map(parse_instance)
                .transpose()
                .map_err(|error| anyhow!(error))?
                .unwrap_or_default(),
            on_failure: match &self.on_failure {
                Some(word) => parse_policy(word, event).map_err(|error| anyhow!(error))?,
                None => default_policy(event),
            },
            is_enabled: !self.disabled,
            expires: self.expires.as_deref().map(parse_moment).transpose().map_err(|error| anyhow!(error))?,
            max_firings: self.max_firings.map(check_firings).transpose().map_err(|error| anyhow!(error))?,
            schedule: self.schedule_of(event)?,
        })
    }
}

/// Cuts `EVENT[:RULE]`. Event names have no colon, patterns may.
fn parse_bound(text: &str) -> anyhow::Result<(EventKind, Rule)> {
    let (event, rule) = text.split_once(':').unwrap_or((text, ""));
    let event = parse_event(event.trim()).map_err(|error| anyhow!("--event {text}: {error}"))?;
    let rule = match rule.trim() {
        "" => Rule::default(),
        rule => Rule::parse(rule, event).with_context(|| format!("--event {text}"))?,
    };
    Ok((event, rule))
}

/// Refuses events that the component does not answer: the sink would never be called.
pub(super) fn check_events(component: &Component, events: &[(EventKind, Rule)]) -> anyhow::Result<()> {
    for (event, _) in events {
        if !component.events().contains(event) {
            let answers: Vec<_> = component.events().iter().map(|event| event.name()).collect();
            bail!(
                "the component does not export {event}, so it cannot be bound to it; it exports {}; implement the \
                 event and build again, or bind it to one that is there",
                answers.join(", ")
            );
        }
    }
    Ok(())
}

fn check_listener(name: &str, places: &Places) -> anyhow::Result<()> {
    let listeners: Vec<&str> = places.config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    if listeners.contains(&name) {
        return Ok(());
    }
    let hint = suggest::hint(name, listeners.iter().copied());
    let file = places.config.file.display();
    bail!("--listener {name}: {file} has no such listener{hint}; it has {}", listeners.join(", "))
}
