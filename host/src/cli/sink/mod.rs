//! `basin sink`: register, bind, look at and try out sinks.

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::Context;

mod add;
mod bind;
mod binding_args;
mod change;
mod consent;
mod explain;
mod inspect;
mod list;
mod needs;
mod new;
mod pack;
mod places;
mod run;
mod scene;
mod show;
mod state;
mod trial;
mod upgrade;

/// Arguments of `basin sink`.
#[derive(Debug, clap::Args)]
pub struct Sink {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register a component and bind it to events.
    Add(Box<add::Add>),
    /// Bind a registered sink to further events.
    Bind(Box<bind::Bind>),
    /// Take bindings away; the sink stays.
    Unbind(bind::Unbind),
    /// Show all sinks and their bindings.
    List(list::List),
    /// Show everything about one sink, live counters and failures included.
    Show(show::Show),
    /// Show or clear what a sink keeps in its table.
    State(state::StateOf),
    /// Call the sink of a timer now.
    Run(run::Run),
    /// Switch sinks or bindings on.
    Enable(change::Enable),
    /// Switch sinks or bindings off; nothing is forgotten.
    Disable(change::Disable),
    /// Put another component in the place of a sink's; everything else about it stays.
    Upgrade(upgrade::Upgrade),
    /// Go back to the component that was in force before.
    Rollback(upgrade::Rollback),
    /// Take a sink away, with its bindings and its component.
    Remove(change::Remove),
    /// Set configuration keys and limits of a sink.
    Set(change::Set),
    /// Take configuration keys and limits of a sink back.
    Unset(change::Unset),
    /// Allow a sink more.
    Grant(change::GrantMore),
    /// Allow a sink less.
    Revoke(change::Revoke),
    /// Show what a component exports and imports; lists all events with --events.
    Inspect(inspect::Inspect),
    /// Say for each binding of an event whether it fires, and why not.
    Explain(Box<explain::Explain>),
    /// Run a component offline and show its verdict, edits and use.
    Test(Box<trial::Test>),
    /// Make a project for a new sink.
    New(new::New),
    /// Put a manifest into a component: what it asks for.
    Pack(pack::Pack),
}

impl Sink {
    /// Runs the command.
    ///
    /// # Errors
    /// The command failed; the text says what, to what, why and what to do.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Add(command) => command.run(context),
            Command::Bind(command) => command.run(context),
            Command::Unbind(command) => command.run(context),
            Command::List(command) => command.run(context),
            Command::Show(command) => command.run(context),
            Command::State(command) => command.run(context),
            Command::Run(command) => command.run(context),
            Command::Enable(command) => command.run(context),
            Command::Disable(command) => command.run(context),
            Command::Upgrade(command) => command.run(context),
            Command::Rollback(command) => command.run(context),
            Command::Remove(command) => command.run(context),
            Command::Set(command) => command.run(context),
            Command::Unset(command) => command.run(context),
            Command::Grant(command) => command.run(context),
            Command::Revoke(command) => command.run(context),
            Command::Inspect(command) => command.run(),
            Command::Explain(command) => command.run(context),
            Command::Test(command) => command.run(),
            Command::New(command) => command.run(),
            Command::Pack(command) => command.run(),
        }
    }
}
