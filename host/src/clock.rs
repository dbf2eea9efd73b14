//! Time and randomness, which machines get as arguments.

use core::time::Duration;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::SystemTime;

use basin_core::time::Timestamp;

/// What the system's clock says.
pub fn now() -> Timestamp {
    // A clock before 1970 is no clock; it reads as 1970 until somebody sets it.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: since.subsec_nanos() }
}

/// Random numbers of the operating system; good enough for ids that nobody may guess.
#[derive(Debug, Clone)]
pub struct Randomness {
    source: Arc<File>,
}

impl Randomness {
    /// Opens the source, once for the life of the process.
    ///
    /// # Errors
    /// The system has no `/dev/urandom`.
    pub fn open() -> io::Result<Self> {
        Ok(Self { source: Arc::new(File::open("/dev/urandom")?) })
    }

    /// 64 random bits.
    ///
    /// # Errors
    /// The source cannot be read; no id can be made then.
    pub fn number(&self) -> io::Result<u64> {
        let mut octets = [0; 8];
        (&*self.source).read_exact(&mut octets)?;
        Ok(u64::from_ne_bytes(octets))
    }

    /// Two independent numbers for the price of one call.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn pair(&self) -> io::Result<(u64, u64)> {
        let mut octets = [0; 16];
        (&*self.source).read_exact(&mut octets)?;
        let both = u128::from_ne_bytes(octets);
        #[expect(clippy::cast_possible_truncation, reason = "one half each")]
        Ok((both as u64, (both >> 64) as u64))
    }
}
