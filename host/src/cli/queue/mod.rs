//! `basin queue`: the messages that wait, and what an operator does to them.

use std::process::ExitCode;

use clap::Subcommand;

use crate::cli::Context;

mod act;
mod desk;
mod list;
mod nothing;
mod offline;
mod selection;
mod show;
mod summary;
mod transfer;
mod watch;

/// Arguments of `basin queue`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asks the running server through its control socket; where none runs, opens the spool itself.

Messages are named by id, or chosen by filters, all of which must hold:
  FIELD=PATTERN   FIELD!=PATTERN   a pattern may have * and alternatives between |; case does not matter
  FIELD~TEXT      FIELD!~TEXT      the text stands anywhere in the field
  FIELD>N  >=  <  <=  =            for fields that are numbers, sizes (1M) or times (90s, 30m, 2h, 5d)
Fields: id, sender, recipient, domain, destination, state, reply, origin; age, next, size, attempts,
priority, recipients. <> is the null sender.
recipient, domain, destination and reply look at recipients that still wait. A domain as destination is
the server of its route, with all mail that goes there; domain= is about one domain alone.
States: submission (sinks judge it), ready (it may leave now), deferred (it waits for its next attempt, or
for a destination that is down or held), held (by a sink or an operator), bad, ended, damaged.
state=waiting is the first three: all that goes on without an operator.

Examples:
  basin queue list 'domain=example.org' 'age>2h'
  basin queue summary --by destination
  basin queue hold 'sender=*@spam.example' --reason 'until we know more'
  basin queue release 'state=held' 'sender=*@spam.example'
  basin queue reroute 'domain=example.org' --to '[relay.example.net]:587'
  basin queue expire 'reply=~user unknown' --dry-run
  basin queue cat 00063a1f2c4d5e-89ab12cd34ef5678 > letter.eml")]
pub struct Queue {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show messages, oldest first.
    List(list::List),
    /// Show one message: envelope, what became of each recipient, header block.
    Show(show::Show),
    /// Write one message to standard output, octet for octet.
    Cat(show::Cat),
    /// Keep messages where they are until they are released.
    Hold(act::Hold),
    /// Let held messages go on, bad mail too, and try waiting ones now.
    Release(act::Release),
    /// Try messages now that wait for their next attempt; what is held stays so.
    Retry(act::Retry),
    /// Send recipients' mail another way.
    Reroute(act::Reroute),
    /// Ask the sinks that are bound now about messages once more, from the first event after acceptance on.
    Rerun(act::Rerun),
    /// Let recipients fail now; their senders are told.
    Expire(act::Expire),
    /// Take messages out of the queue for good; nobody is told.
    Delete(act::Delete),
    /// Write messages to files, with all that is needed to take them in elsewhere.
    Export(transfer::Export),
    /// Take in messages that another queue exported.
    Import(transfer::Import),
    /// Count messages by what they have in common.
    Summary(summary::Summary),
    /// See the queue change.
    Watch(watch::Watch),
}

impl Queue {
    /// Runs the command.
    ///
    /// # Errors
    /// The command failed; the text says how.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let desk = desk::Desk::find(context.load()?)?;
        match self.command {
            Command::List(list) => list.run(&desk),
            Command::Show(show) => show.run(&desk),
            Command::Cat(cat) => cat.run(&desk),
            Command::Hold(hold) => hold.run(&desk),
            Command::Release(release) => release.run(&desk),
            Command::Retry(retry) => retry.run(&desk),
            Command::Reroute(reroute) => reroute.run(&desk),
            Command::Rerun(rerun) => rerun.run(&desk),
            Command::Expire(expire) => expire.run(&desk),
            Command::Delete(delete) => delete.run(&desk),
            Command::Export(export) => export.run(&desk),
            Command::Import(import) => import.run(&desk),
            Command::Summary(summary) => summary.run(&desk),
            Command::Watch(watch) => watch.run(&desk),
        }
    }
}
