//! Fetch: waiting, sizes, offsets and epochs, isolation.

use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;
use moldau_model::ErrorCode;

use crate::harness::Node;
use crate::requests::*;

#[test]
fn a_fetch_at_the_end_waits_and_is_answered_by_a_produce() {
    let node = Node::start(&[]);
    let (mut producer, mut consumer) = (node.connect(), node.connect());
    let topic = create_topic(&mut producer, "t", 1, &[]);
    for version in 4..=18 {
        let offset = i64::from(version) - 4;
        let mut request = fetch_request(version, &topic, &[from(0, offset)]);
        request.max_wait_ms = 60_000;
        let started = Instant::now();
        consumer.send(version, &request);
        assert_eq!(produced(&mut producer, &topic, batch(&[b"new"])), offset);
        let (_, response) = consumer.receive::<FetchRequest>(version);
        assert_eq!(records(&partitions(response)[0]), [(offset, b"new".to_vec())]);
        assert!(started.elapsed() < Duration::from_secs(30), "it was not the time that ended the wait");
    }
}

#[test]
fn a_fetch_waits_for_the_bytes_it_asked_for_or_for_its_time() {
    let node = Node::start(&[]);
    let (mut producer, mut consumer) = (node.connect(), node.connect());
    let topic = create_topic(&mut producer, "t", 2, &[]);
    let one = batch(&[&[b'x'; 1000]]);
    let mut request = fetch_request(12, &topic, &[from(0, 0), from(1, 0)]);
    request.min_bytes = one.len() as i32 * 3;
    request.max_wait_ms = 60_000;
    consumer.send(12, &request);
    // Two partitions together make up what is asked for.
    for partition in [0, 1, 0] {
        let response = producer.call(9, &produce_request(9, &topic, partition, -1, batch(&[&[b'x'; 1000]])));
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    let (_, response) = consumer.receive::<FetchRequest>(12);
    let found: usize = partitions(response).iter().map(|data| records(data).len()).sum();
    assert_eq!(found, 3);
    // More than there will be: the time ends the wait, and what there is is told.
    request.min_bytes = i32::MAX;
    request.max_wait_ms = 50;
    let found: usize = partitions(consumer.call(12, &request)).iter().map(|data| records(data).len()).sum();
    assert_eq!(found, 3);
}

#[test]
fn a_waiting_fetch_is_told_at_once_of_a_topic_that_is_deleted() {
    let node = Node::start(&[]);
    let (mut admin, mut consumer) = (node.connect(), node.connect());
    let topic = create_topic(&mut admin, "t", 1, &[]);
    let mut request = fetch_request(13, &topic, &[from(0, 0)]);
    request.max_wait_ms = 60_000;
    let started = Instant::now();
    consumer.send(13, &request);
    let delete = kafka_protocol::messages::DeleteTopicsRequest::default()
        .with_topic_names(vec![name("t")])
        .with_timeout_ms(30_000);
    assert_eq!(admin.call(5, &delete).responses[0].error_code, 0);
    let (_, response) = consumer.receive::<FetchRequest>(13);
    let found = code(partitions(response)[0].error_code);
    // The last one if the fetch looked between the end of the replica and the clients' metadata.
    let expected =
        [ErrorCode::UnknownTopicId, ErrorCode::UnknownTopicOrPartition, ErrorCode::NotLeaderOrFollower];
    assert!(expected.contains(&found), "{found:?}");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[test]
fn sizes_bound_an_answer_but_its_first_batch_comes_whole() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 2, &[]);
    let value = [b'x'; 10_000];
    let size = batch(&[&value]).len() as i32;
    for _ in 0..3 {
        for partition in 0..2 {
            client.call(9, &produce_request(9, &topic, partition, -1, batch(&[&value])));
        }
    }
    let mut counts = |total: i32, of_each: i32| {
        let want = |partition| Want { bytes_max: of_each, ..from(partition, 0) };
        let mut request = fetch_request(12, &topic, &[want(0), want(1)]);
        request.max_bytes = total;
        let found = partitions(client.call(12, &request));
        [records(&found[0]).len(), records(&found[1]).len()]
    };
    // Kafka's rule (KIP-74): only the answer's first batch goes over the bounds, whichever of them it is.
    assert_eq!(counts(1, 1), [1, 0]);
    assert_eq!(counts(0, 0), [1, 0]);
    assert_eq!(counts(-1, -1), [1, 0]);
    assert_eq!(counts(i32::MAX, 1), [1, 0]);
    assert_eq!(counts(size, i32::MAX), [1, 0]);
    assert_eq!(counts(2 * size, size), [1, 1]);
    assert_eq!(counts(3 * size, i32::MAX), [3, 0]);
    assert_eq!(counts(i32::MAX, 2 * size), [2, 2]);
    assert_eq!(counts(i32::MAX, i32::MAX), [3, 3]);
}

