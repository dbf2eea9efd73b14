//! Secrets of sinks: read from their files, and nowhere else.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use basin_core::secret::Secret;

use crate::registry::words::CONFIG_VALUE_BYTES_MAX;

/// Reads a secret, without the line end behind it, unless others could have read it before.
///
/// # Errors
/// What is wrong with the file and what to do; nothing of what is in it.
pub fn read_secret(path: &Path) -> Result<Secret, String> {
    let cannot = |error: std::io::Error| format!("cannot read the secret {}: {error}", path.display());
    let facts = fs::metadata(path).map_err(cannot)?;
    let octets_max = CONFIG_VALUE_BYTES_MAX as u64;
    if !facts.is_file() || facts.len() > octets_max {
        return Err(format!("{} is no secret: write a file of at most {octets_max} octets", path.display()));
    }
    let mode = facts.mode() & 0o777;
    if mode & 0o007 != 0 {
        let advice = "run `chmod 640` or `chmod 600` on it";
        return Err(format!("the secret {} has mode {mode:03o}, so that others can use it; {advice}", path.display()));
    }
    let text = fs::read_to_string(path).map_err(cannot)?;
    // Editors end a file with a line end, which is no part of a password.
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if value.is_empty() {
        return Err(format!("the secret {} is empty", path.display()));
    }
    Ok(Secret::new(value))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_the_text_of_a_file_that_others_cannot_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let read = |text: &[u8], mode| {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changed");
            read_secret(&path)
        };
        for text in [b"open sesame".as_slice(), b"open sesame\n", b"open sesame\r\n"] {
            assert_eq!(read(text, 0o640), Ok(Secret::new("open sesame")));
        }
        assert_eq!(read(b" a\nb\n\n", 0o600), Ok(Secret::new(" a\nb\n")));
        for mode in [0o644, 0o604, 0o602] {
            let why = read(b"open sesame", mode).expect_err("refused");
            assert!(why.contains("chmod 600") && !why.contains("sesame"), "{why}");
        }
        assert!(read(b"\n", 0o600).is_err() && read(b"\xff", 0o600).is_err());
        assert!(read(&vec![b'x'; CONFIG_VALUE_BYTES_MAX + 1], 0o600).is_err());
        assert!(read_secret(folder.path()).is_err() && read_secret(&folder.path().join("none")).is_err());
        assert!(!format!("{:?}", read(b"open sesame", 0o600)).contains("sesame"));
    }
}
