//! Smart hosts by rule, and what to do when they fail.
//!
//! It shows `on-route`: the hops of a destination in order, and the event that comes again with
//! `destination.failures` when all of them failed, so that a sink can choose others or let the server route.

use basin_sink::prelude::*;

mod rules;

use rules::{Action, Routes, Rule};

/// Most hops in one answer (the interface `transport`).
const HOPS_MAX: usize = 16;

/// The sink.
#[derive(Debug)]
pub struct Router;

impl OnRoute for Router {
    fn on_route(message: &mut Message, destination: &Destination, _call: &Call) -> Result<RouteVerdict> {
        let routes = Routes::parse(&config::get("routes").unwrap_or_default())?;
        // A sink that no rule sends after the sender needs no grant to read it.
        let sender = if routes.needs_sender() { message.sender() } else { String::new() };
        let domain = destination.domain();
        let is_local = server::is_local_domain(&domain);
        let Some(rule) = routes.rule_for(&domain, &sender, is_local) else { return Ok(RouteVerdict::Next) };
        let failures: Vec<String> = destination.failures().into_iter().map(|(hop, _)| hop).collect();
        if !failures.is_empty() {
            metrics::count("routed_again");
            log::info!("{domain}: {} failed, newest first", failures.join(", "));
        }
        Ok(verdict(rule, &failures))
    }
}

fn verdict(rule: &Rule, failures: &[String]) -> RouteVerdict {
    let action = if failures.is_empty() { &rule.first } else { rule.otherwise.as_ref().unwrap_or(&rule.first) };
    match action {
        Action::Direct => RouteVerdict::Next,
        Action::Reject(text) => refuse(550, "5.7.1", text),
        Action::Hops(hops) => {
            // The one that failed longest ago, or never, is tried first: it has had the most time to come back.
            let mut hops: Vec<_> = hops.iter().collect();
            hops.sort_by_key(|hop| {
                let place = failures.iter().position(|failed| *failed == hop.name);
                place.map_or(0, |newest_first| failures.len() - newest_first)
            });
            RouteVerdict::UseHops(hops.into_iter().take(HOPS_MAX).map(|hop| hop.next.clone()).collect())
        }
    }
}

basin_sink::export!(Router: OnRoute);

#[cfg(test)]
mod tests;
