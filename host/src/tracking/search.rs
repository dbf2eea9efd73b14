//! Finds lines of the tracking log: fast over gigabytes, in a few megabytes of memory.
//!
//! Octets are compared before anything is parsed, so the speed is that of the disk. An id has its time in it,
//! so files from before that day are not read at all.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use basin_core::time::Timestamp;
use memchr::memmem::Finder;

use super::{Line, Step};
use crate::journal::files::{self, DayFile, day_of};

/// Octets read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Longest line that is looked at, in octets. A thousand recipients with the longest addresses are 320 KiB.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Lines of one message that are kept, the first ones. More than this has a message that is tried for weeks.
pub const STORY_LINES_MAX: usize = 5_000;

/// Which messages to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Their reverse path; a text that begins with `@` wants all of a domain; the null sender is `<>`.
    pub sender: Option<String>,
    /// One of their recipients, or `@` and a domain.
    pub recipient: Option<String>,
    /// Their `Message-ID`, with or without angle brackets.
    pub message_id: Option<String>,
    /// Not received before.
    pub since: Option<Timestamp>,
    /// Not received later.
    pub until: Option<Timestamp>,
}

/// What is known of one message, in the order it happened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Story {
    /// Its lines.
    pub lines: Vec<Line<'static>>,
    /// Lines beyond [`STORY_LINES_MAX`] that are not among them.
    pub left_out: u64,
}

/// The log, to read. The server may write to it meanwhile.
#[derive(Debug, Clone)]
pub struct Log {
    directory: PathBuf,
}

