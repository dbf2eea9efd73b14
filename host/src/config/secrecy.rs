//! Files that hold secrets.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use basin_core::smtp::Accounts;

/// A warning where every user of this machine can read the file, or put another secret into it.
pub fn open_to_all(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.mode();
    let (what, advice) = match (mode & 0o004 != 0, mode & 0o002 != 0) {
        (true, true) => ("read and change", "o-rw"),
        (true, false) => ("read", "o-r"),
        (false, true) => ("change", "o-w"),
        (false, false) => return None,
    };
    Some(format!("everybody on this machine can {what} {}; chmod {advice} it", path.display()))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_everybody_can_read_or_change_is_warned_of() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users");
        std::fs::write(&path, "").expect("written");
        let warning = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
            open_to_all(&path)
        };
        for (mode, words) in [(0o644, "can read "), (0o602, "can change "), (0o666, "can read and change ")] {
            assert!(warning(mode).is_some_and(|text| text.contains(words)), "{mode:o}");
        }
        assert_eq!((warning(0o600), warning(0o660), open_to_all(&folder.path().join("none"))), (None, None, None));
    }
}
