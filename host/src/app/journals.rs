//! The logs that are kept for later: what became of messages, and who did what.

use anyhow::Context as _;

use crate::audit::Audit;
use crate::config::Config;
use crate::journal::JournalOptions;
use crate::tracking::Tracking;

pub(super) fn tracking(config: &Config) -> anyhow::Result<Tracking> {
    let Some(options) = config.tracking.clone() else { return Ok(Tracking::off()) };
    let advice = advice("tracking", Some(&options));
    Tracking::start(options).context(advice)
}

pub(super) fn audit(config: &Config) -> anyhow::Result<Audit> {
    let advice = advice("audit", config.audit.as_ref());
    Audit::start(config.audit.clone()).context(advice)
}

fn advice(table: &str, options: Option<&JournalOptions>) -> String {
    let place = options.map(|options| options.directory.display().to_string()).unwrap_or_default();
    format!("cannot use {place} for the {table} log; make it, or change `directory` in [{table}]")
}
