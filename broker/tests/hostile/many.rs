//! Requests of a hundred thousand parts: right in form, and answered in a time that grows with their size and not with
//! its square.

use std::time::Instant;

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest as DescribedTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Request, StrBytes};

use crate::harness::{Client, Node, eventually};
use crate::requests::{batch, create_topic, ping, produced};
use crate::watch::Watch;

const COUNT: i32 = 100_000;
const GROWTH_BYTES_MAX: u64 = 512 << 20;

/// A connection for each request, for one that is refused ends its own.
struct Attack<'a> {
    node: &'a Node,
}

impl Attack<'_> {
    fn ask<T: Request>(&self, version: i16, request: &T) {
        let mut client: Client = self.node.connect();
        let started = Instant::now();
        client.send(version, request);
        // An answer or the connection's end, within the client's limit.
        let answer = client.receive_frame();
        let took = started.elapsed();
        if let Some(answer) = answer.as_ref().filter(|answer| answer.len() < 40) {
            println!("{answer:02x?}");
        }
        let bytes = answer.map(|answer| answer.len());
        println!("{:?} {version}: {bytes:?} bytes in {took:?}", moldau_kafka::ApiKey::from_code(T::KEY));
    }
}

fn text(number: i32) -> StrBytes {
    StrBytes::from_string(format!("n{number}"))
}

fn topic(number: i32) -> TopicName {
    TopicName(text(number))
}

fn group(number: i32) -> GroupId {
    GroupId(text(number))
}

/// So many different ones, and then as many that are all the same.
fn numbers() -> [Vec<i32>; 2] {
    [(0..COUNT).collect(), vec![0; COUNT as usize]]
}

#[test]
fn requests_about_records_of_a_hundred_thousand_parts_are_answered() {
    let watch = Watch::begin();
    let node = Node::start(&[("auto.create.topics.enable", "false")]);
    let t = create_topic(&mut node.connect(), "n0", 1, &[]);
    produced(&mut node.connect(), &t, batch(&[b"x"]));
    let attack = Attack { node: &node };
    for numbers in numbers() {
        let wants =
            |number: &i32| FetchPartition::default().with_partition(*number).with_partition_max_bytes(100);
        let partitions =
            FetchTopic::default().with_topic(topic(0)).with_partitions(numbers.iter().map(wants).collect());
        let topics = numbers.iter().map(|number| {
            let one = FetchPartition::default().with_partition_max_bytes(100);
            FetchTopic::default().with_topic(topic(*number)).with_partitions(vec![one])
        });
        for (topics, forgotten) in
            [(vec![partitions.clone()], false), (topics.collect(), false), (vec![partitions], true)]
        {
            let mut fetch = FetchRequest::default().with_max_bytes(1 << 20).with_topics(topics);
            fetch.replica_id = BrokerId(-1);
            if forgotten {
                let all = ForgottenTopic::default().with_topic(topic(0)).with_partitions(numbers.clone());
                fetch.forgotten_topics_data = vec![all];
            }
            attack.ask(12, &fetch);
        }
        let data = |number: &i32| {
            PartitionProduceData::default().with_index(*number).with_records(Some(Bytes::new()))
        };
        let all = TopicProduceData::default()
            .with_name(topic(0))
            .with_partition_data(numbers.iter().map(data).collect());
        attack.ask(
            9,
            &ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![all]),
        );
        let wanted =
            |number: &i32| ListOffsetsPartition::default().with_partition_index(*number).with_timestamp(-1);
        let all = ListOffsetsTopic::default()
            .with_name(topic(0))
            .with_partitions(numbers.iter().map(wanted).collect());
        attack.ask(6, &ListOffsetsRequest::default().with_topics(vec![all]));
        let wanted = |number: &i32| OffsetForLeaderPartition::default().with_partition(*number);
        let all = OffsetForLeaderTopic::default()
            .with_topic(topic(0))
            .with_partitions(numbers.iter().map(wanted).collect());
        attack.ask(4, &OffsetForLeaderEpochRequest::default().with_topics(vec![all]));
        let wanted = |number: &i32| DeleteRecordsPartition::default().with_partition_index(*number);
        let all = DeleteRecordsTopic::default()
            .with_name(topic(0))
            .with_partitions(numbers.iter().map(wanted).collect());
        attack.ask(2, &DeleteRecordsRequest::default().with_topics(vec![all]).with_timeout_ms(1000));
        let all = TopicRequest::default().with_name(topic(0)).with_partition_indexes(numbers.clone());
        attack.ask(0, &DescribeProducersRequest::default().with_topics(vec![all]));
        let all = DescribableLogDirTopic::default().with_topic(topic(0)).with_partitions(numbers.clone());
        attack.ask(4, &DescribeLogDirsRequest::default().with_topics(Some(vec![all])));
        let topics =
            numbers.iter().map(|number| MetadataRequestTopic::default().with_name(Some(topic(*number))));
        attack.ask(12, &MetadataRequest::default().with_topics(Some(topics.collect())));
        let topics = numbers.iter().map(|number| DescribedTopic::default().with_name(topic(*number)));
        let describe = DescribeTopicPartitionsRequest::default().with_topics(topics.collect());
        attack.ask(0, &describe.with_response_partition_limit(2000));
    }
    println!("grown by {} KiB", watch.growth_bytes() / 1024);
    assert!(watch.growth_bytes() < GROWTH_BYTES_MAX);
    assert_eq!(watch.panics(), 0);
    ping(&mut node.connect());
}

