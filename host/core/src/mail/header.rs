//! The header block: fields that leave octet for octet as they came, unless somebody edited them.

use bytes::Bytes;
use thiserror::Error;

use crate::limits::{HEADER_BLOCK_BYTES_MAX, HEADER_FIELDS_MAX};

/// Longest unfolded line that this server writes itself, CR LF excluded (RFC 5322 §2.1.1 wants at most 78).
const FOLD_AT: usize = 78;

/// Longest line that this server ever writes, CR LF excluded (RFC 5322 §2.1.1).
const LINE_MAX: usize = 998;

/// Why a field was not added or changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FieldError {
    /// The name is empty, too long, or has an octet outside `!` to `~` or a colon (RFC 5322 §2.2).
    #[error("a field name has 1 to 76 printable ASCII characters and no colon")]
    Name,
    /// The value has a CR, LF or NUL, or a word that cannot be folded into a line of 998 octets.
    #[error("a field value has no CR, LF or NUL and no word over 900 octets")]
    Value,
    /// There is no field at that index.
    #[error("there is no field at that index")]
    NoSuchField,
    /// The block would pass 2,000 fields or 256 KiB.
    #[error("a header block has at most {HEADER_FIELDS_MAX} fields and {HEADER_BLOCK_BYTES_MAX} octets")]
    Full,
}

/// One header field as it stands: name, colon, folded value, CR LF.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    raw: Bytes,
    name_len: usize,
}

impl Field {
    /// Makes a field, folding the value at white space so that lines stay short.
    ///
    /// # Errors
    /// [`FieldError::Name`] and [`FieldError::Value`]; nothing a sink says can add a second field.
    pub fn new(name: &str, value: &str) -> Result<Self, FieldError> {
        let is_name = (1..=76).contains(&name.len()) && name.bytes().all(|o| o.is_ascii_graphic() && o != b':');
        if !is_name {
            return Err(FieldError::Name);
        }
        if value.bytes().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            return Err(FieldError::Value);
        }
        let mut raw = format!("{name}:");
        let mut line_len = raw.len();
        for word in value.split(' ') {
            if line_len + 1 + word.len() > FOLD_AT && line_len > name.len() + 1 && !word.trim().is_empty() {
                raw.push_str("\r\n");
                line_len = 0;
            }
            raw.push(' ');
            raw.push_str(word);
            line_len += 1 + word.len();
            if line_len > LINE_MAX {
                return Err(FieldError::Value);
            }
        }
        raw.push_str("\r\n");
        Ok(Self { name_len: name.len(), raw: raw.into() })
    }

    /// The name as it was written.
    pub fn name(&self) -> String {
        String::from_utf8_lossy(self.raw.get(..self.name_len).unwrap_or_default()).trim_end().to_owned()
    }

    /// Whether the field has that name, case-insensitive; a line that is no field has none, not even the empty one.
    pub fn is(&self, name: &str) -> bool {
        self.name_len > 0
            && self.raw.get(..self.name_len).unwrap_or_default().trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value unfolded (RFC 5322 §2.2.3), without the white space around it. Octets that are not UTF-8
    /// come as U+FFFD; [`Field::raw`] has them.
    pub fn value(&self) -> String {
        let octets = self.raw.get(self.name_len..).unwrap_or_default();
        let octets = octets.strip_prefix(b":").unwrap_or(octets);
        let text = String::from_utf8_lossy(octets);
        text.replace("\r\n", "").trim().to_owned()
    }

    /// The field octet for octet, with its line ends.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }
}

/// The fields of a message in order.
///
/// [`HeaderBlock::parse`] keeps every octet: `parse(x).to_bytes() == x` for any block whose lines end in
/// CR LF. A line that is no field at all is kept as a field without a name, so nothing is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderBlock {
    fields: Vec<Field>,
    len: usize,
}

impl HeaderBlock {
    /// Cuts a header block, without the empty line after it, into fields.
    ///
    /// # Errors
    /// [`FieldError::Full`] where it passes its limits.
    pub fn parse(octets: &Bytes) -> Result<Self, FieldError> {
        if octets.len() > HEADER_BLOCK_BYTES_MAX {
            return Err(FieldError::Full);
        }
        let mut fields = Vec::new();
        let mut start = 0;
        while start < octets.len() {
            let end = field_end(octets, start);
            let raw = octets.slice(start..end);
            let name_len = raw.iter().position(|&octet| octet == b':').unwrap_or(0);
            let name = raw.get(..name_len).unwrap_or_default().trim_ascii_end();
            let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
            fields.push(Field { name_len: if is_name { name_len } else { 0 }, raw });
            start = end;
            if fields.len() > HEADER_FIELDS_MAX {
                return Err(FieldError::Full);
            }
        }
        Ok(Self { fields, len: octets.len() })
    }

