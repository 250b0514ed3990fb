//! Records in and out, offsets, producers.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{self as m, ApiKey, BrokerId, RequestKind};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::admin::topic;
use super::{Case, Peer};

/// When the records of this run were made: an hour ago, so that retention takes none of them, and for both systems the same.
pub(super) fn timestamp_ms() -> i64 {
    static MADE: LazyLock<i64> = LazyLock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX) - 3_600_000
    });
    *MADE
}

/// A batch of `count` records as a client would send it. kafka-protocol's encoder, not ours, writes it.
pub(super) fn batch(count: i64, producer_id: i64, first_sequence: i32) -> Bytes {
    let records: Vec<Record> = (0..count)
        .map(|n| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id,
            producer_epoch: if producer_id < 0 { -1 } else { 0 },
            timestamp_type: TimestampType::Creation,
            offset: n,
            // Without a producer id, too: the encoder starts a batch where sequences do not go up with offsets.
            sequence: first_sequence + i32::try_from(n).unwrap_or(0),
            timestamp: timestamp_ms() + n,
            key: Some(Bytes::from(format!("k{n}"))),
            value: Some(Bytes::from(format!("v{n}"))),
            headers: kafka_protocol::indexmap::IndexMap::new(),
        })
        .collect();
    let mut out = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let encoded = RecordBatchEncoder::encode(&mut out, &records, &options);
    assert!(encoded.is_ok(), "the batch cannot be encoded");
    out.freeze()
}

fn with_bad_crc(batch: &Bytes) -> Bytes {
    let mut bytes = batch.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 0xff;
    }
    Bytes::from(bytes)
}

pub(super) fn produce(peer: &Peer, version: i16, acks: i16, parts: &[(&str, i32, Bytes)]) -> RequestKind {
    use m::produce_request::{PartitionProduceData, TopicProduceData};
    let topics = parts
        .iter()
        .map(|(name, partition, records)| {
            let data = TopicProduceData::default().with_partition_data(vec![
                PartitionProduceData::default().with_index(*partition).with_records(Some(records.clone())),
            ]);
            if version >= 13 { data.with_topic_id(peer.topic_id(name)) } else { data.with_name(topic(name)) }
        })
        .collect();
    RequestKind::Produce(
        m::ProduceRequest::default().with_acks(acks).with_timeout_ms(10_000).with_topic_data(topics),
    )
}

pub(super) struct Wish {
    topic: &'static str,
    partition: i32,
    offset: i64,
    leader_epoch: i32,
}

pub(super) const fn wish(topic: &'static str, partition: i32, offset: i64) -> Wish {
    Wish { topic, partition, offset, leader_epoch: -1 }
}

pub(super) fn fetch(peer: &Peer, version: i16, wishes: &[Wish], partition_bytes_max: i32) -> RequestKind {
    use m::fetch_request::{FetchPartition, FetchTopic};
    let topics = wishes
        .iter()
        .map(|wish| {
            let mut partition = FetchPartition::default()
                .with_partition(wish.partition)
                .with_fetch_offset(wish.offset)
                .with_partition_max_bytes(partition_bytes_max);
            if version >= 5 {
                partition = partition.with_log_start_offset(-1);
            }
            if version >= 9 {
                partition = partition.with_current_leader_epoch(wish.leader_epoch);
            }
            let topic_data = FetchTopic::default().with_partitions(vec![partition]);
            if version >= 13 {
                topic_data.with_topic_id(peer.topic_id(wish.topic))
            } else {
                topic_data.with_topic(topic(wish.topic))
            }
        })
        .collect();
    let request = m::FetchRequest::default()
        .with_max_wait_ms(1)
        .with_min_bytes(0)
        .with_max_bytes(1 << 20)
        .with_topics(topics);
    let request = if version < 15 { request.with_replica_id(BrokerId(-1)) } else { request };
    RequestKind::Fetch(if version >= 7 { request.with_session_id(0).with_session_epoch(-1) } else { request })
}

fn list_offsets(version: i16, timestamp: i64) -> RequestKind {
    use m::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let part = |partition: i32, timestamp: i64| {
        let part = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(timestamp);
        if version >= 4 { part.with_current_leader_epoch(-1) } else { part }
    };
    let wishes = [("records", vec![0]), ("two", vec![0, 1, 7]), ("nope", vec![0])];
    let topics = wishes
        .into_iter()
        .map(|(name, partitions)| {
            let parts = partitions.into_iter().map(|partition| part(partition, timestamp)).collect();
            ListOffsetsTopic::default().with_name(topic(name)).with_partitions(parts)
        })
        .collect();
    RequestKind::ListOffsets(
        m::ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics),
    )
}

fn produce_sequence(peer: &Peer, version: i16, first_sequence: i32) -> RequestKind {
    produce(peer, version, -1, &[("data", 0, batch(2, peer.producer_id, first_sequence))])
}

