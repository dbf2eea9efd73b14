//! Takes out of a spool what is damaged, and moves it to the present format.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use basin_core::mail::MessageId;

use crate::error::{OpenError, SpoolFault};
use crate::layout::Layout;
use crate::read::{Found, find};
use crate::recover::Recovery;
use crate::segment::FORMAT_VERSION;
use crate::shared::{Options, Shared};
use crate::spool::Spool;
use crate::storage::{Storage, StorageFile};

/// Octets of a damaged body saved at a time; one that cannot be read becomes as many zeros.
const SALVAGE_BYTES: usize = 4 * 1024;

/// What a repair did.
#[derive(Debug, Clone, Default)]
pub struct Repaired {
    /// What opening the spool found and set aside.
    pub recovery: Recovery,
    /// Messages that are there and whole.
    pub messages: usize,
    /// Messages that are not whole: what could be read of each is in that file.
    pub set_aside: Vec<(MessageId, PathBuf)>,
    /// Segments that were emptied: those of the older format, or with damage.
    pub segments_left: usize,
    /// Why a part of the work could not be done, if it could not.
    pub fault: Option<SpoolFault>,
}

/// Repairs the spool in `directory`, which no server may be using.
///
/// Every message is read. One that is not whole is written to `damaged/message-ID.eml`, as far as it can be read,
/// and leaves the queue. Segments with damage are emptied into new ones; a segment with places that the disk does
/// not give back goes to `damaged/` then. Nothing that can be read is lost, and nothing is deleted.
///
/// # Errors
/// The spool cannot be opened.
pub fn repair(directory: &Path, options: Options, storage: Arc<dyn Storage>) -> Result<Repaired, OpenError> {
    let (spool, recovery) = Spool::open_stepped(directory, options, Arc::clone(&storage))?;
    let mut repaired = Repaired { recovery, ..Repaired::default() };
    let shared = spool.shared();
    for id in spool.ids() {
        match spool.load(&id) {
            Ok(_) => {}
            Err(SpoolFault::Damaged { .. } | SpoolFault::Io { .. }) => match set_aside(shared, &id) {
                Ok(path) => {
                    spool.remove(id.clone(), |_| {});
                    repaired.set_aside.push((id, path));
                }
                Err(fault) => repaired.fault = Some(fault),
            },
            Err(fault @ (SpoolFault::Full(_) | SpoolFault::Unknown(_) | SpoolFault::Closed)) => {
                repaired.fault = Some(fault);
            }
        }
    }
    if repaired.fault.is_none() {
        {
            let mut index = shared.index();
            for segment in index.segments.values_mut() {
                // It was kept for what the next start might still read. That was this one.
                segment.is_kept = false;
                segment.is_set_aside = segment.has_holes;
                segment.is_left |= segment.has_holes;
            }
        }
        empty(&spool, &mut repaired);
    }
    repaired.messages = spool.ids().len();
    spool.close();
    Ok(repaired)
}

/// Moves all messages of the spool in `directory` into segments of the present format. No server may be using it.
///
/// Nobody has to: older segments are read as ever and go when their mail has gone. Afterwards an older program
/// refuses the spool.
///
/// # Errors
/// The spool cannot be opened.
pub fn upgrade(directory: &Path, options: Options, storage: Arc<dyn Storage>) -> Result<Repaired, OpenError> {
    let (spool, recovery) = Spool::open_stepped(directory, options, storage)?;
    let mut repaired = Repaired { recovery, ..Repaired::default() };
    for segment in spool.shared().index().segments.values_mut() {
        segment.is_left |= segment.version < FORMAT_VERSION;
    }
    empty(&spool, &mut repaired);
    repaired.messages = spool.ids().len();
    spool.close();
    Ok(repaired)
}

// Lets the cleaning work until no segment is left that should be empty.
fn empty(spool: &Spool, repaired: &mut Repaired) {
    let shared = spool.shared();
    let to_leave = || {
        let index = shared.index();
        index.segments.values().filter(|segment| segment.is_left && !segment.is_kept).count()
    };
    let before = to_leave();
    let faults = spool.statistics().faults;
    while to_leave() > 0 {
        if !spool.step() {
            break;
        }
    }
    let statistics = spool.statistics();
    if statistics.faults > faults {
        let cause = statistics.last_fault.unwrap_or_default();
        repaired.fault = Some(SpoolFault::Io { doing: "empty the damaged segments".into(), cause });
    }
    repaired.segments_left = before - to_leave().min(before);
}

// Writes what can be read of a message to a file of its own.
fn set_aside(shared: &Shared, id: &MessageId) -> Result<PathBuf, SpoolFault> {
    let found = find(shared, id).ok_or_else(|| SpoolFault::Unknown(id.to_string()))?;
    let layout: &Layout = &shared.layout;
    let path = layout.damaged.join(format!("message-{id}.eml"));
    let failed = |error: std::io::Error| SpoolFault::of(format!("set message {id} aside"), &error);
    let part = layout.damaged.join(format!("message-{id}.eml.part"));
    match shared.storage.remove(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    let target = shared.storage.create(&part).map_err(failed)?;
    write_rest(shared, &found, target.as_ref()).map_err(failed)?;
    target.sync_data().map_err(failed)?;
    shared.storage.rename(&part, &path).map_err(failed)?;
    shared.storage.sync_dir(&layout.damaged).map_err(failed)?;
    Ok(path)
}

fn write_rest(shared: &Shared, found: &Found, target: &dyn StorageFile) -> std::io::Result<()> {
    let mut at = 0_u64;
    let mut write = |octets: &[u8]| {
        target.write_at(at, &mut [IoSlice::new(octets)])?;
        at += octets.len() as u64;
        Ok::<(), std::io::Error>(())
    };
    match found.head() {
        Ok(head) => {
            // Whom it was for stands nowhere else; a mail reader shows such fields.
            let sender = head.meta.envelope.sender.as_ref().map(ToString::to_string).unwrap_or_default();
            write(format!("X-Basin-Sender: <{sender}>\r\n").as_bytes())?;
            for recipient in &head.meta.envelope.recipients {
                let (to, word) = (&recipient.address, recipient.outcome.word());
                write(format!("X-Basin-Recipient: <{to}> {word}\r\n").as_bytes())?;
            }
            write(&head.header)?;
            write(b"\r\n")?;
        }
        // Octets of the record with what can be read between, for a person.
        Err(_) => copy_readable(found.record_bytes(), &mut write)?,
    }
    let Ok(body) = found.body(shared) else { return Ok(()) };
    copy_readable(Some((body.file, body.start, body.len)), &mut write)
}

fn copy_readable(
    source: Option<(Arc<dyn StorageFile>, u64, u64)>,
    write: &mut impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let Some((file, start, len)) = source else { return Ok(()) };
    let mut chunk = vec![0; SALVAGE_BYTES];
    let mut at = 0;
    while at < len {
        let wanted = usize::try_from(len - at).unwrap_or(SALVAGE_BYTES).min(SALVAGE_BYTES);
        let Some(buffer) = chunk.get_mut(..wanted) else { return Ok(()) };
        let count = match file.read_at(start + at, buffer) {
            // The file is shorter than it was.
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(_) => {
                buffer.fill(0);
                wanted
            }
        };
        write(buffer.get(..count).unwrap_or_default())?;
        at += count as u64;
    }
    Ok(())
}
