//! Kafka's primitive types, over borrowed bytes.

use moldau_model::TopicId;

use super::RecordError;

/// The longest string that Kafka's 16-bit length can carry. Longer ones never reach a record: the shard
/// refuses the request.
pub(crate) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Reads a record from its beginning; `flexible` versions have compact lengths and tagged fields (KIP-482).
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    pub(super) flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, flexible: false }
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

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, RecordError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(super) fn topic_id(&mut self, field: &'static str) -> Result<TopicId, RecordError> {
        self.array(field).map(TopicId::from_bytes)
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

    /// A length or a count, `None` for null; `wide` tells 32 bits from 16 where lengths are not compact.
    fn length(&mut self, wide: bool, field: &'static str) -> Result<Option<usize>, RecordError> {
        let length = if self.flexible {
            i64::from(self.unsigned_varint(field)?) - 1
        } else if wide {
            i64::from(self.i32(field)?)
        } else {
            i64::from(self.i16(field)?)
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| RecordError::Invalid { field }),
        }
    }

    pub(super) fn nullable_string(&mut self, field: &'static str) -> Result<Option<&'a str>, RecordError> {
        let Some(length) = self.length(false, field)? else { return Ok(None) };
        let bytes = self.take(length, field)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| RecordError::Invalid { field })
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a str, RecordError> {
        self.nullable_string(field)?.ok_or(RecordError::Invalid { field })
    }

    pub(super) fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, RecordError> {
        let Some(length) = self.length(true, field)? else { return Ok(None) };
        self.take(length, field).map(Some)
    }

    pub(super) fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], RecordError> {
        self.nullable_bytes(field)?.ok_or(RecordError::Invalid { field })
    }

    /// An array's count. Each element is at least a byte long, so a count beyond the bytes left is a lie, and
    /// nothing is reserved for it.
    pub(super) fn count(&mut self, field: &'static str) -> Result<usize, RecordError> {
        match self.length(true, field)? {
            Some(count) if count <= self.rest.len() => Ok(count),
            _ => Err(RecordError::Invalid { field }),
        }
    }

    /// Gives each tagged field of a flexible version to `each`; none where the version is not flexible.
    pub(super) fn tagged_fields(
        &mut self,
        mut each: impl FnMut(u32, &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint("tagged fields")? {
            let tag = self.unsigned_varint("tag")?;
            let size = self.unsigned_varint("tagged field")? as usize;
            each(tag, self.take(size, "tagged field")?)?;
        }
        Ok(())
    }

    /// Kafka's own readers ignore what follows a value's last field; for a key it would be another key.
    pub(super) fn finish(self, field: &'static str) -> Result<(), RecordError> {
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError::Invalid { field }) }
    }
}

/// A topic's id from a tagged field.
pub(super) fn topic_id(bytes: &[u8]) -> Result<TopicId, RecordError> {
    let bytes = bytes.try_into().map_err(|_| RecordError::Invalid { field: "topic id" })?;
    Ok(TopicId::from_bytes(bytes))
}

/// Writes a record.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn unsigned_varint(&mut self, mut value: usize) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(super) fn string(&mut self, text: &str) {
        assert!(text.len() <= STRING_BYTES_MAX, "a string of {} bytes has no place in a record", text.len());
        self.i16(text.len() as i16);
        self.raw(text.as_bytes());
    }

    pub(super) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.i16(-1),
        }
    }

    pub(super) fn compact_string(&mut self, text: &str) {
        assert!(text.len() <= STRING_BYTES_MAX, "a string of {} bytes has no place in a record", text.len());
        self.unsigned_varint(text.len() + 1);
        self.raw(text.as_bytes());
    }

    pub(super) fn nullable_compact_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.compact_string(text),
            None => self.u8(0),
        }
    }

    pub(super) fn compact_bytes(&mut self, bytes: &[u8]) {
        self.unsigned_varint(bytes.len() + 1);
        self.raw(bytes);
    }

    /// The count of a flexible version's array.
    pub(super) fn compact_count(&mut self, count: usize) {
        self.unsigned_varint(count + 1);
    }

    /// Ends a structure of a flexible version, with the one tagged field that it has.
    pub(super) fn tagged_field(&mut self, tag: u32, bytes: &[u8]) {
        self.unsigned_varint(1);
        self.unsigned_varint(tag as usize);
        self.unsigned_varint(bytes.len());
        self.raw(bytes);
    }

    /// Ends a structure of a flexible version, with tagged fields in the order of their tags.
    pub(super) fn tagged_fields(&mut self, fields: &[(u32, bytes::Bytes)]) {
        self.unsigned_varint(fields.len());
        for (tag, bytes) in fields {
            self.unsigned_varint(*tag as usize);
            self.unsigned_varint(bytes.len());
            self.raw(bytes);
        }
    }

    /// Ends a structure of a flexible version.
    pub(super) fn no_tagged_fields(&mut self) {
        self.u8(0);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.i32(i32::try_from(bytes.len()).expect("requests are smaller than 2 GiB"));
        self.raw(bytes);
    }

    pub(super) fn finish(self) -> bytes::Bytes {
        self.0.into()
    }
}
