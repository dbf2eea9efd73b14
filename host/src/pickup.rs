//! The pickup directory: files that programs leave become messages, each once.
//!
//! A file is taken when it was the same at two looks, its message is committed under an id that comes from the file
//! itself, then the file is removed and the directory synced, and only then is the message worked on. A crash
//! anywhere in between leaves the file, or the message, or both with the same id: nothing is lost and nothing doubled.

use core::time::Duration;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use basin_core::mail::pickup::{self, Lines, Making, PickupError};
use basin_core::mail::{Arrival, Authority, Message, MessageId, Origin, Vouched};
use basin_core::time::Timestamp;
use basin_core::transport::State;
use basin_spool::{Spool, SpoolFault};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::clock::now;
use crate::config::Pickup as Settings;
use crate::services::Services;
use crate::shutdown::Phase;
use crate::telemetry::signing::{FileRefused, FileTaken, PickupFailed};

/// Name of pickup messages in place of a listener's, in logs, metrics and rules.
pub const LISTENER: &str = "pickup";

/// Time between two looks into the directory.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Most files that one look considers. A fuller directory is worked off in turns, and memory stays bounded.
const FILES_PER_LOOK: usize = 1_000;

/// Octets of a file that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// Folder for files that are no messages.
const BAD: &str = "bad";

/// What tells one file, and one state of it, from any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    /// When it was linked here or changed: the next file may have everything else of one that was taken, its inode
    /// among it, and is another message all the same.
    changed: (i64, i64),
    size: u64,
}

impl Identity {
    fn of(facts: &fs::Metadata) -> Self {
        let modified = (facts.mtime(), facts.mtime_nsec());
        let changed = (facts.ctime(), facts.ctime_nsec());
        Self { device: facts.dev(), inode: facts.ino(), modified, changed, size: facts.size() }
    }

    /// The same file has the same id for as long as nobody changes it.
    fn message_id(&self, name: &Path) -> MessageId {
        let mut hash = Sha256::new();
        for number in [self.device, self.inode, self.size] {
            hash.update(number.to_be_bytes());
        }
        for number in [self.modified.0, self.modified.1, self.changed.0, self.changed.1] {
            hash.update(number.to_be_bytes());
        }
        hash.update(name.as_os_str().as_bytes());
        let digest = hash.finalize();
        let random = digest.iter().take(8).fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
        let nanoseconds = u32::try_from(self.modified.1).unwrap_or(0);
        MessageId::new(Timestamp { seconds: self.modified.0, nanoseconds }, random)
    }
}

/// Why a file was not taken.
#[derive(Debug)]
enum Refusal {
    /// It never will be.
    Bad(PickupError),
    /// It is looked at again.
    Later(String),
}

impl From<PickupError> for Refusal {
    fn from(error: PickupError) -> Self {
        Self::Bad(error)
    }
}

/// The directory, and what was seen in it.
pub struct Pickup {
    settings: Settings,
    host_name: String,
    authority: Authority,
    spool: Spool,
    seen: HashMap<OsString, Identity>,
}

impl Pickup {
    /// Opens the directory and removes files whose messages are stored: the last run ended in between. Call it
    /// before anybody works on stored messages.
    ///
    /// # Errors
    /// The directory cannot be read or changed.
    pub fn open(settings: Settings, host_name: String, authority: Authority, spool: Spool) -> io::Result<Self> {
        fs::create_dir_all(settings.directory.join(BAD))?;
        let pickup = Self { settings, host_name, authority, spool, seen: HashMap::new() };
        let mut is_changed = false;
        for entry in fs::read_dir(&pickup.settings.directory)? {
            let entry = entry?;
            let facts = entry.metadata()?;
            if facts.is_file() && pickup.spool.contains(&Identity::of(&facts).message_id(Path::new(&entry.file_name())))
            {
                fs::remove_file(entry.path())?;
                is_changed = true;
            }
        }
        if is_changed {
            File::open(&pickup.settings.directory)?.sync_all()?;
        }
        Ok(pickup)
    }