impl Log {
    /// The log below a directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Ids of the messages that are wanted, in the order they came, with the time of the line that told; at most
    /// `limit` of them. The flag says whether there are more.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn find(&self, wanted: &Wanted, limit: usize) -> io::Result<(Vec<(Timestamp, String)>, bool)> {
        // All steps that name an address; `wants` says which of them counts.
        let needles =
            ["\"step\":\"received\"", "\"step\":\"delivered\"", "\"step\":\"deferred\"", "\"step\":\"failed\""];
        let needles = if wanted.recipient.is_some() { &needles[..] } else { needles.get(..1).unwrap_or_default() };
        let mut found: Vec<(Timestamp, String)> = Vec::new();
        let mut is_more = false;
        self.each(wanted.since, wanted.until, needles, |line| {
            let Ok(line) = serde_json::from_slice::<Line<'static>>(line) else { return ControlFlow::Continue(()) };
            let is_known = || found.iter().any(|(_, id)| *id == line.id);
            if !wants(wanted, &line) || is_known() {
                return ControlFlow::Continue(());
            }
            if found.len() == limit {
                is_more = true;
                return ControlFlow::Break(());
            }
            found.push((line.at, line.id.into_owned()));
            ControlFlow::Continue(())
        })?;
        Ok((found, is_more))
    }

    /// The stories of messages. The times say when each was first seen, where that is known; an id that was made
    /// here says it itself.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn stories(&self, ids: &[(Option<Timestamp>, String)]) -> io::Result<BTreeMap<String, Story>> {
        let mut stories: BTreeMap<String, Story> = ids.iter().map(|(_, id)| (id.clone(), Story::default())).collect();
        let since = |(at, id): &(Option<Timestamp>, String)| {
            at.map(|at| made_at(id).map_or(at, |made| made.min(at))).or_else(|| made_at(id))
        };
        let since = ids.iter().map(since).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().min());
        let needles: Vec<String> = ids.iter().map(|(_, id)| format!("\"id\":\"{id}\"")).collect();
        let needles: Vec<&str> = needles.iter().map(String::as_str).collect();
        self.each(since, None, &needles, |line| {
            if let Ok(line) = serde_json::from_slice::<Line<'static>>(line)
                && let Some(story) = stories.get_mut(line.id.as_ref())
            {
                if story.lines.len() < STORY_LINES_MAX {
                    story.lines.push(line);
                } else {
                    story.left_out += 1;
                }
            }
            ControlFlow::Continue(())
        })?;
        for story in stories.values_mut() {
            // Threads hand their lines in a little out of order.
            story.lines.sort_by_key(|line| line.at);
        }
        Ok(stories)
    }

    // Calls `found` with each line of those days that has one of the needles.
    fn each(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        needles: &[&str],
        mut found: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let finders: Vec<Finder<'_>> = needles.iter().map(|needle| Finder::new(needle.as_bytes())).collect();
        let is_in = |file: &DayFile| {
            // A line is written a moment after it was made, perhaps on the next day.
            since.is_none_or(|since| file.day >= day_of(since))
                && until.is_none_or(|until| file.day <= day_of(until) + 1)
        };
        for file in files::list(&self.directory)?.into_iter().filter(is_in) {
            match File::open(&file.path) {
                Ok(file) => {
                    if each_line(file, &finders, &mut found)?.is_break() {
                        return Ok(());
                    }
                }
                // The server may have removed it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn each_line(
    mut file: File,
    finders: &[Finder<'_>],
    found: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut octets = vec![0; CHUNK_BYTES];
    let mut filled = 0;
    loop {
        if filled == octets.len() {
            if octets.len() >= LINE_BYTES_MAX {
                // No line of ours; what follows its end is looked at again.
                filled = 0;
            } else {
                octets.resize(octets.len() * 2, 0);
            }
        }
        let count = file.read(octets.get_mut(filled..).unwrap_or_default())?;
        if count == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        filled += count;
        let read = octets.get(..filled).unwrap_or_default();
        let Some(end) = memchr::memrchr(b'\n', read) else { continue };
        let (whole, rest) = read.split_at(end + 1);
        if each_hit(whole, finders, found).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let (start, len) = (whole.len(), rest.len());
        octets.copy_within(start..start + len, 0);
        filled = len;
    }
}

// Calls `found` with each line that has a needle, in their order, once each.
fn each_hit(whole: &[u8], finders: &[Finder<'_>], found: &mut impl FnMut(&[u8]) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut next: Vec<Option<usize>> = finders.iter().map(|finder| finder.find(whole)).collect();
    let mut done = 0;
    while let Some(at) = next.iter().flatten().min().copied() {
        let start = memchr::memrchr(b'\n', whole.get(done..at).unwrap_or_default()).map_or(done, |end| done + end + 1);
        let rest = whole.get(at..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest).map_or(whole.len(), |end| at + end);
        found(whole.get(start..end).unwrap_or_default())?;
        done = end;
        for (finder, next) in finders.iter().zip(&mut next) {
            if next.is_some_and(|next| next < done) {
                *next = finder.find(whole.get(done..).unwrap_or_default()).map(|found| done + found);
            }
        }
    }
    ControlFlow::Continue(())
}

fn wants(wanted: &Wanted, line: &Line<'_>) -> bool {
    if wanted.since.is_some_and(|since| line.at < since) || wanted.until.is_some_and(|until| line.at > until) {
        return false;
    }
    let is_wanted =
        |pattern: &Option<String>, address: &str| pattern.as_deref().is_none_or(|wanted| is_address(wanted, address));
    match &line.step {
        Step::Received { sender, recipients, message_id, .. } => {
            is_wanted(&wanted.sender, sender)
                && (wanted.recipient.is_none() || recipients.iter().any(|one| is_wanted(&wanted.recipient, one)))
                && wanted
                    .message_id
                    .as_deref()
                    .is_none_or(|wanted| message_id.as_deref().is_some_and(|found| bare(found) == bare(wanted)))
        }
        // Where a sink or an alias gave it another recipient, it was received for somebody else.
        Step::Delivered { recipient, .. }
        | Step::Relayed { recipient, .. }
        | Step::Deferred { recipient, .. }
        | Step::Failed { recipient, .. }
        | Step::Expired { recipient, .. } => {
            wanted.sender.is_none() && wanted.message_id.is_none() && is_wanted(&wanted.recipient, recipient)
        }
        Step::Refused { .. }
        | Step::Sink { .. }
        | Step::Submitted
        | Step::Categorized { .. }
        | Step::Enqueued { .. }
        | Step::Attempt { .. }
        | Step::Notified { .. }
        | Step::Suppressed { .. }
        | Step::Held { .. }
        | Step::Bad { .. }
        | Step::Operator { .. }
        | Step::Removed { .. }
        | Step::Lost { .. } => false,
    }
}

fn is_address(wanted: &str, address: &str) -> bool {
    let (wanted, address) = (bare(wanted), bare(address));
    if wanted.starts_with('@') {
        return address
            .rfind('@')
            .and_then(|at| address.get(at..))
            .is_some_and(|domain| domain.eq_ignore_ascii_case(wanted));
    }
    address.eq_ignore_ascii_case(wanted)
}

fn bare(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text)
}

// The moment in an id that was made here.
fn made_at(id: &str) -> Option<Timestamp> {
    let (time, random) = id.split_once('-').filter(|(time, random)| time.len() == 14 && random.len() == 16)?;
    u64::from_str_radix(random, 16).ok()?;
    let microseconds = u64::from_str_radix(time, 16).ok()?;
    i64::try_from(microseconds / 1_000_000).ok().map(Timestamp::from_seconds)
}
