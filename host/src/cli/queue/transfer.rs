//! `basin queue export` and `basin queue import`.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use basin_core::mail::MessageId;
use bytes::Bytes;

use super::desk::Desk;
use super::nothing;
use super::selection::Selection;
use crate::cli::table::print;
use crate::control::queue::act::ActRequest;
use crate::control::queue::ask::{ListRequest, PAGE_ROWS_MAX};
use crate::control::queue::packet::Packet;
use crate::transport::Action;

/// The ends of the two files of a message.
const CONTENT: &str = "eml";
const DESCRIPTION: &str = "json";

/// Arguments of `basin queue export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each message becomes ID.eml, its octets, and ID.json, everything else. The messages stay in the queue; with
--move each is held before it is read and deleted when it is on disk, so that it is delivered by one queue alone.
Examples:
  basin queue export --to /var/tmp/queue --all
  basin queue export 'state=waiting' --to /mnt/other --move
  basin queue export 'domain=example.org' --to /mnt/other --move")]
pub(super) struct Export {
    #[command(flatten)]
    selection: Selection,
    /// The whole queue.
    #[arg(long)]
    all: bool,
    /// The directory; it is made where it is missing.
    #[arg(long, value_name = "DIRECTORY")]
    to: PathBuf,
    /// Take the messages out of this queue.
    #[arg(long = "move")]
    is_move: bool,
}

/// Arguments of `basin queue import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ids are kept, so what was imported before is not taken in again. What was held stays held.
Example:
  basin queue import /mnt/other")]
pub(super) struct Import {
    /// Directories that `basin queue export` wrote, or .json files out of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl Export {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        if self.selection.is_empty() != self.all {
            bail!("export what? name messages by id or filter, or the whole queue with --all");
        }
        // Mail is nobody else's to read, as in the spool.
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.to);
        made.with_context(|| format!("cannot make {}", self.to.display()))?;
        let (mut exported, mut left) = (0_u64, 0_u64);
        let asked = self.selection.asked()?;
        for filter in &asked.filters {
            let mut after = None;
            loop {
                let page = desk.list(&ListRequest { filter: filter.clone(), after, limit: PAGE_ROWS_MAX })?;
                for row in &page.rows {
                    if self.export(desk, &row.id)? {
                        exported += 1
                    } else {
                        left += 1
                    };
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        sync(&self.to)?;
        print(format!("exported: {exported} messages to {}\n", self.to.display()))?;
        if exported + left == 0 {
            print(nothing::hint(desk, &asked.filters)?)?;
        }
        if left > 0 {
            print(format!(
                "  {left} messages: being delivered at this moment, or delivered meanwhile; they were left\n"
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// False where the message was left because it goes on at this moment.
    fn export(&self, desk: &Desk, id: &MessageId) -> anyhow::Result<bool> {
        let is_held = |state: &basin_core::transport::State| {
            matches!(state.stage, basin_core::transport::Stage::Held { .. } | basin_core::transport::Stage::Bad { .. })
        };
        let before = if self.is_move { Some(desk.export(id)) } else { None };
        if let Some(Ok((packet, _))) = &before
            && !is_held(&packet.state)
        {
            let reason = "it is being moved to another queue".to_owned();
            if act(desk, id, Action::Hold { reason })? != 1 {
                return Ok(false);
            }
        }
        let Ok((mut packet, content)) = desk.export(id) else { return Ok(false) };
        if let Some(Ok((before, _))) = before
            && !is_held(&before.state)
        {
            // The hold was for the move alone; the other queue goes on where this one would have.
            packet.release_hold();
        }
        self.write(&packet, &content).with_context(|| format!("cannot write message {id}"))?;
        if self.is_move {
            sync(&self.to)?;
            act(desk, id, Action::Move)?;
        }
        Ok(true)
    }

    // The description last: where it is, the message is whole.
    fn write(&self, packet: &Packet, content: &Bytes) -> io::Result<()> {
        let path = |end: &str| self.to.join(format!("{}.{end}", packet.id));
        let new = path("new");
        for (octets, end) in [(content.as_ref(), CONTENT), (&serde_json::to_vec_pretty(packet)?, DESCRIPTION)] {
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(octets)?;
            file.sync_all()?;
            fs::rename(&new, path(end))?;
        }
        Ok(())
    }
}

fn act(desk: &Desk, id: &MessageId, action: Action) -> anyhow::Result<usize> {
    let filter = format!("id={id}");
    let request = ActRequest { action, filter, after: None, is_dry_run: false, busy_wait_ms: 0 };
    Ok(desk.act(request)?.changed.len())
}

fn sync(directory: &Path) -> anyhow::Result<()> {
    let synced = fs::File::open(directory).and_then(|opened| opened.sync_all());
    synced.with_context(|| format!("cannot sync {}", directory.display()))
}

impl Import {
    pub(super) fn run(self, desk: &Desk) -> anyhow::Result<ExitCode> {
        let (mut new, mut known, mut failed) = (0_u64, 0_u64, 0_u64);
        for path in descriptions(&self.paths)? {
            match import(desk, &path) {
                Ok(true) => new += 1,
                Ok(false) => known += 1,
                Err(error) => {
                    failed += 1;
                    eprintln!("basin: {}: {error:#}", path.display());
                }
            }
        }
        print(format!("imported: {new} messages\n"))?;
        if known > 0 {
            print(format!("  {known} messages: in the queue already\n"))?;
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn descriptions(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if !metadata.is_dir() {
            found.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", path.display()))?.path();
            if entry.extension().is_some_and(|end| end == DESCRIPTION) {
                found.push(entry);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn import(desk: &Desk, path: &Path) -> anyhow::Result<bool> {
    let packet = Packet::parse(&fs::read(path).context("cannot read the description")?)?;
    let content = path.with_extension(CONTENT);
    let content = fs::read(&content).with_context(|| format!("cannot read {}", content.display()))?;
    desk.import(packet, content.into())
}
