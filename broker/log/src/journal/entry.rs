//! The bytes of the journal. Numbers are big-endian.
//!
//! ```text
//! half    = "MOLDAUJ1" generation:u64 crc32c:u32, then entries up to the first that is not of this generation
//! entry   = crc32c:u32 length:u32 generation:u64 kind:u8 incarnation:u64 topic_id:16 base_offset:i64 position:u64
//!           name_length:u16 name data
//! ```
//! The checksum covers everything behind it, `length` everything behind that.

use moldau_model::{Offset, TopicId};

const HALF_MAGIC: &[u8; 8] = b"MOLDAUJ1";
pub(super) const HALF_HEADER_BYTES: usize = 20;
/// In front of what `length` counts.
pub(super) const PREFIX_BYTES: usize = 8;
const FIXED_BYTES: usize = PREFIX_BYTES + 8 + 1 + 8 + 16 + 8 + 8 + 2;
/// No entry is longer: a length beyond it is none.
pub(super) const ENTRY_BYTES_MAX: usize = FIXED_BYTES + u16::MAX as usize + super::JOURNALED_BYTES_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// Bytes of a segment.
    Records,
    /// Entries of the directory with a smaller incarnation are not to be written again.
    Void,
}

/// One entry; its data comes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) kind: EntryKind,
    pub(super) incarnation: u64,
    pub(super) topic_id: TopicId,
    pub(super) base_offset: Offset,
    pub(super) position: u64,
    pub(super) directory: &'a str,
}

pub(super) fn size_bytes(name_bytes: usize, data_bytes: usize) -> usize {
    FIXED_BYTES + name_bytes + data_bytes
}

pub(super) fn half_header(generation: u64) -> [u8; HALF_HEADER_BYTES] {
    let mut header = [0; HALF_HEADER_BYTES];
    let (fields, crc) = header.split_at_mut(HALF_HEADER_BYTES - 4);
    fields[..8].copy_from_slice(HALF_MAGIC);
    fields[8..].copy_from_slice(&generation.to_be_bytes());
    crc.copy_from_slice(&crc32c::crc32c(fields).to_be_bytes());
    header
}

/// The generation of a half, `None` if that is no header.
pub(super) fn read_half_header(header: &[u8; HALF_HEADER_BYTES]) -> Option<u64> {
    let (fields, crc) = header.split_at(HALF_HEADER_BYTES - 4);
    let is_whole = fields.starts_with(HALF_MAGIC) && crc32c::crc32c(fields).to_be_bytes() == *crc;
    is_whole.then(|| u64::from_be_bytes(*fields[8..].first_chunk().unwrap_or(&[0; 8])))
}

impl Entry<'_> {
    /// Puts all but checksum, length and generation into the buffer; the data goes behind it, and then comes [`seal`] with
    /// what this returns.
    pub(super) fn begin(&self, buffer: &mut Vec<u8>) -> usize {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; PREFIX_BYTES + 8]);
        buffer.push(match self.kind {
            EntryKind::Records => 1,
            EntryKind::Void => 2,
        });
        buffer.extend_from_slice(&self.incarnation.to_be_bytes());
        buffer.extend_from_slice(self.topic_id.as_bytes());
        buffer.extend_from_slice(&self.base_offset.0.to_be_bytes());
        buffer.extend_from_slice(&self.position.to_be_bytes());
        // A file's name has at most 255 bytes.
        buffer.extend_from_slice(&(self.directory.len() as u16).to_be_bytes());
        buffer.extend_from_slice(self.directory.as_bytes());
        start
    }
}

/// Ends the entry that began at `start`, and reaches to the buffer's end.
pub(super) fn seal(buffer: &mut [u8], start: usize, generation: u64) {
    let Some(entry) = buffer.get_mut(start..) else { return };
    let length = (entry.len() - PREFIX_BYTES) as u32;
    entry[4..8].copy_from_slice(&length.to_be_bytes());
    entry[8..16].copy_from_slice(&generation.to_be_bytes());
    let crc = crc32c::crc32c(&entry[4..]);
    entry[..4].copy_from_slice(&crc.to_be_bytes());
}

