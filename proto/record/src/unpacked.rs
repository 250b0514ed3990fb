//! Small compressed batches, unpacked whole: faster than piece by piece, and nothing is allocated.
//!
//! What is claimed of a size is not believed here either. A batch comes out whole, within [`UNPACKED_BYTES_MAX`], or the caller
//! unpacks it piece by piece, which also tells what is wrong with it. Only what the streaming decoders take is taken.

use std::cell::RefCell;

use crate::compression::{Compression, DecompressLimit, ZSTD_WINDOW_LOG_MAX};
use crate::lz4_frame::PlainFrame;
use crate::snappy;

/// Of unpacked records; each thread keeps a buffer of the largest that it has seen.
const UNPACKED_BYTES_MAX: usize = 1024 * 1024;
/// How much larger than its compressed form a batch is taken for at first.
const EXPANSION: usize = 4;
const GZIP_TRAILER_BYTES: usize = 8;
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

#[derive(Default)]
struct Unpacker {
    out: Vec<u8>,
    gzip: Option<libdeflater::Decompressor>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

thread_local! {
    static UNPACKER: RefCell<Unpacker> = RefCell::default();
}

/// What `with` makes of the unpacked records; `None` where they are to be unpacked piece by piece.
pub(crate) fn with_unpacked<T>(
    compression: Compression,
    bytes: &[u8],
    limit: DecompressLimit,
    with: impl FnOnce(&[u8]) -> T,
) -> Option<T> {
    let bytes_max = limit.0.min(UNPACKED_BYTES_MAX);
    UNPACKER.with_borrow_mut(|unpacker| {
        let length = match compression {
            Compression::Gzip => unpacker.gzip(bytes, bytes_max)?,
            Compression::Zstd => unpacker.zstd(bytes, bytes_max)?,
            Compression::Lz4 => PlainFrame::parse(bytes)?.unpack(&mut unpacker.out, bytes_max)?,
            Compression::Snappy => snappy::decompress_into(bytes, &mut unpacker.out, bytes_max).ok()?,
            Compression::None => return None,
        };
        unpacker.out.get(..length).map(with)
    })
}

impl Unpacker {
    fn room(&mut self, length: usize) -> &mut [u8] {
        if self.out.len() < length {
            self.out.resize(length, 0);
        }
        &mut self.out
    }

    /// One member, whose trailer tells how long it is.
    fn gzip(&mut self, bytes: &[u8], bytes_max: usize) -> Option<usize> {
        let trailer = bytes.len().checked_sub(GZIP_TRAILER_BYTES)?;
        let claimed = u32::from_le_bytes(*bytes.get(trailer + 4..)?.first_chunk()?);
        let length = claimed as usize;
        if length > bytes_max {
            return None;
        }
        let mut decompressor = self.gzip.take().unwrap_or_default();
        let out = self.room(length).get_mut(..length)?;
        let unpacked = decompressor.gzip_decompress(bytes, out).ok();
        self.gzip = Some(decompressor);
        if unpacked != Some(length) {
            return None;
        }
        // libdeflate leaves what follows the first member. That member ends with its records' checksum and length: where these are
        // nowhere but at the end, nothing follows.
        let sum = libdeflater::crc32(self.out.get(..length)?).to_le_bytes();
        let ending = [sum, claimed.to_le_bytes()];
        (memchr::memmem::find(bytes, ending.as_flattened()) == Some(trailer)).then_some(length)
    }

