//! Produce: every version, every acks, every refusal, order, and the window of idempotent producers.

use std::io::Write;

use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::{InitProducerIdRequest, MetadataRequest, ProduceRequest};
use moldau_model::{ErrorCode, Offset, TimestampMs};
use moldau_record::{BatchBuilder, Compression};

use crate::harness::{Client, Node};
use crate::requests::*;

#[test]
fn what_is_produced_in_any_version_and_with_any_acks_is_fetched_in_every_version() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let mut expected = Vec::new();
    for version in 3..=13 {
        for acks in [-1, 1, 0] {
            let value = format!("{version} {acks}").into_bytes();
            let records = batch(&[&value, b"second"]);
            let offset = expected.len() as i64;
            if acks == 0 {
                client.send(version, &produce_request(version, &topic, 0, acks, records));
                // No answer comes; the next one belongs to the next request.
                ping(&mut client);
            } else {
                let answer = produce(&mut client, version, &topic, acks, records);
                assert_eq!((answer.error_code, answer.base_offset), (0, offset), "{version} {acks}");
                assert_eq!(answer.log_append_time_ms, -1);
                assert_eq!(answer.log_start_offset, if version >= 5 { 0 } else { -1 });
            }
            expected.extend([(offset, value), (offset + 1, b"second".to_vec())]);
        }
    }
    // acks=1 and 0 are answered before they are durable, and seen when they are.
    let end = expected.len() as i64;
    crate::harness::eventually("all is visible", || log_end(&mut client, &topic) == end);
    for version in 4..=18 {
        let data = fetch_one(&mut client, version, &topic, from(0, 0));
        assert_eq!((data.error_code, data.high_watermark), (0, end), "{version}");
        assert_eq!(data.last_stable_offset, end);
        assert_eq!(data.log_start_offset, if version >= 5 { 0 } else { -1 });
        assert_eq!(records(&data), expected, "{version}");
    }
}

#[test]
fn every_compression_is_kept_as_the_producer_chose_it() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    for (number, compression) in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
            .into_iter()
            .enumerate()
    {
        let value = vec![b'a' + number as u8; 5_000];
        let records = built(BatchBuilder::new().compression(compression), &[&value]);
        let size = records.len();
        let offset = produced(&mut client, &topic, records);
        let data = fetch_one(&mut client, 12, &topic, from(0, offset));
        assert_eq!(data.records.as_ref().unwrap().len(), size, "{compression:?}");
        assert_eq!(records_of(&data), [(offset, value)]);
    }
}

fn records_of(data: &kafka_protocol::messages::fetch_response::PartitionData) -> Vec<(i64, Vec<u8>)> {
    records(data)
}

/// Changes a field and makes the checksum right again.
fn patched(mut records: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    records[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&records[21..]);
    records[17..21].copy_from_slice(&crc.to_be_bytes());
    records
}

