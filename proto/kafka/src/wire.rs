//! The primitives of Kafka's wire, read from borrowed bytes: nothing is copied, nothing is believed. And those of flexible
//! versions, written.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use crate::error::WireError;

/// A place in a message. Every method either moves on over a whole value or fails.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let taken = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.get(..count))
            .ok_or(WireError::Truncated { missing: count.saturating_sub(self.remaining()) })?;
        self.at += count;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, WireError> {
        self.fixed().map(i8::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, WireError> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, WireError> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, WireError> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(crate) fn uuid(&mut self) -> Result<[u8; 16], WireError> {
        self.fixed()
    }

    /// At most five bytes, the fifth with no more than the four bits that fit. A number may be written longer than it
    /// need be: Kafka's own reader takes that too.
    pub(crate) fn unsigned_varint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed::<1>()?;
            if shift == 28 && byte > 0x0f {
                return Err(WireError::VarintTooLong);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::VarintTooLong)
    }

    /// The length before a string: 16 bits, or compact where `flexible`.
    pub(crate) fn string_length(&mut self, flexible: bool) -> Result<Option<usize>, WireError> {
        if flexible { self.compact_length() } else { self.i16().map(i32::from).and_then(length) }
    }

    /// The length before bytes, records or an array: 32 bits, or compact where `flexible`.
    pub(crate) fn length(&mut self, flexible: bool) -> Result<Option<usize>, WireError> {
        if flexible { self.compact_length() } else { self.i32().and_then(length) }
    }

    /// One more than the length, or 0 for null.
    fn compact_length(&mut self) -> Result<Option<usize>, WireError> {
        Ok(self.unsigned_varint()?.checked_sub(1).map(|length| length as usize))
    }

    pub(crate) fn string(&mut self, flexible: bool) -> Result<Option<&'a str>, WireError> {
        let Some(length) = self.string_length(flexible)? else { return Ok(None) };
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| WireError::NotUtf8)?;
        Ok(Some(text))
    }

    /// The elements of a compact array that cannot be null. The caller has had the message checked: every count has its
    /// elements behind it.
    pub(crate) fn array<T>(
        &mut self,
        mut decode: impl FnMut(&mut Self) -> Result<T, WireError>,
    ) -> Result<Vec<T>, WireError> {
        let count = self.length(true)?.ok_or(WireError::UnexpectedNull)?;
        (0..count).map(|_| decode(self)).collect()
    }

    /// Where the bytes lie that a length introduces.
    pub(crate) fn range(&mut self, length: usize) -> Result<Range<usize>, WireError> {
        let start = self.at;
        self.take(length)?;
        Ok(start..self.at)
    }

    /// The next tagged field; tags must rise.
    pub(crate) fn tag(&mut self, previous: Option<u32>) -> Result<(u32, &'a [u8]), WireError> {
        let tag = self.unsigned_varint()?;
        if previous.is_some_and(|previous| tag <= previous) {
            return Err(WireError::TagOutOfOrder { tag });
        }
        let size = self.unsigned_varint()? as usize;
        Ok((tag, self.take(size)?))
    }

    /// Passes over tagged fields of which none is known.
    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), WireError> {
        let count = self.unsigned_varint()?;
        let mut previous = None;
        for _ in 0..count {
            previous = Some(self.tag(previous)?.0);
        }
        Ok(())
    }

    /// That nothing is left.
    pub(crate) fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            bytes => Err(WireError::TrailingBytes { bytes }),
        }
    }
}

pub(crate) fn put_unsigned_varint(out: &mut BytesMut, value: usize) -> Result<(), WireError> {
    let mut value = u32::try_from(value).map_err(|_| WireError::MessageTooLarge { size: value })?;
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
    Ok(())
}

/// A string, or the count of an array, is one more than its length.
pub(crate) fn put_length(out: &mut BytesMut, length: usize) -> Result<(), WireError> {
    put_unsigned_varint(out, length + 1)
}

pub(crate) fn put_string(out: &mut BytesMut, text: &str) -> Result<(), WireError> {
    put_length(out, text.len())?;
    out.put_slice(text.as_bytes());
    Ok(())
}

pub(crate) fn put_nullable_string(out: &mut BytesMut, text: Option<&str>) -> Result<(), WireError> {
    match text {
        Some(text) => put_string(out, text),
        None => {
            out.put_u8(0);
            Ok(())
        }
    }
}

/// -1 is null, what lies below is nothing.
fn length(length: i32) -> Result<Option<usize>, WireError> {
    if length == -1 {
        return Ok(None);
    }
    usize::try_from(length).map(Some).map_err(|_| WireError::NegativeLength { length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_varint_is_five_bytes_at_most_and_fits_its_type() {
        for (bytes, expected) in [
            (&[0x00][..], Ok(0)),
            (&[0x7f], Ok(127)),
            (&[0x80, 0x01], Ok(128)),
            (&[0x80, 0x00], Ok(0)),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok(u32::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], Err(WireError::VarintTooLong)),
            (&[0xff, 0xff, 0xff, 0xff, 0x8f, 0x00], Err(WireError::VarintTooLong)),
            (&[0x80], Err(WireError::Truncated { missing: 1 })),
            (&[], Err(WireError::Truncated { missing: 1 })),
        ] {
            assert_eq!(Reader::new(bytes).unsigned_varint(), expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn null_is_minus_one_and_nothing_below_it() {
        assert_eq!(Reader::new(&[0xff, 0xff]).string(false), Ok(None));
        assert_eq!(Reader::new(&[0xff, 0xfe]).string(false), Err(WireError::NegativeLength { length: -2 }));
        assert_eq!(
            Reader::new(&[0x80, 0, 0, 0]).length(false),
            Err(WireError::NegativeLength { length: i32::MIN })
        );
        assert_eq!(Reader::new(&[0]).string(true), Ok(None));
        assert_eq!(Reader::new(&[1]).string(true), Ok(Some("")));
        assert_eq!(Reader::new(&[2, 0xc3]).string(true), Err(WireError::NotUtf8));
        assert_eq!(Reader::new(&[0, 9, b'a']).string(false), Err(WireError::Truncated { missing: 8 }));
    }

    #[test]
    fn tagged_fields_rise_and_stay_inside_the_message() {
        assert_eq!(Reader::new(&[2, 0, 1, 9, 5, 0]).skip_tagged_fields(), Ok(()));
        assert_eq!(
            Reader::new(&[2, 5, 0, 5, 0]).skip_tagged_fields(),
            Err(WireError::TagOutOfOrder { tag: 5 })
        );
        assert_eq!(Reader::new(&[1, 0, 3, 9]).skip_tagged_fields(), Err(WireError::Truncated { missing: 2 }));
        let endless = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(Reader::new(&endless).skip_tagged_fields(), Err(WireError::Truncated { missing: 1 }));
    }
}