#[expect(clippy::too_many_lines, reason = "a table of cases")]
pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{
        DeleteRecords, DescribeProducers, Fetch, InitProducerId, ListOffsets, OffsetForLeaderEpoch, Produce,
    };
    vec![
        Case::new("ground: records", Produce, 9, 9, |peer, v| {
            produce(peer, v, -1, &[("records", 0, batch(5, -1, -1)), ("two", 0, batch(1, -1, -1))])
        }),
        Case::new("produce", Produce, 3, 13, |peer, v| {
            produce(peer, v, -1, &[("data", 0, batch(3, -1, -1)), ("two", 1, batch(1, -1, -1))])
        }),
        Case::new("produce with acks=1", Produce, 3, 13, |peer, v| {
            produce(peer, v, 1, &[("data", 0, batch(3, -1, -1))])
        }),
        Case::new("produce to what is not there", Produce, 3, 13, |peer, v| {
            produce(peer, v, -1, &[("nope", 0, batch(1, -1, -1)), ("two", 7, batch(1, -1, -1))])
        }),
        Case::new("produce with impossible acks", Produce, 3, 13, |peer, v| {
            produce(peer, v, 2, &[("data", 0, batch(1, -1, -1))])
        }),
        Case::new("produce a batch with a wrong checksum", Produce, 3, 13, |peer, v| {
            produce(peer, v, -1, &[("data", 0, with_bad_crc(&batch(1, -1, -1)))])
        }),
        Case::new("a producer's id", InitProducerId, 0, 5, |_, v| {
            let request = m::InitProducerIdRequest::default().with_transaction_timeout_ms(i32::MAX);
            RequestKind::InitProducerId(if v >= 3 {
                request.with_producer_id(m::ProducerId(-1)).with_producer_epoch(-1)
            } else {
                request
            })
        }),
        Case::new("produce in sequence", Produce, 9, 9, |peer, v| produce_sequence(peer, v, 0)),
        Case::new("produce the next in sequence", Produce, 9, 9, |peer, v| produce_sequence(peer, v, 2)),
        Case::new("produce the same again", Produce, 9, 9, |peer, v| produce_sequence(peer, v, 0)),
        Case::new("produce with a gap in the sequence", Produce, 3, 12, |peer, v| {
            produce_sequence(peer, v, 9)
        }),
        Case::new("describe producers", DescribeProducers, 0, 0, |_, _| {
            let wish = |name: &str, partitions: Vec<i32>| {
                m::describe_producers_request::TopicRequest::default()
                    .with_name(topic(name))
                    .with_partition_indexes(partitions)
            };
            RequestKind::DescribeProducers(
                m::DescribeProducersRequest::default()
                    .with_topics(vec![wish("data", vec![0, 9]), wish("nope", vec![0])]),
            )
        }),
        Case::new("fetch", Fetch, 4, 18, |peer, v| fetch(peer, v, &[wish("records", 0, 0)], 1 << 20)),
        Case::new("fetch from inside a batch", Fetch, 4, 18, |peer, v| {
            fetch(peer, v, &[wish("records", 0, 3)], 1 << 20)
        }),
        Case::new("fetch at least one batch", Fetch, 4, 18, |peer, v| {
            fetch(peer, v, &[wish("records", 0, 0)], 1)
        }),
        Case::new("fetch at the end and beyond", Fetch, 4, 18, |peer, v| {
            fetch(peer, v, &[wish("records", 0, 5), wish("two", 0, 99), wish("two", 1, -7)], 1 << 20)
        }),
        Case::new("fetch what is not there", Fetch, 4, 18, |peer, v| {
            fetch(peer, v, &[wish("two", 7, 0), wish("nope", 0, 0)], 1 << 20)
        }),
        Case::new("fetch with another leader epoch", Fetch, 9, 18, |peer, v| {
            let epoch = |leader_epoch| Wish { topic: "records", partition: 0, offset: 0, leader_epoch };
            fetch(peer, v, &[epoch(1000)], 1 << 20)
        }),
        Case::new("list offsets: latest", ListOffsets, 1, 10, |_, v| list_offsets(v, -1)),
        Case::new("list offsets: earliest", ListOffsets, 1, 10, |_, v| list_offsets(v, -2)),
        Case::new("list offsets: largest timestamp", ListOffsets, 7, 10, |_, v| list_offsets(v, -3)),
        Case::new("list offsets: earliest local", ListOffsets, 8, 10, |_, v| list_offsets(v, -4)),
        Case::new("list offsets: latest tiered", ListOffsets, 9, 10, |_, v| list_offsets(v, -5)),
        Case::new("list offsets: earliest to be tiered, too early", ListOffsets, 1, 10, |_, v| {
            list_offsets(v, -6)
        }),
        Case::new("list offsets: by time", ListOffsets, 1, 10, |_, v| list_offsets(v, timestamp_ms() + 2)),
        Case::new("list offsets: by a time to come", ListOffsets, 1, 10, |_, v| {
            list_offsets(v, timestamp_ms() + 1_000_000)
        }),
        Case::new("offset for leader epoch", OffsetForLeaderEpoch, 2, 4, |_, v| {
            use m::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
            let wish = |name: &str, epoch| {
                OffsetForLeaderTopic::default().with_topic(topic(name)).with_partitions(vec![
                    OffsetForLeaderPartition::default()
                        .with_current_leader_epoch(-1)
                        .with_leader_epoch(epoch),
                ])
            };
            let request = m::OffsetForLeaderEpochRequest::default().with_topics(vec![
                wish("records", 0),
                wish("two", 1000),
                wish("nope", 0),
            ]);
            RequestKind::OffsetForLeaderEpoch(if v >= 3 {
                request.with_replica_id(BrokerId(-1))
            } else {
                request
            })
        }),
        Case::new("delete records", DeleteRecords, 0, 2, |_, v| {
            use m::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
            let wish = |name: &str, parts: &[(i32, i64)]| {
                let parts = parts.iter().map(|(partition, offset)| {
                    DeleteRecordsPartition::default().with_partition_index(*partition).with_offset(*offset)
                });
                DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(parts.collect())
            };
            RequestKind::DeleteRecords(
                m::DeleteRecordsRequest::default()
                    .with_topics(vec![
                        wish("data", &[(0, i64::from(v) + 1)]),
                        wish("two", &[(1, 999), (7, 1)]),
                        wish("nope", &[(0, 1)]),
                    ])
                    .with_timeout_ms(10_000),
            )
        }),
        Case::new("fetch below the log's start", Fetch, 4, 18, |peer, v| {
            fetch(peer, v, &[wish("data", 0, 0)], 1 << 20)
        }),
        Case::new("describe producers of nothing", DescribeProducers, 0, 0, |_, _| {
            let nameless =
                m::describe_producers_request::TopicRequest::default().with_partition_indexes(vec![0]);
            RequestKind::DescribeProducers(m::DescribeProducersRequest::default().with_topics(vec![nameless]))
        }),
        Case::new("a producer's id after a bad time", InitProducerId, 0, 5, |_, v| {
            let request = m::InitProducerIdRequest::default().with_transaction_timeout_ms(0);
            RequestKind::InitProducerId(if v >= 3 {
                request.with_producer_id(m::ProducerId(-1)).with_producer_epoch(-1)
            } else {
                request
            })
        }),
        Case::new("a producer's id for an empty transactional id", InitProducerId, 0, 5, |_, _| {
            RequestKind::InitProducerId(
                m::InitProducerIdRequest::default()
                    .with_transactional_id(Some(m::TransactionalId(super::admin::text(""))))
                    .with_producer_id(m::ProducerId(-1))
                    .with_producer_epoch(-1)
                    .with_transaction_timeout_ms(1000),
            )
        }),
        Case::new("a new epoch for a producer's id", InitProducerId, 3, 5, |_, _| {
            RequestKind::InitProducerId(
                m::InitProducerIdRequest::default()
                    .with_producer_id(m::ProducerId(77))
                    .with_producer_epoch(3)
                    .with_transaction_timeout_ms(1000),
            )
        }),
        Case::new("an epoch without a producer's id", InitProducerId, 3, 5, |_, _| {
            RequestKind::InitProducerId(
                m::InitProducerIdRequest::default()
                    .with_producer_id(m::ProducerId(-1))
                    .with_producer_epoch(3)
                    .with_transaction_timeout_ms(1000),
            )
        }),
        Case::new("delete all records, and too many", DeleteRecords, 0, 2, |_, _| {
            use m::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
            let wish = |name: &str, offset| {
                DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![
                    DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset),
                ])
            };
            RequestKind::DeleteRecords(
                m::DeleteRecordsRequest::default()
                    .with_topics(vec![wish("two", -1), wish("group", -5), wish("compacted", 0)])
                    .with_timeout_ms(10_000),
            )
        }),
        Case::new("offset for leader epochs of odd kinds", OffsetForLeaderEpoch, 2, 4, |_, v| {
            use m::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
            let part = |partition, current, epoch| {
                OffsetForLeaderPartition::default()
                    .with_partition(partition)
                    .with_current_leader_epoch(current)
                    .with_leader_epoch(epoch)
            };
            let of = |name: &str, parts| {
                OffsetForLeaderTopic::default().with_topic(topic(name)).with_partitions(parts)
            };
            let request = m::OffsetForLeaderEpochRequest::default().with_topics(vec![
                of("records", vec![part(0, 1000, 0), part(7, -1, 0)]),
                of("two", vec![part(0, -1, -1), part(1, 0, 0)]),
            ]);
            RequestKind::OffsetForLeaderEpoch(if v >= 3 {
                request.with_replica_id(BrokerId(-1))
            } else {
                request
            })
        }),
    ]
}
