//! Zigzag variable-length numbers, the way records hold them.

use crate::record::RecordError;

/// Reads a record's fields off borrowed bytes.
pub(crate) struct VarintReader<'a> {
    rest: &'a [u8],
}

impl<'a> VarintReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(RecordError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// At most `bytes_max` bytes, the last with no more than `last_max` in it. Nearly all that a record has are of one or two.
    #[inline]
    fn unsigned(&mut self, bytes_max: u32, last_max: u8) -> Result<u64, RecordError> {
        match *self.rest {
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(first.into())
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first & 0x7f) | u64::from(second) << 7)
            }
            _ => self.unsigned_long(bytes_max, last_max),
        }
    }

    fn unsigned_long(&mut self, bytes_max: u32, last_max: u8) -> Result<u64, RecordError> {
        let mut value = 0u64;
        for i in 0..bytes_max {
            let byte = *self.rest.get(i as usize).ok_or(RecordError::Truncated)?;
            if i + 1 == bytes_max && byte > last_max {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(i as usize + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(RecordError::VarintTooLong)
    }

    pub(crate) fn varint(&mut self) -> Result<i32, RecordError> {
        let value = self.unsigned(5, 0x0f)? as u32;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    pub(crate) fn varlong(&mut self) -> Result<i64, RecordError> {
        let value = self.unsigned(10, 0x01)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn nullable_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordError> {
        let length = self.varint()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| RecordError::BadLength { length })?;
        self.take(length).map(Some)
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut value = ((value << 1) ^ (value >> 63)) as u64;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`put_varint`] writes.
pub(crate) fn varint_size(value: i64) -> usize {
    let value = ((value << 1) ^ (value >> 63)) as u64;
    let bits = (64 - value.leading_zeros()).max(1) as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_cost_what_was_said() {
        for value in
            [0, -1, 1, 63, 64, -64, -65, 300, i64::from(i32::MIN), i64::from(i32::MAX), i64::MIN, i64::MAX]
        {
            let mut bytes = Vec::new();
            put_varlong(&mut bytes, value);
            assert_eq!(bytes.len(), varint_size(value), "{value}");
            assert_eq!(VarintReader::new(&bytes).varlong(), Ok(value));
            if let Ok(narrow) = i32::try_from(value) {
                assert_eq!(VarintReader::new(&bytes).varint(), Ok(narrow));
            }
        }
    }

    #[test]
    fn a_number_wider_than_its_type_is_refused() {
        for (bytes, expected) in [
            (&[0xff, 0xff, 0xff, 0xff, 0x0f][..], Ok(i32::MIN)),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], Err(RecordError::VarintTooLong)),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], Err(RecordError::VarintTooLong)),
            (&[0x80, 0x80], Err(RecordError::Truncated)),
            (&[], Err(RecordError::Truncated)),
        ] {
            assert_eq!(VarintReader::new(bytes).varint(), expected, "{bytes:02x?}");
        }
        assert_eq!(VarintReader::new(&[0xff; 10]).varlong(), Err(RecordError::VarintTooLong));
        let mut widest = [0xff; 10];
        widest[9] = 1;
        assert_eq!(VarintReader::new(&widest).varlong(), Ok(i64::MIN));
    }
}
