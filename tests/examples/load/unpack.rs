//! Compressed batches are unpacked by the fastest library of each codec, into memory that is there: the least that checking their
//! records takes.

use crate::Result;

/// Of a batch's header, before its records.
const HEADER_BYTES: usize = 61;
/// Of a frame as `moldau_record` writes it: neither its content's size nor a dictionary.
const LZ4_HEADER_BYTES: usize = 7;
const LZ4_UNCOMPRESSED: u32 = 1 << 31;
const SNAPPY_HEADER_BYTES: usize = 16;

#[derive(Clone, Copy)]
pub(crate) enum Unpack {
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

pub(crate) struct Unpacker {
    codec: Unpack,
    out: Vec<u8>,
    payload_bytes: usize,
    gzip: libdeflater::Decompressor,
    zstd: zstd::bulk::Decompressor<'static>,
}

impl Unpack {
    pub(crate) fn of(codec: &str) -> Result<Option<Self>> {
        Ok(Some(match codec {
            "none" => return Ok(None),
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            other => return Err(format!("no codec {other}").into()),
        }))
    }

    /// For records of so many bytes, and what is around them.
    pub(crate) fn unpacker(self, payload_bytes: usize) -> Result<Unpacker> {
        Ok(Unpacker {
            codec: self,
            out: vec![0; 2 * payload_bytes + (64 << 10)],
            payload_bytes,
            gzip: libdeflater::Decompressor::new(),
            zstd: zstd::bulk::Decompressor::new()?,
        })
    }
}

impl Unpacker {
    pub(crate) fn unpack(&mut self, batch: &[u8]) -> Result<()> {
        let records = batch.get(HEADER_BYTES..).ok_or("no batch")?;
        let unpacked = match self.codec {
            Unpack::Gzip => {
                let trailer = records.last_chunk().ok_or("no gzip member")?;
                let length = u32::from_le_bytes(*trailer) as usize;
                let out = self.out.get_mut(..length).ok_or("more than was sent")?;
                self.gzip.gzip_decompress(records, out)?
            }
            Unpack::Zstd => self.zstd.decompress_to_buffer(records, &mut self.out)?,
            Unpack::Snappy => self.blocks(records, SNAPPY_HEADER_BYTES)?,
            Unpack::Lz4 => self.blocks(records, LZ4_HEADER_BYTES)?,
        };
        if unpacked < self.payload_bytes { Err("less than was sent".into()) } else { Ok(()) }
    }

    /// Behind the header: lengths and blocks, up to the end or to a length of nothing.
    fn blocks(&mut self, records: &[u8], header_bytes: usize) -> Result<usize> {
        let mut rest = records.get(header_bytes..).ok_or("no blocks")?;
        let mut unpacked = 0;
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let is_lz4 = matches!(self.codec, Unpack::Lz4);
            let length = if is_lz4 { u32::from_le_bytes(*length) } else { u32::from_be_bytes(*length) };
            if length == 0 {
                break;
            }
            let (block, after) =
                after.split_at_checked((length & !LZ4_UNCOMPRESSED) as usize).ok_or("a block ends early")?;
            let place = self.out.get_mut(unpacked..).ok_or("more than was sent")?;
            unpacked += if !is_lz4 {
                snap::raw::Decoder::new().decompress(block, place)?
            } else if length & LZ4_UNCOMPRESSED == 0 {
                lz4::block::decompress_to_buffer(block, Some(i32::try_from(place.len())?), place)?
            } else {
                place.get_mut(..block.len()).ok_or("more than was sent")?.copy_from_slice(block);
                block.len()
            };
            rest = after;
        }
        Ok(unpacked)
    }
}
