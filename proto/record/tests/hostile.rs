//! What a batch from a client may hold: lies about lengths and counts, broken codecs, bombs. All end in an error, and
//! none costs more memory than the limit.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
use std::io::Write;

use moldau_model::TimestampMs;
use moldau_record::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchError, BatchView, Batches, Compression, DecompressError,
    DecompressLimit, RecordError, compress, decompress,
};
use proptest::prelude::*;

const LIMIT: DecompressLimit = DecompressLimit(1 << 20);
const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// A batch that says it has `count` records and holds these bytes for them.
fn batch_of(count: i32, attributes: i16, records: &[u8]) -> Vec<u8> {
    let mut bytes = BatchBuilder::new().build().unwrap();
    bytes.extend_from_slice(records);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    bytes
}

/// The first error that reading all records gives.
fn error_of(count: i32, attributes: i16, records: &[u8]) -> RecordError {
    let bytes = batch_of(count, attributes, records);
    let batch = BatchView::first(&bytes).unwrap();
    match batch.records(LIMIT) {
        Err(error) => error,
        Ok(set) => set.iter().find_map(Result::err).expect("records were taken"),
    }
}

#[test]
fn records_that_lie_are_refused() {
    use RecordError::{
        BadCount, BadLength, CountTooLarge, RecordNotFilled, TrailingBytes, Truncated, UnknownCompression,
        VarintTooLong,
    };
    // length 6 zigzag 12: attributes, timestamp, offset, key null, value null, no headers
    let plain = [12, 0, 0, 0, 1, 1, 0];
    let with = |records: &[&[u8]]| records.concat();
    for (count, attributes, records, expected) in [
        (-1, 0, with(&[&plain]), BadCount { count: -1 }),
        (i32::MAX, 0, with(&[&plain]), CountTooLarge { count: i32::MAX, bytes: 7 }),
        (2, 0, with(&[&plain]), CountTooLarge { count: 2, bytes: 7 }),
        (0, 0, with(&[&plain]), TrailingBytes { bytes: 7 }),
        (1, 0, with(&[&plain, &plain]), TrailingBytes { bytes: 7 }),
        (1, 5, with(&[&plain]), UnknownCompression { id: 5 }),
        (1, 7, with(&[&plain]), UnknownCompression { id: 7 }),
        (1, 0, with(&[&[14, 0, 0, 0, 1, 1, 0]]), Truncated),
        (1, 0, with(&[&[1, 0, 0, 0, 1, 1, 0]]), BadLength { length: -1 }),
        (1, 0, with(&[&[0xff, 0xff, 0xff, 0xff, 0xff, 1, 0]]), VarintTooLong),
        (1, 0, with(&[&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0]]), Truncated),
        (1, 0, with(&[&[14, 0, 0, 0, 1, 1, 0, 9]]), RecordNotFilled { bytes: 1 }),
        (1, 0, with(&[&[12, 0, 0, 0, 3, 1, 0]]), BadLength { length: -2 }),
        (1, 0, with(&[&[12, 0, 0, 0, 8, 1, 0]]), Truncated),
        (1, 0, with(&[&[12, 0, 0, 0, 1, 3, 0]]), BadLength { length: -2 }),
        (1, 0, with(&[&[12, 0, 0, 0, 1, 1, 1]]), BadLength { length: -1 }),
        (1, 0, with(&[&[12, 0, 0, 0, 1, 1, 2]]), Truncated),
        // 2^31-1 headers
        (1, 0, with(&[&[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]]), Truncated),
        // a header's key may not be null
        (1, 0, with(&[&[16, 0, 0, 0, 1, 1, 2, 1, 1]]), BadLength { length: -1 }),
    ] {
        assert_eq!(error_of(count, attributes, &records), expected, "{count} {records:?}");
    }
}

#[test]
fn a_batch_that_is_cut_or_mislabelled_is_refused() {
    let mut builder = BatchBuilder::new();
    builder.append(TimestampMs(0), Some(b"k"), Some(b"v"), &[]).unwrap();
    let whole = builder.build().unwrap();
    for cut in 0..whole.len() {
        assert!(BatchView::first(&whole[..cut]).is_err(), "cut at {cut}");
    }
    for magic in [0, 1, 3, -1, 9] {
        let mut bytes = whole.clone();
        bytes[16] = magic as u8;
        assert_eq!(BatchView::first(&bytes).err(), Some(BatchError::UnsupportedMagic { magic }));
    }
    for length in [-1, 0, 48, i32::MIN] {
        let mut bytes = whole.clone();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert_eq!(BatchView::first(&bytes).err(), Some(BatchError::BadLength { length }));
    }
    let mut bytes = whole.clone();
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(BatchView::first(&bytes), Err(BatchError::Truncated { .. })));
    for at in 21..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        assert!(BatchView::first(&bytes).unwrap().check_crc().is_err(), "flipped at {at}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let zeros = vec![0u8; 64 << 20];
    for codec in CODECS {
        let bomb = compress(codec, &zeros).unwrap();
        assert!(bomb.len() < zeros.len() / 15, "{codec:?}: no bomb");
        for limit in [0, 1, 1 << 20, zeros.len() - 1] {
            let expected = DecompressError::TooLarge { bytes_max: limit };
            assert_eq!(decompress(codec, &bomb, DecompressLimit(limit)), Err(expected), "{codec:?}");
        }
        let all = decompress(codec, &bomb, DecompressLimit(zeros.len())).unwrap();
        assert!(all.as_ref() == zeros, "{codec:?}: the limit itself is allowed");
    }
}

