//! Kafka's primitive types, as far as these records have them. Keys are not flexible, values are (KIP-482).

use bytes::Bytes;
use moldau_model::TopicId;

use super::{RecordError, STRING_BYTES_MAX};

/// Reads from the beginning on.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], RecordError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordError::Truncated { field })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn i8(&mut self, field: &'static str) -> Result<i8, RecordError> {
        self.array(field).map(i8::from_be_bytes)
    }

    pub(super) fn i16(&mut self, field: &'static str) -> Result<i16, RecordError> {
        self.array(field).map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, RecordError> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, RecordError> {
        self.array(field).map(i64::from_be_bytes)
    }

    pub(super) fn topic_id(&mut self, field: &'static str) -> Result<TopicId, RecordError> {
        self.array(field).map(TopicId::from_bytes)
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a str, RecordError> {
        let invalid = RecordError::Invalid { field };
        let length = usize::try_from(self.i16(field)?).map_err(|_| invalid)?;
        std::str::from_utf8(self.take(length, field)?).map_err(|_| invalid)
    }

    fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, RecordError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array::<1>(field)?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| RecordError::Invalid { field });
            }
        }
        Err(RecordError::Invalid { field })
    }

    /// The count of a compact array. Each element is at least a byte long, so a count beyond the bytes left is a lie.
    pub(super) fn count(&mut self, field: &'static str) -> Result<usize, RecordError> {
        let count = self.unsigned_varint(field)?.checked_sub(1).map(|count| count as usize);
        count.filter(|count| *count <= self.rest.len()).ok_or(RecordError::Invalid { field })
    }

    pub(super) fn tagged_fields(
        &mut self,
        mut each: impl FnMut(u32, &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for _ in 0..self.unsigned_varint("tagged fields")? {
            let tag = self.unsigned_varint("tag")?;
            let size = self.unsigned_varint("tagged field")? as usize;
            each(tag, self.take(size, "tagged field")?)?;
        }
        Ok(())
    }

    /// With bytes behind it a key would be another key.
    pub(super) fn finish(self, field: &'static str) -> Result<(), RecordError> {
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError::Invalid { field }) }
    }
}

/// Writes a record.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// # Panics
    /// If the string is longer than a record can tell: the shard refuses those.
    pub(super) fn string(&mut self, text: &str) {
        assert!(text.len() <= STRING_BYTES_MAX, "a string of {} bytes has no place in a record", text.len());
        self.i16(text.len() as i16);
        self.raw(text.as_bytes());
    }

    fn unsigned_varint(&mut self, mut value: usize) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn compact_count(&mut self, count: usize) {
        self.unsigned_varint(count + 1);
    }

    pub(super) fn tagged_field(&mut self, tag: u32, bytes: &[u8]) {
        self.unsigned_varint(1);
        self.unsigned_varint(tag as usize);
        self.unsigned_varint(bytes.len());
        self.raw(bytes);
    }

    pub(super) fn no_tagged_fields(&mut self) {
        self.0.push(0);
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.into()
    }
}