    /// Looks into the directory once: takes what has not changed since the last look. Gives each message that is on
    /// disk, and whose file is gone, to `stored`. Blocks.
    pub fn look(&mut self, stored: &mut dyn FnMut(Message, State)) {
        let candidates = match self.candidates() {
            Ok(candidates) => candidates,
            Err(error) => {
                let (file, cause) = (self.settings.directory.as_path(), error.to_string());
                return PickupFailed { file, cause: &cause }.record();
            }
        };
        let before = core::mem::take(&mut self.seen);
        for (name, identity) in candidates {
            let path = self.settings.directory.join(&name);
            if before.get(&name) != Some(&identity) {
                self.seen.insert(name, identity);
                continue;
            }
            match self.take(&path, &name, identity) {
                Ok(message) => stored(message, State::default()),
                Err(Refusal::Bad(error)) => self.set_aside(&path, &name, &error.to_string()),
                Err(Refusal::Later(cause)) => {
                    PickupFailed { file: &path, cause: &cause }.record();
                    self.seen.insert(name, identity);
                }
            }
        }
    }

    // Regular files that are not being written: a name that begins with a dot or ends in `.tmp` says that one is.
    fn candidates(&self) -> io::Result<Vec<(OsString, Identity)>> {
        let mut candidates = Vec::new();
        for entry in fs::read_dir(&self.settings.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_unfinished = name.as_bytes().starts_with(b".") || name.as_bytes().ends_with(b".tmp");
            // A link is not followed: it would let who may write here read what the server may read.
            if is_unfinished || !entry.file_type()?.is_file() {
                continue;
            }
            match entry.metadata() {
                Ok(facts) => candidates.push((name, Identity::of(&facts))),
                // Whoever put it there took it away again.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            if candidates.len() >= FILES_PER_LOOK {
                break;
            }
        }
        Ok(candidates)
    }

    fn take(&self, path: &Path, name: &OsString, identity: Identity) -> Result<Message, Refusal> {
        let later = |doing: &str, error: &dyn core::fmt::Display| Refusal::Later(format!("cannot {doing}: {error}"));
        let mut options = fs::OpenOptions::new();
        // Nor wait for the other end of a pipe that took the place of the file.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let mut file = options.read(true).custom_flags(flags).open(path).map_err(|e| later("open the file", &e))?;
        let facts = file.metadata().map_err(|e| later("look at the file", &e))?;
        if Identity::of(&facts) != identity {
            return Err(Refusal::Later("the file changes; rename it into the directory when it is whole".to_owned()));
        }
        let message = self.read(&mut file, name, identity)?;
        let after = file.metadata().map_err(|e| later("look at the file", &e))?;
        if Identity::of(&after) != identity {
            return Err(Refusal::Later("the file changes; rename it into the directory when it is whole".to_owned()));
        }
        self.commit(&message).map_err(|e| later("store the message", &e))?;
        // The message waits in the spool, untouched, until the file is gone for good: else it could be delivered
        // and forgotten while the file is still there to be taken again.
        fs::remove_file(path).map_err(|e| later("remove the file", &e))?;
        let folder = File::open(&self.settings.directory).and_then(|folder| folder.sync_all());
        if let Err(error) = folder {
            // The file is gone unless the power goes now; the message must not wait for that.
            PickupFailed { file: path, cause: &format!("cannot sync the directory: {error}") }.record();
        }
        FileTaken { file: path, message: &message.id, size: message.size() }.record();
        Ok(message)
    }

