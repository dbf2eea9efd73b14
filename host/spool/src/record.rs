//! How one record lies in a segment.
//!
//! ```text
//! mark 8 | kind 1 | 0 3 | meta 4 | header 4 | body 4 | crc head 4 | crc body 4 | 0 4 | crc frame 4
//! meta (JSON) | header block (raw) | zeros up to the boundary | body (raw)
//! ```
//!
//! Numbers are little endian; a record starts and ends at a multiple of 8 octets. The mark is a random
//! number of the segment: a message whose body looks like a record cannot be taken for one when a reader
//! looks for the next record behind damage.

use std::borrow::Cow;
use std::io::IoSlice;

use basin_core::mail::{Arrival, Bag, Envelope, Expiry, Message, MessageId, Supersedes};
use basin_core::time::Timestamp;
use basin_core::transport::State;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Octets of the frame before the meta part.
pub(crate) const FRAME_BYTES: usize = 40;

/// Every record starts at a multiple of this, so that a search for the next one has few places to look at.
pub(crate) const ALIGN: usize = 8;

/// Largest meta part, in octets. A thousand recipients need 300 KiB; the rest is room for properties.
pub(crate) const META_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole message; replaces an earlier one of that id.
    Message,
    /// Everything but an inline body, which stays where it is.
    State,
    /// The message is gone.
    Remove,
}

impl Kind {
    fn octet(self) -> u8 {
        match self {
            Self::Message => 1,
            Self::State => 2,
            Self::Remove => 3,
        }
    }

    fn parse(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Message),
            2 => Some(Self::State),
            3 => Some(Self::Remove),
            _ => None,
        }
    }
}

/// Where the body of a record is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kept", rename_all = "kebab-case")]
pub(crate) enum BodyNote {
    /// In the record.
    Here,
    /// In a file of its own, which may have the header block as it came before it.
    File { name: String, start: u64, len: u64, file_len: u64, file_crc: u32 },
    /// Where the record before this one of the same message has it; length and checksum prove that it is the one.
    Same { len: u64, crc: u32 },
}

/// The JSON part of a record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meta<'a> {
    pub(crate) id: Cow<'a, MessageId>,
    pub(crate) state: Cow<'a, State>,
    pub(crate) arrival: Cow<'a, Arrival>,
    pub(crate) envelope: Cow<'a, Envelope>,
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(crate) is_header_only: bool,
    #[serde(default, skip_serializing_if = "is_no_property")]
    pub(crate) properties: Cow<'a, Bag>,
    #[serde(default, skip_serializing_if = "is_normal")]
    pub(crate) priority: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deliver_after: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expiry: Option<Expiry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) supersedes: Option<Cow<'a, Supersedes>>,
    pub(crate) body: BodyNote,
}

impl<'a> Meta<'a> {
    pub(crate) fn of(message: &'a Message, state: &'a State, body: BodyNote) -> Self {
        Self {
            id: Cow::Borrowed(&message.id),
            state: Cow::Borrowed(state),
            arrival: Cow::Borrowed(&message.arrival),
            envelope: Cow::Borrowed(&message.envelope),
            is_header_only: message.is_header_only,
            properties: Cow::Borrowed(&message.properties),
            priority: message.priority,
            deliver_after: message.deliver_after,
            expiry: message.expiry,
            supersedes: message.supersedes.as_ref().map(Cow::Borrowed),
            body,
        }
    }
}

// serde hands over a reference to the field, whatever its type.
#[expect(clippy::ptr_arg, reason = "serde's skip_serializing_if passes the field itself")]
fn is_no_property(bag: &Cow<'_, Bag>) -> bool {
    bag.is_empty()
}

fn is_normal(priority: &i32) -> bool {
    *priority == 0
}

/// The JSON part of a remove record.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) id: MessageId,
}

/// A record ready to be written, but for the mark of its segment.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    head: Vec<u8>,
    body: Bytes,
}

