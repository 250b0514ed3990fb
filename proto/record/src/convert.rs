//! The same records in another codec: what `compression.type` makes of a batch on its way into the log.
//!
//! Records are unpacked and packed again a few kilobytes at a time, and nothing in them is looked at: their bytes come out
//! as they went in. Of the header, codec, length and CRC change.

use std::io::{self, Read, Write};

use crate::compression::{Compression, DecompressError, DecompressLimit, STEP_BYTES, lz4_frame, streaming};
use crate::header::{BATCH_HEADER_BYTES, BatchView, set_compression};
use crate::record::RecordError;
use crate::snappy;

/// A codec and how hard it tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    pub compression: Compression,
    /// In the codec's own numbers, for gzip and zstd; `None` for its default.
    pub level: Option<i32>,
}

/// Why a batch has no form in another codec.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    Records(#[from] RecordError),
    #[error("the batch takes more than {size_bytes_max} bytes as {codec}")]
    TooLarge { codec: &'static str, size_bytes_max: usize },
    #[error("compress by {codec}")]
    Compress {
        codec: &'static str,
        #[source]
        source: io::Error,
    },
}

impl BatchView<'_> {
    /// The batch with its records packed by `codec`, in at most `size_bytes_max` bytes; they unpack to `limit` at most.
    /// The CRC is made anew, not checked.
    ///
    /// # Errors
    /// If the records cannot be unpacked, or are too large in the one form or the other.
    pub fn convert(
        &self,
        codec: Codec,
        limit: DecompressLimit,
        size_bytes_max: usize,
    ) -> Result<Vec<u8>, ConvertError> {
        let id = self.attributes() & 0x07;
        let source = self.compression().ok_or(RecordError::UnknownCompression { id })?;
        let name = codec.compression.name();
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::FileTooLarge => ConvertError::TooLarge { codec: name, size_bytes_max },
            _ => ConvertError::Compress { codec: name, source: error },
        };
        let mut out = Capped { bytes: Vec::with_capacity(self.size_bytes()), bytes_max: size_bytes_max };
        out.write_all(self.bytes().get(..BATCH_HEADER_BYTES).unwrap_or_default()).map_err(failed)?;
        let mut packer = Packer::new(codec, out).map_err(failed)?;
        if source == Compression::Snappy {
            let records = snappy::decompress(self.records_bytes(), limit).map_err(RecordError::from)?;
            packer.write_all(&records).map_err(failed)?;
        } else {
            let mut reader = streaming(source, self.records_bytes()).map_err(RecordError::from)?;
            let mut step = [0u8; STEP_BYTES];
            let mut left = if source == Compression::None { usize::MAX } else { limit.0 };
            loop {
                let read = match reader.read(&mut step) {
                    Ok(0) => break,
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        let (codec, reason) = (source.name(), error.to_string());
                        return Err(RecordError::from(DecompressError::Corrupt { codec, reason }).into());
                    }
                };
                left = left
                    .checked_sub(read)
                    .ok_or_else(|| RecordError::from(DecompressError::TooLarge { bytes_max: limit.0 }))?;
                packer.write_all(step.get(..read).unwrap_or_default()).map_err(failed)?;
            }
        }
        let mut bytes = packer.finish().map_err(failed)?.bytes;
        set_compression(&mut bytes, codec.compression);
        Ok(bytes)
    }
}

