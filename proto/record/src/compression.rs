//! The four codecs and "none", by the number that a batch's attributes carry; compressing, and decompressing with a cap.
//!
//! What a frame claims about its size is not believed: output grows with what really comes out, and stops at the cap.
//! Codecs need working memory besides: LZ4 at most 8 MiB for its blocks, zstd its window, which is refused beyond
//! 128 MiB (as by Kafka) and touched only as far as output was written.

use std::borrow::Cow;
use std::io::{Cursor, Read, Write};

use crate::snappy;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The most bytes that a batch's records may decompress to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecompressLimit(pub usize);

/// Why compressed records could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    #[error("records decompress to more than {bytes_max} bytes")]
    TooLarge { bytes_max: usize },
    #[error("{codec} data: {reason}")]
    Corrupt { codec: &'static str, reason: String },
}

/// Compressing failed, which only memory can make it do.
#[derive(Debug, thiserror::Error)]
#[error("compress by {codec}")]
pub struct CompressError {
    codec: &'static str,
    #[source]
    source: std::io::Error,
}

impl Compression {
    /// The codec of an attribute's lowest three bits.
    #[must_use]
    pub const fn from_id(id: i16) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// As in `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of a `compression.type`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|codec| codec.name() == name)
    }
}

/// zstd's own default for what a decoder takes, and Kafka's.
pub(crate) const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Compresses records at the codec's default level, in the form that Kafka's Java client writes.
pub fn compress(compression: Compression, bytes: &[u8]) -> Result<Cow<'_, [u8]>, CompressError> {
    let codec = compression.name();
    let compressed = match compression {
        Compression::None => return Ok(Cow::Borrowed(bytes)),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).and_then(|()| encoder.finish())
        }
        Compression::Snappy => snappy::compress(bytes),
        Compression::Lz4 => compress_lz4(bytes),
        Compression::Zstd => zstd::stream::encode_all(bytes, zstd::DEFAULT_COMPRESSION_LEVEL),
    };
    compressed.map(Cow::Owned).map_err(|source| CompressError { codec, source })
}

/// Kafka's reader takes independent blocks only, and the client's blocks are of 64 KiB.
pub(crate) fn lz4_frame() -> lz4_flex::frame::FrameInfo {
    lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent)
}

fn compress_lz4(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(lz4_frame(), Vec::new());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// Decompresses records to at most `limit` bytes; uncompressed ones are lent, whatever their size.
pub fn decompress(
    compression: Compression,
    bytes: &[u8],
    limit: DecompressLimit,
) -> Result<Cow<'_, [u8]>, DecompressError> {
    let decompressed = match compression {
        Compression::None => return Ok(Cow::Borrowed(bytes)),
        Compression::Snappy => snappy::decompress(bytes, limit)?,
        Compression::Gzip | Compression::Lz4 | Compression::Zstd => {
            read_capped(compression.name(), streaming(compression, bytes)?, limit)?
        }
    };
    Ok(Cow::Owned(decompressed))
}

/// A decoder that gives what it has as it goes. Snappy has none: its blocks are unpacked whole.
pub(crate) enum Streaming<'a> {
    Plain(&'a [u8]),
    Gzip(Box<flate2::read::MultiGzDecoder<&'a [u8]>>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<&'a [u8]>>),
    Zstd(zstd::stream::read::Decoder<'static, Cursor<&'a [u8]>>),
}

impl Read for Streaming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(bytes) => bytes.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Lz4(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

pub(crate) fn streaming(compression: Compression, bytes: &[u8]) -> Result<Streaming<'_>, DecompressError> {
    let codec = compression.name();
    let corrupt = |error: std::io::Error| DecompressError::Corrupt { codec, reason: error.to_string() };
    Ok(match compression {
        Compression::None | Compression::Snappy => Streaming::Plain(bytes),
        Compression::Gzip => Streaming::Gzip(Box::new(flate2::read::MultiGzDecoder::new(bytes))),
        Compression::Lz4 => Streaming::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(bytes))),
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::read::Decoder::with_buffer(Cursor::new(bytes)).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
            Streaming::Zstd(decoder)
        }
    })
}

pub(crate) const STEP_BYTES: usize = 16 * 1024;

/// Reads to the end, or to the first byte beyond the limit. The buffer grows with what comes and never beyond the limit;
/// an allocator that cannot grow in place holds the old half beside it for a moment.
fn read_capped(
    codec: &'static str,
    mut reader: impl Read,
    limit: DecompressLimit,
) -> Result<Vec<u8>, DecompressError> {
    let bytes_max = limit.0;
    let mut out: Vec<u8> = Vec::new();
    let mut step = [0u8; STEP_BYTES];
    loop {
        let read = match reader.read(&mut step) {
            Ok(0) => return Ok(out),
            Ok(read) => step.get(..read).unwrap_or_default(),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(DecompressError::Corrupt { codec, reason: error.to_string() }),
        };
        if read.len() > bytes_max - out.len() {
            return Err(DecompressError::TooLarge { bytes_max });
        }
        if out.capacity() - out.len() < read.len() {
            let doubled = out.len().max(STEP_BYTES);
            out.reserve_exact(doubled.min(bytes_max - out.len()).max(read.len()));
        }
        out.extend_from_slice(read);
    }
}
