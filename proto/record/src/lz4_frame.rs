//! LZ4 frames as clients of Kafka write them: independent blocks without checksums of their own. Others are for the streaming
//! decoder.
//!
//! ```text
//! magic u32 | flags u8 | block size u8 | [content size u64] | header checksum u8 | blocks: length u32, data | end 0 u32
//! ```
//!
//! All integers are little-endian. <https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>, version 1.6.4.

use twox_hash::XxHash32;

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
const VERSION_MASK: u8 = 0xc0;
const VERSION: u8 = 0x40;
const INDEPENDENT_BLOCKS: u8 = 0x20;
const CONTENT_SIZE: u8 = 0x08;
/// Checksums of blocks and of all content, a reserved bit, a dictionary.
const NOT_PLAIN: u8 = 0x10 | 0x04 | 0x02 | 0x01;
const BLOCK_SIZE_RESERVED: u8 = 0x8f;
const CONTENT_SIZE_BYTES: usize = 8;
/// Of a block's length: its data is not compressed.
const UNCOMPRESSED: u32 = 1 << 31;

/// A frame whose header was read.
pub(crate) struct PlainFrame<'a> {
    /// The most that one block unpacks to.
    block_bytes_max: usize,
    content_bytes: Option<u64>,
    blocks: &'a [u8],
}

impl<'a> PlainFrame<'a> {
    /// `None` where it is anything else.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(&MAGIC)?;
        let [flags, block_size] = *rest.first_chunk()?;
        if flags & VERSION_MASK != VERSION
            || flags & INDEPENDENT_BLOCKS == 0
            || flags & NOT_PLAIN != 0
            || block_size & BLOCK_SIZE_RESERVED != 0
        {
            return None;
        }
        let has_content_size = flags & CONTENT_SIZE != 0;
        let (descriptor, rest) =
            rest.split_at_checked(2 + if has_content_size { CONTENT_SIZE_BYTES } else { 0 })?;
        let (&checksum, blocks) = rest.split_first()?;
        if (XxHash32::oneshot(0, descriptor) >> 8) as u8 != checksum {
            return None;
        }
        let block_bytes_max = match block_size >> 4 {
            code @ 4..=7 => 1 << (8 + 2 * code),
            _ => return None,
        };
        let content_bytes = match descriptor.get(2..) {
            Some(content_size) if has_content_size => Some(u64::from_le_bytes(*content_size.first_chunk()?)),
            _ => None,
        };
        Some(Self { block_bytes_max, content_bytes, blocks })
    }

    /// Unpacks all blocks to the beginning of `out`, which grows for it to at most `bytes_max`. Gives how many bytes that are;
    /// `None` where they are more, where a block is damaged, and where the frame does not end where its bytes do.
    pub(crate) fn unpack(&self, out: &mut Vec<u8>, bytes_max: usize) -> Option<usize> {
        let (mut rest, mut unpacked) = (self.blocks, 0);
        loop {
            let (length, after) = rest.split_first_chunk()?;
            let length = u32::from_le_bytes(*length);
            if length == 0 {
                let is_whole = self.content_bytes.is_none_or(|bytes| bytes == unpacked as u64);
                return (is_whole && after.is_empty()).then_some(unpacked);
            }
            let (block, after) = after.split_at_checked((length & !UNCOMPRESSED) as usize)?;
            if block.len() > self.block_bytes_max {
                return None;
            }
            let room = self.block_bytes_max.min(bytes_max - unpacked);
            if out.len() < unpacked + room {
                out.resize(unpacked + room, 0);
            }
            let place = out.get_mut(unpacked..unpacked + room)?;
            unpacked += if length & UNCOMPRESSED == 0 {
                lz4_flex::block::decompress_into(block, place).ok()?
            } else {
                place.get_mut(..block.len())?.copy_from_slice(block);
                block.len()
            };
            rest = after;
        }
    }
}
