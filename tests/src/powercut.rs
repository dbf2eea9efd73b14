//! A file system that can lose its power: ext4 in a file, on a loop mount.
//!
//! The shutdown ioctl of ext4 and xfs, without flushing the log, throws away what is not on disk and answers every
//! later access with an error, as a machine does whose plug was pulled (the fstests tool `godown` does the same).

use std::fs::{self, File};
use std::io::{self, Error};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of the file system, in octets. Holds one storm; ext4 wants some megabytes for its journal.
const IMAGE_BYTES: u64 = 256 * 1024 * 1024;

/// A mounted file system in a file, unmounted with the value.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    mount: PathBuf,
    is_mounted: bool,
}

impl LoopDisk {
    /// Makes and mounts it below `folder`. The error says why this machine cannot.
    pub fn make(folder: &Path) -> io::Result<Self> {
        let image = folder.join("disk.img");
        let mount = folder.join("disk");
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        fs::create_dir_all(&mount)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        let mut disk = Self { image, mount, is_mounted: false };
        disk.mount()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Mounts it; after a cut this replays the journal, as a machine does that starts again.
    pub fn mount(&mut self) -> io::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        self.is_mounted = true;
        Ok(())
    }

    /// Unmounts it.
    pub fn unmount(&mut self) -> io::Result<()> {
        run(Command::new("umount").arg(&self.mount))?;
        self.is_mounted = false;
        Ok(())
    }

    /// Cuts the power: nothing that is not on disk now will ever be.
    pub fn cut(&self) -> io::Result<()> {
        ioctl::shutdown(&File::open(&self.mount)?)
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(error) = self.unmount()
        {
            eprintln!("cannot unmount {}: {error}", self.mount.display());
        }
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| Error::other(format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::other(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[allow(unsafe_code, reason = "no crate wraps this ioctl; it is the only way to cut a file system off")]
mod ioctl {
    use std::fs::File;
    use std::io;

    use rustix::ioctl::{Setter, ioctl, opcode};

    /// `FS_IOC_SHUTDOWN`, `_IOR('X', 125, __u32)`: the direction is read although the kernel reads the number.
    const SHUTDOWN: rustix::ioctl::Opcode = opcode::read::<u32>(b'X', 125);
    /// `FS_SHUTDOWN_FLAGS_NOLOGFLUSH`: the journal is not written out first.
    const WITHOUT_LOG_FLUSH: u32 = 2;

    pub(super) fn shutdown(folder: &File) -> io::Result<()> {
        // SAFETY: the opcode takes a pointer to a u32 that the kernel only reads, and `Setter` passes one.
        Ok(unsafe { ioctl(folder, Setter::<SHUTDOWN, u32>::new(WITHOUT_LOG_FLUSH)) }?)
    }
}