    /// Octets of the block, without the empty line after it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The fields in order.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The first field of that name, case-insensitive.
    pub fn first(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.is(name))
    }

    /// Every field of that name, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Field> {
        self.fields.iter().filter(move |field| field.is(name))
    }

    /// Puts a field before the one at `index`; at the end where `index` is the number of fields.
    ///
    /// # Errors
    /// [`FieldError::NoSuchField`] past the end, [`FieldError::Full`] at the limits.
    pub fn insert(&mut self, index: usize, field: Field) -> Result<(), FieldError> {
        if index > self.fields.len() {
            return Err(FieldError::NoSuchField);
        }
        self.reserve(field.raw.len())?;
        self.len += field.raw.len();
        self.fields.insert(index, field);
        Ok(())
    }

    /// Replaces the first field of that name in place and drops further ones; adds it where there is none.
    ///
    /// # Errors
    /// [`FieldError::Full`] at the limits.
    pub fn set(&mut self, field: Field) -> Result<(), FieldError> {
        let name = field.name();
        let Some(index) = self.fields.iter().position(|present| present.is(&name)) else {
            return self.insert(self.fields.len(), field);
        };
        self.replace(index, field)?;
        let mut position = 0;
        self.fields.retain(|present| {
            let keep = position <= index || !present.is(&name);
            position += 1;
            keep
        });
        self.count();
        Ok(())
    }

    /// Replaces the field at `index`.
    ///
    /// # Errors
    /// [`FieldError::NoSuchField`], [`FieldError::Full`].
    pub fn replace(&mut self, index: usize, field: Field) -> Result<(), FieldError> {
        let old = self.fields.get(index).ok_or(FieldError::NoSuchField)?.raw.len();
        if self.len - old + field.raw.len() > HEADER_BLOCK_BYTES_MAX {
            return Err(FieldError::Full);
        }
        self.len = self.len - old + field.raw.len();
        if let Some(place) = self.fields.get_mut(index) {
            *place = field;
        }
        Ok(())
    }

    /// Takes out the field at `index`.
    ///
    /// # Errors
    /// [`FieldError::NoSuchField`].
    pub fn remove_at(&mut self, index: usize) -> Result<Field, FieldError> {
        if index >= self.fields.len() {
            return Err(FieldError::NoSuchField);
        }
        let field = self.fields.remove(index);
        self.len -= field.raw.len();
        Ok(field)
    }

    /// Takes out every field of that name and says how many there were.
    pub fn remove(&mut self, name: &str) -> usize {
        let before = self.fields.len();
        self.fields.retain(|field| !field.is(name));
        self.count();
        before - self.fields.len()
    }

    /// Keeps the fields that are wanted.
    pub fn retain(&mut self, is_wanted: impl FnMut(&Field) -> bool) {
        self.fields.retain(is_wanted);
        self.count();
    }

    /// The whole block octet for octet, without the empty line after it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.len);
        self.fields.iter().for_each(|field| octets.extend_from_slice(&field.raw));
        octets
    }

    fn reserve(&self, more: usize) -> Result<(), FieldError> {
        let is_full = self.fields.len() >= HEADER_FIELDS_MAX || self.len + more > HEADER_BLOCK_BYTES_MAX;
        if is_full { Err(FieldError::Full) } else { Ok(()) }
    }

    fn count(&mut self) {
        self.len = self.fields.iter().map(|field| field.raw.len()).sum();
    }
}

// End of the field that starts at `start`: the first line end that no white space follows.
fn field_end(octets: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(line) = octets.get(at..).and_then(|rest| rest.iter().position(|&octet| octet == b'\n')) {
        at += line + 1;
        if !matches!(octets.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    octets.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "Subject: one\r\n two\r\nX-A: 1\r\nthis is no field\r\nx-a : 2\r\nTo:\r\n";

    fn block() -> HeaderBlock {
        HeaderBlock::parse(&Bytes::from_static(BLOCK.as_bytes())).expect("small")
    }

    #[test]
    fn unedited_fields_leave_octet_for_octet() {
        assert_eq!(block().to_bytes(), BLOCK.as_bytes());
        assert_eq!(block().len(), BLOCK.len());
    }

    #[test]
    fn names_are_found_without_regard_to_case_and_values_unfolded() {
        let block = block();
        assert_eq!(block.first("SUBJECT").map(Field::value), Some("one two".into()));
        assert_eq!(block.all("X-a").map(Field::value).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(block.first("this is no field"), None);
        assert_eq!(block.first(""), None, "a line that is no field has no name, not an empty one");
    }

    #[test]
    fn white_space_before_a_colon_is_no_name() {
        let block = HeaderBlock::parse(&Bytes::from_static(b" \t: x\r\n: y\r\nA: b\r\n")).expect("small");
        assert_eq!(block.first(""), None);
        assert_eq!(block.fields().iter().map(Field::name).collect::<Vec<_>>(), ["", "", "A"]);
    }

    #[test]
    fn set_replaces_the_first_and_drops_the_rest() {
        let mut block = block();
        block.set(Field::new("X-A", "3").expect("valid")).expect("fits");
        assert_eq!(block.to_bytes(), b"Subject: one\r\n two\r\nX-A: 3\r\nthis is no field\r\nTo:\r\n");
        assert_eq!(block.len(), block.to_bytes().len());
    }

    #[test]
    fn no_value_can_add_a_second_field() {
        for value in ["a\r\nBcc: x", "a\nb", "a\rb", "a\0b"] {
            assert_eq!(Field::new("X", value), Err(FieldError::Value));
        }
        let long_name = "n".repeat(77);
        for name in ["", "a b", "a:b", "a\r\n", "ü", long_name.as_str()] {
            assert_eq!(Field::new(name, "v"), Err(FieldError::Name));
        }
    }

    #[test]
    fn long_values_are_folded_at_white_space() {
        let value = "word ".repeat(60);
        let field = Field::new("X-Long", value.trim()).expect("valid");
        let text = String::from_utf8(field.raw().to_vec()).expect("ASCII");
        assert!(text.lines().all(|line| line.len() <= FOLD_AT), "{text}");
        assert_eq!(field.value(), value.trim());
        assert_eq!(Field::new("X", &"x".repeat(1_000)), Err(FieldError::Value));
    }

    #[test]
    fn limits_hold() {
        let many = "A: b\r\n".repeat(HEADER_FIELDS_MAX + 1);
        assert_eq!(HeaderBlock::parse(&Bytes::from(many)), Err(FieldError::Full));
        let mut block = HeaderBlock::default();
        assert_eq!(block.insert(1, Field::new("A", "b").expect("valid")), Err(FieldError::NoSuchField));
    }
}
