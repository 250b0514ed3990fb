//! Transactions: who has one, how far it is, and how to end it by force.

use std::collections::BTreeMap;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    DescribeProducersRequest, DescribeTransactionsRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ListTransactionsRequest, ProducerId, TransactionalId, WriteTxnMarkersRequest,
};

use super::metadata::{string, topic_name};
use super::{Client, ClientError};

/// Kafka's number of a transaction's coordinator, where it is looked for.
const KEY_OF_TRANSACTIONS: i8 = 1;
/// How long a transaction may take that is begun only to end the one before.
const FENCING_TIMEOUT_MS: i32 = 60_000;

/// A transactional id in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactionListing {
    pub(crate) transactional_id: String,
    pub(crate) coordinator: i32,
    pub(crate) producer_id: i64,
    pub(crate) state: String,
}

/// A transactional id's transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TransactionDescription {
    pub(crate) coordinator: i32,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) state: String,
    pub(crate) timeout_ms: i32,
    /// `None` while there is no transaction.
    pub(crate) start_ms: Option<i64>,
    pub(crate) partitions: Vec<(String, i32)>,
}

/// What a partition knows of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerState {
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i32,
    /// Below zero where no coordinator has ended one of its transactions.
    pub(crate) coordinator_epoch: i32,
    pub(crate) last_sequence: i32,
    pub(crate) last_timestamp_ms: i64,
    /// `None` while it has no transaction here.
    pub(crate) transaction_start: Option<i64>,
}

impl Client {
    /// The transactional ids of all coordinators: of all producers, or of these; running for longer than `duration_ms`.
    pub(crate) fn list_transactions(
        &mut self,
        producers: &[i64],
        duration_ms: Option<i64>,
        pattern: Option<&str>,
    ) -> Result<Vec<TransactionListing>, ClientError> {
        let deadline = self.deadline();
        self.metadata(Some(&[]), deadline)?;
        let mut request = ListTransactionsRequest::default()
            .with_producer_id_filters(producers.iter().copied().map(ProducerId).collect());
        if let Some(duration_ms) = duration_ms {
            request = request.with_duration_filter(duration_ms);
        }
        if let Some(pattern) = pattern {
            request = request.with_transactional_id_pattern(Some(string(pattern)));
        }
        let brokers: Vec<i32> = self.brokers().keys().copied().collect();
        let mut listed = Vec::new();
        for broker in brokers {
            let response = self.retry(deadline, |client| {
                let response = client.call_broker(broker, &request, deadline)?;
                ClientError::check(response.error_code, None)?;
                Ok(response)
            })?;
            listed.extend(response.transaction_states.into_iter().map(|state| TransactionListing {
                transactional_id: state.transactional_id.0.to_string(),
                coordinator: broker,
                producer_id: state.producer_id.0,
                state: state.transaction_state.to_string(),
            }));
        }
        Ok(listed)
    }

    /// The broker that coordinates this id's transactions.
    fn transaction_coordinator(&mut self, transactional_id: &str) -> Result<i32, ClientError> {
        let request = FindCoordinatorRequest::default()
            .with_key_type(KEY_OF_TRANSACTIONS)
            .with_coordinator_keys(vec![string(transactional_id)]);
        let deadline = self.deadline();
        self.retry(deadline, |client| {
            let response = client.any(deadline)?.call(&request, super::request_deadline(deadline))?;
            let found = response.coordinators.into_iter().next();
            let found =
                found.ok_or_else(|| ClientError::broker(-1, Some("the answer names no coordinator")))?;
            ClientError::check(found.error_code, found.error_message.as_deref())?;
            Ok(found.node_id.0)
        })
    }

    /// What the coordinator knows of an id.
    pub(crate) fn describe_transaction(
        &mut self,
        transactional_id: &str,
    ) -> Result<TransactionDescription, ClientError> {
        let deadline = self.deadline();
        let request = DescribeTransactionsRequest::default()
            .with_transactional_ids(vec![TransactionalId(string(transactional_id))]);
        self.retry(deadline, |client| {
            let coordinator = client.transaction_coordinator(transactional_id)?;
            let response = client.call_broker(coordinator, &request, deadline)?;
            let state = response.transaction_states.into_iter().next();
            let state =
                state.ok_or_else(|| ClientError::broker(-1, Some("the answer names no transaction")))?;
            ClientError::check(state.error_code, None)?;
            let partitions = state.topics.into_iter().flat_map(|topic| {
                let name = topic.topic.0.to_string();
                topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
            });
            Ok(TransactionDescription {
                coordinator,
                producer_id: state.producer_id.0,
                producer_epoch: state.producer_epoch,
                state: state.transaction_state.to_string(),
                timeout_ms: state.transaction_timeout_ms,
                start_ms: Some(state.transaction_start_time_ms).filter(|start| *start >= 0),
                partitions: partitions.collect(),
            })
        })
    }

