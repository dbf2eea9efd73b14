//! Bodies read back out of the spool.

use std::any::Any;
use std::io;
use std::sync::Arc;

use basin_core::mail::{Body, MessageId, ReadAt};

use crate::storage::StorageFile;

/// A body on disk. It holds its file open, so it can be read to its end even while the message is removed
/// or moved to another segment.
pub(crate) struct StoredBody {
    pub(crate) id: MessageId,
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) start: u64,
    pub(crate) len: u64,
    /// Checksum of the body, or of the whole file that it is in.
    pub(crate) crc: u32,
}

impl StoredBody {
    /// Whether `body` is the whole body of message `id` with that length and checksum, wherever it was read from.
    pub(crate) fn is(body: &Body, id: &MessageId, proof: (u64, u32)) -> bool {
        body.source().as_any().and_then(<dyn Any>::downcast_ref::<Self>).is_some_and(|stored| {
            stored.id == *id && (stored.len, stored.crc) == proof && body.start() == 0 && body.len() == stored.len
        })
    }
}

impl ReadAt for StoredBody {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buffer.len().min(rest);
        match buffer.get_mut(..count) {
            Some(buffer) if count > 0 => self.file.read_at(self.start + offset, buffer),
            _ => Ok(0),
        }
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}
