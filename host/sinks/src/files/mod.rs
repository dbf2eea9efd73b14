//! Files for sinks: `wasi:filesystem`, in the directories that are granted and in no other.
//!
//! Ways are found by wasmtime-wasi, which lets none of them out of the directory, neither by `..` nor by a link. What is
//! added here: who may write is told, only plain files and directories are opened (a pipe would hold its opener for
//! ever), each call has an allowance, a directory is listed some names at a time, and everything that asks the system
//! is done apart from the threads that serve clients.

mod allowance;
mod descriptor;
mod gate;
mod listing;
mod opened;
mod stream;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{self, ErrorCode};
use wasmtime_wasi::p2::{FsError, FsResult};

pub(crate) use allowance::Allowance;
pub(crate) use gate::Gate;
pub(crate) use opened::Opened;

use crate::state::State;

/// What a call has of files.
pub(crate) struct Files<'a> {
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) opened: &'a Opened,
    pub(crate) allowance: &'a Arc<Allowance>,
    pub(crate) gate: &'a Gate,
}

struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = Files<'a>;
}

/// Links `wasi:filesystem`.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    types::add_to_linker::<State, HasFiles>(linker, State::files)?;
    preopens::add_to_linker::<State, HasFiles>(linker, State::files)
}

/// Where an operation lays what it works with, so that it can be done apart.
#[derive(Default)]
struct Desk {
    table: ResourceTable,
    context: WasiFilesystemCtx,
}

impl Desk {
    fn view(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut self.context, table: &mut self.table }
    }
}

impl Files<'_> {
    fn get(&self, fd: &Resource<Descriptor>) -> FsResult<Descriptor> {
        self.allowance.operate();
        Ok(self.table.get(fd)?.clone())
    }

    fn dir(&self, fd: &Resource<Descriptor>) -> FsResult<Dir> {
        match self.get(fd)? {
            Descriptor::Dir(dir) => Ok(dir),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    fn file(&self, fd: &Resource<Descriptor>) -> FsResult<File> {
        match self.get(fd)? {
            Descriptor::File(file) => Ok(file),
            Descriptor::Dir(_) => Err(ErrorCode::BadDescriptor.into()),
        }
    }

    /// Answers `not-permitted`, and tells the operator, where the directory was granted to be read.
    fn writable(&self, perms: FsPerms) -> FsResult<()> {
        if perms.write_not_permitted() {
            let why =
                "it wanted to change files in a directory that it may read (--grant dir=HOSTDIR::GUESTDIR:rw gives it)";
            self.allowance.deny(why.to_owned());
            return Err(ErrorCode::NotPermitted.into());
        }
        Ok(())
    }

    fn perms(&self, fd: &Resource<Descriptor>) -> FsResult<FsPerms> {
        Ok(match self.table.get(fd)? {
            Descriptor::File(file) => file.perms,
            Descriptor::Dir(dir) => dir.perms,
        })
    }

    /// Takes a new name out of the allowance, where the directory may be written.
    fn making(&self, fd: &Resource<Descriptor>) -> FsResult<()> {
        self.writable(self.perms(fd)?)?;
        Ok(self.allowance.make()?)
    }
}

impl preopens::Host for Files<'_> {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let mut directories = Vec::new();
        for open in self.opened.iter() {
            let fd = self.table.push(Descriptor::Dir(open.dir.clone()))?;
            directories.push((fd, open.granted.guest().to_owned()));
        }
        Ok(directories)
    }
}

impl types::Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(self.table.get(&error)?.downcast_ref::<ErrorCode>().copied())
    }
}
