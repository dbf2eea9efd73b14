//! What an edit would break: DKIM and ARC signatures, S/MIME and OpenPGP.

use basin_core::mail::HeaderBlock;
use mail_parser::parsers::MessageStream;

use super::field::{line, line_with_parameters};

/// What protects the content, worst to break first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    /// S/MIME or OpenPGP encryption.
    Encrypted,
    /// S/MIME or OpenPGP signature.
    Signed,
    /// A DKIM signature.
    DkimSigned,
    /// Nothing.
    None,
}

impl Protection {
    pub(super) fn of(header: &HeaderBlock) -> Self {
        let (ctype, smime) = content_type(header);
        match ctype.as_str() {
            "multipart/encrypted" => Self::Encrypted,
            "multipart/signed" => Self::Signed,
            "application/pkcs7-mime" | "application/x-pkcs7-mime" if smime == "signed-data" => Self::Signed,
            "application/pkcs7-mime" | "application/x-pkcs7-mime" => Self::Encrypted,
            _ if header.first("DKIM-Signature").is_some() => Self::DkimSigned,
            _ => Self::None,
        }
    }

    /// The word of the contract.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Encrypted => "encrypted",
            Self::Signed => "signed",
            Self::DkimSigned => "dkim-signed",
            Self::None => "none",
        }
    }
}

