//! What is built comes back as it was, by every codec.

use moldau_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{
    BatchBuilder, BatchView, BuildError, Compression, ControlRecord, DecompressLimit, TimestampType,
    set_base_offset, set_leader_epoch, set_log_append_time,
};

const LIMIT: DecompressLimit = DecompressLimit(1 << 20);
const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

#[test]
fn records_come_back_by_every_codec() {
    let large = vec![b'm'; 100_000];
    for codec in CODECS {
        let mut builder = BatchBuilder::new().compression(codec).base_offset(Offset(40));
        builder
            .append(TimestampMs(1_000), Some(b"k"), Some(&large), &[("h", Some(b"1")), ("h", None)])
            .unwrap();
        builder.append(TimestampMs(990), None, Some(b""), &[]).unwrap();
        builder.append_at(Offset(50), TimestampMs(1_010), Some(b""), None, &[]).unwrap();
        let bytes = builder.build().unwrap();
        let batch = BatchView::first(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.compression(), Some(codec));
        assert_eq!(
            (batch.base_offset(), batch.last_offset(), batch.record_count()),
            (Offset(40), Offset(50), 3)
        );
        assert_eq!((batch.base_timestamp(), batch.max_timestamp()), (TimestampMs(1_000), TimestampMs(1_010)));
        if codec != Compression::None {
            assert!(bytes.len() < large.len() / 10, "{codec:?} did not compress: {}", bytes.len());
        }

        let set = batch.records(LIMIT).unwrap();
        let records: Vec<_> = set.iter().collect::<Result<_, _>>().unwrap();
        let offsets: Vec<_> = records.iter().map(|r| (r.offset.0, r.timestamp.0)).collect();
        assert_eq!(offsets, [(40, 1_000), (41, 990), (50, 1_010)]);
        assert_eq!((records[0].key, records[0].value), (Some(&b"k"[..]), Some(&large[..])));
        assert_eq!((records[1].key, records[1].value), (None, Some(&b""[..])));
        assert_eq!((records[2].key, records[2].value), (Some(&b""[..]), None));
        let headers: Vec<_> = records[0].headers.map(|h| (h.key, h.value)).collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (b"h", None)], "order and duplicates");
        assert!(records[1].headers.is_empty());
    }
}

#[test]
fn every_field_of_the_header_is_written() {
    let mut builder = BatchBuilder::new()
        .leader_epoch(LeaderEpoch(3))
        .producer(ProducerId(77), ProducerEpoch(2), i32::MAX)
        .transactional(true)
        .timestamp_type(TimestampType::LogAppendTime);
    builder.append(TimestampMs(5), None, None, &[]).unwrap();
    builder.append(TimestampMs(9), None, None, &[]).unwrap();
    let bytes = builder.build().unwrap();
    let batch = BatchView::first(&bytes).unwrap();
    assert_eq!((batch.leader_epoch(), batch.producer_id()), (LeaderEpoch(3), ProducerId(77)));
    assert_eq!((batch.producer_epoch(), batch.base_sequence()), (ProducerEpoch(2), i32::MAX));
    assert_eq!(batch.last_sequence(), 0, "sequences wrap to zero");
    assert!(batch.is_transactional() && !batch.is_control());
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    let set = batch.records(LIMIT).unwrap();
    assert!(set.iter().all(|record| record.unwrap().timestamp == TimestampMs(9)), "all of the append's time");
}

#[test]
fn the_end_of_a_transaction_is_a_control_batch() {
    let mut builder =
        BatchBuilder::new().producer(ProducerId(1), ProducerEpoch(0), -1).transactional(true).control(true);
    let commit = ControlRecord::Commit { coordinator_epoch: 4 };
    builder.append_control(TimestampMs(1), commit).unwrap();
    let bytes = builder.build().unwrap();
    let batch = BatchView::first(&bytes).unwrap();
    assert!(batch.is_control() && batch.is_transactional());
    let set = batch.records(LIMIT).unwrap();
    let record = set.iter().next().unwrap().unwrap();
    assert_eq!(ControlRecord::parse(record.key, record.value), Ok(commit));
}

#[test]
fn the_leader_patches_its_own_fields_without_breaking_the_crc() {
    let mut builder = BatchBuilder::new().compression(Compression::Lz4);
    builder.append(TimestampMs(1), Some(b"k"), Some(b"v"), &[]).unwrap();
    let mut bytes = builder.build().unwrap();
    set_base_offset(&mut bytes, Offset(1 << 40));
    set_leader_epoch(&mut bytes, LeaderEpoch(9));
    let batch = BatchView::first(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!((batch.base_offset(), batch.leader_epoch()), (Offset(1 << 40), LeaderEpoch(9)));
    set_log_append_time(&mut bytes, TimestampMs(123));
    let batch = BatchView::first(&bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!(batch.compression(), Some(Compression::Lz4));
    assert_eq!(batch.records(LIMIT).unwrap().iter().next().unwrap().unwrap().timestamp, TimestampMs(123));
}

#[test]
fn offsets_in_a_batch_only_rise() {
    let mut builder = BatchBuilder::new().base_offset(Offset(10));
    builder.append_at(Offset(12), TimestampMs(0), None, None, &[]).unwrap();
    let mut refused = |offset| builder.append_at(Offset(offset), TimestampMs(0), None, None, &[]);
    assert!(matches!(refused(12), Err(BuildError::OffsetOutOfOrder { .. })));
    assert!(matches!(refused(9), Err(BuildError::OffsetOutOfRange { .. })));
    assert!(matches!(refused(i64::MIN), Err(BuildError::OffsetOutOfRange { .. })));
    assert!(matches!(refused(1 << 40), Err(BuildError::OffsetOutOfRange { .. })));
    builder.append(TimestampMs(0), None, None, &[]).unwrap();
    let bytes = builder.build().unwrap();
    let batch = BatchView::first(&bytes).unwrap();
    assert_eq!(
        (batch.record_count(), batch.last_offset()),
        (2, Offset(13)),
        "a refused record leaves no trace"
    );
}

/// A batch as Apache Kafka's Java client lays it out, byte for byte: one record, key "a", value "b", header "h" -> "x".
#[test]
fn the_bytes_are_kafkas() {
    let mut builder = BatchBuilder::new();
    builder.append(TimestampMs(1_700_000_000_000), Some(b"a"), Some(b"b"), &[("h", Some(b"x"))]).unwrap();
    let bytes = builder.build().unwrap();
    let records = [24, 0, 0, 0, 2, b'a', 2, b'b', 2, 2, b'h', 2, b'x'];
    assert_eq!(bytes[61..], records);
    assert_eq!(bytes[..17], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 62, 0xff, 0xff, 0xff, 0xff, 2]);
    assert_eq!(bytes[21..27], [0; 6]);
    assert_eq!(bytes[43..61], [&[0xff; 14][..], &[0, 0, 0, 1]].concat());
}
