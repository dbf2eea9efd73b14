//! Parts of the machine that a sink is granted: `dir=HOSTDIR::GUESTDIR[:ro|rw]` and `env=NAME`.

use core::fmt;

use crate::event::grant::kept;

/// Longest grant of a directory, in octets: two paths that a person would write.
const WORD_BYTES_MAX: usize = 1_024;

/// Longest name of a variable, in octets.
const VARIABLE_BYTES_MAX: usize = 128;

/// Directories of one sink; each is opened for each call and takes one of its handles.
pub const DIRS_MAX: usize = 8;

/// A directory that a sink is granted, as the operator wrote it; what may only be read says nothing behind the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantedDir(&'static str);

impl GrantedDir {
    /// Reads the word of a grant, `dir=` included; `None` where it names no two directories.
    pub fn parse(word: &str) -> Option<Self> {
        let rest = word.strip_prefix("dir=")?;
        let (host, guest) = rest.split_once("::")?;
        let (guest, is_writable) = match guest.strip_suffix(":rw") {
            Some(guest) => (guest, true),
            None => (guest.strip_suffix(":ro").unwrap_or(guest), false),
        };
        // A colon in the sink's name for it would make the word say something else in another version.
        let is_right = is_path(host) && is_path(guest) && !guest.contains(':') && word.len() <= WORD_BYTES_MAX;
        let mode = if is_writable { ":rw" } else { "" };
        is_right.then(|| Self(kept(format!("dir={host}::{guest}{mode}"))))
    }

    /// The grant as it is written.
    pub fn word(self) -> &'static str {
        self.0
    }

    /// The directory, as the server names it.
    pub fn host(self) -> &'static str {
        self.parts().0
    }

    /// The directory, as the sink names it.
    pub fn guest(self) -> &'static str {
        self.parts().1.strip_suffix(":rw").unwrap_or(self.parts().1)
    }

    /// Whether the sink may change what is in it.
    pub fn is_writable(self) -> bool {
        self.0.ends_with(":rw")
    }

    fn parts(self) -> (&'static str, &'static str) {
        self.0.strip_prefix("dir=").and_then(|rest| rest.split_once("::")).unwrap_or_default()
    }
}

// From the root, and in one way only, so that two names of one directory cannot pass for two.
fn is_path(path: &str) -> bool {
    let is_plain = |name: &str| !name.is_empty() && name != "." && name != "..";
    path.strip_prefix('/').is_some_and(|names| names.split('/').all(is_plain))
        && !path.contains("::")
        && !path.chars().any(char::is_control)
}

impl fmt::Debug for GrantedDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A variable of the server's environment that a sink is granted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Variable(&'static str);

impl Variable {
    /// Reads the word of a grant, `env=` included; `None` where it is no name of a variable.
    pub fn parse(word: &str) -> Option<Self> {
        let name = word.strip_prefix("env=")?;
        let is_name = (1..=VARIABLE_BYTES_MAX).contains(&name.len())
            && !name.starts_with(|first: char| first.is_ascii_digit())
            && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_');
        is_name.then(|| Self(kept(word.to_owned())))
    }

    /// The grant as it is written.
    pub fn word(self) -> &'static str {
        self.0
    }

    /// Its name in the environment.
    pub fn name(self) -> &'static str {
        self.0.strip_prefix("env=").unwrap_or_default()
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_a_name_here_and_one_for_the_sink() {
        let dir = GrantedDir::parse("dir=/srv/mail archive::/archive:rw").expect("a grant");
        assert_eq!((dir.host(), dir.guest(), dir.is_writable()), ("/srv/mail archive", "/archive", true));
        let dir = GrantedDir::parse("dir=/a:b::/c:ro").expect("a grant");
        assert_eq!((dir.host(), dir.guest(), dir.is_writable()), ("/a:b", "/c", false));
        assert_eq!(dir.word(), "dir=/a:b::/c");
        assert_eq!(GrantedDir::parse(dir.word()), Some(dir));
    }

    #[test]
    fn what_names_no_directory_is_refused() {
        for word in [
            "dir=",
            "dir=/a",
            "dir=/a:/b",
            "dir=a::/b",
            "dir=/a::b",
            "dir=/::/b",
            "dir=/a::/",
            "dir=/a/::/b",
            "dir=/a/../b::/b",
            "dir=/a/./b::/b",
            "dir=/a//b::/b",
            "dir=/a::/b::/c",
            "dir=/a::/b:rw:ro",
            "dir=/a::/b:w",
            "dir=/a\n::/b",
        ] {
            assert_eq!(GrantedDir::parse(word), None, "{word}");
        }
        assert_eq!(GrantedDir::parse(&format!("dir=/{}::/b", "a".repeat(WORD_BYTES_MAX))), None);
    }

    #[test]
    fn a_variable_has_a_plain_name() {
        assert_eq!(Variable::parse("env=TZ_1").map(Variable::name), Some("TZ_1"));
        for word in ["env=", "env=1A", "env=A B", "env=A=b", "env=\u{e4}"] {
            assert_eq!(Variable::parse(word), None, "{word}");
        }
    }
}
