//! Digests of components: their names on disk, and the proof that a file is what the registry means.

use sha2::{Digest as _, Sha256};

/// SHA-256 of a component, in hexadecimal.
pub fn of(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Whether a text has the form of a digest; only such a text ever becomes part of a path.
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|octet| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet))
}

/// The first digits, for people.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_its_form_and_nothing_else_does() {
        let digest = of(b"");
        assert_eq!(digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(is_digest(&digest));
        for bad in ["", "../../etc/passwd", &digest[1..], &digest.to_uppercase()] {
            assert!(!is_digest(bad), "{bad}");
        }
    }
}
