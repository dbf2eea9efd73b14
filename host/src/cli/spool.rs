//! `basin spool`: the storage of accepted messages as files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};

use anyhow::{Context as _, bail};
use basin_spool::{
    AtRest, Backup, Checked, Damage, Options, RealStorage, Repaired, SpoolFile, Storage, back_up, check, repair,
    restore, upgrade,
};
use clap::Subcommand;
use serde::Serialize;

use crate::audit::{Fact, note};
use crate::cli::Context;
use crate::cli::table::{print, print_json};
use crate::control::server::PIN_TIME;
use crate::control::{Client, ClientError};
use crate::privileges::Identity;
use crate::registry::quantity::show_size;

/// Pieces of the time that a server keeps files for, after one of which it is asked again.
const PIN_PARTS: u32 = 3;

/// Damaged places that are shown; `--json` has all of them.
const DAMAGE_SHOWN: usize = 20;

/// Arguments of `basin spool`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Backup and check work while the server runs; restore, repair and upgrade need it stopped.
Examples:
  basin spool backup /var/backups/basin-1
  basin spool backup /var/backups/basin-2 --previous /var/backups/basin-1
  basin spool check /var/backups/basin-2
  basin spool restore /var/backups/basin-2
A restored spool has the mail of the moment of its backup: what was delivered since is delivered again.
docs/operations.md has the whole drill.")]
pub struct Spool {
    /// For scripts.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy the spool of this moment into an empty or new directory, and read the copy through.
    Backup {
        /// Where to.
        directory: PathBuf,
        /// An earlier backup on the same disk; what did not change is shared with it and not copied.
        #[arg(long, value_name = "DIRECTORY")]
        previous: Option<PathBuf>,
    },
    /// Put a backup into the spool directory of the configuration, which must have no mail.
    Restore {
        /// The backup.
        directory: PathBuf,
        /// Also files that are not what they were; `basin spool repair` sorts the mail in them.
        #[arg(long)]
        even_damaged: bool,
    },
    /// Read all of it, compare all checksums, change nothing. Ends with 1 where something is damaged.
    Check {
        /// A backup; without it, the spool directory of the configuration.
        directory: Option<PathBuf>,
    },
    /// Move what can be read out of damaged files and set the rest aside in `damaged`; nothing is deleted.
    Repair,
    /// Move all mail into files of the present format. Not needed: older ones are read as ever.
    Upgrade,
}

impl Spool {
    /// Runs the command.
    ///
    /// # Errors
    /// The command failed; the text says how.
    pub fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let config = context.load()?;
        let (spool, audit) = (config.spool, config.audit);
        let storage: Arc<dyn Storage> = Arc::new(RealStorage);
        match self.command {
            Command::Backup { directory, previous } => {
                let (backup, checked) = take_backup(&spool, &directory, previous.as_deref(), &storage)?;
                note(audit.as_ref(), copied("the spool was copied by an operator", &directory));
                self::show(self.json, &Report::of_backup(&backup).with_check(&checked))?;
                Ok(ending(checked.damaged.is_empty()))
            }
            Command::Restore { directory, even_damaged } => {
                become_owner(&spool)?;
                let backup = restore(&directory, &spool, even_damaged, &storage)?;
                note(audit.as_ref(), copied("a copy was put into the spool by an operator", &directory));
                show(self.json, &Report::of_backup(&backup))?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Check { directory } => {
                let directory = directory.unwrap_or(spool);
                let checked = check(&directory, storage)
                    .with_context(|| format!("cannot check the spool {}", directory.display()))?;
                show(self.json, &Report::default().with_check(&checked))?;
                Ok(ending(checked.damaged.is_empty()))
            }
            Command::Repair => repaired(self.json, &spool, |options| repair(&spool, options, storage)),
            Command::Upgrade => repaired(self.json, &spool, |options| upgrade(&spool, options, storage)),
        }
    }
}

