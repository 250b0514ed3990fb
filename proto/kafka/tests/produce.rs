//! The Produce view against the library's encoder, in every version, and against lies.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName, TransactionalId};
use kafka_protocol::protocol::{Encodable, StrBytes};
use moldau_kafka::fuzz::MessageGenerator;
use moldau_kafka::{ApiKey, ProduceRequestView, ProduceTopicRef, WireError, check_request, text};
use moldau_model::{PartitionIndex, TopicId};

const IDS: [[u8; 16]; 3] = [[1; 16], [2; 16], [3; 16]];
const NAMES: [&str; 3] = ["pageview", "", "b"];

/// Three topics: one with records and null, one without partitions, one with records of no bytes.
fn request(version: i16, transactional_id: Option<&'static str>) -> BytesMut {
    let partition = |index, records: Option<&'static [u8]>| {
        PartitionProduceData::default().with_index(index).with_records(records.map(Bytes::from_static))
    };
    let topic = |place: usize, partitions| {
        let topic = TopicProduceData::default().with_partition_data(partitions);
        if version >= 13 {
            topic.with_topic_id(uuid::Uuid::from_bytes(IDS[place]))
        } else {
            topic.with_name(TopicName(StrBytes::from_static_str(NAMES[place])))
        }
    };
    let request = ProduceRequest::default()
        .with_transactional_id(transactional_id.map(|id| TransactionalId(StrBytes::from_static_str(id))))
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![
            topic(0, vec![partition(0, Some(b"first batch")), partition(3, None)]),
            topic(1, vec![]),
            topic(2, vec![partition(i32::MAX, Some(b""))]),
        ]);
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap();
    body
}

#[test]
fn the_view_points_at_the_records_in_every_version() {
    for version in 3..=13 {
        for transactional_id in [None, Some("txn")] {
            let body = request(version, transactional_id);
            assert_eq!(check_request(ApiKey::Produce, version, &body), Ok(body.len()));
            let view = ProduceRequestView::parse(version, &body).unwrap();
            assert_eq!(view.transactional_id.as_ref().map(|range| text(&body, range)), transactional_id);
            assert_eq!((view.acks, view.timeout_ms), (-1, 30_000));
            assert_eq!(view.topics.len(), 3);
            for (topic, (name, id)) in view.topics.iter().zip(NAMES.into_iter().zip(IDS)) {
                match &topic.topic {
                    ProduceTopicRef::Name(range) => {
                        assert_eq!((text(&body, range), version < 13), (name, true))
                    }
                    ProduceTopicRef::Id(found) => {
                        assert_eq!((*found, version), (TopicId::from_bytes(id), 13))
                    }
                }
            }
            let partitions: Vec<_> = view
                .topics
                .iter()
                .map(|topic| {
                    let records = |p: &moldau_kafka::ProducePartitionView| {
                        (p.index, p.records.clone().map(|r| &body[r]))
                    };
                    topic.partitions.iter().map(records).collect::<Vec<_>>()
                })
                .collect();
            let expected = [
                vec![(PartitionIndex(0), Some(&b"first batch"[..])), (PartitionIndex(3), None)],
                vec![],
                vec![(PartitionIndex(i32::MAX), Some(&b""[..]))],
            ];
            assert_eq!(partitions, expected, "version {version}");
        }
    }
}

#[test]
fn a_produce_request_that_lies_is_refused() {
    for version in 3..=13 {
        let whole = request(version, Some("txn"));
        for cut in 0..whole.len() {
            assert!(
                ProduceRequestView::parse(version, &whole[..cut]).is_err(),
                "version {version} cut at {cut}"
            );
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(
            ProduceRequestView::parse(version, &longer),
            ProduceRequestView::parse(version, &whole),
            "what follows is passed over, as by Kafka"
        );
    }
    for version in [-1, 0, 2, 14] {
        let expected = WireError::UnsupportedVersion { api_key: ApiKey::Produce, version };
        assert_eq!(ProduceRequestView::parse(version, &[]), Err(expected));
    }
    let head = [0xff, 0xff, 0, 1, 0, 0, 0, 9];
    let body = |rest: &[u8]| [&head[..], rest].concat();
    for (body, expected) in [
        (
            body(&[0x7f, 0xff, 0xff, 0xff]),
            WireError::CountTooLarge { count: i32::MAX as usize, remaining: 0 },
        ),
        (body(&[0xff, 0xff, 0xff, 0xff]), WireError::UnexpectedNull),
        (body(&[0x80, 0, 0, 0]), WireError::NegativeLength { length: i32::MIN }),
        // One topic of a null name.
        (body(&[0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0]), WireError::UnexpectedNull),
        // One topic of one partition, whose records claim 2^31-1 bytes.
        (
            body(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]),
            WireError::Truncated { missing: i32::MAX as usize },
        ),
    ] {
        assert_eq!(ProduceRequestView::parse(3, &body), Err(expected), "{body:02x?}");
    }
}

#[test]
fn a_request_of_countless_partitions_is_refused() {
    // Version 3: a hundred thousand and one partitions of null records, eight honest bytes each.
    let count = 100_001i32;
    let mut body = vec![0xff, 0xff, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't'];
    body.extend_from_slice(&count.to_be_bytes());
    for index in 0..count {
        body.extend_from_slice(&index.to_be_bytes());
        body.extend_from_slice(&[0xff; 4]);
    }
    assert_eq!(ProduceRequestView::parse(3, &body), Err(WireError::TooManyElements { count_max: 100_000 }));
}

/// The walk by the schema and the view read the same language.
#[test]
fn the_view_takes_what_the_walk_takes() {
    let mut generator = MessageGenerator::new(5);
    let mut taken = 0;
    for version in (3..=13).cycle().take(5_000) {
        let body = generator.hostile_request(ApiKey::Produce, version);
        let walked = check_request(ApiKey::Produce, version, &body);
        let viewed = ProduceRequestView::parse(version, &body);
        assert_eq!(walked.is_ok(), viewed.is_ok(), "{version} {body:02x?}: {walked:?} {viewed:?}");
        taken += usize::from(viewed.is_ok());
    }
    assert!(taken > 100);
}
