//! The functions of `wasi:filesystem` on files and directories.

use std::sync::Arc;

use rustix::fs::{Mode, fchmod};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, Dir, File};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize, HostDescriptor,
    HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsResult};

use super::allowance::{Allowance, has_room};
use super::listing::Listing;
use super::stream::{self, Reader, Writer};
use super::{Desk, Files};

/// Mode of files that sinks make: mail is in them, and it is the server's user's.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Mode of directories that sinks make.
const DIR_MODE: Mode = Mode::RWXU;

/// Has wasmtime-wasi do something with a descriptor, apart.
macro_rules! apart {
    ($files:expr, $method:ident, $fd:expr $(, $argument:expr)*) => {{
        let descriptor = $files.get(&$fd)?;
        $files.gate.apart(async move {
            let mut desk = Desk::default();
            let fd = desk.table.push(descriptor)?;
            desk.view().$method(fd $(, $argument)*).await
        }).await?
    }};
}

/// The same with two directories and a way in each.
macro_rules! between {
    ($files:expr, $method:ident, $one:expr, [$($first:expr),*], $other:expr, [$($second:expr),*]) => {{
        let (one, other) = ($files.get(&$one)?, $files.get(&$other)?);
        $files.gate.apart(async move {
            let mut desk = Desk::default();
            let (one, other) = (desk.table.push(one)?, desk.table.push(other)?);
            desk.view().$method(one $(, $first)*, other $(, $second)*).await
        }).await?
    }};
}

type Fd = Resource<Descriptor>;