fn ending(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn repaired(
    is_json: bool,
    spool: &Path,
    work: impl FnOnce(Options) -> Result<Repaired, basin_spool::OpenError>,
) -> anyhow::Result<ExitCode> {
    become_owner(spool)?;
    let repaired = work(Options::default())?;
    show(is_json, &Report::of_repair(&repaired))?;
    if let Some(fault) = &repaired.fault {
        bail!(
            "not all could be done: {fault}; what was there is there still: make room or mend the disk, and run it again"
        );
    }
    Ok(ExitCode::SUCCESS)
}

// What root wrote here, the server could not open any more.
fn become_owner(spool: &Path) -> anyhow::Result<()> {
    if !spool.is_dir() {
        bail!("there is no directory {}; make it, owned by the user of the server", spool.display());
    }
    let owner = Identity::owner_of(spool)?;
    if owner.is_below_us() {
        owner.assume().with_context(|| format!("cannot become the owner of {}", spool.display()))?;
    }
    Ok(())
}

// Mail was shown to somebody whom it is not for, or is here again.
fn copied(what: &'static str, directory: &Path) -> Vec<Fact> {
    vec![Fact::new(what).with("directory", directory.display().to_string())]
}

fn take_backup(
    spool: &Path,
    target: &Path,
    previous: Option<&Path>,
    storage: &Arc<dyn Storage>,
) -> anyhow::Result<(Backup, Checked)> {
    let client = Client::new(spool);
    let backup = match pinned(&client) {
        Ok(files) => {
            let (finish, finished) = channel::<()>();
            let renewing = std::thread::spawn(move || {
                // Until the copy is done, which drops the other end.
                while finished.recv_timeout(PIN_TIME / PIN_PARTS) == Err(RecvTimeoutError::Timeout) {
                    if let Err(error) = pinned(&client) {
                        // The copy fails by itself where a file has gone.
                        eprintln!("basin: the server was not reached while its spool is copied: {error}");
                    }
                }
            });
            let copied = back_up(spool, &files, target, previous, storage);
            drop(finish);
            if renewing.join().is_err() {
                bail!("the thread that asks the server to keep its files ended");
            }
            copied
        }
        Err(ClientError::NotRunning(_)) => {
            let at_rest = AtRest::of(spool, storage.as_ref())?;
            back_up(spool, &at_rest.files, target, previous, storage)
        }
        Err(error) => return Err(error.into()),
    };
    let backup = backup?;
    let checked = check(target, storage.clone()).context("cannot read the backup through")?;
    Ok((backup, checked))
}

fn pinned(client: &Client) -> Result<Vec<SpoolFile>, ClientError> {
    client.post_for("/v1/spool/pin")
}

/// What a command found and did, for people and scripts.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_shared: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments_of_older_format: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments_emptied: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished_octets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files_set_aside_before: Option<usize>,
    damage: Vec<DamageRow>,
    messages_set_aside: Vec<SetAsideRow>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct DamageRow {
    file: PathBuf,
    offset: u64,
    octets: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    text: String,
}

#[derive(Debug, Serialize)]
struct SetAsideRow {
    message: String,
    file: PathBuf,
}

fn damage_rows(damage: &[Damage]) -> Vec<DamageRow> {
    let row = |one: &Damage| DamageRow {
        file: one.found_in.clone(),
        offset: one.offset,
        octets: one.octets,
        message: one.message.clone(),
        text: one.to_string(),
    };
    damage.iter().map(row).collect()
}

impl Report {
    fn of_backup(backup: &Backup) -> Self {
        let (bytes, bytes_shared) = (Some(backup.bytes), Some(backup.bytes_shared));
        Self { files: Some(backup.files()), bytes, bytes_shared, ..Self::default() }
    }

    fn of_repair(repaired: &Repaired) -> Self {
        let row = |(id, file): &(basin_core::mail::MessageId, PathBuf)| SetAsideRow {
            message: id.to_string(),
            file: file.clone(),
        };
        Self {
            messages: Some(repaired.messages),
            segments_emptied: Some(repaired.segments_left),
            damage: damage_rows(&repaired.recovery.damaged),
            messages_set_aside: repaired.set_aside.iter().map(row).collect(),
            ..Self::default()
        }
    }

    fn with_check(self, checked: &Checked) -> Self {
        Self {
            bytes: self.bytes.or(Some(checked.bytes)),
            messages: Some(checked.messages),
            segments: Some(checked.segments),
            segments_of_older_format: Some(checked.segments_older),
            unfinished_octets: Some(checked.torn_bytes),
            files_set_aside_before: Some(checked.set_aside_before),
            damage: damage_rows(&checked.damaged),
            ..self
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(&format!("{name:<17}{value}\n"));
            }
        };
        let number = |value: Option<usize>| value.map(|value| value.to_string());
        line("messages", number(self.messages));
        line("files", number(self.files));
        line("size", self.bytes.map(show_size));
        line("shared", self.bytes_shared.filter(|shared| *shared > 0).map(show_size));
        line("segments", number(self.segments));
        line("older format", number(self.segments_of_older_format.filter(|count| *count > 0)));
        line("emptied", number(self.segments_emptied));
        line("unfinished write", self.unfinished_octets.filter(|octets| *octets > 0).map(show_size));
        line("set aside before", number(self.files_set_aside_before.filter(|count| *count > 0)));
        for row in self.damage.iter().take(DAMAGE_SHOWN) {
            text.push_str(&format!("damage: {}\n", row.text));
        }
        if let Some(more) = self.damage.len().checked_sub(DAMAGE_SHOWN).filter(|more| *more > 0) {
            text.push_str(&format!("and {more} more; --json has all of them\n"));
        }
        for row in &self.messages_set_aside {
            text.push_str(&format!(
                "message {} is not whole: what is left of it is in {}\n",
                row.message,
                row.file.display()
            ));
        }
        if self.damage.is_empty() {
            text.push_str("no damage found\n");
        }
        text
    }
}

fn show(is_json: bool, report: &Report) -> anyhow::Result<()> {
    if is_json { print_json(report) } else { print(report.text()) }
}
