//! `basin sink bind` and `basin sink unbind`.

use std::path::Path;
use std::process::ExitCode;

use super::binding_args::{BindingArgs, check_events};
use super::places::{Places, compile};
use crate::cli::Context;
use crate::cli::table::print;
use crate::registry::Edit;
use crate::registry::edit::missing;

/// Arguments of `basin sink bind`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  basin sink bind stamp --event on-submission
  basin sink bind filter --event 'on-end-of-data:rcpt to=*@example.org' \\
      --priority 10 --on-failure hold
  basin sink bind digest --event on-timer --schedule '0 7 * * mon-fri'")]
pub(super) struct Bind {
    /// Name of the sink.
    sink: String,
    #[command(flatten)]
    bindings: BindingArgs,
}

impl Bind {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let events = self.bindings.events(&[])?;
        let file = places.store.read()?;
        let names = file.sinks.iter().map(|sink| sink.name.as_str());
        let sink = file.sink(&self.sink).ok_or_else(|| missing("sink", &self.sink, names))?;
        let octets = places.store.component(&sink.digest)?;
        let (_, component) = compile(Path::new(&sink.source), &octets, Some(&places.config))?;
        check_events(&component, &events)?;
        let wanted = BindingArgs::reading(&events);
        let ungranted: Vec<_> = wanted.iter().filter(|grant| !sink.grants.has(*grant)).map(|g| g.name()).collect();

        let mut edit = Edit::begin(&places.store)?;
        let bound = self.bindings.add_to(&mut edit, &self.sink, &events, &places)?;
        edit.commit()?;
        let mut text: String = bound.iter().map(|name| format!("bound as {name}\n")).collect();
        if !ungranted.is_empty() {
            let names = ungranted.join(" ");
            text.push_str(&format!("not granted, to read at these events: basin sink grant {} {names}\n", self.sink));
        }
        print(text + &places.aftermath() + "\n")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `basin sink unbind`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  basin sink unbind stamp/on-submission")]
pub(super) struct Unbind {
    /// Names of bindings, as `basin sink list` shows them.
    #[arg(required = true, value_name = "BINDING")]
    bindings: Vec<String>,
}

impl Unbind {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let places = Places::find(context)?;
        let mut edit = Edit::begin(&places.store)?;
        self.bindings.iter().try_for_each(|name| edit.remove_binding(name))?;
        edit.commit()?;
        print(format!("unbound: {}\n{}\n", self.bindings.join(", "), places.aftermath()))?;
        Ok(ExitCode::SUCCESS)
    }
}