impl HostDescriptor for Files<'_> {
    async fn advise(&mut self, fd: Fd, offset: Filesize, len: Filesize, advice: Advice) -> FsResult<()> {
        apart!(self, advise, fd, offset, len, advice)
    }

    async fn sync_data(&mut self, fd: Fd) -> FsResult<()> {
        apart!(self, sync_data, fd)
    }

    async fn get_flags(&mut self, fd: Fd) -> FsResult<DescriptorFlags> {
        apart!(self, get_flags, fd)
    }

    async fn get_type(&mut self, fd: Fd) -> FsResult<DescriptorType> {
        apart!(self, get_type, fd)
    }

    async fn set_size(&mut self, fd: Fd, size: Filesize) -> FsResult<()> {
        let file = self.file(&fd)?;
        self.writable(file.perms)?;
        let allowance = self.allowance.clone();
        let mut work = self.gate.begin(move || {
            // What a file grows by is written, though it may take no room yet.
            let more = size.saturating_sub(file.file.metadata()?.len());
            allowance.write(more)?;
            has_room(&file.file, more)?;
            file.file.set_len(size).map_err(ErrorCode::from)
        });
        Ok(work.done().await.ok_or(ErrorCode::Io)??)
    }

    async fn set_times(&mut self, fd: Fd, accessed: NewTimestamp, modified: NewTimestamp) -> FsResult<()> {
        self.writable(self.perms(&fd)?)?;
        apart!(self, set_times, fd, accessed, modified)
    }

    async fn read(&mut self, fd: Fd, len: Filesize, offset: Filesize) -> FsResult<(Vec<u8>, bool)> {
        let (octets, is_end): (Vec<u8>, bool) = apart!(self, read, fd, len, offset)?;
        self.allowance.moved(octets.len());
        Ok((octets, is_end))
    }

    async fn write(&mut self, fd: Fd, octets: Vec<u8>, offset: Filesize) -> FsResult<Filesize> {
        let file = self.file(&fd)?;
        self.writable(file.perms)?;
        let len = octets.len() as u64;
        self.allowance.write(len)?;
        self.allowance.moved(octets.len());
        let mut work = self.gate.begin(move || stream::write(&file.file, &octets, Some(offset)));
        work.done().await.ok_or(ErrorCode::Io)??;
        Ok(len)
    }

    async fn read_directory(&mut self, fd: Fd) -> FsResult<Resource<types::DirectoryEntryStream>> {
        let dir = self.dir(&fd)?;
        let mut work = self.gate.begin(move || Listing::open(&dir.dir));
        let listing = self.table.push(work.done().await.ok_or(ErrorCode::Io)??)?;
        // The handle's type is that of wasmtime-wasi; what lies behind it is ours, and only `Files` asks for it.
        Ok(Resource::new_own(listing.rep()))
    }

    async fn sync(&mut self, fd: Fd) -> FsResult<()> {
        apart!(self, sync, fd)
    }

    async fn create_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        let dir = self.dir(&fd)?;
        self.making(&fd)?;
        self.gate.apart(async move { make_directory(dir, path).await }).await?
    }

    async fn stat(&mut self, fd: Fd) -> FsResult<DescriptorStat> {
        apart!(self, stat, fd)
    }

    async fn stat_at(&mut self, fd: Fd, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        apart!(self, stat_at, fd, flags, path)
    }

    async fn set_times_at(
        &mut self,
        fd: Fd,
        flags: PathFlags,
        path: String,
        accessed: NewTimestamp,
        modified: NewTimestamp,
    ) -> FsResult<()> {
        self.writable(self.perms(&fd)?)?;
        apart!(self, set_times_at, fd, flags, path, accessed, modified)
    }

    async fn link_at(&mut self, fd: Fd, flags: PathFlags, old: String, to: Fd, new: String) -> FsResult<()> {
        self.writable(self.perms(&fd)?)?;
        self.making(&to)?;
        between!(self, link_at, fd, [flags, old], to, [new])
    }

    async fn open_at(
        &mut self,
        fd: Fd,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Fd> {
        let dir = self.dir(&fd)?;
        let is_writing = open_flags.contains(OpenFlags::CREATE)
            || open_flags.contains(OpenFlags::TRUNCATE)
            || flags.contains(DescriptorFlags::WRITE);
        if is_writing {
            self.writable(dir.perms)?;
        }
        let asked = Asked { path_flags, path, open_flags, flags };
        let allowance = self.allowance.clone();
        let opened = self.gate.apart(async move { open(dir, asked, &allowance).await }).await??;
        Ok(self.table.push(opened)?)
    }

    fn drop(&mut self, fd: Fd) -> wasmtime::Result<()> {
        // Closing waits for the disk too, on some file systems. Nobody waits for it.
        let closed = self.table.delete(fd)?;
        drop(self.gate.begin(move || drop(closed)));
        Ok(())
    }

    async fn readlink_at(&mut self, fd: Fd, path: String) -> FsResult<String> {
        apart!(self, readlink_at, fd, path)
    }

    async fn remove_directory_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.writable(self.perms(&fd)?)?;
        apart!(self, remove_directory_at, fd, path)
    }

    async fn rename_at(&mut self, fd: Fd, old: String, to: Fd, new: String) -> FsResult<()> {
        self.writable(self.perms(&fd)?)?;
        self.writable(self.perms(&to)?)?;
        between!(self, rename_at, fd, [old], to, [new])
    }

    // This sink could not follow one out of its directory. A back-up, a web server or another sink might.
    async fn symlink_at(&mut self, fd: Fd, _old: String, _new: String) -> FsResult<()> {
        let dir = self.dir(&fd)?;
        self.writable(dir.perms)?;
        self.allowance.deny("it wanted to make a symbolic link, which no sink may".to_owned());
        Err(ErrorCode::NotPermitted.into())
    }

    async fn unlink_file_at(&mut self, fd: Fd, path: String) -> FsResult<()> {
        self.writable(self.perms(&fd)?)?;
        apart!(self, unlink_file_at, fd, path)
    }

    fn read_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynInputStream>> {
        let Descriptor::File(file) = self.get(&fd)? else { return Err(ErrorCode::IsDirectory.into()) };
        let reader: DynInputStream = Box::new(Reader::new(&file.file, self.gate, self.allowance, offset));
        Ok(self.table.push(reader)?)
    }

    fn write_via_stream(&mut self, fd: Fd, offset: Filesize) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&fd, Some(offset))
    }

    fn append_via_stream(&mut self, fd: Fd) -> FsResult<Resource<DynOutputStream>> {
        self.writer(&fd, None)
    }

    async fn is_same_object(&mut self, one: Fd, other: Fd) -> wasmtime::Result<bool> {
        let (one, other) = (self.table.get(&one)?.clone(), self.table.get(&other)?.clone());
        self.allowance.operate();
        let same = self.gate.apart(async move {
            let mut desk = Desk::default();
            let (one, other) = (desk.table.push(one)?, desk.table.push(other)?);
            desk.view().is_same_object(one, other).await
        });
        same.await?
    }

    async fn metadata_hash(&mut self, fd: Fd) -> FsResult<MetadataHashValue> {
        apart!(self, metadata_hash, fd)
    }

    async fn metadata_hash_at(&mut self, fd: Fd, flags: PathFlags, path: String) -> FsResult<MetadataHashValue> {
        apart!(self, metadata_hash_at, fd, flags, path)
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<types::DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.table.get_mut(&Resource::<Listing>::new_borrow(stream.rep()))?.next(self.gate).await
    }

    fn drop(&mut self, stream: Resource<types::DirectoryEntryStream>) -> wasmtime::Result<()> {
        self.table.delete(Resource::<Listing>::new_own(stream.rep()))?;
        Ok(())
    }
}

