//! Replicas from one broker to another, and a broker out of the cluster.

use std::collections::BTreeMap;

use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ListPartitionReassignmentsRequest, UnregisterBrokerRequest,
};

use super::metadata::topic_name;
use super::offsets::Partition;
use super::{Client, ClientError};

/// How long the controller may take for a change, told to it in the request.
const CHANGE_TIMEOUT_MS: i32 = 30_000;

impl Client {
    /// Has partitions move to these replicas. Returns at once; the brokers copy meanwhile.
    pub(crate) fn move_replicas(&mut self, goals: &[(Partition, Vec<i32>)]) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&str, Vec<ReassignablePartition>> = BTreeMap::new();
        for ((topic, partition), replicas) in goals {
            topics.entry(topic).or_default().push(
                ReassignablePartition::default()
                    .with_partition_index(*partition)
                    .with_replicas(Some(replicas.iter().map(|id| BrokerId(*id)).collect())),
            );
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            ReassignableTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
        });
        let request = AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(CHANGE_TIMEOUT_MS)
            .with_topics(topics.collect());
        let response = self.call(&request)?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        partitions.try_for_each(|p| ClientError::check(p.error_code, p.error_message.as_deref()))
    }

    /// The partitions that are moving.
    pub(crate) fn moving_partitions(&mut self) -> Result<Vec<Partition>, ClientError> {
        let request =
            ListPartitionReassignmentsRequest::default().with_timeout_ms(CHANGE_TIMEOUT_MS).with_topics(None);
        let response = self.call(&request)?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        let of_topic = |topic: &kafka_protocol::messages::list_partition_reassignments_response::OngoingTopicReassignment| {
            let name = topic.name.0.to_string();
            topic.partitions.iter().map(move |p| (name.clone(), p.partition_index)).collect::<Vec<_>>()
        };
        Ok(response.topics.iter().flat_map(of_topic).collect())
    }

    /// Has the cluster forget a broker that has stopped for good.
    pub(crate) fn unregister_broker(&mut self, broker: i32) -> Result<(), ClientError> {
        let response = self.call(&UnregisterBrokerRequest::default().with_broker_id(BrokerId(broker)))?;
        ClientError::check(response.error_code, response.error_message.as_deref())
    }
}
