//! ShareFetch and ShareAcknowledge against the library's codec where that knows the version, and by hand where it does not.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::share_acknowledge_response::{PartitionData, ShareAcknowledgeTopicResponse};
use kafka_protocol::messages::share_fetch_request::{
    AcknowledgementBatch as LibraryBatch, FetchPartition, FetchTopic, ForgottenTopic,
};
use kafka_protocol::messages::{self, GroupId, ShareAcknowledgeResponse};
use kafka_protocol::protocol::{Encodable, StrBytes};
use moldau_kafka::{
    AcknowledgementBatch, ApiKey, ShareAcknowledgeRequest, ShareFetchRequest, SharePartitionRequest,
    check_response, encode_response, encode_share_acknowledge_response,
};
use moldau_model::{PartitionIndex, TopicId, TopicIdPartition};

fn at(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId::ONE, partition: PartitionIndex(partition) }
}

fn fetch() -> ShareFetchRequest {
    let acknowledgements =
        vec![AcknowledgementBatch { first_offset: 3, last_offset: 5, acknowledge_types: vec![1, 2, 3] }];
    ShareFetchRequest {
        group_id: Some("g".into()),
        member_id: Some("m".into()),
        session_epoch: 7,
        wait_max_ms: 500,
        bytes_min: 1,
        bytes_max: 1 << 20,
        records_max: 500,
        batch_size: 100,
        acquire_mode: 0,
        is_renewal: false,
        partitions: vec![
            SharePartitionRequest { at: at(0), acknowledgements },
            SharePartitionRequest { at: at(4), acknowledgements: vec![] },
        ],
        forgotten: vec![at(9)],
    }
}

fn library_fetch() -> BytesMut {
    let batch = LibraryBatch::default()
        .with_first_offset(3)
        .with_last_offset(5)
        .with_acknowledge_types(vec![1, 2, 3]);
    let topic_id = uuid::Uuid::from_bytes(*TopicId::ONE.as_bytes());
    let partitions = vec![
        FetchPartition::default().with_partition_index(0).with_acknowledgement_batches(vec![batch]),
        FetchPartition::default().with_partition_index(4),
    ];
    let request = messages::ShareFetchRequest::default()
        .with_group_id(Some(GroupId(StrBytes::from_static_str("g"))))
        .with_member_id(Some(StrBytes::from_static_str("m")))
        .with_share_session_epoch(7)
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_max_records(500)
        .with_batch_size(100)
        .with_topics(vec![FetchTopic::default().with_topic_id(topic_id).with_partitions(partitions)])
        .with_forgotten_topics_data(vec![
            ForgottenTopic::default().with_topic_id(topic_id).with_partitions(vec![9]),
        ]);
    let mut body = BytesMut::new();
    request.encode(&mut body, 1).unwrap();
    body
}

#[test]
fn a_fetch_of_version_1_is_the_librarys_and_of_version_2_has_two_fields_more() {
    let mut body = library_fetch();
    assert_eq!(ShareFetchRequest::decode(1, &body.clone().freeze()), Ok(fetch()));
    // Behind two strings of one byte and six numbers.
    let tail = body.split_off(2 + 2 + 6 * 4);
    body.put_i8(1);
    body.put_u8(1);
    body.extend_from_slice(&tail);
    let expected = ShareFetchRequest { acquire_mode: 1, is_renewal: true, ..fetch() };
    assert_eq!(ShareFetchRequest::decode(2, &body.clone().freeze()), Ok(expected));
    for end in 0..body.len() {
        assert!(ShareFetchRequest::decode(2, &body.clone().freeze().slice(..end)).is_err(), "{end}");
    }
}

#[test]
fn an_acknowledgement_is_read_in_both_versions() {
    let mut body = BytesMut::new();
    body.put_slice(b"\x02g\x02m");
    body.put_i32(3);
    let head = body.clone();
    let mut tail = BytesMut::new();
    tail.put_u8(2);
    tail.put_slice(TopicId::ONE.as_bytes());
    tail.put_u8(2);
    tail.put_i32(4);
    tail.put_u8(2);
    tail.put_i64(10);
    tail.put_i64(12);
    tail.put_slice(&[2, 4, 0, 0, 0, 0]);
    let expected = ShareAcknowledgeRequest {
        group_id: Some("g".into()),
        member_id: Some("m".into()),
        session_epoch: 3,
        is_renewal: false,
        partitions: vec![SharePartitionRequest {
            at: at(4),
            acknowledgements: vec![AcknowledgementBatch {
                first_offset: 10,
                last_offset: 12,
                acknowledge_types: vec![4],
            }],
        }],
    };
    let first = Bytes::from([&head[..], &tail[..]].concat());
    assert_eq!(ShareAcknowledgeRequest::decode(1, &first), Ok(expected.clone()));
    let second = Bytes::from([&head[..], &[1], &tail[..]].concat());
    let renewal = ShareAcknowledgeRequest { is_renewal: true, ..expected };
    assert_eq!(ShareAcknowledgeRequest::decode(2, &second), Ok(renewal));
    assert!(ShareAcknowledgeRequest::decode(2, &first).is_err());
}

#[test]
fn an_answer_to_an_acknowledgement_tells_from_version_2_on_how_long_a_lock_lasts() {
    let topic = ShareAcknowledgeTopicResponse::default().with_partitions(vec![PartitionData::default()]);
    for message in [None, Some(StrBytes::from_static_str("no"))] {
        let body = ShareAcknowledgeResponse::default()
            .with_error_code(122)
            .with_error_message(message)
            .with_responses(vec![topic.clone()]);
        let of_library = encode_response(ApiKey::ShareAcknowledge, 1, 9, &body).unwrap();
        assert_eq!(encode_share_acknowledge_response(1, 9, &body, 30_000).unwrap(), of_library);
        let second = encode_share_acknowledge_response(2, 9, &body, 30_000).unwrap();
        assert_eq!(second.len(), of_library.len() + 4);
        let at = second.windows(4).position(|bytes| bytes == 30_000i32.to_be_bytes()).unwrap();
        assert_eq!(second[at + 4..], of_library[at..]);
        // Size, correlation id and tagged fields of the header.
        check_response(ApiKey::ShareAcknowledge, 2, &second.freeze().slice(9..)).unwrap();
    }
}
