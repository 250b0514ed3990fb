//! Snappy as Kafka carries it: the Java client wraps raw snappy blocks in the framing of snappy-java's streams, other
//! clients send one raw block. Written is the first, read are both.
//!
//! ```text
//! 82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version i32 | oldest compatible version i32 | blocks: length i32, raw snappy
//! ```

use std::io::{self, Write};

use crate::compression::{DecompressError, DecompressLimit};

const STREAM_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const STREAM_HEADER_BYTES: usize = 16;
const STREAM_VERSION: i32 = 1;
/// The Java client's block.
const BLOCK_BYTES: usize = 32 * 1024;
/// Snappy's densest element makes 64 bytes of three, so a block that claims more than this many times its size lies.
const EXPANSION_MAX: usize = 22;

pub(crate) fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = Packer::new(Vec::with_capacity(STREAM_HEADER_BYTES + bytes.len() / 2))?;
    packer.write_all(bytes)?;
    packer.finish()
}

/// Writes a stream, block by block.
pub(crate) struct Packer<W> {
    out: W,
    encoder: snap::raw::Encoder,
    block: Vec<u8>,
}

impl<W: Write> Packer<W> {
    pub(crate) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&STREAM_MAGIC)?;
        out.write_all(&STREAM_VERSION.to_be_bytes())?;
        out.write_all(&STREAM_VERSION.to_be_bytes())?;
        Ok(Self { out, encoder: snap::raw::Encoder::new(), block: Vec::with_capacity(BLOCK_BYTES) })
    }

    pub(crate) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(piece);
            bytes = rest;
            if self.block.len() == BLOCK_BYTES {
                self.write_block()?;
            }
        }
        Ok(())
    }

    fn write_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let compressed = self.encoder.compress_vec(&self.block)?;
        let length = i32::try_from(compressed.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&compressed)?;
        self.block.clear();
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.write_block()?;
        Ok(self.out)
    }
}

pub(crate) fn decompress(bytes: &[u8], limit: DecompressLimit) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    let length = decompress_into(bytes, &mut out, limit.0)?;
    out.truncate(length);
    Ok(out)
}

/// Decompresses to the beginning of `out`, which grows for it where it has to. Gives how many bytes that are.
pub(crate) fn decompress_into(
    bytes: &[u8],
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<usize, DecompressError> {
    if !bytes.starts_with(&STREAM_MAGIC) {
        return unpack_block(bytes, out, 0, bytes_max);
    }
    let mut unpacked = 0;
    let mut rest = bytes.get(STREAM_HEADER_BYTES..).ok_or_else(|| corrupt("stream header ends early"))?;
    while !rest.is_empty() {
        let (length, after) =
            rest.split_first_chunk::<4>().ok_or_else(|| corrupt("block length ends early"))?;
        let length =
            usize::try_from(i32::from_be_bytes(*length)).map_err(|_| corrupt("negative block length"))?;
        let (block, after) = after.split_at_checked(length).ok_or_else(|| corrupt("block ends early"))?;
        unpacked = unpack_block(block, out, unpacked, bytes_max)?;
        rest = after;
    }
    Ok(unpacked)
}

/// Decompresses one raw block to `out` from `start` on. Gives where it ends.
fn unpack_block(
    block: &[u8],
    out: &mut Vec<u8>,
    start: usize,
    bytes_max: usize,
) -> Result<usize, DecompressError> {
    let claimed = snap::raw::decompress_len(block).map_err(|error| corrupt(&error.to_string()))?;
    if claimed > bytes_max - start {
        return Err(DecompressError::TooLarge { bytes_max });
    }
    if claimed > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(corrupt("block claims to expand more than snappy can"));
    }
    if out.len() < start + claimed {
        out.resize(start + claimed, 0);
    }
    let place = out.get_mut(start..start + claimed).unwrap_or_default();
    let written =
        snap::raw::Decoder::new().decompress(block, place).map_err(|error| corrupt(&error.to_string()))?;
    Ok(start + written)
}

fn corrupt(reason: &str) -> DecompressError {
    DecompressError::Corrupt { codec: "snappy", reason: reason.to_owned() }
}