#[test]
fn what_kafka_refuses_is_refused_with_its_code_and_nothing_is_appended() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[("max.message.bytes", "2000")]);
    let good = batch(&[b"a", b"b"]);
    let mut bad_crc = good.clone();
    *bad_crc.last_mut().unwrap() ^= 1;
    let mut old_magic = good.clone();
    old_magic[16] = 1;
    let mut wrong_magic = good.clone();
    wrong_magic[16] = 9;
    let two_batches = [good.clone(), good.clone()].concat();
    let truncated = good[..good.len() - 1].to_vec();
    let huge_length = patched(good.clone(), 8, &i32::MAX.to_be_bytes());
    let control = built(BatchBuilder::new().control(true), &[b"a"]);
    let random = BatchBuilder::new().compression(Compression::Gzip);
    let noise: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut far_future = BatchBuilder::new();
    far_future.append(TimestampMs(now_ms() + 7_200_000), None, Some(b"x"), &[]).unwrap();
    let table: Vec<(&str, Vec<u8>, &[ErrorCode])> = vec![
        ("checksum", bad_crc, &[ErrorCode::CorruptMessage]),
        ("magic 9", wrong_magic, &[ErrorCode::CorruptMessage]),
        ("two batches", two_batches, &[ErrorCode::InvalidRecord]),
        ("cut off", truncated, &[ErrorCode::InvalidRecord, ErrorCode::CorruptMessage]),
        ("length", huge_length, &[ErrorCode::InvalidRecord, ErrorCode::CorruptMessage]),
        ("empty", Vec::new(), &[ErrorCode::InvalidRecord]),
        ("only noise", vec![7; 40], &[ErrorCode::InvalidRecord, ErrorCode::CorruptMessage]),
        ("control batch", control, &[ErrorCode::InvalidRecord]),
        (
            "unknown codec",
            patched(good.clone(), 21, &5i16.to_be_bytes()),
            &[ErrorCode::UnsupportedCompressionType, ErrorCode::CorruptMessage, ErrorCode::InvalidRecord],
        ),
        (
            "more records than it has",
            patched(good.clone(), 57, &3i32.to_be_bytes()),
            &[ErrorCode::InvalidRecord],
        ),
        (
            "fewer records than it has",
            patched(good.clone(), 57, &1i32.to_be_bytes()),
            &[ErrorCode::InvalidRecord],
        ),
        ("a count of -1", patched(good.clone(), 57, &(-1i32).to_be_bytes()), &[ErrorCode::InvalidRecord]),
        (
            "offsets that leave out some",
            patched(good.clone(), 23, &9i32.to_be_bytes()),
            &[ErrorCode::InvalidRecord],
        ),
        ("base offset 7", patched(good.clone(), 0, &7i64.to_be_bytes()), &[ErrorCode::InvalidRecord]),
        ("too large", built(random, &[&noise]), &[ErrorCode::MessageTooLarge]),
        ("from the future", far_future.build().unwrap(), &[ErrorCode::InvalidTimestamp]),
        ("sequence below 0 with a producer", batch_of((7, 0), -1, &[b"a"]), &[ErrorCode::InvalidRecord]),
    ];
    let mut end = 0;
    for (what, records, codes) in table {
        let answer = produce(&mut client, 9, &topic, -1, records);
        let found = code(answer.error_code);
        assert!(codes.contains(&found), "{what}: {found:?}");
        if found.is_none() {
            end += 2;
        } else {
            assert_eq!(answer.base_offset, -1, "{what}");
        }
        assert_eq!(log_end(&mut client, &topic), end, "{what}");
    }
    // The connection has been the same all the time, and takes what is right.
    assert_eq!(produced(&mut client, &topic, good), end);
}

#[test]
fn what_is_asked_for_wrongly_is_told_by_kafkas_code() {
    let node = Node::start(&[("auto.create.topics.enable", "false")]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let unknown = Topic { name: "nobody".to_owned(), id: uuid::Uuid::from_u128(9) };
    let internal = Topic { name: "__consumer_offsets".to_owned(), id: uuid::Uuid::nil() };
    let zstd = built(BatchBuilder::new().compression(Compression::Zstd), &[b"a"]);
    for (version, topic, partition, acks, records, expected) in [
        (9, &topic, 0, 2, batch(&[b"a"]), ErrorCode::InvalidRequiredAcks),
        (9, &topic, 0, -2, batch(&[b"a"]), ErrorCode::InvalidRequiredAcks),
        (9, &topic, 1, -1, batch(&[b"a"]), ErrorCode::UnknownTopicOrPartition),
        (9, &topic, -1, -1, batch(&[b"a"]), ErrorCode::UnknownTopicOrPartition),
        (9, &unknown, 0, -1, batch(&[b"a"]), ErrorCode::UnknownTopicOrPartition),
        (13, &unknown, 0, -1, batch(&[b"a"]), ErrorCode::UnknownTopicId),
        (6, &topic, 0, -1, zstd, ErrorCode::UnsupportedCompressionType),
    ] {
        let request = produce_request(version, topic, partition, acks, records);
        let response = client.call(version, &request);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.index, code(answer.error_code)), (partition, expected), "{request:?}");
    }
    // Whether the topic is there or not, nobody writes to it by Produce.
    let answer = produce(&mut client, 9, &internal, -1, batch(&[b"a"]));
    let found = code(answer.error_code);
    assert!(matches!(found, ErrorCode::InvalidTopicException | ErrorCode::UnknownTopicOrPartition));
    assert_eq!(log_end(&mut client, &topic), 0);
}

