//! Kafka's primitive types, as far as these records have them, over borrowed bytes.

use bytes::Bytes;

use super::{RecordError, STRING_BYTES_MAX};

/// Reads from the beginning on; flexible versions have compact lengths and tagged fields (KIP-482).
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    pub(super) is_flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, is_flexible: false }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
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

    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a str, RecordError> {
        let length = if self.is_flexible {
            i64::from(self.unsigned_varint(field)?) - 1
        } else {
            i64::from(self.i16(field)?)
        };
        let length = usize::try_from(length).map_err(|_| RecordError::Invalid { field })?;
        std::str::from_utf8(self.take(length, field)?).map_err(|_| RecordError::Invalid { field })
    }

    /// An array's count, `None` for null. Each element is at least a byte long, so a count beyond the bytes left is a lie.
    pub(super) fn nullable_count(&mut self, field: &'static str) -> Result<Option<usize>, RecordError> {
        let count = if self.is_flexible {
            i64::from(self.unsigned_varint(field)?) - 1
        } else {
            i64::from(self.i32(field)?)
        };
        match usize::try_from(count) {
            Ok(count) if count <= self.rest.len() => Ok(Some(count)),
            Err(_) if count == -1 => Ok(None),
            _ => Err(RecordError::Invalid { field }),
        }
    }

    pub(super) fn count(&mut self, field: &'static str) -> Result<usize, RecordError> {
        self.nullable_count(field)?.ok_or(RecordError::Invalid { field })
    }

    /// Gives each tagged field of a flexible version to `each`; none where the version is not flexible.
    pub(super) fn tagged_fields(
        &mut self,
        mut each: impl FnMut(u32, &mut Reader<'a>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        if !self.is_flexible {
            return Ok(());
        }
        for _ in 0..self.unsigned_varint("tagged fields")? {
            let tag = self.unsigned_varint("tag")?;
            let size = self.unsigned_varint("tagged field")? as usize;
            each(tag, &mut Reader::new(self.take(size, "tagged field")?))?;
        }
        Ok(())
    }
}

/// Writes a record.
#[derive(Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    pub(super) is_flexible: bool,
}

impl Writer {
    pub(super) fn i8(&mut self, value: i8) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    fn unsigned_varint(&mut self, mut value: usize) {
        while value > 0x7f {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// # Panics
    /// If the string is longer than a record can tell: the shard refuses those.
    pub(super) fn string(&mut self, text: &str) {
        assert!(text.len() <= STRING_BYTES_MAX, "a string of {} bytes has no place in a record", text.len());
        if self.is_flexible {
            self.unsigned_varint(text.len() + 1);
        } else {
            self.i16(text.len() as i16);
        }
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// An array's count; `None` writes null.
    pub(super) fn count(&mut self, count: Option<usize>) {
        match (self.is_flexible, count) {
            (true, count) => self.unsigned_varint(count.map_or(0, |count| count + 1)),
            (false, Some(count)) => {
                self.i32(i32::try_from(count).expect("a record has less than 2^31 elements"))
            }
            (false, None) => self.i32(-1),
        }
    }

    /// Tagged fields in the order of their tags; nothing where the version is not flexible.
    pub(super) fn tagged_fields(&mut self, fields: &[(u32, Vec<u8>)]) {
        if !self.is_flexible {
            return;
        }
        self.unsigned_varint(fields.len());
        for (tag, bytes) in fields {
            self.unsigned_varint(*tag as usize);
            self.unsigned_varint(bytes.len());
            self.bytes.extend_from_slice(bytes);
        }
    }

    pub(super) fn finish(self) -> Bytes {
        self.bytes.into()
    }
}
