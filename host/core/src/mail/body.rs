//! The body of a message: octets that somebody else keeps.

use core::any::Any;
use core::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// Octets that can be read at any offset, from any thread: memory, a draft file, a record of the spool.
pub trait ReadAt: Send + Sync {
    /// Octets there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads into `buffer` from `offset` on; shorter at the end, 0 past it.
    ///
    /// # Errors
    /// The storage below failed.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// The value itself, for a storage that knows its own kinds again and then need not copy them.
    fn as_any(&self) -> Option<&dyn Any> {
        None
    }
}

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|start| self.get(start..)).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

/// The whole text of a received message: header block, empty line and body, as the storage keeps it.
#[derive(Clone)]
pub struct Content {
    /// Where the octets are.
    pub octets: Arc<dyn ReadAt>,
    /// How many there are.
    pub len: u64,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} octets)", self.len)
    }
}

/// A window onto octets that are shared and never change.
///
/// Cloning is cheap. The lines of a body always end in CR LF: the data decoder and the body writer of sinks
/// refuse or repair anything else before a `Body` exists.
#[derive(Clone)]
pub struct Body {
    source: Arc<dyn ReadAt>,
    start: u64,
    len: u64,
}

impl Body {
    /// The window of `len` octets from `start` on, cut at the end of `source`.
    pub fn window(source: Arc<dyn ReadAt>, start: u64, len: u64) -> Self {
        let there = source.len().saturating_sub(start);
        Self { source, start, len: len.min(there) }
    }

    /// A body kept in memory.
    pub fn from_bytes(octets: impl Into<Bytes>) -> Self {
        let octets = octets.into();
        let len = <[u8]>::len(&octets) as u64;
        Self { source: Arc::new(octets), start: 0, len }
    }

    /// What the window looks onto.
    pub fn source(&self) -> &Arc<dyn ReadAt> {
        &self.source
    }

    /// Where in its source the body starts.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Octets of the body.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the body has no octets.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads at most `len` octets from `offset` on; shorter at the end, empty past it.
    ///
    /// The caller clamps `len`; this allocates at most what is there.
    ///
    /// # Errors
    /// The storage below failed.
    pub fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; len.min(there)];
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.source.read_at(self.start + offset + filled as u64, rest)? {
                0 => break,
                count => filled += count,
            }
        }
        buffer.truncate(filled);
        Ok(buffer)
    }

    /// Hands the whole body to `sink` in chunks of at most `chunk` octets.
    ///
    /// # Errors
    /// The storage below failed, or `sink` did.
    pub fn for_each_chunk(&self, chunk: usize, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut offset = 0;
        while offset < self.len {
            let octets = self.read(offset, chunk)?;
            if octets.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body is shorter than it was"));
            }
            offset += octets.len() as u64;
            sink(&octets)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} octets)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_cut_at_the_window() {
        let body = Body::window(Arc::new(Bytes::from_static(b"0123456789")), 2, 5);
        assert_eq!(body.read(0, 100).expect("memory"), b"23456");
        assert_eq!(body.read(4, 100).expect("memory"), b"6");
        assert_eq!(body.read(5, 1).expect("memory"), b"");
        assert_eq!(body.read(u64::MAX, 1).expect("memory"), b"");
    }

    #[test]
    fn chunks_cover_the_whole_body() {
        let body = Body::from_bytes(&b"0123456789"[..]);
        let mut seen = Vec::new();
        body.for_each_chunk(3, |chunk| {
            seen.push(chunk.to_vec());
            Ok(())
        })
        .expect("memory");
        assert_eq!(seen, [&b"012"[..], b"345", b"678", b"9"]);
    }
}
