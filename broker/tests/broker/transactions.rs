//! A partition's side of transactions: markers, what readers of committed records see, and what is not let in.

use std::io::Write;

use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use moldau_kafka::{TxnMarker, TxnMarkerTopic, TxnMarkersRequest, decode_txn_markers_response};
use moldau_model::{ErrorCode, PartitionIndex, ProducerEpoch, ProducerId};
use moldau_record::BatchBuilder;

use crate::harness::{Client, Node, Settings};
use crate::requests::*;

const UNVERIFIED: Settings<'static> = &[("transaction.partition.verification.enable", "false")];

fn transactional(producer: i64, epoch: i16, sequence: i32, values: &[&[u8]]) -> Vec<u8> {
    let builder = BatchBuilder::new()
        .producer(ProducerId(producer), ProducerEpoch(epoch), sequence)
        .transactional(true);
    built(builder, values)
}

fn marker(producer: i64, epoch: i16, is_commit: bool, coordinator_epoch: i32) -> TxnMarker {
    TxnMarker {
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        is_commit,
        topics: vec![TxnMarkerTopic { name: "t".into(), partitions: vec![PartitionIndex(0)] }],
        coordinator_epoch,
        transaction_version: 0,
    }
}

/// Producer, partition and code, as the answer has them.
fn write(client: &mut Client, version: i16, markers: Vec<TxnMarker>) -> Vec<(i64, i32, ErrorCode)> {
    let frame = TxnMarkersRequest { markers }.encode(version, 77, None).unwrap();
    client.stream.write_all(&frame).unwrap();
    let mut answer = client.receive_frame().unwrap();
    let (correlation_id, response) = decode_txn_markers_response(version, &mut answer).unwrap();
    assert_eq!(correlation_id, 77);
    let mut told = Vec::new();
    for result in &response.markers {
        for partition in result.topics.iter().flat_map(|topic| &topic.partitions) {
            told.push((
                result.producer_id.0,
                partition.partition_index,
                ErrorCode::from_code(partition.error_code),
            ));
        }
    }
    told
}

fn write_one(client: &mut Client, marker: TxnMarker) -> ErrorCode {
    write(client, 1, vec![marker])[0].2
}

fn produce_in(
    client: &mut Client,
    version: i16,
    topic: &Topic,
    records: Vec<u8>,
) -> (ErrorCode, Option<String>) {
    let id = TransactionalId(StrBytes::from_static_str("tx"));
    let request = produce_request(version, topic, 0, -1, records).with_transactional_id(Some(id));
    let mut response = client.call(version, &request);
    let answer = response.responses.remove(0).partition_responses.remove(0);
    (code(answer.error_code), answer.error_message.map(|message| message.to_string()))
}

fn committed_request(topic: &Topic, offset: i64, wait_ms: i32) -> FetchRequest {
    fetch_request(12, topic, &[from(0, offset)])
        .with_isolation_level(1)
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
}

fn committed(client: &mut Client, topic: &Topic, offset: i64) -> PartitionData {
    partitions(client.call(12, &committed_request(topic, offset, 0))).remove(0)
}

fn aborted(data: &PartitionData) -> Vec<(i64, i64)> {
    let aborted = data.aborted_transactions.iter().flatten();
    aborted.map(|transaction| (transaction.producer_id.0, transaction.first_offset)).collect()
}

fn latest_committed(client: &mut Client, topic: &Topic) -> i64 {
    let request = list_offsets_request(7, topic, -1, -1).with_isolation_level(1);
    client.call(7, &request).topics[0].partitions[0].offset
}

