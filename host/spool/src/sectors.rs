//! Reads a file past its bad places.

use std::io;
use std::ops::Range;

use crate::storage::StorageFile;

/// Octets read at a time.
const READ_BYTES: usize = 1024 * 1024;

/// Octets that a disk loses together: a sector of today's disks, and a page.
const SECTOR_BYTES: usize = 4 * 1024;

/// Bad sectors of one file that are stepped over. A dying disk takes seconds for each; past this many, what is
/// behind them waits for a better copy of the disk.
const BAD_SECTORS_MAX: usize = 256;

/// What could be read of a file.
pub(crate) struct Content {
    /// The octets; zero where they could not be read.
    pub(crate) octets: Vec<u8>,
    /// The places of these zeros.
    pub(crate) holes: Vec<Range<usize>>,
    /// The last error.
    pub(crate) failed: Option<io::Error>,
}

/// Reads a file; one bad place does not hide the rest.
pub(crate) fn read_all(file: &dyn StorageFile) -> Content {
    let mut content = Content { octets: Vec::new(), holes: Vec::new(), failed: None };
    let mut chunk = vec![0; READ_BYTES];
    let mut bad_sectors = 0;
    // Known only where something went wrong.
    let mut len = None;
    loop {
        let at = content.octets.len();
        // Up to the end of the sector where a larger piece failed.
        let wanted = if len.is_some() { SECTOR_BYTES - at % SECTOR_BYTES } else { READ_BYTES };
        match file.read_at(at as u64, chunk.get_mut(..wanted).unwrap_or_default()) {
            Ok(0) => return content,
            Ok(count) => content.octets.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if len.is_none() => {
                len = file.len().ok().and_then(|len| usize::try_from(len).ok());
                content.failed = Some(error);
                if len.is_none() {
                    content.holes.push(at..at);
                    return content;
                }
            }
            Err(error) => {
                let end = len.unwrap_or(at).max(at);
                bad_sectors += 1;
                let until = if bad_sectors > BAD_SECTORS_MAX { end } else { (at + wanted).min(end) };
                match content.holes.last_mut().filter(|hole| hole.end == at) {
                    Some(hole) => hole.end = until,
                    None => content.holes.push(at..until),
                }
                content.octets.resize(until, 0);
                content.failed = Some(error);
                if until == at || until == end {
                    return content;
                }
            }
        }
    }
}
