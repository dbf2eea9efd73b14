//! The table of all messages, in as little memory as a million of them allow.
//!
//! An entry as the rest of the crate uses it has 100 octets and more, its id 70 on the heap. Nearly all messages
//! have an id that was made here (22 octets of text for 15 of content) and lie in segments under 4 GiB, so that is
//! what the table is made for: 48 octets each, and what a hash table leaves empty. Any other goes into a second
//! table as it is.

use std::collections::HashMap;

use basin_core::mail::{Body, MessageId};

use crate::index::{BodyPlace, Entry, Place, SeenBody};

/// Octets of an id that was made here.
const KEY_BYTES: usize = 15;

/// Bodies that are remembered as their callers gave them, when the next look for dead ones comes.
const SEEN_LOOK: usize = 4_096;

/// An id in as few octets as it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SmallId {
    /// 14 and 16 hexadecimal digits around a hyphen.
    Usual([u8; KEY_BYTES]),
    /// Any other.
    Other(MessageId),
}

impl SmallId {
    pub(crate) fn of(id: &MessageId) -> Self {
        pack(id).map_or_else(|| Self::Other(id.clone()), Self::Usual)
    }

    pub(crate) fn id(&self) -> Option<MessageId> {
        match self {
            Self::Usual(key) => unpack(key),
            Self::Other(id) => Some(id.clone()),
        }
    }
}

fn pack(id: &MessageId) -> Option<[u8; KEY_BYTES]> {
    let (time, random) = id.as_str().split_once('-').filter(|(time, random)| (time.len(), random.len()) == (14, 16))?;
    let mut key = [0; KEY_BYTES];
    let digits = time.as_bytes().chunks_exact(2).chain(random.as_bytes().chunks_exact(2));
    for (place, pair) in key.iter_mut().zip(digits) {
        let &[high, low] = pair else { return None };
        *place = digit(high)? << 4 | digit(low)?;
    }
    Some(key)
}

// Only small letters: the text has to come back as it was.
fn digit(octet: u8) -> Option<u8> {
    match octet {
        b'0'..=b'9' => Some(octet - b'0'),
        b'a'..=b'f' => Some(octet - b'a' + 10),
        _ => None,
    }
}

fn unpack(key: &[u8; KEY_BYTES]) -> Option<MessageId> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(MessageId::BYTES_MAX / 2);
    for (at, octet) in key.iter().enumerate() {
        if at == 7 {
            text.push('-');
        }
        for nibble in [octet >> 4, octet & 15] {
            text.push(char::from(*DIGITS.get(usize::from(nibble))?));
        }
    }
    MessageId::parse(&text)
}

/// An entry whose body is in a record, with numbers that fit.
#[derive(Clone, Copy)]
struct Packed {
    segment: u32,
    offset: u32,
    len: u32,
    body_segment: u32,
    body_offset: u32,
    body_len: u32,
    body_crc: u32,
    earliest: u32,
}

impl Packed {
    fn of(entry: &Entry) -> Option<Self> {
        let BodyPlace::Inline { segment, offset, len, crc } = entry.body else { return None };
        let small = |number: u64| u32::try_from(number).ok();
        Some(Self {
            segment: small(entry.record.segment)?,
            offset: small(entry.record.offset)?,
            len: small(entry.record.len)?,
            body_segment: small(segment)?,
            body_offset: small(offset)?,
            body_len: small(len)?,
            body_crc: crc,
            earliest: small(entry.earliest)?,
        })
    }

    fn entry(self) -> Entry {
        let record = Place { segment: self.segment.into(), offset: self.offset.into(), len: self.len.into() };
        let body = BodyPlace::Inline {
            segment: self.body_segment.into(),
            offset: self.body_offset.into(),
            len: self.body_len.into(),
            crc: self.body_crc,
        };
        Entry { record, body, earliest: self.earliest.into() }
    }
}

/// Messages by id.
#[derive(Default)]
pub(crate) struct Messages {
    packed: HashMap<[u8; KEY_BYTES], Packed>,
    wide: HashMap<MessageId, Entry>,
    // Bodies of messages that may still be in somebody's hands.
    seen: HashMap<MessageId, SeenBody>,
    seen_look: usize,
}

impl Messages {
    pub(crate) fn len(&self) -> usize {
        self.packed.len() + self.wide.len()
    }

    pub(crate) fn contains(&self, id: &MessageId) -> bool {
        pack(id).is_some_and(|key| self.packed.contains_key(&key)) || self.wide.contains_key(id)
    }

    pub(crate) fn get(&self, id: &MessageId) -> Option<Entry> {
        let packed = pack(id).and_then(|key| self.packed.get(&key));
        packed.map(|packed| packed.entry()).or_else(|| self.wide.get(id).cloned())
    }

    /// Puts an entry in; returns the one before it.
    pub(crate) fn insert(&mut self, id: &MessageId, entry: Entry) -> Option<Entry> {
        let before = self.take(id);
        match pack(id).zip(Packed::of(&entry)) {
            Some((key, packed)) => drop(self.packed.insert(key, packed)),
            None => drop(self.wide.insert(id.clone(), entry)),
        }
        before
    }

    /// Takes an entry out, and what was remembered of its body.
    pub(crate) fn remove(&mut self, id: &MessageId) -> Option<Entry> {
        self.seen.remove(id);
        self.take(id)
    }

