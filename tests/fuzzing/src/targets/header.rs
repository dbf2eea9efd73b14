//! Header blocks: nobody's octets are lost, and no value makes a second field.

use basin_core::mail::{Field, HeaderBlock};
use bytes::Bytes;

/// Parses a block, edits it, puts it together again.
pub(super) fn run(octets: &[u8]) {
    let octets = Bytes::copy_from_slice(octets);
    if let Ok(block) = HeaderBlock::parse(&octets) {
        assert_eq!(block.to_bytes(), octets, "no octet is lost");
        assert_eq!(block.len(), octets.len());
        for field in block.fields() {
            assert!(!field.name().contains(':') && field.is(&field.name()) != field.name().is_empty());
            assert!(!field.value().contains("\r\n"), "a value is unfolded");
        }
        check_edits(block, &octets);
    }
    check_field(&octets);
}

// What is put in can be taken out again, and everything else stays as it was.
fn check_edits(mut block: HeaderBlock, octets: &[u8]) {
    let count = block.fields().len();
    for index in [0, count / 2, count] {
        let field = Field::new("X-Basin-Test", "value").expect("valid");
        if block.insert(index, field.clone()).is_ok() {
            assert_eq!(block.remove_at(index).as_ref(), Ok(&field), "the field is where it was put");
        }
        assert_eq!(block.to_bytes(), octets, "the others are as they were");
    }
    let Some(name) = block.fields().iter().map(Field::name).find(|name| !name.is_empty()) else { return };
    let same = block.all(&name).count();
    assert_eq!(block.remove(&name), same, "every field of the name goes");
    assert!(block.first(&name).is_none());
    assert_eq!(block.len(), block.to_bytes().len(), "the length is counted");
}

// RFC 5322 §2.2: whatever name and value say, there is one field, and it says just that.
fn check_field(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let (name, value) = text.split_once(':').unwrap_or((&text, ""));
    let Ok(field) = Field::new(name, value) else { return };
    assert!(!value.contains(['\r', '\n', '\0']), "no value has a line end");
    let alone = HeaderBlock::parse(&Bytes::copy_from_slice(field.raw())).expect("a field is small");
    assert_eq!(alone.fields().len(), 1, "one field: {field:?}");
    assert_eq!(alone.first(name).map(Field::value), Some(value.trim().to_owned()), "the value is as it was given");
    let lines = field.raw().split(|&octet| octet == b'\n');
    assert!(lines.into_iter().all(|line| line.len() <= 999), "a line over 998 octets: {field:?}");
}
