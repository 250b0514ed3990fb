//! The messages of streams groups come back as they went, byte for byte as their schema has them, and no part of one is taken for
//! the whole. What Apache Kafka makes of them the comparison shows (tests/src/compare).

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use moldau_kafka::{
    ApiKey, RequestHeader, SIZE_PREFIX_BYTES, StreamsCopartitionedTopics, StreamsDescribeRequest,
    StreamsDescribeResponse, StreamsDescribedGroup, StreamsDescribedMember, StreamsEndpointToPartitions,
    StreamsHeartbeatRequest, StreamsHeartbeatResponse, StreamsHostAndPort, StreamsInternalTopic,
    StreamsTaskIds, StreamsTaskOffset, StreamsTaskRoles, StreamsTopicPartitions, StreamsTopologyPart,
    check_request,
};

fn topic(name: &str) -> StreamsInternalTopic {
    let configs = vec![("cleanup.policy".into(), "compact".into())];
    StreamsInternalTopic { name: name.into(), partitions: 3, replication_factor: 2, configs }
}

fn part() -> StreamsTopologyPart {
    StreamsTopologyPart {
        subtopology_id: "0".into(),
        source_topics: vec!["a".into(), "b".into()],
        source_topic_regexes: vec!["c.*".into()],
        changelog_topics: vec![topic("l")],
        repartition_sink_topics: vec!["r".into()],
        repartition_source_topics: vec![topic("s"), StreamsInternalTopic::default()],
        copartition_groups: vec![StreamsCopartitionedTopics {
            source_topics: vec![0, 1],
            source_topic_regexes: vec![0],
            repartition_source_topics: vec![1],
        }],
    }
}

fn tasks(partitions: &[i32]) -> Vec<StreamsTaskIds> {
    vec![StreamsTaskIds { subtopology_id: "0".into(), partitions: partitions.to_vec() }]
}

fn endpoint() -> StreamsHostAndPort {
    StreamsHostAndPort { host: "h".into(), port: 40_001 }
}

fn offsets() -> Vec<StreamsTaskOffset> {
    vec![StreamsTaskOffset { subtopology_id: "0".into(), partition: 1, offset: 1 << 40 }]
}

fn full_request() -> StreamsHeartbeatRequest {
    StreamsHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        member_epoch: -1,
        endpoint_information_epoch: 7,
        instance_id: Some("i".into()),
        rack_id: Some("r".into()),
        rebalance_timeout_ms: 300_000,
        topology: Some((4, vec![part(), StreamsTopologyPart::default()])),
        active_tasks: Some(tasks(&[0, 1])),
        standby_tasks: Some(tasks(&[2])),
        warmup_tasks: Some(vec![]),
        process_id: Some("p".into()),
        user_endpoint: Some(endpoint()),
        client_tags: Some(vec![("zone".into(), "z".into())]),
        task_offsets: Some(offsets()),
        task_end_offsets: Some(offsets()),
        shutdown_application: true,
    }
}

fn request_body(frame: &[u8], api_key: ApiKey) -> Bytes {
    let mut frame = Bytes::copy_from_slice(&frame[SIZE_PREFIX_BYTES..]);
    let header = RequestHeader::parse(&mut frame).unwrap();
    assert_eq!((header.api_key, header.api_version), (api_key, 0));
    assert_eq!(check_request(api_key, 0, &frame), Ok(frame.len()), "it is what the schema says, to its end");
    frame
}

#[test]
fn a_heartbeat_comes_back_with_everything_and_with_nothing_in_it() {
    let client = StrBytes::from_static_str("c");
    for request in [full_request(), StreamsHeartbeatRequest::default()] {
        let frame = request.encode(9, Some(&client)).unwrap();
        let body = request_body(&frame, ApiKey::StreamsGroupHeartbeat);
        assert_eq!(StreamsHeartbeatRequest::decode(&body), Ok(request));
        for end in 0..body.len() {
            assert!(StreamsHeartbeatRequest::decode(&body.slice(..end)).is_err(), "{end}");
        }
    }
}

#[test]
fn an_answer_to_a_heartbeat_comes_back_with_everything_and_with_nothing_in_it() {
    let partitions = StreamsTopicPartitions { topic: "a".into(), partitions: vec![0, 3] };
    let full = StreamsHeartbeatResponse {
        throttle_time_ms: 1,
        error_code: 2,
        error_message: Some("no".into()),
        member_id: "m".into(),
        member_epoch: 3,
        heartbeat_interval_ms: 4,
        acceptable_recovery_lag: 5,
        task_offset_interval_ms: 6,
        status: Some(vec![(3, "missing".into())]),
        active_tasks: Some(tasks(&[0])),
        standby_tasks: Some(tasks(&[])),
        warmup_tasks: Some(vec![]),
        endpoint_information_epoch: 7,
        partitions_by_user_endpoint: Some(vec![StreamsEndpointToPartitions {
            user_endpoint: endpoint(),
            active_partitions: vec![partitions.clone()],
            standby_partitions: vec![partitions],
        }]),
    };
    for response in [full, StreamsHeartbeatResponse::default()] {
        let frame = response.encode(9).unwrap();
        let mut frame = Bytes::copy_from_slice(&frame[SIZE_PREFIX_BYTES..]);
        assert!(StreamsHeartbeatResponse::decode(&mut frame.slice(..frame.len() - 1)).is_err());
        assert_eq!(StreamsHeartbeatResponse::decode(&mut frame), Ok(response));
    }
}

#[test]
fn a_description_comes_back() {
    let request = StreamsDescribeRequest {
        group_ids: vec!["g".into(), "h".into()],
        include_authorized_operations: true,
    };
    let body = request_body(&request.encode(9, None).unwrap(), ApiKey::StreamsGroupDescribe);
    assert_eq!(StreamsDescribeRequest::decode(&body), Ok(request));

    let roles =
        StreamsTaskRoles { active_tasks: tasks(&[0]), standby_tasks: tasks(&[1, 2]), warmup_tasks: vec![] };
    let member = StreamsDescribedMember {
        member_id: "m".into(),
        member_epoch: 1,
        instance_id: Some("i".into()),
        rack_id: Some("r".into()),
        client_id: "c".into(),
        client_host: "/127.0.0.1".into(),
        topology_epoch: 2,
        process_id: "p".into(),
        user_endpoint: Some(endpoint()),
        client_tags: vec![("zone".into(), "z".into())],
        task_offsets: offsets(),
        task_end_offsets: offsets(),
        assignment: roles.clone(),
        target_assignment: StreamsTaskRoles::default(),
        is_classic: true,
    };
    let described_part =
        StreamsTopologyPart { source_topic_regexes: vec![], copartition_groups: vec![], ..part() };
    let group = StreamsDescribedGroup {
        error_code: 0,
        error_message: None,
        group_id: "g".into(),
        group_state: "Stable".into(),
        group_epoch: 5,
        assignment_epoch: 5,
        topology: Some((0, Some(vec![described_part]))),
        members: vec![member, StreamsDescribedMember::default()],
        authorized_operations: i32::MIN,
    };
    let unknown = StreamsDescribedGroup { error_message: Some("no".into()), ..Default::default() };
    let unset = StreamsDescribedGroup { topology: Some((1, None)), ..Default::default() };
    let response = StreamsDescribeResponse { throttle_time_ms: 0, groups: vec![group, unknown, unset] };
    let frame = response.encode(9).unwrap();
    let mut frame = Bytes::copy_from_slice(&frame[SIZE_PREFIX_BYTES..]);
    assert_eq!(StreamsDescribeResponse::decode(&mut frame), Ok(response));
}
