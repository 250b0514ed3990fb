//! The requests of the cases.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use moldau_model::{ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, Compression};

use crate::Result;
use crate::node::{Node, frame};

pub(crate) const PRODUCE_VERSION: i16 = 9;
pub(crate) const FETCH_VERSION: i16 = 12;

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[derive(Clone)]
pub(crate) struct Topic {
    pub(crate) name: TopicName,
    pub(crate) id: uuid::Uuid,
}

/// A topic whose partitions are led, and have a record each.
pub(crate) fn topic(node: &mut Node, name: &str, partitions: i32) -> Result<Topic> {
    let assignments = (0..partitions).map(|index| {
        CreatableReplicaAssignment::default().with_partition_index(index).with_broker_ids(vec![BrokerId(1)])
    });
    let name = TopicName(text(name));
    let wanted = CreatableTopic::default()
        .with_name(name.clone())
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(assignments.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(60_000);
    let response = node.call(7, &request)?;
    let created = response.topics.first().filter(|topic| topic.error_code == 0);
    let topic = Topic { name, id: created.ok_or_else(|| format!("{response:?}"))?.topic_id };
    let records = batch(BatchBuilder::new(), 1, 10)?;
    for partition in 0..partitions {
        let request = produce_request(&topic, &[partition], 1, &records);
        node.until("the partition is led", |node| {
            let response = node.call(PRODUCE_VERSION, &request);
            response.is_ok_and(|response| error_codes(&response).all(|code| code == 0))
        })?;
        node.until("its first record may be read", |node| node.high_watermark(topic.id, partition) == 1)?;
    }
    Ok(topic)
}

pub(crate) fn error_codes(response: &ProduceResponse) -> impl Iterator<Item = i16> {
    response.responses.iter().flat_map(|topic| &topic.partition_responses).map(|answer| answer.error_code)
}

pub(crate) fn batch(mut builder: BatchBuilder, records: usize, record_bytes: usize) -> Result<Bytes> {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    // Not all the same, so that a codec has something to do.
    let value: Vec<u8> = (0..record_bytes).map(|n| (n * n % 251) as u8).collect();
    for _ in 0..records {
        builder.append(TimestampMs(now), None, Some(&value), &[])?;
    }
    Ok(builder.build()?.into())
}

pub(crate) fn idempotent(producer_id: i64, epoch: i16, sequence: i32) -> BatchBuilder {
    BatchBuilder::new().producer(ProducerId(producer_id), ProducerEpoch(epoch), sequence)
}

pub(crate) fn lz4() -> BatchBuilder {
    BatchBuilder::new().compression(Compression::Lz4)
}

pub(crate) fn produce(topic: &Topic, partitions: &[i32], acks: i16, records: &Bytes) -> Result<BytesMut> {
    frame(PRODUCE_VERSION, &produce_request(topic, partitions, acks, records))
}

pub(crate) fn produce_request(
    topic: &Topic,
    partitions: &[i32],
    acks: i16,
    records: &Bytes,
) -> ProduceRequest {
    let data = partitions
        .iter()
        .map(|&index| PartitionProduceData::default().with_index(index).with_records(Some(records.clone())));
    let of_topic =
        TopicProduceData::default().with_name(topic.name.clone()).with_partition_data(data.collect());
    ProduceRequest::default().with_acks(acks).with_timeout_ms(60_000).with_topic_data(vec![of_topic])
}

/// A client's fetch from `offset`, which waits for `wait_ms` at most.
pub(crate) fn fetch(topic: &Topic, partitions: &[i32], offset: i64, wait_ms: i32) -> FetchRequest {
    let partitions = partitions.iter().map(|&index| {
        FetchPartition::default()
            .with_partition(index)
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(1 << 20)
    });
    let of_topic = FetchTopic::default()
        .with_topic(topic.name.clone())
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![of_topic])
}
