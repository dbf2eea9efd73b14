//! The directories of a sink's grants, opened for one call.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use basin_core::event::{GrantedDir, Grants};
use rustix::fs::{CWD, Mode, OFlags, openat};
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::{FsPerms, OpenMode};

use crate::files::Gate;

/// A directory that is open.
#[derive(Clone)]
pub(crate) struct OpenDir {
    pub(crate) granted: GrantedDir,
    pub(crate) dir: Dir,
    /// Device and number, by which the system knows it.
    identity: (u64, u64),
}

/// The directories of one call.
#[derive(Clone, Default)]
pub(crate) struct Opened(Vec<OpenDir>);

impl Opened {
    /// Opens what is granted. Each call does: a directory that was put in place of another meanwhile is the one that
    /// the operator means.
    ///
    /// # Errors
    /// Which directory, and what the system said.
    pub(crate) async fn of(grants: &Grants, gate: &Gate) -> Result<Self, String> {
        let granted: Vec<GrantedDir> = grants.dirs().collect();
        if granted.is_empty() {
            return Ok(Self::default());
        }
        let mut work = gate.begin(move || granted.into_iter().map(opened).collect());
        work.done().await.unwrap_or_else(|| Err("the server is ending".to_owned())).map(Self)
    }

    /// Whether they are the same as those: granted alike, and not put in place of others.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let key = |open: &OpenDir| (open.granted, open.identity);
        self.0.iter().map(key).eq(other.0.iter().map(key))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &OpenDir> {
        self.0.iter()
    }
}

fn opened(granted: GrantedDir) -> Result<OpenDir, String> {
    let open = || -> io::Result<OpenDir> {
        let file = walk(granted.host())?;
        let facts = file.metadata()?;
        let (perms, mode) = if granted.is_writable() {
            (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE)
        } else {
            (FsPerms::ReadOnly, OpenMode::READ)
        };
        let identity = (facts.dev(), facts.ino());
        Ok(OpenDir { granted, dir: Dir::new(file, perms, mode, false), identity })
    };
    open().map_err(|error| {
        format!("cannot open the directory {} of the grant {}: {error}", granted.host(), granted.word())
    })
}

/// Opens a directory by its names, one after the other, none of which may be a symbolic link: another sink that may
/// write above could have made it, and lead this one to where neither may go.
fn walk(path: &str) -> io::Result<File> {
    let way = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(CWD, "/", way | OFlags::PATH, Mode::empty())?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = openat(&at, name, way | OFlags::PATH, Mode::empty())?;
    }
    Ok(File::from(openat(&at, ".", way | OFlags::RDONLY, Mode::empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_on_the_way_may_be_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("it is there");
        let at = |name: &str| format!("{}/{name}", root.display());
        std::fs::create_dir_all(at("a/b")).expect("made");
        std::os::unix::fs::symlink(at("a"), at("link")).expect("made");
        std::fs::write(at("file"), "").expect("written");
        assert!(walk(&at("a/b")).is_ok());
        for name in ["link", "link/b", "file", "none"] {
            assert!(walk(&at(name)).is_err(), "{name}");
        }
    }
}
