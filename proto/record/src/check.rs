//! Whether the records of a batch are what its header says, without keeping any of them: what comes compressed is
//! unpacked into a buffer that is used again, or a few kilobytes at a time, and forgotten.

use std::io::Read;

use moldau_model::TimestampMs;

use crate::compression::{Compression, DecompressError, DecompressLimit, STEP_BYTES, streaming};
use crate::header::BatchView;
use crate::record::RecordError;
use crate::snappy;
use crate::unpacked::with_unpacked;
use crate::varint::VarintReader;

/// The earliest and the latest time of a batch's records, as their producer wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordTimes {
    pub earliest: TimestampMs,
    pub latest: TimestampMs,
}

/// The distances from the batch's base timestamp.
#[derive(Clone, Copy)]
struct Deltas {
    smallest: i64,
    largest: i64,
}

impl Deltas {
    /// Of no record.
    const NONE: Self = Self { smallest: i64::MAX, largest: i64::MIN };

    fn note(&mut self, delta: i64) {
        self.smallest = self.smallest.min(delta);
        self.largest = self.largest.max(delta);
    }
}

impl BatchView<'_> {
    /// Checks that there are as many records as the header counts, each filling its bytes, one offset after the other,
    /// and nothing behind them; and that compressed ones do not unpack to more than `limit`. Does not check the CRC.
    /// Returns between which times the records lie, if there are any.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_records(&self, limit: DecompressLimit) -> Result<Option<RecordTimes>, RecordError> {
        let id = self.attributes() & 0x07;
        let compression = self.compression().ok_or(RecordError::UnknownCompression { id })?;
        let count = self.record_count();
        if count < 0 {
            return Err(RecordError::BadCount { count });
        }
        let bytes = self.records_bytes();
        let deltas = match compression {
            Compression::None => check_slice(bytes, count)?,
            _ => match with_unpacked(compression, bytes, limit, |records| check_slice(records, count)) {
                Some(checked) => checked?,
                // A block format, which unpacks to at most some twenty times its size.
                None if compression == Compression::Snappy => {
                    check_slice(&snappy::decompress(bytes, limit)?, count)?
                }
                None => check_stream(compression, bytes, limit, count)?,
            },
        };
        let time = |delta: i64| TimestampMs(self.base_timestamp().0.wrapping_add(delta));
        Ok((count > 0).then(|| RecordTimes { earliest: time(deltas.smallest), latest: time(deltas.largest) }))
    }
}

fn check_slice(bytes: &[u8], count: i32) -> Result<Deltas, RecordError> {
    let mut reader = VarintReader::new(bytes);
    let mut deltas = Deltas::NONE;
    for expected in 0..count {
        let length = reader.varint()?;
        let length = usize::try_from(length).map_err(|_| RecordError::BadLength { length })?;
        let mut record = Slice(VarintReader::new(reader.take(length)?));
        deltas.note(check_record(&mut record, expected)?);
    }
    let bytes = reader.rest().len();
    if bytes > 0 { Err(RecordError::TrailingBytes { bytes }) } else { Ok(deltas) }
}

fn check_stream(
    compression: Compression,
    bytes: &[u8],
    limit: DecompressLimit,
    count: i32,
) -> Result<Deltas, RecordError> {
    let codec = compression.name();
    let mut deltas = Deltas::NONE;
    let mut step = [0u8; STEP_BYTES];
    let mut stream = Stream {
        codec,
        reader: streaming(compression, bytes)?,
        step: &mut step,
        position: 0,
        filled: 0,
        bytes_max: limit.0,
        bytes_left: limit.0,
        record_left: 0,
    };
    for expected in 0..count {
        stream.record_left = usize::MAX;
        let length = stream.varint()?;
        stream.record_left = usize::try_from(length).map_err(|_| RecordError::BadLength { length })?;
        deltas.note(check_record(&mut stream, expected)?);
    }
    // Also reads the codec's own trailer, and with it its checksum.
    if stream.fill()? { Err(RecordError::TrailingBytes { bytes: stream.filled }) } else { Ok(deltas) }
}

/// The bytes of one record, wherever they come from.
trait RecordBytes {
    fn varint(&mut self) -> Result<i32, RecordError>;
    fn varlong(&mut self) -> Result<i64, RecordError>;
    fn skip(&mut self, count: usize) -> Result<(), RecordError>;
    /// Bytes of the record that were not read.
    fn left(&self) -> usize;

    fn skip_nullable(&mut self, is_nullable: bool) -> Result<(), RecordError> {
        let length = self.varint()?;
        match usize::try_from(length) {
            Ok(count) => self.skip(count),
            Err(_) if length == -1 && is_nullable => Ok(()),
            Err(_) => Err(RecordError::BadLength { length }),
        }
    }
}

/// Returns the record's distance from the batch's base timestamp.
fn check_record(record: &mut impl RecordBytes, expected_delta: i32) -> Result<i64, RecordError> {
    // The attributes, of which Kafka defines none.
    record.skip(1)?;
    let timestamp_delta = record.varlong()?;
    let offset_delta = record.varint()?;
    if offset_delta != expected_delta {
        return Err(RecordError::OffsetDelta { offset_delta, expected: expected_delta });
    }
    record.skip_nullable(true)?;
    record.skip_nullable(true)?;
    let headers = record.varint()?;
    let headers = usize::try_from(headers).map_err(|_| RecordError::BadLength { length: headers })?;
    // A count that lies ends with the record's bytes.
    for _ in 0..headers {
        record.skip_nullable(false)?;
        record.skip_nullable(true)?;
    }
    match record.left() {
        0 => Ok(timestamp_delta),
        bytes => Err(RecordError::RecordNotFilled { bytes }),
    }
}

struct Slice<'a>(VarintReader<'a>);