impl Files<'_> {
    fn writer(&mut self, fd: &Fd, position: Option<u64>) -> FsResult<Resource<DynOutputStream>> {
        let file = self.file(fd)?;
        self.writable(file.perms)?;
        let writer: DynOutputStream = Box::new(Writer::new(&file.file, self.gate, self.allowance, position));
        Ok(self.table.push(writer)?)
    }
}

/// What is to be opened, and how.
struct Asked {
    path_flags: PathFlags,
    path: String,
    open_flags: OpenFlags,
    flags: DescriptorFlags,
}

async fn open(dir: Dir, asked: Asked, allowance: &Arc<Allowance>) -> FsResult<Descriptor> {
    let Asked { path_flags, path, open_flags, flags } = asked;
    let mut desk = Desk::default();
    let (place, again) = (dir.clone(), desk.table.push(Descriptor::Dir(dir.clone()))?);
    let is_new = match desk.view().stat_at(again, path_flags, path.clone()).await {
        Ok(facts) => {
            // Opening a pipe waits for its other end, and a device does what its driver likes. A link that is not to be
            // followed is refused below.
            let plain = [DescriptorType::RegularFile, DescriptorType::Directory, DescriptorType::SymbolicLink];
            if !plain.contains(&facts.type_) {
                return Err(ErrorCode::NotPermitted.into());
            }
            false
        }
        Err(error) => {
            let is_missing = matches!(error.downcast_ref(), Some(ErrorCode::NoEntry));
            if !is_missing || !open_flags.contains(OpenFlags::CREATE) {
                return Err(error);
            }
            allowance.make()?;
            blocking(move || has_room(&place.dir, 0)).await?;
            true
        }
    };
    let fd = desk.table.push(Descriptor::Dir(dir))?;
    let fd = desk.view().open_at(fd, path_flags, path, open_flags, flags).await?;
    let opened = desk.table.delete(fd)?;
    let Descriptor::File(File { file, .. }) = &opened else { return Ok(opened) };
    let file = file.clone();
    blocking(move || {
        // Somebody may have put a pipe in its place meanwhile.
        if !file.metadata().is_ok_and(|facts| facts.is_file()) {
            return Err(ErrorCode::NotPermitted);
        }
        if is_new { fchmod(&*file, FILE_MODE).map_err(failed) } else { Ok(()) }
    })
    .await?;
    Ok(opened)
}

async fn make_directory(dir: Dir, path: String) -> FsResult<()> {
    let mut desk = Desk::default();
    let place = dir.clone();
    blocking(move || has_room(&place.dir, 0)).await?;
    let fd = desk.table.push(Descriptor::Dir(dir.clone()))?;
    desk.view().create_directory_at(fd, path.clone()).await?;
    let fd = desk.table.push(Descriptor::Dir(dir))?;
    let made = desk.view().open_at(fd, PathFlags::empty(), path, OpenFlags::DIRECTORY, DescriptorFlags::READ).await?;
    match desk.table.delete(made)? {
        Descriptor::Dir(made) => Ok(blocking(move || fchmod(&*made.dir, DIR_MODE).map_err(failed)).await?),
        Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
    }
}

// Inside of work that has its place already: beside the threads that serve clients, which a disk that hangs must not hold.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, ErrorCode> + Send + 'static,
) -> Result<R, ErrorCode> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ErrorCode::Io))
}

fn failed(error: rustix::io::Errno) -> ErrorCode {
    std::io::Error::from(error).into()
}
