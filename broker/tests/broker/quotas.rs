//! Client quotas: who takes too much is told, and not listened to for as long.

use std::io::ErrorKind;

use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, DescribeClientQuotasRequest, FetchRequest, MetadataRequest, ProduceRequest,
};

use crate::harness::{Client, Node};
use crate::requests::*;

/// Limits the client id of these tests, or lifts the limit. It is in force when this returns.
fn limit(client: &mut Client, key: &str, limit: Option<f64>) {
    let operation = OpData::default()
        .with_key(text(key))
        .with_value(limit.unwrap_or_default())
        .with_remove(limit.is_none());
    let entity =
        EntityData::default().with_entity_type(text("client-id")).with_entity_name(Some(text("test")));
    let entry = EntryData::default().with_entity(vec![entity]).with_ops(vec![operation]);
    let response = client.call(1, &AlterClientQuotasRequest::default().with_entries(vec![entry]));
    assert_eq!(response.entries[0].error_code, 0, "{response:?}");
}

/// Whether an answer has come that nobody has read.
fn has_answer(client: &Client) -> bool {
    client.stream.set_nonblocking(true).unwrap();
    let peeked = client.stream.peek(&mut [0; 1]);
    client.stream.set_nonblocking(false).unwrap();
    match peeked {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

/// That the next request of this connection waits, while those of others are answered.
fn assert_muted(node: &Node, muted: &mut Client) {
    muted.send(12, &MetadataRequest::default().with_topics(Some(Vec::new())));
    for _ in 0..20 {
        ping(&mut node.connect());
    }
    assert!(!has_answer(muted));
}

#[test]
fn a_producer_over_its_quota_is_told_and_its_connection_waits() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    limit(&mut client, "producer_byte_rate", Some(1.0));
    for (number, version) in [3, 8, 9, 13].into_iter().enumerate() {
        let mut producer = node.connect();
        let request = produce_request(version, &topic, 0, -1, batch(&[b"value"]));
        let response = producer.call::<ProduceRequest>(version, &request);
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((answer.error_code, answer.base_offset), (0, number as i64), "what came is kept");
        assert!(response.throttle_time_ms > 0, "version {version}");
        assert_muted(&node, &mut producer);
    }
    let mut silent = node.connect();
    silent.send(9, &produce_request(9, &topic, 0, 0, batch(&[b"value"])));
    // There is no answer to tell it; the record shows that it was served.
    crate::harness::eventually("it is taken", || log_end(&mut node.connect(), &topic) == 5);
    assert_muted(&node, &mut silent);
    limit(&mut client, "producer_byte_rate", None);
    assert_eq!(produced(&mut node.connect(), &topic, batch(&[b"value"])), 5);
}

#[test]
fn a_consumer_over_its_quota_gets_nothing_and_its_connection_waits() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    produced(&mut client, &topic, batch(&[b"value"]));
    limit(&mut client, "consumer_byte_rate", Some(1.0));
    for version in [4, 12, 18] {
        let mut consumer = node.connect();
        let request = fetch_request(version, &topic, &[from(0, 0)]);
        let response = consumer.call::<FetchRequest>(version, &request);
        assert!(response.throttle_time_ms > 0 && response.responses.is_empty(), "version {version}");
        assert_muted(&node, &mut consumer);
    }
    limit(&mut client, "consumer_byte_rate", None);
    assert_eq!(records(&fetch_one(&mut client, 12, &topic, from(0, 0))), [(0, b"value".to_vec())]);
}

#[test]
fn a_client_that_keeps_threads_busy_is_told_whatever_it_asks() {
    let node = Node::start(&[]);
    let mut client = node.connect();
    let topic = create_topic(&mut client, "t", 1, &[]);
    limit(&mut client, "request_percentage", Some(1e-6));
    for version in [3, 8, 9, 13] {
        let response = node.connect().call(version, &MetadataRequest::default().with_topics(None));
        assert!(response.throttle_time_ms > 0 && response.brokers.len() == 1, "version {version}");
    }
    let described = node.connect().call(1, &DescribeClientQuotasRequest::default());
    assert!(described.throttle_time_ms > 0 && described.entries.unwrap().len() == 1);
    let request = produce_request(9, &topic, 0, -1, batch(&[b"value"]));
    assert!(node.connect().call::<ProduceRequest>(9, &request).throttle_time_ms > 0);
}
