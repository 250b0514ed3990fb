//! Batches that Apache Kafka 4.3.0 wrote (its `MemoryRecordsBuilder`), read and, where no codec is in between, written
//! the same, byte for byte.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use moldau_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, BatchView, Compression, ControlRecord, DecompressLimit};

#[test]
fn what_kafka_compressed_is_read() {
    let value = b"moldau ".repeat(12_000);
    for (codec, bytes) in [
        (Compression::Gzip, &include_bytes!("golden/gzip.batch")[..]),
        (Compression::Snappy, include_bytes!("golden/snappy.batch")),
        (Compression::Lz4, include_bytes!("golden/lz4.batch")),
        (Compression::Zstd, include_bytes!("golden/zstd.batch")),
        // Level 22: a window of 128 MiB, the largest that Kafka writes.
        (Compression::Zstd, include_bytes!("golden/zstd-22.batch")),
    ] {
        let batch = BatchView::first(bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.compression(), Some(codec));
        assert_eq!((batch.base_offset(), batch.last_offset()), (Offset(40), Offset(42)));
        assert_eq!((batch.producer_id(), batch.producer_epoch()), (ProducerId(77), ProducerEpoch(2)));
        assert_eq!((batch.base_sequence(), batch.last_sequence()), (9, 11));
        assert!(batch.is_transactional());
        let set = batch.records(DecompressLimit(1 << 20)).unwrap();
        let records: Vec<_> = set.iter().collect::<Result<_, _>>().unwrap();
        let places: Vec<_> = records.iter().map(|record| (record.offset.0, record.timestamp.0)).collect();
        assert_eq!(places, [(40, 1_700_000_000_000), (41, 1_699_999_999_000), (42, 1_700_000_000_500)]);
        assert_eq!((records[0].key, records[0].value), (Some(&b"key"[..]), Some(&value[..])));
        let headers: Vec<_> = records[0].headers.map(|header| (header.key, header.value)).collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (b"h", None)]);
        assert_eq!((records[1].key, records[1].value), (None, Some(&b""[..])));
        assert_eq!((records[2].key, records[2].value), (Some(&b""[..]), None));
    }
}

#[test]
fn the_end_of_a_transaction_is_kafkas_to_the_byte() {
    let golden = include_bytes!("golden/commit.batch");
    let mut builder = BatchBuilder::new()
        .base_offset(Offset(41))
        .leader_epoch(LeaderEpoch(3))
        .producer(ProducerId(77), ProducerEpoch(2), -1)
        .transactional(true)
        .control(true);
    builder
        .append_control(TimestampMs(1_700_000_000_000), ControlRecord::Commit { coordinator_epoch: 5 })
        .unwrap();
    assert_eq!(builder.build().unwrap(), golden);
}