impl Encoded {
    /// Puts a record together; `write_meta` appends the JSON part. `None` where a part is too long.
    pub(crate) fn new(
        kind: Kind,
        write_meta: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
        header: &[&[u8]],
        body: Bytes,
        body_crc: u32,
    ) -> Option<Self> {
        let header_len: usize = header.iter().map(|part| part.len()).sum();
        let mut head = Vec::with_capacity(FRAME_BYTES + 1024 + header_len + ALIGN);
        head.resize(FRAME_BYTES, 0);
        write_meta(&mut head).ok()?;
        let meta_len = head.len() - FRAME_BYTES;
        if meta_len > META_BYTES_MAX {
            return None;
        }
        header.iter().for_each(|part| head.extend_from_slice(part));
        head.resize(head.len() + padding(head.len() + body.len()), 0);
        let head_crc = crc32fast::hash(head.get(FRAME_BYTES..)?);
        let frame = Frame {
            kind,
            meta_len: u32::try_from(meta_len).ok()?,
            header_len: u32::try_from(header_len).ok()?,
            body_len: u32::try_from(body.len()).ok()?,
            head_crc,
            body_crc,
        };
        frame.write(head.get_mut(..FRAME_BYTES)?);
        Some(Self { head, body })
    }

    /// A remove record.
    pub(crate) fn removal(id: &MessageId) -> Option<Self> {
        let removed = Removed { id: id.clone() };
        Self::new(Kind::Remove, |out| serde_json::to_writer(out, &removed), &[], Bytes::new(), 0)
    }

    /// Octets of the whole record.
    pub(crate) fn len(&self) -> u64 {
        (self.head.len() + self.body.len()) as u64
    }

    /// Octets before the body.
    pub(crate) fn head_len(&self) -> u64 {
        self.head.len() as u64
    }

    /// Puts the mark of a segment in, and the checksum of the frame with it.
    pub(crate) fn seal(&mut self, mark: u64) {
        if let Some((frame, _)) = self.head.split_first_chunk_mut::<FRAME_BYTES>() {
            let (covered, crc) = frame.split_at_mut(FRAME_BYTES - 4);
            if let Some(place) = covered.first_chunk_mut() {
                *place = mark.to_le_bytes();
            }
            crc.copy_from_slice(&crc32fast::hash(covered).to_le_bytes());
        }
    }

    /// The parts to write, in order.
    pub(crate) fn parts(&self) -> [IoSlice<'_>; 2] {
        [IoSlice::new(&self.head), IoSlice::new(&self.body)]
    }
}

/// The lengths and checksums at the start of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) meta_len: u32,
    pub(crate) header_len: u32,
    pub(crate) body_len: u32,
    pub(crate) head_crc: u32,
    pub(crate) body_crc: u32,
}

impl Frame {
    fn write(&self, place: &mut [u8]) {
        let numbers = [self.meta_len, self.header_len, self.body_len, self.head_crc, self.body_crc];
        let octets = [u32::from(self.kind.octet())].into_iter().chain(numbers).flat_map(u32::to_le_bytes);
        place.iter_mut().skip(ALIGN).zip(octets).for_each(|(place, octet)| *place = octet);
    }

    /// Reads the frame at the start of `octets`; `None` where its checksum or, where one is given, its mark is wrong.
    pub(crate) fn parse(octets: &[u8], mark: Option<u64>) -> Option<(Self, u64)> {
        let frame = octets.first_chunk::<FRAME_BYTES>()?;
        let found = u64::from_le_bytes(*frame.first_chunk()?);
        if mark.is_some_and(|mark| mark != found) {
            return None;
        }
        let (covered, crc) = frame.split_at(FRAME_BYTES - 4);
        if crc != crc32fast::hash(covered).to_le_bytes() {
            return None;
        }
        let (words, _) = covered.get(ALIGN..)?.as_chunks::<4>();
        let &[kind, meta_len, header_len, body_len, head_crc, body_crc, _] = words else { return None };
        let kind = Kind::parse(u8::try_from(u32::from_le_bytes(kind)).ok()?)?;
        let [meta_len, header_len, body_len, head_crc, body_crc] =
            [meta_len, header_len, body_len, head_crc, body_crc].map(u32::from_le_bytes);
        Some((Self { kind, meta_len, header_len, body_len, head_crc, body_crc }, found))
    }