#[test]
fn large_answers_come_from_the_files_byte_for_byte() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[("segment.bytes", "1048576")]);
    let values: Vec<Vec<u8>> = (0..40u8).map(|number| vec![number; 200_000]).collect();
    for value in &values {
        produced(&mut client, &topic, batch(&[value]));
    }
    let mut offset = 0;
    while offset < values.len() as i64 {
        let data = fetch_one(&mut client, 12, &topic, Want { bytes_max: 3 << 20, ..from(0, offset) });
        let found = records(&data);
        assert!(!found.is_empty());
        for (at, value) in found {
            assert_eq!(at, offset);
            assert_eq!(value, values[at as usize]);
            offset += 1;
        }
    }
}

#[test]
fn offsets_epochs_and_names_that_are_wrong_are_told_by_kafkas_code() {
    let mut node = Node::start(&[("auto.create.topics.enable", "false")]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    produced(&mut client, &topic, batch(&[b"a", b"b"]));
    // The restart gives the partition another leader epoch.
    node.restart();
    client = node.connect();
    let epoch = list_offset(&mut client, 6, &topic, -1).leader_epoch;
    assert!(epoch > 0, "a new incarnation leads in a new epoch");
    let unknown = Topic { name: "nobody".to_owned(), id: uuid::Uuid::from_u128(9) };
    let at = |offset, leader_epoch| Want { leader_epoch, ..from(0, offset) };
    for (version, topic, want, expected) in [
        (12, &topic, at(2, -1), ErrorCode::None),
        (12, &topic, at(3, -1), ErrorCode::OffsetOutOfRange),
        (12, &topic, at(-1, -1), ErrorCode::OffsetOutOfRange),
        (12, &topic, at(i64::MAX, -1), ErrorCode::OffsetOutOfRange),
        (12, &topic, at(i64::MIN, -1), ErrorCode::OffsetOutOfRange),
        (12, &topic, at(0, epoch), ErrorCode::None),
        (12, &topic, at(0, epoch - 1), ErrorCode::FencedLeaderEpoch),
        (12, &topic, at(0, epoch + 1), ErrorCode::UnknownLeaderEpoch),
        (12, &topic, Want { partition: 1, ..at(0, -1) }, ErrorCode::UnknownTopicOrPartition),
        (12, &topic, Want { partition: i32::MIN, ..at(0, -1) }, ErrorCode::UnknownTopicOrPartition),
        (12, &unknown, at(0, -1), ErrorCode::UnknownTopicOrPartition),
        (13, &unknown, at(0, -1), ErrorCode::UnknownTopicId),
    ] {
        let data = fetch_one(&mut client, version, topic, want);
        assert_eq!(code(data.error_code), expected, "{version} {want:?}");
    }
}

#[test]
fn who_says_he_is_a_replica_gets_nothing_and_moves_nothing() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    produced(&mut client, &topic, batch(&[b"a"]));
    for replica_id in [0, 1, 7] {
        let mut request = fetch_request(12, &topic, &[from(0, 0)]);
        request.replica_id.0 = replica_id;
        let data = partitions(client.call(12, &request)).remove(0);
        assert!(!code(data.error_code).is_none(), "{replica_id}");
        assert!(records(&data).is_empty());
        let mut request = fetch_request(17, &topic, &[from(0, 0)]);
        request.replica_state.replica_id.0 = replica_id;
        let data = partitions(client.call(17, &request)).remove(0);
        assert!(!code(data.error_code).is_none(), "{replica_id}");
    }
    assert_eq!(read_from(&mut client, &topic, 0).len(), 1);
}

#[test]
fn both_isolation_levels_see_what_is_stable() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    produced(&mut client, &topic, batch(&[b"a"]));
    for (isolation_level, has_aborted) in [(0, false), (1, true)] {
        let mut request = fetch_request(12, &topic, &[from(0, 0)]);
        request.isolation_level = isolation_level;
        let data = partitions(client.call(12, &request)).remove(0);
        assert_eq!((data.high_watermark, data.last_stable_offset), (1, 1));
        assert_eq!(data.aborted_transactions.is_some(), has_aborted, "{isolation_level}");
        assert_eq!(records(&data).len(), 1);
    }
}

#[test]
fn a_partition_that_is_named_again_and_again_is_answered_once_for_the_last_time_it_was_named() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    produced(&mut client, &topic, batch(&[b"a"]));
    produced(&mut client, &topic, batch(&[b"b"]));
    for version in [4, 12, 13] {
        let mut wants = vec![from(0, 0); 100_000];
        wants.push(from(0, 1));
        let found = partitions(client.call(version, &fetch_request(version, &topic, &wants)));
        assert_eq!(found.len(), 1);
        assert_eq!(records(&found[0]), [(1, b"b".to_vec())]);
        // Such a request also waits without standing there a hundred thousand times.
        wants.push(from(0, 2));
        let mut request = fetch_request(version, &topic, &wants);
        request.max_wait_ms = 50;
        assert_eq!(partitions(client.call(version, &request)).len(), 1);
    }
}