    fn take(&mut self, id: &MessageId) -> Option<Entry> {
        let packed = pack(id).and_then(|key| self.packed.remove(&key));
        packed.map(Packed::entry).or_else(|| self.wide.remove(id))
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SmallId, Entry)> + '_ {
        let packed = self.packed.iter().map(|(key, packed)| (SmallId::Usual(*key), packed.entry()));
        packed.chain(self.wide.iter().map(|(id, entry)| (SmallId::Other(id.clone()), entry.clone())))
    }

    /// Those whose body is in a file of its own.
    pub(crate) fn with_files(&self) -> impl Iterator<Item = (&MessageId, &Entry)> {
        self.wide.iter().filter(|(_, entry)| entry.body.file().is_some())
    }

    /// Remembers the body of a message as its caller gave it.
    pub(crate) fn see(&mut self, id: &MessageId, body: SeenBody) {
        if self.seen.len() >= self.seen_look.max(SEEN_LOOK) {
            // Most are in nobody's hands any more. Twice of what is left, so that the looks stay rare.
            self.seen.retain(|_, body| body.is_alive());
            self.seen.shrink_to(SEEN_LOOK);
            self.seen_look = self.seen.len() * 2;
        }
        self.seen.insert(id.clone(), body);
    }

    /// Whether `body` is the very one that the message was stored with.
    pub(crate) fn has_seen(&self, id: &MessageId, body: &Body) -> bool {
        self.seen.get(id).is_some_and(|seen| seen.is(body))
    }

    /// Octets of memory that the tables take for the messages in them, without those for bodies in hand.
    pub(crate) fn memory_bytes(&self) -> u64 {
        // One octet of control for each place, as the standard library's table has it; 7 of 8 places are used.
        let places = |capacity: usize| (capacity * 8 / 7) as u64;
        let packed = size_of::<([u8; KEY_BYTES], Packed)>() as u64 + 1;
        let wide = size_of::<(MessageId, Entry)>() as u64 + 1;
        // The texts of id and file name beside it.
        let heap = 2 * (MessageId::BYTES_MAX as u64 + 16);
        places(self.packed.capacity()) * packed + places(self.wide.capacity()) * wide + self.wide.len() as u64 * heap
    }
}

#[cfg(test)]
mod tests {
    use basin_core::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn entry(number: u64, file: Option<&str>) -> Entry {
        let record = Place { segment: 3, offset: number, len: 1_000 };
        let body = match file {
            Some(name) => BodyPlace::File { name: name.into(), start: 1, len: 2, file_len: 3, crc: 4 },
            None => BodyPlace::Inline { segment: 2, offset: 77, len: 5, crc: 6 },
        };
        Entry { record, body, earliest: 1 }
    }

    proptest! {
        #[test]
        fn ids_come_back_as_they_were(text in "[0-9a-fA-F]{14}-[0-9a-f]{16}|[A-Za-z0-9-]{1,64}") {
            let id = MessageId::parse(&text).expect("an id");
            prop_assert_eq!(SmallId::of(&id).id(), Some(id));
        }

        #[test]
        fn ids_that_are_made_here_are_small(seconds in 0_i64..10_000_000_000, random: u64) {
            let id = MessageId::new(Timestamp::from_seconds(seconds), random);
            prop_assert!(matches!(SmallId::of(&id), SmallId::Usual(_)));
        }
    }

    #[test]
    fn entries_come_back_wherever_they_are_kept() {
        let mut messages = Messages::default();
        let usual = MessageId::new(Timestamp::from_seconds(5), 5);
        let odd = MessageId::parse("odd").expect("an id");
        for (id, one) in [(&usual, entry(1, None)), (&odd, entry(2, None))] {
            assert!(messages.insert(id, one.clone()).is_none());
            assert!(messages.contains(id) && messages.get(id) == Some(one));
        }
        // From one table to the other and back.
        let larger = Entry { earliest: u64::from(u32::MAX) + 1, ..entry(3, None) };
        for one in [entry(4, Some("body")), larger, entry(5, None)] {
            let before = messages.get(&usual);
            assert_eq!(messages.insert(&usual, one.clone()), before);
            assert_eq!((messages.get(&usual), messages.len()), (Some(one), 2));
        }
        assert_eq!(messages.iter().count(), 2);
        assert_eq!(messages.remove(&usual), Some(entry(5, None)));
        assert_eq!(messages.remove(&usual), None);
        assert_eq!(messages.len(), 1);
    }

    #[test]
    fn a_million_messages_take_less_than_150_octets_each() {
        assert!(size_of::<([u8; KEY_BYTES], Packed)>() <= 48);
        let mut messages = Messages::default();
        let count = 20_000;
        for number in 0..count {
            let id = MessageId::new(Timestamp::from_seconds(1_800_000_000), number);
            messages.insert(&id, entry(number, None));
        }
        assert!(messages.memory_bytes() / count < 150, "{} octets each", messages.memory_bytes() / count);
    }

    #[test]
    fn bodies_in_nobodys_hands_are_forgotten() {
        let mut messages = Messages::default();
        let kept = Body::from_bytes(vec![1]);
        let id = |number| MessageId::new(Timestamp::from_seconds(5), number);
        messages.see(&id(0), SeenBody::of(&kept));
        for number in 1..3 * SEEN_LOOK as u64 {
            messages.see(&id(number), SeenBody::of(&Body::from_bytes(vec![2])));
            assert!(messages.seen.len() <= SEEN_LOOK + 1);
        }
        assert!(messages.has_seen(&id(0), &kept));
    }
}