    /// Octets before the body.
    pub(crate) fn head_len(&self) -> u64 {
        let len = FRAME_BYTES as u64 + u64::from(self.meta_len) + u64::from(self.header_len);
        let unaligned = (len + u64::from(self.body_len)) % ALIGN as u64;
        len + (ALIGN as u64 - unaligned) % ALIGN as u64
    }

    /// Octets of the whole record.
    pub(crate) fn len(&self) -> u64 {
        self.head_len() + u64::from(self.body_len)
    }
}

/// A record as it was read back. The checksum of its head is right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) frame: Frame,
    pub(crate) meta: &'a [u8],
    pub(crate) header: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes the head of a record apart, if it is whole.
    pub(crate) fn parse(head: &'a [u8], frame: Frame) -> Option<Self> {
        let head = head.get(FRAME_BYTES..usize::try_from(frame.head_len()).ok()?)?;
        if crc32fast::hash(head) != frame.head_crc {
            return None;
        }
        let (meta, rest) = head.split_at_checked(usize::try_from(frame.meta_len).ok()?)?;
        let header = rest.get(..usize::try_from(frame.header_len).ok()?)?;
        Some(Self { frame, meta, header })
    }
}

fn padding(len: usize) -> usize {
    len.next_multiple_of(ALIGN) - len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARK: u64 = 0x1122_3344_5566_7788;

    fn written(kind: Kind, meta: &[u8], header: &[u8], body: &[u8]) -> Vec<u8> {
        let body = Bytes::copy_from_slice(body);
        let crc = crc32fast::hash(&body);
        let write_meta = |out: &mut Vec<u8>| {
            out.extend_from_slice(meta);
            Ok(())
        };
        let mut record = Encoded::new(kind, write_meta, &[header], body, crc).expect("fits");
        record.seal(MARK);
        let octets: Vec<u8> = record.parts().iter().flat_map(|part| part.to_vec()).collect();
        assert_eq!(octets.len() as u64, record.len());
        octets
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            meta in proptest::collection::vec(any::<u8>(), 0..300),
            header in proptest::collection::vec(any::<u8>(), 0..300),
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let octets = written(Kind::State, &meta, &header, &body);
            prop_assert_eq!(octets.len() % ALIGN, 0);
            let (frame, _) = Frame::parse(&octets, Some(MARK)).expect("whole");
            prop_assert_eq!(frame.len(), octets.len() as u64);
            let record = Record::parse(&octets, frame).expect("whole");
            prop_assert_eq!(record.meta, &meta[..]);
            prop_assert_eq!(record.header, &header[..]);
            prop_assert_eq!(&octets[usize::try_from(frame.head_len()).expect("small")..], &body[..]);
            prop_assert_eq!(frame.body_crc, crc32fast::hash(&body));
        }

        #[test]
        fn no_octets_make_the_reader_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some((frame, _)) = Frame::parse(&octets, None) {
                Record::parse(&octets, frame);
            }
        }

        #[test]
        fn a_flipped_bit_of_the_head_is_noticed(at in 0_usize..64, bit in 0_u32..8) {
            let mut octets = written(Kind::Message, b"{\"some\":1}", b"A: b\r\n", b"body");
            octets[at % 56] ^= 1_u8 << bit;
            let read = Frame::parse(&octets, Some(MARK)).and_then(|(frame, _)| Record::parse(&octets, frame));
            prop_assert!(read.is_none());
        }
    }

    #[test]
    fn a_record_of_another_segment_is_not_taken() {
        let octets = written(Kind::Remove, b"{}", b"", b"");
        assert!(Frame::parse(&octets, Some(MARK + 1)).is_none());
        assert!(Frame::parse(&octets, None).is_some_and(|(_, mark)| mark == MARK));
    }
}