#[test]
fn a_raw_snappy_block_is_read_too_and_its_claim_is_not_believed() {
    let text = b"moldau ".repeat(1_000);
    let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
    assert_eq!(decompress(Compression::Snappy, &raw, LIMIT).unwrap().as_ref(), text);
    // Claims 4 GiB - 1, within an otherwise unlimited limit; then 1 MiB from nothing.
    for (claim, limit) in [
        (&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00][..], DecompressLimit(usize::MAX)),
        (&[0x80, 0x80, 0x40, 0x00], LIMIT),
    ] {
        let Err(DecompressError::Corrupt { reason, .. }) = decompress(Compression::Snappy, claim, limit)
        else {
            panic!("{claim:02x?} was taken");
        };
        assert!(
            reason.contains("claims to expand"),
            "{reason}: the claim itself is refused, before memory is"
        );
    }
}

#[test]
fn a_broken_snappy_stream_is_refused() {
    let whole = compress(Compression::Snappy, &b"moldau ".repeat(10_000)).unwrap().into_owned();
    for cut in [8, 15, 17, 19, 21, whole.len() - 1] {
        assert!(decompress(Compression::Snappy, &whole[..cut], LIMIT).is_err(), "cut at {cut}");
    }
    for length in [-1, i32::MAX, i32::MIN] {
        let mut bytes = whole.clone();
        bytes[16..20].copy_from_slice(&length.to_be_bytes());
        assert!(decompress(Compression::Snappy, &bytes, LIMIT).is_err(), "{length}");
    }
}

#[test]
fn a_zstd_window_beyond_kafkas_is_refused() {
    // Magic, a frame header without single segment, the window descriptor 2^31, and an empty last block.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    assert!(matches!(decompress(Compression::Zstd, &frame, LIMIT), Err(DecompressError::Corrupt { .. })));
    // The same with a window of 2^20 is fine.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x50, 0x01, 0x00, 0x00];
    assert_eq!(decompress(Compression::Zstd, &frame, LIMIT).unwrap().as_ref(), b"");
}

#[test]
fn a_bomb_inside_a_bomb_opens_one_layer_only() {
    let inner = compress(Compression::Zstd, &vec![0; 8 << 20]).unwrap().into_owned();
    let mut builder = BatchBuilder::new().compression(Compression::Gzip);
    builder.append(TimestampMs(0), None, Some(&inner), &[]).unwrap();
    let bytes = builder.build().unwrap();
    let set = BatchView::first(&bytes).unwrap().records(LIMIT).unwrap();
    assert!(set.bytes().len() < inner.len() + 100);
    assert_eq!(set.iter().next().unwrap().unwrap().value, Some(&inner[..]));
}

#[test]
fn a_cut_gzip_member_is_an_error_and_a_second_member_is_read() {
    let member = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let two = [member(b"mol"), member(b"dau")].concat();
    assert_eq!(decompress(Compression::Gzip, &two, LIMIT).unwrap().as_ref(), b"moldau");
    assert!(decompress(Compression::Gzip, &two[..two.len() - 1], LIMIT).is_err());
}

/// Reads everything there is to read, whatever the bytes.
fn read_all(bytes: &[u8]) -> usize {
    let mut seen = 0;
    for batch in Batches::new(bytes).flatten() {
        let _ = batch.check_crc();
        let Ok(set) = batch.records(DecompressLimit(1 << 16)) else { continue };
        for record in set.iter().flatten() {
            seen += 1 + record.headers.count();
            assert!(record.key.unwrap_or_default().len() <= 1 << 16);
        }
        assert!(seen <= set.bytes().len() + bytes.len());
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
        for codec in CODECS {
            let _ = decompress(codec, &bytes, DecompressLimit(1 << 16));
        }
    }

    #[test]
    fn any_records_behind_a_good_header_are_read_without_a_panic(
        count in -2i32..40,
        attributes in 0i16..64,
        records in proptest::collection::vec(prop_oneof![0u8..16, any::<u8>()], 0..200),
    ) {
        read_all(&batch_of(count, attributes, &records));
    }

    #[test]
    fn a_damaged_batch_is_read_without_a_panic(
        codec in 0i16..5,
        value in proptest::collection::vec(0u8..4, 0..2_000),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let codec = Compression::from_id(codec).unwrap();
        let mut builder = BatchBuilder::new().compression(codec);
        for _ in 0..3 {
            builder.append(TimestampMs(1), Some(b"key"), Some(&value), &[("a", Some(b"b")), ("c", None)]).unwrap();
        }
        let mut bytes = builder.build().unwrap();
        prop_assert_eq!(read_all(&bytes), 9);
        for (index, byte) in damage {
            let at = BATCH_HEADER_BYTES + index.index(bytes.len() - BATCH_HEADER_BYTES);
            bytes[at] = byte;
        }
        read_all(&bytes);
    }

    #[test]
    fn records_of_any_content_come_back(
        codec in 0i16..5,
        records in proptest::collection::vec(
            (any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>(), any::<i32>()), 0..20),
    ) {
        let mut builder = BatchBuilder::new().compression(Compression::from_id(codec).unwrap());
        for (key, value, timestamp) in &records {
            builder.append(TimestampMs(i64::from(*timestamp)), key.as_deref(), value.as_deref(), &[]).unwrap();
        }
        let bytes = builder.build().unwrap();
        let set = BatchView::first(&bytes).unwrap().records(LIMIT).unwrap();
        prop_assert_eq!(set.iter().count(), records.len());
        for (record, (key, value, timestamp)) in set.iter().zip(&records) {
            let record = record.unwrap();
            prop_assert_eq!(record.key, key.as_deref());
            prop_assert_eq!(record.value, value.as_deref());
            prop_assert_eq!(record.timestamp, TimestampMs(i64::from(*timestamp)));
        }
    }
}
