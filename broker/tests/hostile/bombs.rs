//! Decompression bombs: small batches that claim to be large.

use std::time::Instant;

use moldau_model::ErrorCode;
use moldau_record::{BatchBuilder, Compression};

use crate::harness::Node;
use crate::requests::*;
use crate::watch::Watch;

/// With `max.message.bytes` at 64 KiB a batch may unpack to a hundred times that: 6.4 MiB.
const MAX_MESSAGE_BYTES: &str = "65536";
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// A batch of one record, the records' bytes replaced, its checksum right.
fn with_records(compression: Compression, records: &[u8]) -> Vec<u8> {
    let mut batch = built(BatchBuilder::new(), &[b"x"]);
    batch.truncate(61);
    batch.extend_from_slice(records);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[21..23].copy_from_slice(&(compression as i16).to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]).to_be_bytes();
    batch[17..21].copy_from_slice(&crc);
    batch
}

fn bomb(compression: Compression, bytes: usize) -> Vec<u8> {
    built(BatchBuilder::new().compression(compression), &[&vec![0; bytes]])
}

#[test]
fn bombs_of_every_codec_are_refused_and_cost_no_memory() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[("max.message.bytes", MAX_MESSAGE_BYTES)]);
    let snappy_claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let xerial_claim = [
        &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1][..],
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ]
    .concat();
    // A frame whose window is 2 GiB, and one whose content size is.
    let zstd_window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    let zstd_size =
        [0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x01, 0x00, 0x00];
    let bombs = [
        ("gzip", bomb(Compression::Gzip, 32 << 20)),
        ("lz4", bomb(Compression::Lz4, 12 << 20)),
        ("zstd", bomb(Compression::Zstd, 256 << 20)),
        ("snappy claim", with_records(Compression::Snappy, &snappy_claim)),
        ("xerial claim", with_records(Compression::Snappy, &xerial_claim)),
        ("zstd window", with_records(Compression::Zstd, &zstd_window)),
        ("zstd size", with_records(Compression::Zstd, &zstd_size)),
        ("gzip cut off", with_records(Compression::Gzip, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3])),
        ("nothing", with_records(Compression::Zstd, &[])),
    ];
    let watch = Watch::begin();
    for (what, bomb) in bombs {
        assert!(bomb.len() < 65_536, "{what} has {} bytes", bomb.len());
        let started = Instant::now();
        for _ in 0..20 {
            let answer = produce(&mut client, 9, &topic, -1, bomb.clone());
            let found = code(answer.error_code);
            let expected =
                [ErrorCode::InvalidRecord, ErrorCode::CorruptMessage, ErrorCode::RecordListTooLarge];
            assert!(expected.contains(&found), "{what}: {found:?}");
        }
        println!("{what}: {} bytes, 20 times in {:?}", bomb.len(), started.elapsed());
    }
    assert!(watch.growth_bytes() < GROWTH_BYTES_MAX, "grown by {} bytes", watch.growth_bytes());
    assert_eq!(watch.panics(), 0);
    assert_eq!(log_end(&mut client, &topic), 0);
    assert_eq!(produced(&mut client, &topic, bomb(Compression::Zstd, 100_000)), 0);
}