    fn read(&self, file: &mut File, name: &OsString, identity: Identity) -> Result<Message, Refusal> {
        let full = |fault: SpoolFault| Refusal::Later(fault.to_string());
        let mut lines = Lines::new(self.settings.message_bytes_max);
        let mut draft = self.spool.draft();
        let (mut buffer, mut text) = (vec![0; READ_BYTES], Vec::new());
        loop {
            let count = file.read(&mut buffer).map_err(|error| Refusal::Later(error.to_string()))?;
            if count == 0 {
                break;
            }
            lines.feed(buffer.get(..count).unwrap_or_default(), &mut text)?;
            draft.write(&text).map_err(full)?;
            text.clear();
        }
        let is_8bit = lines.finish(&mut text)?;
        draft.write(&text).map_err(full)?;
        let content = draft.finish().map_err(full)?;
        // For people and sinks to read: what is no UTF-8 in it is shown as such.
        let pickup_file = Some(name.to_string_lossy().into_owned());
        let arrival = Arrival {
            origin: Origin::Pickup,
            at: now(),
            listener: LISTENER.to_owned(),
            client: None,
            server: None,
            helo: None,
            is_esmtp: false,
            session: None,
            depth: 0,
            vouched: Vouched { pickup_file, ..Vouched::default() },
        };
        let recipients_max = self.settings.recipients_max;
        let (host_name, authority) = (self.host_name.as_str(), &self.authority);
        let id = identity.message_id(Path::new(name));
        let making = Making { id, arrival, host_name, authority, recipients_max, is_8bit, now: now() };
        Ok(pickup::message(&content, making)?)
    }

    // Where the spool has the id, this is the same message: it was stored, and its file could not be removed.
    fn commit(&self, message: &Message) -> Result<(), SpoolFault> {
        let (done, result) = mpsc::channel();
        self.spool.commit(message.clone(), State::default(), move |committed| drop(done.send(committed)));
        result.recv().unwrap_or(Err(SpoolFault::Closed)).map(drop)
    }

    // The reason lies beside the file. An older file of that name keeps its place.
    fn set_aside(&self, path: &Path, name: &OsString, reason: &str) {
        let free = |number: u32| {
            let mut name = name.clone();
            if number > 0 {
                name.push(format!(".{number}"));
            }
            self.settings.directory.join(BAD).join(name)
        };
        let place: PathBuf = (0..u32::MAX).map(free).find(|place| !place.exists()).unwrap_or_else(|| free(0));
        let mut note = place.clone().into_os_string();
        note.push(".reason");
        let moved = fs::rename(path, &place).and_then(|()| fs::write(note, format!("{reason}\n")));
        match moved {
            Ok(()) => FileRefused { file: path, now_at: &place, cause: reason }.record(),
            Err(error) => {
                PickupFailed { file: path, cause: &format!("{reason}; cannot set it aside: {error}") }.record()
            }
        }
    }
}

