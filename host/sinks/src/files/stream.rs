//! Files as streams, each operation of which is done apart.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::{ReadWriteFlags, pwritev2};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use crate::files::allowance::{Allowance, has_room};
use crate::files::gate::{Gate, Work};

/// Octets that a stream moves at once; bounds what waits in the host for each handle.
const CHUNK_BYTES: usize = 64 * 1024;

/// A file that is read from the beginning to its end.
pub(crate) struct Reader {
    file: Arc<File>,
    gate: Gate,
    allowance: Arc<Allowance>,
    position: u64,
    state: Reading,
}

enum Reading {
    Idle,
    Busy(Work<io::Result<Bytes>>),
    Ready(Bytes),
    Failed(ErrorCode),
    Ended,
}

impl Reader {
    pub(crate) fn new(file: &Arc<File>, gate: &Gate, allowance: &Arc<Allowance>, position: u64) -> Self {
        let (file, gate, allowance) = (file.clone(), gate.clone(), allowance.clone());
        Self { file, gate, allowance, position, state: Reading::Idle }
    }

    fn begin(&mut self, octets: usize) {
        self.allowance.operate();
        let (file, position) = (self.file.clone(), self.position);
        self.state = Reading::Busy(self.gate.begin(move || read(&file, octets.min(CHUNK_BYTES), position)));
    }
}

fn read(file: &File, octets: usize, position: u64) -> io::Result<Bytes> {
    let mut chunk = vec![0; octets];
    let count = loop {
        match file.read_at(&mut chunk, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    chunk.truncate(count);
    Ok(chunk.into())
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        if let Reading::Idle = self.state {
            self.begin(CHUNK_BYTES);
        }
        if let Reading::Busy(work) = &mut self.state {
            self.state = match work.done().await {
                Some(Ok(chunk)) if chunk.is_empty() => Reading::Ended,
                Some(Ok(chunk)) => Reading::Ready(chunk),
                Some(Err(error)) => Reading::Failed(error.into()),
                None => Reading::Failed(ErrorCode::Io),
            };
        }
    }
}

#[async_trait]
impl InputStream for Reader {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        match &mut self.state {
            Reading::Idle if size == 0 => Ok(Bytes::new()),
            Reading::Idle => {
                self.begin(size);
                Ok(Bytes::new())
            }
            Reading::Busy(_) => Ok(Bytes::new()),
            Reading::Ready(chunk) => {
                let taken = chunk.split_to(chunk.len().min(size));
                self.position = self.position.saturating_add(taken.len() as u64);
                if chunk.is_empty() {
                    self.state = Reading::Idle;
                }
                self.allowance.moved(taken.len());
                Ok(taken)
            }
            Reading::Failed(code) => {
                let code = *code;
                self.state = Reading::Ended;
                Err(StreamError::LastOperationFailed(code.into()))
            }
            Reading::Ended => Err(StreamError::Closed),
        }
    }
}

/// A file that is written, from a position or at its end.
pub(crate) struct Writer {
    file: Arc<File>,
    gate: Gate,
    allowance: Arc<Allowance>,
    /// None where it is at the end, wherever that is by then.
    position: Option<u64>,
    state: Writing,
}

enum Writing {
    Ready,
    Busy(Work<Result<(), ErrorCode>>),
    Failed(ErrorCode),
    Closed,
}

impl Writer {
    pub(crate) fn new(file: &Arc<File>, gate: &Gate, allowance: &Arc<Allowance>, position: Option<u64>) -> Self {
        let (file, gate, allowance) = (file.clone(), gate.clone(), allowance.clone());
        Self { file, gate, allowance, position, state: Writing::Ready }
    }
}

/// Writes all of it where the disk has room.
pub(crate) fn write(file: &File, octets: &[u8], position: Option<u64>) -> Result<(), ErrorCode> {
    has_room(file, octets.len() as u64)?;
    match position {
        Some(position) => Ok(file.write_all_at(octets, position)?),
        None => append(file, octets),
    }
}

fn append(file: &File, mut octets: &[u8]) -> Result<(), ErrorCode> {
    while !octets.is_empty() {
        match pwritev2(file, &[io::IoSlice::new(octets)], 0, ReadWriteFlags::APPEND) {
            Ok(0) => return Err(ErrorCode::Io),
            Ok(count) => octets = octets.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    Ok(())
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        if let Writing::Busy(work) = &mut self.state {
            self.state = match work.done().await {
                Some(Ok(())) => Writing::Ready,
                Some(Err(code)) => Writing::Failed(code),
                None => Writing::Failed(ErrorCode::Io),
            };
        }
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        match self.check_write()? {
            0 => return Err(StreamError::trap("it wrote before the stream was ready")),
            room if bytes.len() > room => return Err(StreamError::trap("it wrote more than the stream takes at once")),
            _ => {}
        }
        self.allowance.operate();
        let len = bytes.len() as u64;
        if let Err(code) = self.allowance.write(len) {
            self.state = Writing::Closed;
            return Err(StreamError::LastOperationFailed(code.into()));
        }
        let (file, position) = (self.file.clone(), self.position);
        self.allowance.moved(bytes.len());
        self.position = position.map(|position| position.saturating_add(len));
        self.state = Writing::Busy(self.gate.begin(move || write(&file, &bytes, position)));
        Ok(())
    }

    // Nothing is held back, and what is durable is for `sync` to say.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match &self.state {
            Writing::Ready => Ok(CHUNK_BYTES),
            Writing::Busy(_) => Ok(0),
            Writing::Failed(code) => {
                let code = *code;
                self.state = Writing::Closed;
                Err(StreamError::LastOperationFailed(code.into()))
            }
            Writing::Closed => Err(StreamError::Closed),
        }
    }
}
