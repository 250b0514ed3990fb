//! Batches that are stored otherwise than they were sent: in the topic's codec, with the times that their records have.

use moldau_model::{ErrorCode, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, BatchView, Batches, Compression, TimestampType};

use crate::harness::{Client, Node};
use crate::requests::*;

/// The header claims another greatest time, under a checksum that fits.
fn with_max_timestamp(mut records: Vec<u8>, timestamp: i64) -> Vec<u8> {
    records[35..43].copy_from_slice(&timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&records[21..]);
    records[17..21].copy_from_slice(&crc.to_be_bytes());
    records
}

/// The codecs of all batches of a partition, as they are stored.
fn stored(client: &mut Client, topic: &Topic) -> Vec<Compression> {
    let data = fetch_one(client, 12, topic, from(0, 0));
    let bytes = data.records.unwrap();
    let batches = Batches::new(&bytes).map(|batch| {
        let batch = batch.unwrap();
        batch.check_crc().unwrap();
        batch.compression().unwrap()
    });
    batches.collect()
}

#[test]
fn a_topic_stores_batches_in_its_own_codec_whatever_the_producers_is() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (target, name) in codecs.into_iter().zip(["uncompressed", "gzip", "snappy", "lz4", "zstd"]) {
        let topic = create_topic(&mut client, name, 1, &[("compression.type", name)]);
        let mut expected = Vec::new();
        for (number, codec) in codecs.into_iter().enumerate() {
            let sequence = number as i32 * 2;
            let builder =
                BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), sequence).compression(codec);
            let value = vec![b'a' + number as u8; 3_000];
            let records = built(builder, &[&value, b"second"]);
            let offset = produced(&mut client, &topic, records.clone());
            assert_eq!(offset, expected.len() as i64);
            expected.extend([(offset, value), (offset + 1, b"second".to_vec())]);
            // A repetition is known by its sequence, although its bytes are others than those in the log.
            assert_eq!(produced(&mut client, &topic, records), offset, "{codec:?} to {target:?}");
        }
        assert_eq!(stored(&mut client, &topic), [target; 5]);
        assert_eq!(read_from(&mut client, &topic, 0), expected);
    }
}

#[test]
fn a_converted_batch_gets_the_brokers_time_and_has_to_keep_to_the_topics_size() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let settings = [
        ("compression.type", "uncompressed"),
        ("max.message.bytes", "2000"),
        ("message.timestamp.type", "LogAppendTime"),
    ];
    let topic = create_topic(&mut client, "t", 1, &settings);
    let packed =
        |bytes: usize| built(BatchBuilder::new().compression(Compression::Zstd), &[&vec![b'x'; bytes]]);
    let answer = produce(&mut client, 9, &topic, -1, packed(1_900));
    assert!(code(answer.error_code).is_none() && answer.log_append_time_ms > 0, "{answer:?}");
    let large = produce(&mut client, 9, &topic, -1, packed(2_000));
    assert_eq!((code(large.error_code), large.base_offset), (ErrorCode::MessageTooLarge, -1));
    let bomb = produce(&mut client, 9, &topic, -1, packed(1_000_000));
    assert!(!code(bomb.error_code).is_none());
    let mut torn = packed(100);
    *torn.last_mut().unwrap() ^= 1;
    let torn = produce(&mut client, 9, &topic, -1, torn);
    assert_eq!(code(torn.error_code), ErrorCode::CorruptMessage, "no new checksum hides it");
    let data = fetch_one(&mut client, 12, &topic, from(0, 0));
    let bytes = data.records.unwrap();
    let batch = BatchView::first(&bytes).unwrap();
    assert_eq!(batch.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(batch.max_timestamp(), TimestampMs(answer.log_append_time_ms));
    assert_eq!(log_end(&mut client, &topic), 1);
}

#[test]
fn a_greatest_time_that_no_record_has_is_corrected() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    for (name, codec) in [("plain", "producer"), ("packed", "lz4")] {
        let topic = create_topic(&mut client, name, 1, &[("compression.type", codec)]);
        let now = now_ms();
        let mut builder = BatchBuilder::new();
        for back in [5_000, 1_000, 9_000] {
            builder.append(TimestampMs(now - back), None, Some(b"x"), &[]).unwrap();
        }
        let records = with_max_timestamp(builder.build().unwrap(), now - 60_000);
        assert_eq!(produced(&mut client, &topic, records), 0);
        let found = list_offset(&mut client, 10, &topic, -3);
        assert_eq!((found.offset, found.timestamp), (1, now - 1_000), "{name}");
        let data = fetch_one(&mut client, 12, &topic, from(0, 0));
        BatchView::first(&data.records.unwrap()).unwrap().check_crc().unwrap();
    }
}

#[test]
fn each_record_has_to_lie_within_the_times_that_the_topic_takes() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[("message.timestamp.before.max.ms", "60000")]);
    let now = now_ms();
    let batch_at = |backs: &[i64]| {
        let mut builder = BatchBuilder::new().compression(Compression::Gzip);
        for back in backs {
            builder.append(TimestampMs(now - back), None, Some(b"x"), &[]).unwrap();
        }
        builder.build().unwrap()
    };
    assert_eq!(produced(&mut client, &topic, batch_at(&[0, 30_000, 1])), 0);
    let answer = produce(&mut client, 9, &topic, -1, batch_at(&[0, 90_000, 1, 70_000]));
    assert_eq!(code(answer.error_code), ErrorCode::InvalidTimestamp);
    let at_fault: Vec<i32> = answer.record_errors.iter().map(|error| error.batch_index).collect();
    assert_eq!(at_fault, [1, 3]);
}