impl RecordBytes for Slice<'_> {
    fn varint(&mut self) -> Result<i32, RecordError> {
        self.0.varint()
    }

    fn varlong(&mut self) -> Result<i64, RecordError> {
        self.0.varlong()
    }

    fn skip(&mut self, count: usize) -> Result<(), RecordError> {
        self.0.take(count).map(drop)
    }

    fn left(&self) -> usize {
        self.0.rest().len()
    }
}

struct Stream<'a, R> {
    codec: &'static str,
    reader: R,
    step: &'a mut [u8],
    position: usize,
    filled: usize,
    bytes_max: usize,
    bytes_left: usize,
    record_left: usize,
}

impl<R: Read> Stream<'_, R> {
    /// Whether there is anything more.
    fn fill(&mut self) -> Result<bool, RecordError> {
        while self.position == self.filled {
            let read = match self.reader.read(self.step) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let reason = error.to_string();
                    return Err(DecompressError::Corrupt { codec: self.codec, reason }.into());
                }
            };
            let Some(left) = self.bytes_left.checked_sub(read) else {
                return Err(DecompressError::TooLarge { bytes_max: self.bytes_max }.into());
            };
            (self.bytes_left, self.position, self.filled) = (left, 0, read);
        }
        Ok(true)
    }

    fn byte(&mut self) -> Result<u8, RecordError> {
        self.record_left = self.record_left.checked_sub(1).ok_or(RecordError::Truncated)?;
        if !self.fill()? {
            return Err(RecordError::Truncated);
        }
        let byte = self.step.get(self.position).copied().ok_or(RecordError::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    /// At most `bytes_max` bytes, the last with no more than `last_max` in it.
    fn unsigned(&mut self, bytes_max: u32, last_max: u8) -> Result<u64, RecordError> {
        let mut value = 0u64;
        for i in 0..bytes_max {
            let byte = self.byte()?;
            if i + 1 == bytes_max && byte > last_max {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::VarintTooLong)
    }
}

impl<R: Read> RecordBytes for Stream<'_, R> {
    fn varint(&mut self) -> Result<i32, RecordError> {
        let value = self.unsigned(5, 0x0f)? as u32;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    fn varlong(&mut self) -> Result<i64, RecordError> {
        let value = self.unsigned(10, 0x01)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn skip(&mut self, mut count: usize) -> Result<(), RecordError> {
        self.record_left = self.record_left.checked_sub(count).ok_or(RecordError::Truncated)?;
        while count > 0 {
            if !self.fill()? {
                return Err(RecordError::Truncated);
            }
            let skipped = count.min(self.filled - self.position);
            self.position += skipped;
            count -= skipped;
        }
        Ok(())
    }

    fn left(&self) -> usize {
        self.record_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::BatchBuilder;

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn batch(compression: Compression, values: usize, bytes: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new().compression(compression);
        for number in 0..values {
            let headers: &[(&str, Option<&[u8]>)] = &[("a", Some(b"b")), ("c", None)];
            let value = vec![number as u8; bytes];
            let key = (number % 2 == 0).then_some(&b"key"[..]);
            builder.append(TimestampMs(number as i64), key, Some(&value), &headers[..number % 3]).unwrap();
        }
        builder.build().unwrap()
    }

    fn check(batch: &[u8], limit: usize) -> Result<Option<RecordTimes>, RecordError> {
        BatchView::first(batch).unwrap().check_records(DecompressLimit(limit))
    }

    #[test]
    fn what_a_producer_builds_passes_whatever_its_sizes() {
        for compression in CODECS {
            for (values, bytes) in [(1, 0), (3, 10), (1000, 7), (2, 40_000), (5, 16_384)] {
                let times = RecordTimes { earliest: TimestampMs(0), latest: TimestampMs(values as i64 - 1) };
                let checked = check(&batch(compression, values, bytes), 1 << 20);
                assert_eq!(checked, Ok(Some(times)), "{compression:?}");
            }
        }
    }

    #[test]
    fn a_count_that_lies_is_found_in_every_codec() {
        for compression in CODECS {
            for (count, values) in [(2, 3), (4, 3), (i32::MAX, 1), (0, 1)] {
                let mut batch = batch(compression, values, 5);
                batch[57..61].copy_from_slice(&i32::to_be_bytes(count));
                assert!(check(&batch, 1 << 20).is_err(), "{compression:?} {count}");
            }
        }
    }

    #[test]
    fn the_limit_holds_in_every_codec() {
        for compression in &CODECS[1..] {
            let batch = batch(*compression, 10, 10_000);
            let error = check(&batch, 50_000).unwrap_err();
            assert_eq!(error, RecordError::Decompress(DecompressError::TooLarge { bytes_max: 50_000 }));
        }
    }

    #[test]
    fn whatever_passes_is_read_by_the_reader_too_and_the_other_way_round() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let mut passed = 0;
        for round in 0..20_000 {
            let mut bytes = batch(CODECS[round % 5], 3, 20);
            let at = 61 + next() % (bytes.len() - 61);
            bytes[at] = next() as u8;
            let view = BatchView::first(&bytes).unwrap();
            let limit = DecompressLimit(1 << 20);
            let read = view.records(limit).and_then(|records| {
                for (expected, record) in records.iter().enumerate() {
                    let (offset_delta, expected) = (record?.offset.0 as i32, expected as i32);
                    if offset_delta != expected {
                        return Err(RecordError::OffsetDelta { offset_delta, expected });
                    }
                }
                Ok(())
            });
            let checked = view.check_records(limit);
            assert_eq!(checked.is_ok(), read.is_ok(), "{checked:?} {read:?} {bytes:02x?}");
            passed += u32::from(checked.is_ok());
        }
        assert!(passed > 1000);
    }
}