/// Looks into the directory every second until the server stops taking mail.
pub async fn run(mut pickup: Pickup, services: Arc<Services>, mut stop: watch::Receiver<Phase>) {
    while *stop.borrow() < Phase::Draining {
        let services = services.clone();
        let looked = tokio::task::spawn_blocking(move || {
            pickup.look(&mut |message, state| {
                services.metrics.messages_accepted.with_label_values(&[LISTENER]).inc();
                services.metrics.message_bytes_accepted.with_label_values(&[LISTENER]).inc_by(message.size());
                services.tracking.received(&message, None);
                services.queue.stored(message, state);
            });
            pickup
        });
        // A panic was reported by the hook; without its list of files there is nothing to go on with.
        let Ok(looked) = looked.await else { return };
        pickup = looked;
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.wait_for(|phase| *phase >= Phase::Draining) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use basin_spool::{Options, RealStorage};

    use super::*;

    const LETTER: &str = "x-sender: a@one.example\nx-receiver: b@two.example\nFrom: a@one.example\n\nhello\n";

    struct Place {
        folder: tempfile::TempDir,
        spool: Spool,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let opened = Spool::open(&folder.path().join("spool"), Options::default(), Arc::new(RealStorage));
            Self { spool: opened.expect("a spool").0, folder }
        }

        fn directory(&self) -> PathBuf {
            self.folder.path().join("pickup")
        }

        fn open(&self) -> Pickup {
            let settings = Settings { directory: self.directory(), message_bytes_max: 1_000, recipients_max: 10 };
            Pickup::open(settings, "basin.example".to_owned(), Authority::default(), self.spool.clone())
                .expect("a directory")
        }

        fn put(&self, name: &str, text: &str) {
            fs::write(self.directory().join(name), text).expect("written");
        }

        fn names(&self, below: &str) -> Vec<String> {
            let entries = fs::read_dir(self.directory().join(below)).expect("readable");
            let mut names: Vec<String> =
                entries.map(|e| e.expect("readable").file_name().to_string_lossy().into()).collect();
            names.sort();
            names
        }
    }

    fn look(pickup: &mut Pickup) -> usize {
        let mut count = 0;
        pickup.look(&mut |_, _| count += 1);
        count
    }

    #[test]
    fn a_whole_file_becomes_a_message_and_goes() {
        let place = Place::new();
        let mut pickup = place.open();
        place.put("one.eml", LETTER);
        assert_eq!(look(&mut pickup), 0, "it may still be written");
        assert_eq!(look(&mut pickup), 1);
        assert_eq!(place.names("."), [BAD]);
        let id = place.spool.ids().pop().expect("stored");
        let (message, _) = place.spool.load(&id).expect("readable").expect("there");
        assert_eq!(message.envelope.sender.as_ref().map(ToString::to_string), Some("a@one.example".into()));
        assert_eq!(message.arrival.origin, Origin::Pickup);
        assert_eq!(message.arrival.vouched.pickup_file.as_deref(), Some("one.eml"));
        assert_eq!(look(&mut pickup), 0);
    }

    #[test]
    fn a_file_that_looks_like_one_that_was_taken_is_another_message() {
        let place = Place::new();
        let mut pickup = place.open();
        let template = place.folder.path().join("template");
        fs::write(&template, LETTER).expect("written");
        let changed = || Identity::of(&fs::metadata(&template).expect("there")).changed;
        for count in 1..=2 {
            // The same inode, size, time and name; the first message is still in the spool.
            let (before, file) = (changed(), place.directory().join("daily.eml"));
            fs::hard_link(&template, &file).expect("a link");
            // The clock of a file system takes its time.
            while changed() == before {
                fs::remove_file(&file).expect("removed");
                fs::hard_link(&template, &file).expect("a link");
            }
            assert_eq!((look(&mut pickup), look(&mut pickup)), (0, 1));
            assert_eq!(place.spool.ids().len(), count);
        }
    }

    #[test]
    fn files_that_are_being_written_and_links_stay() {
        let place = Place::new();
        let mut pickup = place.open();
        place.put(".hidden", LETTER);
        place.put("one.tmp", LETTER);
        std::os::unix::fs::symlink("/etc/hostname", place.directory().join("link")).expect("a link");
        place.put("grows", LETTER);
        assert_eq!(look(&mut pickup), 0);
        place.put("grows", &format!("{LETTER}more\n"));
        assert_eq!(look(&mut pickup), 0, "it has changed since");
        assert_eq!(look(&mut pickup), 1);
        assert_eq!(place.names("."), [".hidden", BAD, "link", "one.tmp"]);
    }

    #[test]
    fn what_is_no_message_is_set_aside_with_the_reason() {
        let place = Place::new();
        let mut pickup = place.open();
        for _ in 0..2 {
            place.put("bad.eml", "Subject: nobody\n\n");
            look(&mut pickup);
            assert_eq!(look(&mut pickup), 0);
        }
        assert_eq!(place.names(BAD), ["bad.eml", "bad.eml.1", "bad.eml.1.reason", "bad.eml.reason"]);
        let reason = fs::read_to_string(place.directory().join(BAD).join("bad.eml.reason")).expect("there");
        assert!(reason.contains("x-sender"), "{reason}");
        assert!(place.spool.ids().is_empty());
    }

    #[test]
    fn a_crash_after_the_commit_neither_loses_nor_doubles_the_message() {
        let place = Place::new();
        let mut pickup = place.open();
        place.put("one.eml", LETTER);
        look(&mut pickup);
        // Stored, and the process ends before the file is removed.
        let path = place.directory().join("one.eml");
        let identity = Identity::of(&fs::metadata(&path).expect("there"));
        let id = identity.message_id(Path::new("one.eml"));
        let message =
            pickup.read(&mut File::open(&path).expect("there"), &"one.eml".into(), identity).expect("a message");
        pickup.commit(&message).expect("stored");
        let mut again = place.open();
        assert_eq!(place.names("."), [BAD], "its message is there, so it goes");
        assert_eq!((look(&mut again), look(&mut again)), (0, 0));
        assert_eq!(place.spool.ids(), [id]);
    }
}
