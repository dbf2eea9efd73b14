//! Compiled code on disk.
//!
//! Compiled code runs outside the sandbox, so nothing is executed that this host or a child of it did not write itself: the
//! directory belongs to the user of the server and to nobody else, and each file carries a seal made with a key that lies
//! in the directory. What does not match its seal is thrown away and compiled again.
#![allow(unsafe_code, reason = "Component::deserialize takes what only a check like the one here can promise")]

use core::hash::{Hash, Hasher};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracing::warn;
use wasmtime::component::Component;

use crate::EngineError;
use crate::compile::Artefact;

/// First octets of a file; a change of the layout changes them.
const MAGIC: &[u8; 8] = b"basinco1";

/// Octets of a seal and of the key.
const SEAL_BYTES: usize = 32;

/// Largest compiled code that is read back, in octets; machine code is a few times larger than a component.
pub(crate) const CODE_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// The directory for compiled code of one engine.
pub(crate) struct CodeCache {
    directory: PathBuf,
    key: [u8; SEAL_BYTES],
    engine: [u8; SEAL_BYTES],
}

impl CodeCache {
    /// Opens the directory, making it where there is none, and forgets the code of other engines unless it is somebody
    /// else's directory.
    pub(crate) fn open(path: PathBuf, engine: [u8; SEAL_BYTES], keeps_other_code: bool) -> Result<Self, EngineError> {
        let fail = |why: String| EngineError::Cache { path: path.clone(), why };
        make_private(&path).map_err(|why| fail(why.to_string()))?;
        check_private(&path).map_err(fail)?;
        let key = key(&path).map_err(|why| fail(format!("its key cannot be read or made: {why}")))?;
        let name = format!("engine-{}", hex(&engine));
        let directory = path.join(&name);
        make_private(&directory).map_err(|why| fail(why.to_string()))?;
        if !keeps_other_code {
            forget_others(&path, &name);
        }
        Ok(Self { directory, key, engine })
    }

    /// The code of a component, if it is there and whole. Damaged files are removed.
    pub(crate) fn load(&self, engine: &wasmtime::Engine, digest: &[u8; 32]) -> Option<Component> {
        let path = self.path(digest);
        let octets = match read(&path) {
            Ok(octets) => octets,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                warn!(path = %path.display(), %error, "cannot read compiled code; it is compiled again");
                return None;
            }
        };
        let loaded = self.open_sealed(&octets, digest).ok_or("its seal does not match").and_then(|code| {
            // SAFETY: `code` was written by `store` of this key, that is by this host, with the output of
            // `Component::serialize` of an engine of the same compatibility hash, and is unchanged since: the seal
            // over key, engine, component and code says so, and nobody else can read the key. `octets` is a
            // copy in memory, so that nobody can change it after the check.
            unsafe { Component::deserialize(engine, code) }.map_err(|_| "the engine does not take it")
        });
        match loaded {
            Ok(component) => Some(component),
            Err(why) => {
                warn!(path = %path.display(), why, "compiled code is damaged; it is compiled again");
                if let Err(error) = fs::remove_file(&path) {
                    warn!(path = %path.display(), %error, "cannot remove damaged compiled code");
                }
                None
            }
        }
    }

    /// Keeps the code of a component. A cache that cannot be written costs time at the next start and nothing else.
    pub(crate) fn store(&self, code: &[u8], digest: &[u8; 32]) {
        let path = self.path(digest);
        let seal = self.seal(digest, code);
        if let Err(error) = replace(&self.directory, &path, &[MAGIC, &seal, code]) {
            warn!(path = %path.display(), %error, "cannot keep compiled code");
        }
    }

    fn path(&self, digest: &[u8; 32]) -> PathBuf {
        self.directory.join(format!("{}.code", hex(digest)))
    }

    fn open_sealed<'a>(&self, octets: &'a [u8], digest: &[u8; 32]) -> Option<&'a [u8]> {
        let (seal, code) = octets.strip_prefix(MAGIC)?.split_at_checked(SEAL_BYTES)?;
        (self.seal(digest, code) == seal).then_some(code)
    }

    // Hashed twice with the key, so that knowing a seal does not help to make another one.
    fn seal(&self, digest: &[u8; 32], code: &[u8]) -> [u8; SEAL_BYTES] {
        let inner = Sha256::new().chain_update(self.key).chain_update(self.engine).chain_update(digest);
        let inner = inner.chain_update(code).finalize();
        Sha256::new().chain_update(self.key).chain_update(inner).finalize().into()
    }
}

/// What tells engines apart whose code does not fit the other.
pub(crate) fn fingerprint(engine: &wasmtime::Engine) -> [u8; SEAL_BYTES] {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().into()
}

/// Makes a component of what a child compiled.
pub(crate) fn open(engine: &wasmtime::Engine, artefact: &Artefact) -> wasmtime::Result<Component> {
    // SAFETY: an `Artefact` came over a pipe from a process that this one started out of its own program, which writes
    // the output of `precompile_component` and nothing else. It names an engine of the same compatibility hash, and its
    // own hash says that it is whole.
    unsafe { Component::deserialize(engine, artefact.code()) }
}

/// SHA-256 in hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn check_private(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us {
        return Err(format!("it belongs to user {}, the server runs as user {us}", metadata.uid()));
    }
    if metadata.mode() & 0o022 != 0 {
        return Err("others can write to it, and what they write would run; chmod 700".to_owned());
    }
    Ok(())
}

// Two processes may start at once: the first link wins, the other one reads it.
fn key(directory: &Path) -> io::Result<[u8; SEAL_BYTES]> {
    let path = directory.join("key");
    if !path.exists() {
        let mut fresh = [0; SEAL_BYTES];
        File::open("/dev/urandom")?.read_exact(&mut fresh)?;
        let temporary = write_temporary(directory, &[&fresh])?;
        let linked = fs::hard_link(&temporary, &path);
        fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let mut key = [0; SEAL_BYTES];
    File::open(path)?.read_exact(&mut key)?;
    Ok(key)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut octets = Vec::new();
    File::open(path)?.take(CODE_BYTES_MAX).read_to_end(&mut octets)?;
    Ok(octets)
}

fn replace(directory: &Path, path: &Path, chunks: &[&[u8]]) -> io::Result<()> {
    let temporary = write_temporary(directory, chunks)?;
    let renamed = fs::rename(&temporary, path);
    if renamed.is_err() {
        fs::remove_file(&temporary)?;
    }
    renamed?;
    File::open(directory)?.sync_all()
}

fn write_temporary(directory: &Path, chunks: &[&[u8]]) -> io::Result<PathBuf> {
    static NUMBER: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    let path = directory.join(format!("new-{}-{number}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    chunks.iter().try_for_each(|chunk| file.write_all(chunk))?;
    file.sync_all()?;
    Ok(path)
}

// Code of other versions of wasmtime or of Basin is never used again.
fn forget_others(path: &Path, ours: &str) {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let is_other = name.to_str().is_some_and(|name| {
            name != ours
                && name.strip_prefix("engine-").is_some_and(|hash| {
                    hash.len() == 2 * SEAL_BYTES && hash.bytes().all(|octet| octet.is_ascii_hexdigit())
                })
        });
        if is_other && let Err(error) = fs::remove_dir_all(entry.path()) {
            warn!(path = %entry.path().display(), %error, "cannot remove compiled code of another version");
        }
    }
}

struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn finish(&self) -> u64 {
        self.0.clone().finalize().iter().take(8).fold(0, |number, octet| number << 8 | u64::from(*octet))
    }

    fn write(&mut self, octets: &[u8]) {
        self.0.update(octets);
    }
}