    /// The producers that partitions of one broker know, by partition.
    pub(crate) fn describe_producers(
        &mut self,
        broker: i32,
        partitions: &[(String, i32)],
    ) -> Result<BTreeMap<(String, i32), Vec<ProducerState>>, ClientError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in partitions {
            topics.entry(topic).or_default().push(*partition);
        }
        let topic = |(name, partitions): (&str, Vec<i32>)| {
            TopicRequest::default().with_name(topic_name(name)).with_partition_indexes(partitions)
        };
        let request =
            DescribeProducersRequest::default().with_topics(topics.into_iter().map(topic).collect());
        let deadline = self.deadline();
        self.retry(deadline, |client| {
            let response = client.call_broker(broker, &request, deadline)?;
            let mut described = BTreeMap::new();
            for topic in response.topics {
                for partition in topic.partitions {
                    ClientError::check(partition.error_code, partition.error_message.as_deref())?;
                    let producers = partition.active_producers.iter().map(|producer| ProducerState {
                        producer_id: producer.producer_id.0,
                        producer_epoch: producer.producer_epoch,
                        coordinator_epoch: producer.coordinator_epoch,
                        last_sequence: producer.last_sequence,
                        last_timestamp_ms: producer.last_timestamp,
                        transaction_start: Some(producer.current_txn_start_offset)
                            .filter(|start| *start >= 0),
                    });
                    let place = (topic.name.0.to_string(), partition.partition_index);
                    described.insert(place, producers.collect());
                }
            }
            Ok(described)
        })
    }

    /// The broker that leads a partition.
    pub(crate) fn leader_of(&mut self, topic: &str, partition: i32) -> Result<i32, ClientError> {
        let described = self.describe_topics(&[topic.to_owned()], None)?;
        let found = described.iter().flat_map(|topic| &topic.partitions).find(|p| p.partition == partition);
        let unknown = || ClientError::broker(moldau_model::ErrorCode::UnknownTopicOrPartition.code(), None);
        let none = || ClientError::broker(moldau_model::ErrorCode::LeaderNotAvailable.code(), None);
        found.ok_or_else(unknown)?.leader.ok_or_else(none)
    }

    /// Ends a transaction in one partition, by a marker of nobody's.
    pub(crate) fn abort_in_partition(
        &mut self,
        topic: &str,
        partition: i32,
        producer_id: i64,
        producer_epoch: i16,
        coordinator_epoch: i32,
    ) -> Result<(), ClientError> {
        let marker_topic = WritableTxnMarkerTopic::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![partition]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(producer_id))
            .with_producer_epoch(producer_epoch)
            .with_coordinator_epoch(coordinator_epoch)
            .with_transaction_result(false)
            .with_topics(vec![marker_topic]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let deadline = self.deadline();
        self.retry(deadline, |client| {
            let leader = client.leader_of(topic, partition)?;
            let response = client.call_broker(leader, &request, deadline)?;
            let results = response.markers.iter().flat_map(|marker| &marker.topics);
            results
                .flat_map(|topic| &topic.partitions)
                .try_for_each(|partition| ClientError::check(partition.error_code, None))
        })
    }

    /// Ends the transaction of an id: the id begins anew, and what went before it is fenced.
    pub(crate) fn fence_producer(&mut self, transactional_id: &str) -> Result<(), ClientError> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(string(transactional_id))))
            .with_transaction_timeout_ms(FENCING_TIMEOUT_MS)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let deadline = self.deadline();
        self.retry(deadline, |client| {
            let coordinator = client.transaction_coordinator(transactional_id)?;
            let response = client.call_broker(coordinator, &request, deadline)?;
            ClientError::check(response.error_code, None)
        })
    }
}
