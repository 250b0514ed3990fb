//! Requests of the data plane, in any version.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, FetchResponse, ListOffsetsRequest, MetadataRequest,
    ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use moldau_model::{ErrorCode, ProducerEpoch, ProducerId, TimestampMs};
use moldau_record::{BatchBuilder, Batches, DecompressLimit};

use crate::harness::Client;

pub(crate) fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic as both ways of naming one need it.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: uuid::Uuid,
}

pub(crate) fn create_topic(
    client: &mut Client,
    topic: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Topic {
    let configs = configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    });
    let wanted = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    let response = client.call(7, &request);
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    Topic { name: topic.to_owned(), id: response.topics[0].topic_id }
}

/// One batch of such values, made now.
pub(crate) fn batch(values: &[&[u8]]) -> Vec<u8> {
    built(BatchBuilder::new(), values)
}

pub(crate) fn batch_of(producer: (i64, i16), sequence: i32, values: &[&[u8]]) -> Vec<u8> {
    let builder = BatchBuilder::new().producer(ProducerId(producer.0), ProducerEpoch(producer.1), sequence);
    built(builder, values)
}

pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis() as i64
}

pub(crate) fn built(mut builder: BatchBuilder, values: &[&[u8]]) -> Vec<u8> {
    let now = TimestampMs(now_ms());
    for value in values {
        builder.append(now, None, Some(value), &[]).unwrap();
    }
    builder.build().unwrap()
}

pub(crate) fn produce_request(
    version: i16,
    topic: &Topic,
    partition: i32,
    acks: i16,
    records: Vec<u8>,
) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(Bytes::from(records)));
    let mut of_topic = TopicProduceData::default().with_partition_data(vec![data]);
    if version >= 13 {
        of_topic.topic_id = topic.id;
    } else {
        of_topic.name = name(&topic.name);
    }
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![of_topic])
}

pub(crate) fn produce(
    client: &mut Client,
    version: i16,
    topic: &Topic,
    acks: i16,
    records: Vec<u8>,
) -> PartitionProduceResponse {
    let mut response = client.call(version, &produce_request(version, topic, 0, acks, records));
    response.responses.remove(0).partition_responses.remove(0)
}

/// Produces to partition 0 and says at which offset.
pub(crate) fn produced(client: &mut Client, topic: &Topic, records: Vec<u8>) -> i64 {
    let answer = produce(client, 9, topic, -1, records);
    assert_eq!(answer.error_code, 0, "{answer:?}");
    answer.base_offset
}

/// What is asked of one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) bytes_max: i32,
    pub(crate) leader_epoch: i32,
}

pub(crate) fn from(partition: i32, offset: i64) -> Want {
    Want { partition, offset, bytes_max: 1 << 20, leader_epoch: -1 }
}

/// A fetch without a session that does not wait.
pub(crate) fn fetch_request(version: i16, topic: &Topic, wants: &[Want]) -> FetchRequest {
    let partitions = wants.iter().map(|want| {
        let mut partition = FetchPartition::default()
            .with_partition(want.partition)
            .with_fetch_offset(want.offset)
            .with_partition_max_bytes(want.bytes_max);
        if version >= 9 {
            partition.current_leader_epoch = want.leader_epoch;
        }
        partition
    });
    let mut of_topic = FetchTopic::default().with_partitions(partitions.collect());
    if version >= 13 {
        of_topic.topic_id = topic.id;
    } else {
        of_topic.topic = name(&topic.name);
    }
    let mut request = FetchRequest::default().with_max_wait_ms(0).with_min_bytes(1).with_max_bytes(64 << 20);
    if version < 15 {
        request.replica_id = BrokerId(-1);
    }
    if !wants.is_empty() {
        request.topics = vec![of_topic];
    }
    if version >= 7 {
        request.session_epoch = -1;
    }
    request
}

/// The answers for all partitions, in their order.
pub(crate) fn partitions(response: FetchResponse) -> Vec<PartitionData> {
    response.responses.into_iter().flat_map(|topic| topic.partitions).collect()
}

pub(crate) fn fetch_one(client: &mut Client, version: i16, topic: &Topic, want: Want) -> PartitionData {
    let mut found = partitions(client.call(version, &fetch_request(version, topic, &[want])));
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// The records of a partition's answer: offset and value.
pub(crate) fn records(data: &PartitionData) -> Vec<(i64, Vec<u8>)> {
    let bytes = data.records.clone().unwrap_or_default();
    let mut found = Vec::new();
    for batch in Batches::new(&bytes) {
        let batch = batch.unwrap();
        batch.check_crc().unwrap();
        for record in batch.records(DecompressLimit(64 << 20)).unwrap().iter() {
            let record = record.unwrap();
            found.push((record.offset.0, record.value.unwrap_or_default().to_vec()));
        }
    }
    found
}

/// Everything in partition 0 from an offset.
pub(crate) fn read_from(client: &mut Client, topic: &Topic, offset: i64) -> Vec<(i64, Vec<u8>)> {
    records(&fetch_one(client, 12, topic, from(0, offset)))
}

pub(crate) fn list_offsets_request(
    version: i16,
    topic: &Topic,
    timestamp: i64,
    leader_epoch: i32,
) -> ListOffsetsRequest {
    let mut partition = ListOffsetsPartition::default().with_timestamp(timestamp);
    if version >= 4 {
        partition.current_leader_epoch = leader_epoch;
    }
    let of_topic = ListOffsetsTopic::default().with_name(name(&topic.name)).with_partitions(vec![partition]);
    let mut request = ListOffsetsRequest::default().with_topics(vec![of_topic]);
    request.replica_id = BrokerId(-1);
    request
}

pub(crate) fn list_offset(
    client: &mut Client,
    version: i16,
    topic: &Topic,
    timestamp: i64,
) -> ListOffsetsPartitionResponse {
    let mut response = client.call(version, &list_offsets_request(version, topic, timestamp, -1));
    response.topics.remove(0).partitions.remove(0)
}

pub(crate) fn log_end(client: &mut Client, topic: &Topic) -> i64 {
    list_offset(client, 6, topic, -1).offset
}

/// Any request whose answer shows that the connection and the broker are alive.
pub(crate) fn ping(client: &mut Client) {
    let response = client.call(12, &MetadataRequest::default().with_topics(Some(Vec::new())));
    assert_eq!(response.brokers.len(), 1);
}

pub(crate) fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}
