//! Segment files: their header, and the search for records in them.

use crate::record::{ALIGN, FRAME_BYTES, Frame, Record};

/// First octets of every segment.
const MAGIC: [u8; 8] = *b"BASINLOG";

/// Version of the format that this program writes, and the highest it reads.
///
/// 2 has the same layout as 1. What grew is the JSON part: outcomes, stages and parameters that a program of
/// version 1 would take for damage. It refuses a segment of version 2, and so harms nothing.
pub(crate) const FORMAT_VERSION: u32 = 2;

/// Lowest version that this program reads. There was never a lower one.
const FORMAT_VERSION_MIN: u32 = 1;

/// Octets before the first record.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 32;

/// What the first octets of a segment say.
///
/// ```text
/// magic 8 | version 4 | crc 4 | number 8 | mark 8
/// ```
///
/// The checksum covers everything else. Magic, version and checksum stay where they are in every version,
/// and the header keeps its length, so that an old program can tell a newer segment from a damaged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// Of this version.
    Known {
        /// The mark of its records.
        mark: u64,
        /// Its version.
        version: u32,
    },
    /// Of a later version.
    Newer(u32),
    /// Not whole.
    Damaged,
}

/// Makes the header of a segment.
pub(crate) fn encode_header(number: u64, mark: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    encode_version(FORMAT_VERSION, number, mark)
}

fn encode_version(version: u32, number: u64, mark: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut covered = [0; SEGMENT_HEADER_BYTES - 4];
    let octets = MAGIC.into_iter().chain(version.to_le_bytes()).chain(number.to_le_bytes()).chain(mark.to_le_bytes());
    covered.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet);
    let crc = crc32fast::hash(&covered).to_le_bytes();
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let (front, back) = covered.split_at(12);
    header.iter_mut().zip(front.iter().chain(&crc).chain(back)).for_each(|(place, octet)| *place = *octet);
    header
}

/// Reads the header at the start of a segment.
pub(crate) fn parse_header(octets: &[u8], number: u64) -> Header {
    let Some(header) = octets.first_chunk::<SEGMENT_HEADER_BYTES>() else { return Header::Damaged };
    let (words, _) = header.as_chunks::<4>();
    let &[_, _, version, _, _, _, mark_low, mark_high] = words else { return Header::Damaged };
    let version = u32::from_le_bytes(version);
    let mark = u64::from(u32::from_le_bytes(mark_low)) | u64::from(u32::from_le_bytes(mark_high)) << 32;
    if *header != encode_version(version, number, mark) {
        return Header::Damaged;
    }
    match version {
        FORMAT_VERSION_MIN..=FORMAT_VERSION => Header::Known { mark, version },
        0 => Header::Damaged,
        _ => Header::Newer(version),
    }
}

/// The mark of a segment whose header is damaged: that of the record right behind it.
///
/// Only that place is asked. Any other could be the inside of a message that was made to look like a record.
pub(crate) fn mark_of_first_record(octets: &[u8]) -> Option<u64> {
    Frame::parse(octets.get(SEGMENT_HEADER_BYTES..)?, None).map(|(_, mark)| mark)
}

/// The mark of a segment whose first octets cannot be read: that of the first records which follow one another
/// up to the end.
///
/// A message may hold what looks like records, but these end where the message does, and true records follow. Only
/// inside the last message of a segment could they reach the end, and the record of that message comes before
/// them.
pub(crate) fn mark_behind_hole(octets: &[u8]) -> Option<u64> {
    let frame_at = |at: usize, mark| Frame::parse(octets.get(at..)?, mark);
    let leads_to_end = |mut at: usize, mark: u64| {
        while let Some((frame, _)) = frame_at(at, Some(mark)) {
            let Some(next) = usize::try_from(frame.len()).ok().and_then(|len| at.checked_add(len)) else {
                return false;
            };
            at = next;
        }
        at == octets.len()
    };
    let places = (SEGMENT_HEADER_BYTES..octets.len()).step_by(ALIGN);
    let mut marks = places.filter_map(|at| frame_at(at, None).map(|(_, mark)| (at, mark)));
    marks.find(|&(at, mark)| leads_to_end(at, mark)).map(|(_, mark)| mark)
}

/// A piece of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Piece<'a> {
    /// A record whose head and body have the right checksums.
    Whole { offset: usize, record: Record<'a> },
    /// A record that can be told from its surroundings, but head or body is wrong; the head where it is right.
    Broken { offset: usize, len: usize, record: Option<Record<'a>> },
    /// Octets in which no record starts, before another record.
    Gap { offset: usize, len: usize },
    /// Octets in which no record starts, up to the end: what a crash leaves of the last write.
    Tail { offset: usize, len: usize },
}

/// Walks over the pieces of a segment.
pub(crate) struct Pieces<'a> {
    octets: &'a [u8],
    mark: u64,
    at: usize,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(octets: &'a [u8], mark: u64) -> Self {
        Self { octets, mark, at: SEGMENT_HEADER_BYTES }
    }

    // The frame at `at` and the record's length, where the whole record is there.
    fn frame_at(&self, at: usize) -> Option<(Frame, usize)> {
        let rest = self.octets.get(at..)?;
        let (frame, _) = Frame::parse(rest, Some(self.mark))?;
        let len = usize::try_from(frame.len()).ok().filter(|&len| len <= rest.len())?;
        Some((frame, len))
    }

    fn next_frame(&self, from: usize) -> Option<usize> {
        let mark = self.mark.to_le_bytes();
        (from..self.octets.len().saturating_sub(FRAME_BYTES - 1))
            .step_by(ALIGN)
            .find(|&at| self.octets.get(at..at + ALIGN) == Some(&mark) && self.frame_at(at).is_some())
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let offset = self.at;
        let rest = self.octets.get(offset..).filter(|rest| !rest.is_empty())?;
        if let Some((frame, len)) = self.frame_at(offset) {
            self.at += len;
            let record = Record::parse(rest, frame);
            let body = usize::try_from(frame.head_len()).ok().and_then(|start| rest.get(start..len));
            let is_whole = body.is_some_and(|body| crc32fast::hash(body) == frame.body_crc);
            return Some(match record {
                Some(record) if is_whole => Piece::Whole { offset, record },
                record => Piece::Broken { offset, len, record },
            });
        }
        let next = self.next_frame(offset + ALIGN);
        let end = next.unwrap_or(self.octets.len());
        self.at = end;
        let len = end - offset;
        Some(if next.is_some() { Piece::Gap { offset, len } } else { Piece::Tail { offset, len } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_each_flipped_bit_noticed() {
        let header = encode_header(7, 99);
        assert_eq!(parse_header(&header, 7), Header::Known { mark: 99, version: FORMAT_VERSION });
        assert_eq!(parse_header(&header, 8), Header::Damaged);
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_header(&flipped, 7), Header::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage_and_an_older_one_is_read() {
        assert_eq!(parse_header(&encode_version(3, 1, 5), 1), Header::Newer(3));
        assert_eq!(parse_header(&encode_version(1, 1, 5), 1), Header::Known { mark: 5, version: 1 });
        assert_eq!(parse_header(&encode_version(0, 1, 5), 1), Header::Damaged);
    }
}
