//! Elections and reassignments, as far as one node knows them, and brokers that leave for good.

use kafka_protocol::messages::{self as m, ApiKey, BrokerId, RequestKind};

use super::Case;
use super::admin::topic;

fn elect(topics: Option<&[(&str, &[i32])]>, version: i16, election_type: i8) -> RequestKind {
    let topics = topics.map(|topics| {
        topics
            .iter()
            .map(|(name, partitions)| {
                m::elect_leaders_request::TopicPartitions::default()
                    .with_topic(topic(name))
                    .with_partitions(partitions.to_vec())
            })
            .collect()
    });
    let request = m::ElectLeadersRequest::default().with_topic_partitions(topics).with_timeout_ms(10_000);
    RequestKind::ElectLeaders(if version >= 1 { request.with_election_type(election_type) } else { request })
}

type Target<'a> = (&'a str, i32, Option<&'a [i32]>);

fn reassign(targets: &[Target<'_>], version: i16, allow_replication_factor_change: bool) -> RequestKind {
    use m::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
    let topics = targets.iter().map(|(name, partition, replicas)| {
        let replicas = replicas.map(|replicas| replicas.iter().map(|id| BrokerId(*id)).collect());
        ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![
            ReassignablePartition::default().with_partition_index(*partition).with_replicas(replicas),
        ])
    });
    let request = m::AlterPartitionReassignmentsRequest::default()
        .with_topics(topics.collect())
        .with_timeout_ms(10_000);
    RequestKind::AlterPartitionReassignments(if version >= 1 {
        request.with_allow_replication_factor_change(allow_replication_factor_change)
    } else {
        request
    })
}

fn list(topics: Option<&[(&str, &[i32])]>) -> RequestKind {
    use m::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
    let topics = topics.map(|topics| {
        topics
            .iter()
            .map(|(name, partitions)| {
                ListPartitionReassignmentsTopics::default()
                    .with_name(topic(name))
                    .with_partition_indexes(partitions.to_vec())
            })
            .collect()
    });
    RequestKind::ListPartitionReassignments(
        m::ListPartitionReassignmentsRequest::default().with_topics(topics).with_timeout_ms(10_000),
    )
}

pub(super) fn cases() -> Vec<Case> {
    use ApiKey::{AlterPartitionReassignments, ElectLeaders, ListPartitionReassignments, UnregisterBroker};
    vec![
        Case::new("elect the preferred leaders of all", ElectLeaders, 0, 2, |_, v| elect(None, v, 0)),
        Case::new("elect leaders that lead", ElectLeaders, 0, 2, |_, v| {
            elect(Some(&[("two", &[0, 1]), ("data", &[0])]), v, 0)
        }),
        Case::new("elect leaders uncleanly that lead", ElectLeaders, 1, 2, |_, v| {
            elect(Some(&[("two", &[0])]), v, 1)
        }),
        Case::new("elect leaders of what is not there", ElectLeaders, 0, 2, |_, v| {
            elect(Some(&[("nope", &[0]), ("two", &[7, -1])]), v, 0)
        }),
        Case::new("elect nobody", ElectLeaders, 0, 2, |_, v| elect(Some(&[]), v, 0)),
        Case::new("elect in a way that is none", ElectLeaders, 1, 2, |_, v| {
            elect(Some(&[("two", &[0])]), v, 9)
        }),
        Case::new("reassign to where it is", AlterPartitionReassignments, 0, 1, |_, v| {
            reassign(&[("two", 0, Some(&[1]))], v, true)
        }),
        Case::new("reassign to what cannot be", AlterPartitionReassignments, 0, 1, |_, v| {
            let targets: &[Target<'_>] = &[
                ("two", 0, Some(&[2])),
                ("two", 1, Some(&[1, 1])),
                ("data", 0, Some(&[])),
                ("group", 0, Some(&[-1])),
                ("nope", 0, Some(&[1])),
                ("records", 9, Some(&[1])),
            ];
            reassign(targets, v, true)
        }),
        Case::new("reassign to more where that is not allowed", AlterPartitionReassignments, 1, 1, |_, v| {
            reassign(&[("two", 0, Some(&[1, 2])), ("two", 1, Some(&[]))], v, false)
        }),
        Case::new("take back a move that is none", AlterPartitionReassignments, 0, 1, |_, v| {
            reassign(&[("two", 0, None), ("nope", 0, None), ("two", 9, None)], v, true)
        }),
        Case::new("reassign nothing", AlterPartitionReassignments, 0, 1, |_, v| reassign(&[], v, true)),
        Case::new("list all reassignments", ListPartitionReassignments, 0, 0, |_, _| list(None)),
        Case::new("list reassignments", ListPartitionReassignments, 0, 0, |_, _| {
            list(Some(&[("two", &[0, 9]), ("nope", &[0])]))
        }),
        Case::new("unregister a broker that is none", UnregisterBroker, 0, 0, |_, _| {
            RequestKind::UnregisterBroker(m::UnregisterBrokerRequest::default().with_broker_id(BrokerId(9)))
        }),
        Case::new("unregister a broker that cannot be", UnregisterBroker, 0, 0, |_, _| {
            RequestKind::UnregisterBroker(m::UnregisterBrokerRequest::default().with_broker_id(BrokerId(-5)))
        }),
    ]
}