#[test]
fn readers_of_committed_records_wait_for_the_end_and_are_told_what_was_aborted() {
    let mut node = Node::start(UNVERIFIED);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    for (producer, sequence) in [(1, 0), (2, 0), (1, 1)] {
        let records = transactional(producer, 0, sequence, &[b"value"]);
        assert_eq!(produce_in(&mut client, 11, &topic, records), (ErrorCode::None, None)); // 0, 1, 2
    }
    let open = committed(&mut client, &topic, 0);
    assert_eq!((open.high_watermark, open.last_stable_offset, records(&open)), (3, 0, vec![]));
    assert_eq!(latest_committed(&mut client, &topic), 0);
    // Nobody may write outside of the transaction that is open.
    let outside = produce(&mut client, 9, &topic, -1, batch_of((1, 0), 2, &[b"outside"]));
    assert_eq!(code(outside.error_code), ErrorCode::InvalidTxnState);

    let mut waiting = node.connect();
    waiting.send(12, &committed_request(&topic, 0, 600_000));
    // By then it waits.
    (0..50).for_each(|_| ping(&mut client));
    assert_eq!(write_one(&mut client, marker(1, 0, false, 4)), ErrorCode::None); // 3
    let (_, woken) = waiting.receive::<FetchRequest>(12);
    let woken = partitions(woken).remove(0);
    assert_eq!((woken.last_stable_offset, aborted(&woken)), (1, vec![(1, 0)]));
    assert_eq!(write_one(&mut client, marker(2, 0, true, 4)), ErrorCode::None); // 4
    assert_eq!(latest_committed(&mut client, &topic), 5);
    for restarted in [false, true] {
        if restarted {
            node.crash_and_start();
            client = node.connect();
        }
        let all = committed(&mut client, &topic, 0);
        assert_eq!((all.last_stable_offset, aborted(&all)), (5, vec![(1, 0)]), "{restarted}");
        assert_eq!(aborted(&committed(&mut client, &topic, 4)), [], "{restarted}");
        let plain = fetch_one(&mut client, 12, &topic, from(0, 0));
        assert_eq!((plain.last_stable_offset, plain.aborted_transactions), (5, None), "{restarted}");
    }
}

#[test]
fn markers_are_fenced_by_both_epochs_and_told_one_by_one() {
    let node = Node::start(UNVERIFIED);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    assert_eq!(write_one(&mut client, marker(1, 3, true, 5)), ErrorCode::None);
    produce_in(&mut client, 11, &topic, transactional(1, 3, 0, &[b"a"]));
    let described = || {
        let partition = node.broker().replica_manager.get(moldau_model::TopicIdPartition {
            topic_id: moldau_model::TopicId::from_bytes(*topic.id.as_bytes()),
            partition: PartitionIndex(0),
        });
        partition.unwrap().active_producers().unwrap()[0]
    };
    assert_eq!((described().coordinator_epoch, described().current_transaction_start_offset.0), (5, 1));
    for (what, marker, expected) in [
        ("an older coordinator", marker(1, 3, true, 4), ErrorCode::TransactionCoordinatorFenced),
        ("an older epoch", marker(1, 2, true, 5), ErrorCode::InvalidProducerEpoch),
        ("a newer epoch", marker(1, 4, true, 5), ErrorCode::None),
    ] {
        assert_eq!(write_one(&mut client, marker), expected, "{what}");
    }
    assert_eq!(described().current_transaction_start_offset.0, -1);
    let unknown = TxnMarkerTopic { name: "nobody".into(), partitions: vec![PartitionIndex(0)] };
    let known = TxnMarkerTopic { name: "t".into(), partitions: vec![PartitionIndex(0), PartitionIndex(7)] };
    let both = TxnMarker { topics: vec![known, unknown], ..marker(1, 4, true, 5) };
    let told = write(&mut client, 1, vec![both, marker(9, 0, false, 5)]);
    let none = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(told, [(1, 0, ErrorCode::None), (1, 7, none), (1, 0, none), (9, 0, ErrorCode::None)]);
    assert_eq!(write(&mut client, 1, vec![]), []);
}

#[test]
fn a_transaction_of_which_no_coordinator_knows_is_not_begun() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    let records = transactional(1, 0, 0, &[b"a"]);
    let (refused, message) = produce_in(&mut client, 11, &topic, records.clone());
    assert_eq!(refused, ErrorCode::NotEnoughReplicas);
    let expected = "Unable to verify the partition has been added to the transaction. Underlying error: \
                    COORDINATOR_NOT_AVAILABLE";
    assert_eq!(message.as_deref(), Some(expected));
    let nameless = produce(&mut client, 9, &topic, -1, records);
    assert_eq!(code(nameless.error_code), ErrorCode::TransactionalIdAuthorizationFailed);
    assert_eq!(log_end(&mut client, &topic), 0);
    assert_eq!(latest_committed(&mut client, &topic), 0);
}