/// How many bytes follow the prefix, if they can be an entry's.
pub(super) fn read_prefix(prefix: &[u8; PREFIX_BYTES]) -> Option<usize> {
    let length = u32::from_be_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
    (FIXED_BYTES - PREFIX_BYTES..=ENTRY_BYTES_MAX - PREFIX_BYTES).contains(&length).then_some(length)
}

/// A whole entry of this generation and its data; `None` where the journal ends.
pub(super) fn read(bytes: &[u8], generation: u64) -> Option<(Entry<'_>, &[u8])> {
    let (crc, rest) = bytes.split_first_chunk::<4>()?;
    if crc32c::crc32c(rest).to_be_bytes() != *crc {
        return None;
    }
    let (_length, rest) = rest.split_first_chunk::<4>()?;
    let (found, rest) = rest.split_first_chunk::<8>()?;
    let (kind, rest) = rest.split_first_chunk::<1>()?;
    let (incarnation, rest) = rest.split_first_chunk::<8>()?;
    let (topic_id, rest) = rest.split_first_chunk::<16>()?;
    let (base_offset, rest) = rest.split_first_chunk::<8>()?;
    let (position, rest) = rest.split_first_chunk::<8>()?;
    let (name_bytes, rest) = rest.split_first_chunk::<2>()?;
    let (name, data) = rest.split_at_checked(usize::from(u16::from_be_bytes(*name_bytes)))?;
    let kind = match kind {
        [1] => EntryKind::Records,
        [2] => EntryKind::Void,
        _ => return None,
    };
    let entry = Entry {
        kind,
        incarnation: u64::from_be_bytes(*incarnation),
        topic_id: TopicId::from_bytes(*topic_id),
        base_offset: Offset(i64::from_be_bytes(*base_offset)),
        position: u64::from_be_bytes(*position),
        directory: std::str::from_utf8(name).ok()?,
    };
    (u64::from_be_bytes(*found) == generation).then_some((entry, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: Entry<'static> = Entry {
        kind: EntryKind::Records,
        incarnation: 7,
        topic_id: TopicId::from_bytes([3; 16]),
        base_offset: Offset(42),
        position: 1_000,
        directory: "pageview-3",
    };

    fn encoded(generation: u64) -> Vec<u8> {
        let mut buffer = b"before".to_vec();
        let start = ENTRY.begin(&mut buffer);
        buffer.extend_from_slice(b"the data");
        seal(&mut buffer, start, generation);
        buffer.split_off(start)
    }

    #[test]
    fn an_entry_comes_back_and_one_of_another_generation_does_not() {
        let bytes = encoded(9);
        assert_eq!(bytes.len(), size_bytes("pageview-3".len(), "the data".len()));
        assert_eq!(read_prefix(bytes.first_chunk().unwrap()), Some(bytes.len() - PREFIX_BYTES));
        assert_eq!(read(&bytes, 9), Some((ENTRY, &b"the data"[..])));
        assert_eq!(read(&bytes, 8), None);
    }

    #[test]
    fn a_torn_entry_is_none() {
        let bytes = encoded(9);
        for at in 0..bytes.len() {
            let mut torn = bytes.clone();
            torn[at] ^= 0x10;
            assert_eq!(read(&torn, 9), None, "byte {at}");
            assert_eq!(read(&bytes[..at], 9), None, "cut at {at}");
        }
        assert_eq!(read_prefix(&[0; PREFIX_BYTES]), None, "zeros are no entry");
        assert_eq!(read_prefix(&[0xff; PREFIX_BYTES]), None);
    }

    #[test]
    fn a_half_has_its_generation_or_is_none() {
        let header = half_header(12);
        assert_eq!(read_half_header(&header), Some(12));
        for at in 0..header.len() {
            let mut torn = header;
            torn[at] ^= 1;
            assert_eq!(read_half_header(&torn), None, "byte {at}");
        }
    }
}