/// A request this large is appended by several threads.
#[test]
fn a_large_request_for_many_partitions_has_each_partitions_own_answer() {
    const PARTITIONS: i32 = 24;
    const REFUSED: [i32; 3] = [0, 13, 23];
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", PARTITIONS, &[]);
    let value = |partition: i32, round: i32| {
        let mut value = vec![b'.'; 100_000];
        value[..8].copy_from_slice(&[partition.to_be_bytes(), round.to_be_bytes()].concat());
        value
    };
    for round in 0..3 {
        let mut request = produce_request(9, &topic, 0, -1, Vec::new());
        request.topic_data[0].partition_data = (0..PARTITIONS)
            .map(|partition| {
                let mut records = batch(&[&value(partition, round), b"second"]);
                if round == 1 && REFUSED.contains(&partition) {
                    *records.last_mut().unwrap() ^= 1;
                }
                PartitionProduceData::default().with_index(partition).with_records(Some(records.into()))
            })
            .collect();
        let answer = client.call(9, &request).responses.remove(0).partition_responses;
        let found: Vec<_> = answer.iter().map(|it| (it.index, code(it.error_code), it.base_offset)).collect();
        let expected = (0..PARTITIONS).map(|partition| match round {
            1 if REFUSED.contains(&partition) => (partition, ErrorCode::CorruptMessage, -1),
            2 if REFUSED.contains(&partition) => (partition, ErrorCode::None, 2),
            _ => (partition, ErrorCode::None, i64::from(round) * 2),
        });
        assert_eq!(found, expected.collect::<Vec<_>>(), "round {round}");
    }
    for partition in 0..PARTITIONS {
        let data = fetch_one(&mut client, 9, &topic, Want { bytes_max: 1 << 20, ..from(partition, 0) });
        let rounds = if REFUSED.contains(&partition) { vec![0, 2] } else { vec![0, 1, 2] };
        let values = rounds.into_iter().flat_map(|round| [value(partition, round), b"second".to_vec()]);
        let found = records(&data).into_iter().map(|(_, value)| value);
        assert!(found.eq(values), "partition {partition}");
    }
}

#[test]
fn an_error_without_acks_ends_the_connection_after_what_was_asked_before_is_answered() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let earlier = client.frame(9, &produce_request(9, &topic, 0, -1, batch(&[b"a"])));
    let wrong = client.frame(9, &produce_request(9, &topic, 7, 0, batch(&[b"b"])));
    let later = client.frame(9, &produce_request(9, &topic, 0, -1, batch(&[b"c"])));
    client.stream.write_all(&[earlier, wrong, later].concat()).unwrap();
    let (_, response) = client.receive::<ProduceRequest>(9);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    assert!(client.is_closed());
    assert_eq!(log_end(&mut node.connect(), &topic), 1);
}

#[test]
fn pipelined_requests_take_effect_and_are_answered_in_their_order() {
    const COUNT: i64 = 200;
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let mut bytes = Vec::new();
    for number in 0..COUNT {
        // Those that wait, those that do not, and those that are answered at once, one after the other. The last one waits:
        // what is read after its answer is all there is.
        let acks = if number % 2 == 0 { 1 } else { -1 };
        let value = number.to_be_bytes();
        bytes.extend(client.frame(9, &produce_request(9, &topic, 0, acks, batch(&[&value]))));
        bytes.extend(client.frame(12, &MetadataRequest::default().with_topics(Some(Vec::new()))));
    }
    client.stream.write_all(&bytes).unwrap();
    let mut last_id = 0;
    for number in 0..COUNT {
        let (id, response) = client.receive::<ProduceRequest>(9);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, number));
        let (next_id, _) = client.receive::<MetadataRequest>(12);
        assert!(last_id == 0 || id == last_id + 1, "{last_id} {id}");
        assert_eq!(next_id, id + 1);
        last_id = next_id;
    }
    let values = read_from(&mut client, &topic, 0);
    let expected: Vec<_> = (0..COUNT).map(|number| (number, number.to_be_bytes().to_vec())).collect();
    assert_eq!(values, expected);
}

