//! Group coordinators follow the leadership of `__consumer_offsets`, and answer nothing that they have not loaded.

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest, OffsetFetchResponse,
};
use moldau_model::ErrorCode;

use crate::cluster::Cluster;
use crate::harness::{Client, eventually};
use crate::requests::*;

const GROUPS: usize = 12;

fn group(number: usize) -> GroupId {
    GroupId(text(&format!("group-{number}")))
}

/// Whom this broker names as the group's coordinator.
fn find(client: &mut Client, number: usize) -> Option<i32> {
    let request =
        FindCoordinatorRequest::default().with_key_type(0).with_coordinator_keys(vec![group(number).0]);
    let response = client.call(4, &request);
    let found = &response.coordinators[0];
    match code(found.error_code) {
        ErrorCode::None => Some(found.node_id.0),
        ErrorCode::CoordinatorNotAvailable => None,
        other => panic!("{other}"),
    }
}

fn commit(client: &mut Client, number: usize, offset: i64) -> ErrorCode {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default().with_name(name("t")).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(number))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    code(client.call(8, &request).topics[0].partitions[0].error_code)
}

/// What a broker says that the group has committed: an offset, or why it does not say.
fn committed(client: &mut Client, number: usize) -> Option<Result<i64, ErrorCode>> {
    let topic = OffsetFetchRequestTopics::default().with_name(name("t")).with_partition_indexes(vec![0]);
    let group =
        OffsetFetchRequestGroup::default().with_group_id(group(number)).with_topics(Some(vec![topic]));
    client.send(8, &OffsetFetchRequest::default().with_groups(vec![group]));
    // The broker may be on its way down.
    let mut frame = client.receive_frame()?;
    let (_, response): (_, OffsetFetchResponse) =
        moldau_kafka::decode_response::<OffsetFetchRequest>(8, &mut frame).unwrap();
    let answer = &response.groups[0];
    Some(match code(answer.error_code) {
        ErrorCode::None => Ok(answer.topics[0].partitions[0].committed_offset),
        error => Err(error),
    })
}

/// Finds the coordinator, asks it, and goes on until it answers. Whoever answers meanwhile must not make an offset up.
fn committed_somewhere(cluster: &Cluster, number: usize) -> i64 {
    let mut found = None;
    eventually("a coordinator answers", || {
        for id in [1, 2, 3].into_iter().filter(|id| cluster.is_running(*id)) {
            match committed(&mut cluster.connect(id), number) {
                Some(Ok(offset)) => found = Some(offset),
                Some(Err(
                    ErrorCode::NotCoordinator
                    | ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::CoordinatorNotAvailable,
                ))
                | None => {}
                Some(Err(other)) => panic!("{other}"),
            }
        }
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn offsets_go_with_their_coordinator_from_broker_to_broker() {
    let mut cluster = Cluster::start(&[("min.insync.replicas", "2")]);
    cluster.create_topic("t", 1, &[]);
    let mut offsets = [0i64; GROUPS];
    for round in 0..3i64 {
        for (number, committed) in offsets.iter_mut().enumerate() {
            let any = [1, 2, 3].into_iter().find(|id| cluster.is_running(*id)).unwrap();
            let mut client = cluster.connect(any);
            let offset = 100 * (round + 1) + number as i64;
            eventually("the group's coordinator takes a commit", || {
                let Some(id) = find(&mut client, number).filter(|id| cluster.is_running(*id)) else {
                    return false;
                };
                match commit(&mut cluster.connect(id), number, offset) {
                    ErrorCode::None => true,
                    ErrorCode::NotCoordinator
                    | ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::CoordinatorNotAvailable => false,
                    other => panic!("{other}"),
                }
            });
            *committed = offset;
        }
        let gone = 1 + round as i32 % 3;
        if round == 1 {
            cluster.stop(gone);
        } else {
            cluster.kill(gone);
        }
        for (number, offset) in offsets.iter().enumerate() {
            assert_eq!(committed_somewhere(&cluster, number), *offset, "group {number} round {round}");
        }
        cluster.start_broker(gone);
        // Its disk has what it had, and it coordinates nothing, or what it has loaded anew.
        for (number, offset) in offsets.iter().enumerate() {
            assert_eq!(committed_somewhere(&cluster, number), *offset, "group {number} round {round}");
        }
        let topic = Topic { name: "__consumer_offsets".to_owned(), id: uuid::Uuid::nil() };
        let id = cluster.image().topics().by_name(&topic.name).unwrap().id();
        let topic = Topic { id: uuid::Uuid::from_bytes(*id.as_bytes()), ..topic };
        for partition in 0..3 {
            cluster.wait_for_isr(&topic, partition, &[1, 2, 3]);
        }
    }
}