/// An edit of the header block or the body, before it is made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edit<'a> {
    /// A field put before that index.
    Insert(&'a str, usize),
    /// The field at that index changed or removed.
    Touch(usize),
    /// The first field of that name replaced and the others removed, or one added at the end.
    Set(&'a str),
    /// Every field of that name removed.
    RemoveAll(&'a str),
    /// The whole block or the body replaced.
    Content,
}

/// Whether the edit breaks a signature, and which.
///
/// A verifier of DKIM takes the fields of a name from the bottom up, as many as h= lists (RFC 6376 §5.4.2). So a
/// field above all signed ones can be added or changed, one among them cannot; and a name that h= lists
/// more often than it occurs ("oversigned") takes no further field at all.
pub(super) fn broken_by(header: &HeaderBlock, edit: Edit<'_>) -> Option<&'static str> {
    let protection = Protection::of(header);
    let (name, breaks): (String, Box<dyn Fn(usize) -> bool>) = match edit {
        Edit::Content => return (protection != Protection::None).then(|| protection.word()),
        Edit::Insert(name, index) => {
            let below = count(header, name, index);
            (name.to_owned(), Box::new(move |listed| listed > below))
        }
        Edit::Touch(index) => {
            let name = header.fields().get(index)?.name();
            let below = count(header, &name, index + 1);
            (name, Box::new(move |listed| listed > below))
        }
        Edit::Set(name) => (name.to_owned(), Box::new(|listed| listed > 0)),
        Edit::RemoveAll(name) => {
            let present = count(header, name, 0);
            (name.to_owned(), Box::new(move |listed| listed > 0 && present > 0))
        }
    };
    let is_removal = !matches!(edit, Edit::Insert(..));
    if is_removal && is_signature(&name) && count(header, &name, 0) > 0 {
        return Some("dkim-signed");
    }
    if matches!(protection, Protection::Encrypted | Protection::Signed) && is_structure(&name) {
        return Some(protection.word());
    }
    let signatures = header.fields().iter().filter(|field| field.is("DKIM-Signature") || field.is(ARC_SIGNATURE));
    let mut listed = signatures.map(|field| listed(&field.value(), &name));
    listed.any(breaks).then_some("dkim-signed")
}

const ARC_SIGNATURE: &str = "ARC-Message-Signature";

fn is_signature(name: &str) -> bool {
    ["DKIM-Signature", ARC_SIGNATURE, "ARC-Seal", "ARC-Authentication-Results"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

// The fields that say how the protected content is to be read.
fn is_structure(name: &str) -> bool {
    ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"].iter().any(|known| known.eq_ignore_ascii_case(name))
}

// How many fields of that name stand at `from` or below.
fn count(header: &HeaderBlock, name: &str, from: usize) -> usize {
    header.fields().iter().skip(from).filter(|field| field.is(name)).count()
}

// How often h= of a signature lists a name (RFC 6376 §3.5).
fn listed(signature: &str, name: &str) -> usize {
    let tags = signature.split(';').filter_map(|tag| tag.split_once('='));
    let h = tags.filter(|(tag, _)| tag.trim() == "h").map(|(_, names)| names).next().unwrap_or_default();
    h.split(':').filter(|listed| listed.trim().eq_ignore_ascii_case(name)).count()
}

// Content-Type in lower case, and its `smime-type`.
fn content_type(header: &HeaderBlock) -> (String, String) {
    let Some(field) = header.first("Content-Type") else { return <(String, String)>::default() };
    let value = field.value();
    // With parameters beyond all reason the type alone is read: what may be encrypted then counts as that.
    let type_alone = || line(value.split([';', '=', ' ']).next().unwrap_or_default());
    let value = line_with_parameters(&value).unwrap_or_else(type_alone);
    let parsed = MessageStream::new(value.as_bytes()).parse_content_type();
    let Some(parsed) = parsed.as_content_type() else { return <(String, String)>::default() };
    let subtype = parsed.subtype().unwrap_or_default();
    let smime = parsed.attribute("smime-type").unwrap_or_default().to_ascii_lowercase();
    (format!("{}/{subtype}", parsed.ctype()).to_ascii_lowercase(), smime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn block(text: &'static str) -> HeaderBlock {
        HeaderBlock::parse(&Bytes::from_static(text.as_bytes())).expect("small")
    }

    #[test]
    fn the_worst_protection_is_named() {
        let of = |text| Protection::of(&block(text)).word();
        assert_eq!(of("Subject: a\r\n"), "none");
        assert_eq!(of("DKIM-Signature: v=1; h=from\r\n"), "dkim-signed");
        assert_eq!(of("DKIM-Signature: v=1\r\nContent-Type: multipart/SIGNED; boundary=a\r\n"), "signed");
        assert_eq!(of("Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n"), "encrypted");
        assert_eq!(of("Content-Type: application/pkcs7-mime; smime-type=signed-data\r\n"), "signed");
        let crowd = format!("Content-Type: multipart/signed{}\r\n", "; a=b".repeat(1_000));
        assert_eq!(Protection::of(&HeaderBlock::parse(&Bytes::from(crowd)).expect("small")).word(), "signed");
    }

    #[test]
    fn a_field_above_the_signed_ones_can_be_added_and_one_among_them_cannot() {
        let header = block("DKIM-Signature: v=1; h=From : subject:x-once\r\nFrom: a\r\nSubject: b\r\n");
        assert_eq!(broken_by(&header, Edit::Insert("X-New", 0)), None);
        assert_eq!(broken_by(&header, Edit::Insert("Subject", 0)), None, "the signed one is further down");
        assert_eq!(broken_by(&header, Edit::Insert("Subject", 3)), Some("dkim-signed"));
        assert_eq!(broken_by(&header, Edit::Insert("X-Once", 0)), Some("dkim-signed"), "oversigned");
        assert_eq!(broken_by(&header, Edit::Touch(1)), Some("dkim-signed"));
        assert_eq!(broken_by(&header, Edit::Set("SUBJECT")), Some("dkim-signed"));
        assert_eq!(broken_by(&header, Edit::RemoveAll("X-Once")), None, "there is none");
        assert_eq!(broken_by(&header, Edit::Content), Some("dkim-signed"));
    }

    #[test]
    fn a_signature_is_not_removed_without_the_grant() {
        let header = block("DKIM-Signature: v=1; h=from\r\nX: y\r\n");
        assert_eq!(broken_by(&header, Edit::Touch(0)), Some("dkim-signed"));
        assert_eq!(broken_by(&header, Edit::RemoveAll("dkim-signature")), Some("dkim-signed"));
        assert_eq!(broken_by(&header, Edit::Touch(1)), None);
    }
}