#[test]
fn requests_about_groups_of_a_hundred_thousand_parts_are_answered() {
    let watch = Watch::begin();
    let node = Node::start(&[]);
    let attack = Attack { node: &node };
    // Makes the offsets topic, for the others to get past its lack.
    let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(0)]);
    eventually("there is a coordinator", || node.connect().call(4, &find).coordinators[0].error_code == 0);
    let describe = DescribeGroupsRequest::default().with_groups(vec![group(0)]);
    eventually("it has loaded", || node.connect().call(5, &describe).groups[0].error_code == 0);
    for numbers in numbers() {
        let keys: Vec<StrBytes> = numbers.iter().map(|number| text(*number)).collect();
        attack.ask(4, &FindCoordinatorRequest::default().with_coordinator_keys(keys));
        let topics = numbers.iter().map(|number| {
            let one = OffsetCommitRequestPartition::default().with_committed_offset(1);
            OffsetCommitRequestTopic::default().with_name(topic(*number)).with_partitions(vec![one])
        });
        let commit = OffsetCommitRequest::default().with_group_id(group(0)).with_topics(topics.collect());
        attack.ask(8, &commit.with_generation_id_or_member_epoch(-1));
        let topics = numbers.iter().map(|number| {
            OffsetFetchRequestTopics::default().with_name(topic(*number)).with_partition_indexes(vec![0])
        });
        let one =
            OffsetFetchRequestGroup::default().with_group_id(group(0)).with_topics(Some(topics.collect()));
        attack.ask(8, &OffsetFetchRequest::default().with_groups(vec![one]));
        let groups =
            numbers.iter().map(|number| OffsetFetchRequestGroup::default().with_group_id(group(*number)));
        attack.ask(8, &OffsetFetchRequest::default().with_groups(groups.collect()));
        let groups: Vec<GroupId> = numbers.iter().map(|number| group(*number)).collect();
        attack.ask(5, &DescribeGroupsRequest::default().with_groups(groups.clone()));
        attack.ask(2, &DeleteGroupsRequest::default().with_groups_names(groups));
        let members = numbers.iter().map(|number| MemberIdentity::default().with_member_id(text(*number)));
        attack.ask(4, &LeaveGroupRequest::default().with_group_id(group(0)).with_members(members.collect()));
        let protocols =
            numbers.iter().map(|number| JoinGroupRequestProtocol::default().with_name(text(*number)));
        let join = JoinGroupRequest::default()
            .with_group_id(group(1))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocol_type(text(0))
            .with_protocols(protocols.collect());
        attack.ask(3, &join);
        let given =
            numbers.iter().map(|number| SyncGroupRequestAssignment::default().with_member_id(text(*number)));
        let sync = SyncGroupRequest::default().with_group_id(group(1)).with_assignments(given.collect());
        attack.ask(3, &sync);
    }
    println!("grown by {} KiB", watch.growth_bytes() / 1024);
    assert!(watch.growth_bytes() < GROWTH_BYTES_MAX);
    assert_eq!(watch.panics(), 0);
    ping(&mut node.connect());
}

#[test]
fn requests_that_change_metadata_of_a_hundred_thousand_parts_are_answered() {
    let watch = Watch::begin();
    let node = Node::start(&[]);
    create_topic(&mut node.connect(), "n0", 1, &[]);
    let attack = Attack { node: &node };
    for numbers in numbers() {
        let topics = numbers.iter().map(|number| {
            CreatableTopic::default()
                .with_name(topic(*number))
                .with_num_partitions(1)
                .with_replication_factor(9)
        });
        attack.ask(5, &CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(1000));
        let too_many = CreatableTopic::default()
            .with_name(topic(1))
            .with_num_partitions(i32::MAX)
            .with_replication_factor(1);
        attack.ask(5, &CreateTopicsRequest::default().with_topics(vec![too_many]).with_timeout_ms(1000));
        let topics = numbers
            .iter()
            .map(|number| CreatePartitionsTopic::default().with_name(topic(*number)).with_count(i32::MAX));
        attack
            .ask(3, &CreatePartitionsRequest::default().with_topics(topics.collect()).with_timeout_ms(1000));
        let topics =
            numbers.iter().map(|number| DeleteTopicState::default().with_name(Some(topic(number + 1))));
        attack.ask(6, &DeleteTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(1000));
        let resources = numbers.iter().map(|number| {
            DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(*number))
                .with_configuration_keys(Some(Vec::new()))
        });
        attack.ask(4, &DescribeConfigsRequest::default().with_resources(resources.collect()));
        let resources = numbers.iter().map(|number| {
            AlterConfigsResource::default().with_resource_type(2).with_resource_name(text(*number))
        });
        attack.ask(1, &IncrementalAlterConfigsRequest::default().with_resources(resources.collect()));
    }
    println!("grown by {} KiB", watch.growth_bytes() / 1024);
    assert!(watch.growth_bytes() < GROWTH_BYTES_MAX);
    assert_eq!(watch.panics(), 0);
    ping(&mut node.connect());
}
