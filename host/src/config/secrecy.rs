//! Files that hold secrets.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use basin_core::smtp::Accounts;

/// A warning where every user of this machine can read the file.
pub fn open_to_all(path: &Path) -> Option<String> {
    let is_open = std::fs::metadata(path).is_ok_and(|facts| facts.mode() & 0o004 != 0);
    is_open.then(|| format!("everybody on this machine can read {}; chmod o-r it", path.display()))
}

/// Reads a file of users; `decoy` makes up what is compared for users that it does not have.
///
/// # Errors
/// It cannot be read, or a line of it is none.
pub fn read_accounts(file: &Path, decoy: [u8; 32]) -> anyhow::Result<Accounts> {
    let read = || format!("cannot read the users in {}; `basin user add` makes the file", file.display());
    let text = std::fs::read_to_string(file).with_context(read)?;
    Accounts::parse(&text, decoy).with_context(|| format!("cannot use the users in {}", file.display()))
}
