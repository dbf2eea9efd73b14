//! The names in a directory, some at a time: it may have a million, and nobody has to read them all.

use std::collections::VecDeque;
use std::fs::File;

use rustix::fs::{Dir, FileType};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorType, DirectoryEntry, ErrorCode};
use wasmtime_wasi::p2::{FsError, FsResult};

use crate::files::Gate;

/// Names that are read at once.
const NAMES_AT_ONCE: usize = 128;

/// A directory that is being read.
pub(crate) struct Listing {
    /// Away while somebody reads it, and gone when that was broken off.
    rest: Option<Dir>,
    ready: VecDeque<Result<DirectoryEntry, ErrorCode>>,
}

impl Listing {
    /// Begins to read. Asks the system: not for an async thread.
    pub(crate) fn open(dir: &File) -> Result<Self, ErrorCode> {
        let rest = Dir::read_from(dir).map_err(std::io::Error::from)?;
        Ok(Self { rest: Some(rest), ready: VecDeque::new() })
    }

    /// The next name; none at the end.
    pub(crate) async fn next(&mut self, gate: &Gate) -> FsResult<Option<DirectoryEntry>> {
        if let Some(entry) = self.ready.pop_front() {
            return Ok(Some(entry?));
        }
        let Some(mut rest) = self.rest.take() else { return Ok(None) };
        let mut work = gate.begin(move || {
            let names = some(&mut rest);
            (rest, names)
        });
        let (rest, names) = work.done().await.ok_or(FsError::from(ErrorCode::Io))?;
        self.ready = names;
        if !self.ready.is_empty() {
            self.rest = Some(rest);
        }
        Ok(self.ready.pop_front().transpose()?)
    }
}

fn some(dir: &mut Dir) -> VecDeque<Result<DirectoryEntry, ErrorCode>> {
    let mut names = VecDeque::new();
    while names.len() < NAMES_AT_ONCE {
        let entry = match dir.read() {
            None => break,
            Some(Err(error)) => {
                names.push_back(Err(std::io::Error::from(error).into()));
                break;
            }
            Some(Ok(entry)) => entry,
        };
        match entry.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => names.push_back(Ok(DirectoryEntry { type_: kind(entry.file_type()), name: name.to_owned() })),
            Err(_) => names.push_back(Err(ErrorCode::IllegalByteSequence)),
        }
    }
    names
}

fn kind(file_type: FileType) -> DescriptorType {
    match file_type {
        FileType::RegularFile => DescriptorType::RegularFile,
        FileType::Directory => DescriptorType::Directory,
        FileType::Symlink => DescriptorType::SymbolicLink,
        FileType::Fifo => DescriptorType::Fifo,
        FileType::Socket => DescriptorType::Socket,
        FileType::CharacterDevice => DescriptorType::CharacterDevice,
        FileType::BlockDevice => DescriptorType::BlockDevice,
        FileType::Unknown => DescriptorType::Unknown,
    }
}