/// Grows no further than to a limit.
struct Capped {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The default of `compression.lz4.level`, at which Kafka takes LZ4's fast form; it searches harder at each of the others.
const LZ4_LEVEL_DEFAULT: i32 = 9;

/// LZ4's frame format knows of no level below 3 that searches, and Kafka's lowest two do.
const LZ4_LEVEL_HIGH_MIN: i32 = 3;

/// In the frames that `lz4_frame` describes.
fn lz4_at_level(level: i32, out: Capped) -> io::Result<lz4::Encoder<Capped>> {
    lz4::EncoderBuilder::new()
        .block_size(lz4::BlockSize::Max64KB)
        .block_mode(lz4::BlockMode::Independent)
        .checksum(lz4::ContentChecksum::NoChecksum)
        .level(level.max(LZ4_LEVEL_HIGH_MIN).cast_unsigned())
        .build(out)
}

enum Packer {
    Plain(Capped),
    Gzip(flate2::write::GzEncoder<Capped>),
    Snappy(Box<snappy::Packer<Capped>>),
    Lz4(Box<lz4_flex::frame::FrameEncoder<Capped>>),
    Lz4High(lz4::Encoder<Capped>),
    Zstd(zstd::stream::write::Encoder<'static, Capped>),
}

impl Packer {
    fn new(codec: Codec, out: Capped) -> io::Result<Self> {
        Ok(match codec.compression {
            Compression::None => Self::Plain(out),
            Compression::Gzip => {
                let level = codec.level.and_then(|level| u32::try_from(level).ok());
                let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
                Self::Gzip(flate2::write::GzEncoder::new(out, level))
            }
            Compression::Snappy => Self::Snappy(Box::new(snappy::Packer::new(out)?)),
            Compression::Lz4 => match codec.level {
                None | Some(LZ4_LEVEL_DEFAULT) => {
                    Self::Lz4(Box::new(lz4_flex::frame::FrameEncoder::with_frame_info(lz4_frame(), out)))
                }
                Some(level) => Self::Lz4High(lz4_at_level(level, out)?),
            },
            Compression::Zstd => {
                let level = codec.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                Self::Zstd(zstd::stream::write::Encoder::new(out, level)?)
            }
        })
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
            Self::Snappy(packer) => packer.write_all(bytes),
            Self::Lz4(encoder) => encoder.write_all(bytes),
            Self::Lz4High(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<Capped> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Snappy(packer) => packer.finish(),
            Self::Lz4(encoder) => encoder.finish().map_err(|error| match error {
                lz4_flex::frame::Error::IoError(error) => error,
                error => io::Error::other(error),
            }),
            Self::Lz4High(encoder) => {
                let (out, finished) = encoder.finish();
                finished.map(|()| out)
            }
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use moldau_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

    use super::*;
    use crate::builder::BatchBuilder;

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    const LIMIT: DecompressLimit = DecompressLimit(4 << 20);

    fn batch(compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new()
            .compression(compression)
            .base_offset(Offset(40))
            .leader_epoch(LeaderEpoch(3))
            .producer(ProducerId(7), ProducerEpoch(2), 11)
            .transactional(true);
        for number in 0..400i64 {
            let headers: &[(&str, Option<&[u8]>)] = &[("a", Some(b"b")), ("c", None)];
            let value = number.to_string().repeat(60).into_bytes();
            let key = (number % 2 == 0).then_some(&b"key"[..]);
            let value = (number % 5 != 0).then_some(value.as_slice());
            let headers = &headers[..(number % 3) as usize];
            builder.append(TimestampMs(1_000_000 - number * 3), key, value, headers).unwrap();
        }
        builder.build().unwrap()
    }

    fn codec(compression: Compression) -> Codec {
        Codec { compression, level: None }
    }

    #[test]
    fn everything_but_the_codec_stays_from_each_to_each() {
        for from in CODECS {
            let source = batch(from);
            let source = BatchView::first(&source).unwrap();
            for to in CODECS {
                let converted = source.convert(codec(to), LIMIT, 1 << 20).unwrap();
                let view = BatchView::first(&converted).unwrap();
                assert_eq!(view.size_bytes(), converted.len(), "{from:?} {to:?}");
                assert_eq!(view.compression(), Some(to));
                view.check_crc().unwrap();
                assert_eq!(view.attributes() & !7, source.attributes() & !7);
                assert_eq!(view.bytes()[..8], source.bytes()[..8]);
                assert_eq!(view.bytes()[12..17], source.bytes()[12..17]);
                assert_eq!(view.bytes()[23..61], source.bytes()[23..61]);
                let (old, new) = (source.records(LIMIT).unwrap(), view.records(LIMIT).unwrap());
                assert_eq!(old.bytes(), new.bytes(), "{from:?} {to:?}");
                view.check_records(LIMIT).unwrap();
            }
        }
    }

    #[test]
    fn a_level_is_heard() {
        let source = batch(Compression::None);
        let source = BatchView::first(&source).unwrap();
        let levels = [(Compression::Gzip, 1, 9), (Compression::Lz4, 9, 12), (Compression::Zstd, -50, 19)];
        for (compression, low, high) in levels {
            let size = |level| {
                source.convert(Codec { compression, level: Some(level) }, LIMIT, 1 << 20).unwrap().len()
            };
            assert!(size(low) > size(high), "{compression:?}");
        }
    }

    #[test]
    fn neither_form_grows_beyond_its_limit() {
        for from in CODECS {
            let source = batch(from);
            let source = BatchView::first(&source).unwrap();
            for to in CODECS {
                let size = source.convert(codec(to), LIMIT, 1 << 20).unwrap().len();
                assert!(source.convert(codec(to), LIMIT, size).is_ok(), "{from:?} {to:?}");
                let error = source.convert(codec(to), LIMIT, size - 1).unwrap_err();
                assert!(matches!(error, ConvertError::TooLarge { .. }), "{from:?} {to:?}: {error}");
            }
            if from != Compression::None {
                let error = source.convert(codec(Compression::None), DecompressLimit(1000), 1 << 20);
                assert!(matches!(error, Err(ConvertError::Records(_))), "{from:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_told() {
        for from in &CODECS[1..] {
            let mut source = batch(*from);
            source.truncate(source.len() - 9);
            let length = (source.len() - 12) as i32;
            source[8..12].copy_from_slice(&length.to_be_bytes());
            let view = BatchView::first(&source).unwrap();
            assert!(view.convert(codec(Compression::None), LIMIT, 1 << 20).is_err(), "{from:?}");
        }
    }
}