    /// One frame, with a window that the streaming decoder would take.
    fn zstd(&mut self, bytes: &[u8], bytes_max: usize) -> Option<usize> {
        if !has_common_window(bytes)
            || zstd::zstd_safe::find_frame_compressed_size(bytes).ok() != Some(bytes.len())
        {
            return None;
        }
        let mut decompressor = match self.zstd.take() {
            Some(decompressor) => decompressor,
            None => zstd::bulk::Decompressor::new().ok()?,
        };
        let claimed = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten();
        let wanted = match claimed.map(usize::try_from) {
            Some(Ok(claimed)) if claimed <= bytes_max => claimed,
            Some(_) => return None,
            None => bytes.len().saturating_mul(EXPANSION).min(bytes_max),
        };
        self.room(wanted);
        let length = self.out.len().min(bytes_max);
        let unpacked =
            self.out.get_mut(..length).and_then(|out| decompressor.decompress_to_buffer(bytes, out).ok());
        self.zstd = Some(decompressor);
        unpacked
    }
}

/// RFC 8878: the frame's descriptor, and unless all of it is one segment the window's.
fn has_common_window(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(&ZSTD_MAGIC) else { return false };
    match rest {
        [descriptor, ..] if descriptor & 0x20 != 0 => true,
        // The last three bits add up to seven eighths.
        [_, window, ..] => 10 + u32::from(window >> 3) < ZSTD_WINDOW_LOG_MAX,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::compression::{compress, decompress};

    const LIMIT: DecompressLimit = DecompressLimit(usize::MAX);
    const COMPRESSED: [Compression; 4] =
        [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn unpacked(compression: Compression, bytes: &[u8]) -> Option<Vec<u8>> {
        with_unpacked(compression, bytes, LIMIT, <[u8]>::to_vec)
    }

    fn packed(compression: Compression, records: &[u8]) -> Vec<u8> {
        compress(compression, records).unwrap().into_owned()
    }

    /// Neither random nor all the same.
    fn records(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_u32;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8 & 0x3f
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn what_comes_out_whole_is_what_comes_out_piece_by_piece() {
        for compression in COMPRESSED {
            // Growing and shrinking, so that the buffer has an earlier batch's bytes in it.
            for length in [1, 17, 4096, 100_000, 3, UNPACKED_BYTES_MAX, 50_000] {
                let records = records(length);
                let packed = packed(compression, &records);
                assert_eq!(decompress(compression, &packed, LIMIT).unwrap(), records);
                // What packs better than is expected at first may be left to the other way, but no small batch is.
                assert_eq!(unpacked(compression, &packed), Some(records), "{compression:?} {length}");
            }
        }
    }

    #[test]
    fn what_is_more_than_one_whole_member_or_frame_is_left_to_the_streams() {
        let (one, other) = (records(1000), records(2000));
        for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            let (one, other) = (packed(compression, &one), packed(compression, &other));
            for second in [&one[..], &other, b"\0", b"rest", &one[one.len() - 8..]] {
                let both = [&one[..], second].concat();
                assert_eq!(unpacked(compression, &both), None, "{compression:?} {}", second.len());
            }
            for length in 0..one.len() {
                assert_eq!(unpacked(compression, &one[..length]), None, "{compression:?} cut to {length}");
            }
        }
    }

    #[test]
    fn damage_is_left_to_the_streams() {
        let packed = packed(Compression::Gzip, &records(1000));
        // Behind the header's time and system, which say nothing of the records.
        for place in (0..3).chain(10..packed.len()) {
            let mut damaged = packed.clone();
            damaged[place] ^= 1;
            assert_eq!(unpacked(Compression::Gzip, &damaged), None, "{place}");
        }
    }

    #[test]
    fn no_more_room_is_taken_than_is_allowed_whatever_is_claimed() {
        let large = records(UNPACKED_BYTES_MAX + 1);
        for compression in COMPRESSED {
            assert_eq!(unpacked(compression, &packed(compression, &large)), None);
            let within = packed(compression, &records(1000));
            let limited =
                |bytes_max| with_unpacked(compression, &within, DecompressLimit(bytes_max), <[u8]>::len);
            assert_eq!((limited(1000), limited(999)), (Some(1000), None), "{compression:?}");
        }
        let mut lying = packed(Compression::Gzip, &records(1000));
        let trailer = lying.len() - 4;
        lying[trailer..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(unpacked(Compression::Gzip, &lying), None);
        UNPACKER.with_borrow(|unpacker| assert!(unpacker.out.len() <= UNPACKED_BYTES_MAX));
    }

    #[test]
    fn a_window_that_clients_cannot_open_is_left_to_the_streams() {
        let with_window = |log: u32| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(&records(1000)).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(unpacked(Compression::Zstd, &with_window(20)), Some(records(1000)));
        assert_eq!(unpacked(Compression::Zstd, &with_window(28)), None);
    }

    /// What a client may write by another library: LZ4 frames with or without their content's size, checksums, linked blocks.
    #[test]
    fn frames_of_other_writers_are_taken_whole_where_they_are_plain() {
        use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

        let records = records(200_000);
        let written = |info: FrameInfo| {
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&records).unwrap();
            encoder.finish().unwrap()
        };
        let plain = || FrameInfo::new().block_mode(BlockMode::Independent);
        for (info, is_plain) in [
            (plain().block_size(BlockSize::Max64KB), true),
            (plain().block_size(BlockSize::Max256KB), true),
            (plain().block_size(BlockSize::Max4MB), true),
            (plain().content_size(Some(200_000)), true),
            (plain().content_checksum(true), false),
            (plain().block_checksums(true), false),
            (plain().block_mode(BlockMode::Linked), false),
        ] {
            let shown = format!("{info:?}");
            let packed = written(info);
            assert_eq!(decompress(Compression::Lz4, &packed, LIMIT).unwrap(), records, "{shown}");
            assert_eq!(unpacked(Compression::Lz4, &packed), is_plain.then(|| records.clone()), "{shown}");
        }
    }

    #[test]
    fn a_header_whose_checksum_or_a_content_whose_size_is_wrong_is_left_to_the_streams() {
        let packed = packed(Compression::Lz4, &records(1000));
        let header_bytes = 7;
        for place in 0..header_bytes {
            for bit in 0..8 {
                let mut damaged = packed.clone();
                damaged[place] ^= 1 << bit;
                assert_eq!(unpacked(Compression::Lz4, &damaged), None, "{place}, bit {bit}");
            }
        }
        let frame = lz4_flex::frame::FrameInfo::new()
            .block_mode(lz4_flex::frame::BlockMode::Independent)
            .content_size(Some(1000));
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
        encoder.write_all(&records(1000)).unwrap();
        let mut lying = encoder.finish().unwrap();
        assert_eq!(unpacked(Compression::Lz4, &lying), Some(records(1000)));
        lying[6..14].copy_from_slice(&999_u64.to_le_bytes());
        lying[14] = (twox_hash::XxHash32::oneshot(0, &lying[4..14]) >> 8) as u8;
        assert_eq!(unpacked(Compression::Lz4, &lying), None);
        assert!(decompress(Compression::Lz4, &lying, LIMIT).is_err());
    }

    /// Whatever is damaged, what comes out whole is what comes out piece by piece.
    #[test]
    fn no_damage_is_taken_that_the_streams_do_not_take() {
        for compression in [Compression::Snappy, Compression::Lz4] {
            let packed = packed(compression, &records(3000));
            for place in 0..packed.len() {
                for bit in [0, 3, 7] {
                    let mut damaged = packed.clone();
                    damaged[place] ^= 1 << bit;
                    if let Some(taken) = unpacked(compression, &damaged) {
                        let expected = decompress(compression, &damaged, LIMIT);
                        assert_eq!(expected.as_deref(), Ok(&taken[..]), "{compression:?} {place}, bit {bit}");
                    }
                }
            }
        }
    }
}
