//! The files of a journal: `2026-11-22.0001.jsonl`, a day in parts.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use basin_core::time::Timestamp;
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::JournalOptions;

/// Octets of a file. Large enough that a day of a small server is one file, small enough that the limit of all
/// files together is kept closely.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Parts that the limit of all files is divided into at least, so that the oldest part goes, not everything.
const PARTS_MIN: u64 = 8;

/// Seconds of a day.
const DAY_SECONDS: i64 = 86_400;

/// One file of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DayFile {
    /// Days since 1970-01-01, UTC.
    pub(crate) day: i64,
    /// Number within the day, from 1.
    pub(crate) part: u32,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Octets.
    pub(crate) len: u64,
}

/// The day of a moment, in UTC.
pub(crate) fn day_of(at: Timestamp) -> i64 {
    at.seconds.div_euclid(DAY_SECONDS)
}

fn name(day: i64, part: u32) -> String {
    let date = Timestamp::from_seconds(day.saturating_mul(DAY_SECONDS)).to_rfc3339();
    format!("{}.{part:04}.jsonl", date.split('T').next().unwrap_or_default())
}

fn parse_name(text: &str) -> Option<(i64, u32)> {
    let (date, part) = text.strip_suffix(".jsonl")?.split_once('.')?;
    let day = day_of(Timestamp::parse_rfc3339(&format!("{date}T00:00:00Z"))?);
    let part = part.parse().ok()?;
    (name(day, part) == text).then_some((day, part))
}

/// The files of a directory, the oldest first. Others in it are left alone.
///
/// # Errors
/// The directory cannot be read.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<DayFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some((day, part)) = entry.file_name().to_str().and_then(parse_name) else { continue };
        // One that was removed meanwhile is none.
        let Ok(facts) = entry.metadata() else { continue };
        files.push(DayFile { day, part, path: entry.path(), len: facts.len() });
    }
    files.sort();
    Ok(files)
}

struct Current {
    file: File,
    day: i64,
    len: u64,
}

/// The end of the log, and what is kept of the rest.
pub(crate) struct Files {
    options: JournalOptions,
    file_bytes_max: u64,
    current: Option<Current>,
}

impl Files {
    /// Makes the directory.
    pub(crate) fn open(options: JournalOptions) -> io::Result<Self> {
        // Who wrote to whom is nobody's business but the server's and its operator's.
        let is_new = !options.directory.exists();
        DirBuilder::new().mode(0o700).recursive(true).create(&options.directory)?;
        if let Some(parent) = options.directory.parent().filter(|_| is_new) {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            hand_over(&rustix::fs::open(&options.directory, flags, Mode::empty())?.into(), parent)?;
        }
        let file_bytes_max = FILE_BYTES_MAX.min(options.total_bytes_max / PARTS_MIN);
        let files = Self { options, file_bytes_max, current: None };
        list(&files.options.directory)?;
        Ok(files)
    }

    /// Writes whole lines; after an error none of them is in the log.
    pub(crate) fn append(&mut self, lines: &[u8], now: Timestamp) -> io::Result<()> {
        let more = lines.len() as u64;
        let facts = rustix::fs::statvfs(&self.options.directory)?;
        if facts.f_bavail.saturating_mul(facts.f_frsize) < self.options.free_bytes_min.saturating_add(more) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the rest of the disk is kept for mail"));
        }
        let day = day_of(now);
        let has_room =
            |current: &Current| current.day == day && (current.len == 0 || current.len + more <= self.file_bytes_max);
        if !self.current.as_ref().is_some_and(has_room) {
            self.current = None;
            self.current = Some(self.begin(day, more)?);
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        // Another process may have written as well: `basin sink add` puts its line into the journal of the server.
        rustix::fs::flock(&current.file, FlockOperation::LockExclusive)?;
        let before = current.file.metadata()?.len();
        let written = current.file.write_all(lines);
        // Half a line would spoil the next one.
        let is_whole = written.is_ok() || current.file.set_len(before).is_ok();
        rustix::fs::flock(&current.file, FlockOperation::Unlock)?;
        if written.is_err() {
            if !is_whole {
                self.current = None;
            }
            return written;
        }
        current.len += more;
        Ok(())
    }

    /// Makes everything durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.current.as_ref().map_or(Ok(()), |current| current.file.sync_data())
    }

    // Goes on with the last file of the day or begins the next one.
    fn begin(&self, day: i64, more: u64) -> io::Result<Current> {
        let files = list(&self.options.directory)?;
        let last = files.iter().rfind(|file| file.day == day);
        let part = match last {
            Some(last) if last.len + more <= self.file_bytes_max => last.part,
            Some(last) => last.part.saturating_add(1),
            None => 1,
        };
        let path = self.options.directory.join(name(day, part));
        self.clean(&files, &path, day);
        let mut file = open_own(&path, &self.options.directory)?;
        let mut len = file.metadata()?.len();
        // A power cut may have left half a line.
        let mut end = [b'\n'];
        if len > 0 && file.read_exact_at(&mut end, len - 1).is_ok() && end != *b"\n" {
            file.write_all(b"\n")?;
            len += 1;
        }
        Ok(Current { file, day, len })
    }

    // Removes what is too old, then the oldest until a whole file fits.
    fn clean(&self, files: &[DayFile], next: &Path, day: i64) {
        let oldest = day.saturating_sub(i64::from(self.options.days_max));
        let mut total: u64 = files.iter().map(|file| file.len).sum();
        for file in files.iter().filter(|file| file.path != next) {
            let is_room = total.saturating_add(self.file_bytes_max) <= self.options.total_bytes_max;
            if file.day >= oldest && is_room {
                break;
            }
            match fs::remove_file(&file.path) {
                Ok(()) => total = total.saturating_sub(file.len),
                Err(error) => {
                    tracing::warn!(%error, path = %file.path.display(), "cannot remove an old file of a journal")
                }
            }
        }
    }
}

// An operator may be root, and the directory belongs to the server's user, who must not become root by what he puts
// there: no link is followed, and nothing is given away but what was made here and now.
fn open_own(path: &Path, place: &Path) -> io::Result<File> {
    let no_link = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600).custom_flags(no_link);
    match options.clone().create_new(true).open(path) {
        Ok(made) => hand_over(&made, place).map(|()| made),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = options.open(path)?;
            let (facts, own) = (file.metadata()?, fs::metadata(place)?);
            if !facts.is_file() || facts.nlink() != 1 || facts.uid() != own.uid() {
                let foreign = format!("{} is no file of the directory's owner alone", path.display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, foreign));
            }
            Ok(file)
        }
        Err(error) => Err(error),
    }
}

fn hand_over(made: &File, place: &Path) -> io::Result<()> {
    let (own, above) = (made.metadata()?, fs::metadata(place)?);
    if own.uid() == 0 && above.uid() != 0 {
        std::os::unix::fs::fchown(made, Some(above.uid()), Some(above.gid()))?;
    }
    Ok(())
}