fn init_producer(client: &mut Client) -> (i64, i16) {
    let response = client.call(
        4,
        &InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000),
    );
    assert_eq!(response.error_code, 0);
    (response.producer_id.0, response.producer_epoch)
}

#[test]
fn the_last_five_batches_of_a_producer_are_known_again_after_a_restart_and_after_a_crash() {
    let mut node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let producer = init_producer(&mut client);
    let sent: Vec<_> = (0..6).map(|number| batch_of(producer, number * 2, &[b"a", b"b"])).collect();
    for (number, records) in sent.iter().enumerate() {
        assert_eq!(produced(&mut client, &topic, records.clone()), number as i64 * 2);
    }
    for round in 0..3 {
        for (number, records) in sent.iter().enumerate() {
            let answer = produce(&mut client, 9, &topic, -1, records.clone());
            let found = (code(answer.error_code), answer.base_offset);
            if number == 0 {
                // Out of the window: it cannot be told from a gap.
                assert_eq!(found, (ErrorCode::OutOfOrderSequenceNumber, -1), "round {round}");
            } else {
                assert_eq!(found, (ErrorCode::None, number as i64 * 2), "round {round} batch {number}");
            }
        }
        let gap = produce(&mut client, 9, &topic, -1, batch_of(producer, 14, &[b"x"]));
        assert_eq!(code(gap.error_code), ErrorCode::OutOfOrderSequenceNumber, "round {round}");
        let old = produce(&mut client, 9, &topic, -1, batch_of((producer.0, producer.1 - 1), 0, &[b"x"]));
        assert!(!code(old.error_code).is_none(), "round {round}");
        assert_eq!(log_end(&mut client, &topic), 12, "round {round}");
        match round {
            0 => node.restart(),
            _ => node.crash_and_start(),
        }
        client = node.connect();
    }
    // Another epoch begins at 0, and the old one is fenced.
    let newer = (producer.0, producer.1 + 1);
    let gap = produce(&mut client, 9, &topic, -1, batch_of(newer, 12, &[b"x"]));
    assert_eq!(code(gap.error_code), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(produced(&mut client, &topic, batch_of(newer, 0, &[b"x"])), 12);
    let fenced = produce(&mut client, 9, &topic, -1, batch_of(producer, 12, &[b"x"]));
    assert_eq!(code(fenced.error_code), ErrorCode::InvalidProducerEpoch);
}

#[test]
fn producer_ids_are_never_given_twice() {
    let mut node = Node::start(&[]);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..4 {
        let mut client = node.connect();
        for _ in 0..50 {
            assert!(seen.insert(init_producer(&mut client).0), "round {round}");
        }
        node.crash_and_start();
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash_at_its_offset() {
    let mut node = Node::start(&[]);
    let mut expected = Vec::new();
    for round in 0..3 {
        let mut client = node.connect();
        let topic = if round == 0 {
            create_topic(&mut client, "t", 1, &[])
        } else {
            Topic { name: "t".to_owned(), id: uuid::Uuid::nil() }
        };
        for number in 0..20 {
            let value = format!("{round}-{number}").into_bytes();
            let offset = produced(&mut client, &topic, batch(&[&value]));
            assert_eq!(Offset(offset), Offset(expected.len() as i64));
            expected.push((offset, value));
        }
        node.crash_and_start();
        let mut client = node.connect();
        assert_eq!(read_from(&mut client, &topic, 0), expected);
    }
}
