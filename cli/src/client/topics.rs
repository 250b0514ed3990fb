//! Topics: list, describe, create, add partitions, delete.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, ListPartitionReassignmentsRequest, MetadataRequest,
};
use moldau_model::{ErrorCode, Uuid};

use super::metadata::{string, topic_name};
use super::{Client, ClientError, metadata, request_deadline};

/// How long the controller may take for a change, told to it in the request.
const CHANGE_TIMEOUT_MS: i32 = 30_000;
/// How long the list of reassignments is waited for, which is there at once or nowhere.
const LISTING_TIMEOUT_MS: i32 = 5_000;
const LISTING_MAX: Duration = Duration::from_secs(6);
const NO_CONTROLLER: &str = "the cluster has no active controller; are most of its controllers up?";
/// Kafka's own topics, which `--exclude-internal` leaves out whatever the broker says.
const INTERNAL: &[&str] = &["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// A topic's name and id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicListing {
    pub(crate) name: String,
    pub(crate) topic_id: Uuid,
    pub(crate) internal: bool,
}

/// A topic with its partitions, by index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicDescription {
    pub(crate) name: String,
    pub(crate) topic_id: Uuid,
    pub(crate) partitions: Vec<PartitionDescription>,
}

/// One partition. `elr` and `last_known_elr` are `None` where the broker does not tell (before KIP-966).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionDescription {
    pub(crate) partition: i32,
    /// `None` while the partition has no leader.
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) isr: Vec<i32>,
    pub(crate) elr: Option<Vec<i32>>,
    pub(crate) last_known_elr: Option<Vec<i32>>,
    /// Replicas that a running reassignment adds and removes.
    pub(crate) adding: Vec<i32>,
    pub(crate) removing: Vec<i32>,
}

/// A topic to create. Without `assignments`, a missing number is the cluster's default.
#[derive(Clone, Debug, Default)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: Option<i32>,
    pub(crate) replication_factor: Option<i16>,
    /// Per partition its replicas, the preferred leader first.
    pub(crate) assignments: Option<Vec<Vec<i32>>>,
    pub(crate) configs: Vec<(String, String)>,
}

impl Client {
    /// Every topic, by name.
    pub(crate) fn list_topics(&mut self) -> Result<Vec<TopicListing>, ClientError> {
        let deadline = self.deadline();
        let response = self.metadata(None, deadline)?;
        let mut list: Vec<TopicListing> = response
            .topics
            .into_iter()
            .filter_map(|topic| {
                let name = topic.name?.0.to_string();
                let internal = topic.is_internal || INTERNAL.contains(&name.as_str());
                Some(TopicListing { name, topic_id: Uuid::from_bytes(*topic.topic_id.as_bytes()), internal })
            })
            .collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// Describes topics in the order asked. A missing topic is `UNKNOWN_TOPIC_OR_PARTITION`.
    pub(crate) fn describe_topics(
        &mut self,
        names: &[String],
        partitions_per_response: Option<i32>,
    ) -> Result<Vec<TopicDescription>, ClientError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut described = match self.describe_by_partitions(names, partitions_per_response) {
            Err(ClientError::Unsupported { .. }) => self.describe_by_metadata(names)?,
            other => other?,
        };
        for topic in described.values_mut() {
            topic.partitions.sort_by_key(|partition| partition.partition);
        }
        Ok(names.iter().filter_map(|name| described.remove(name)).collect())
    }

    /// By DescribeTopicPartitions, page after page; it alone tells the eligible leader replicas.
    fn describe_by_partitions(
        &mut self,
        names: &[String],
        partitions_per_response: Option<i32>,
    ) -> Result<BTreeMap<String, TopicDescription>, ClientError> {
        let mut sorted: Vec<&String> = names.iter().collect();
        sorted.sort();
        sorted.dedup();
        let mut described: BTreeMap<String, TopicDescription> = BTreeMap::new();
        let mut cursor: Option<Cursor> = None;
        loop {
            let from = cursor.as_ref().map(|c| c.topic_name.0.to_string()).unwrap_or_default();
            let topics = sorted.iter().filter(|name| ***name >= from);
            let request = DescribeTopicPartitionsRequest::default()
                .with_topics(topics.map(|name| TopicRequest::default().with_name(topic_name(name))).collect())
                .with_response_partition_limit(partitions_per_response.unwrap_or(2000))
                .with_cursor(cursor.take());
            let response = self.call(&request)?;
            for topic in response.topics {
                ClientError::check(topic.error_code, None)?;
                let Some(name) = topic.name.map(|name| name.0.to_string()) else { continue };
                let entry = described.entry(name.clone()).or_insert_with(|| TopicDescription {
                    name,
                    topic_id: Uuid::from_bytes(*topic.topic_id.as_bytes()),
                    partitions: Vec::new(),
                });
                entry.partitions.extend(topic.partitions.into_iter().map(|p| PartitionDescription {
                    partition: p.partition_index,
                    leader: Some(p.leader_id.0).filter(|id| *id >= 0),
                    leader_epoch: p.leader_epoch,
                    replicas: ids(&p.replica_nodes),
                    isr: ids(&p.isr_nodes),
                    // A broker without eligible leader replicas sends null: an empty list, for Java's client too.
                    elr: Some(p.eligible_leader_replicas.as_deref().map(ids).unwrap_or_default()),
                    last_known_elr: Some(p.last_known_elr.as_deref().map(ids).unwrap_or_default()),
                    ..PartitionDescription::default()
                }));
            }
            match response.next_cursor {
                Some(next) => {
                    cursor = Some(
                        Cursor::default()
                            .with_topic_name(next.topic_name)
                            .with_partition_index(next.partition_index),
                    );
                }
                None => return Ok(described),
            }
        }
    }

    fn describe_by_metadata(
        &mut self,
        names: &[String],
    ) -> Result<BTreeMap<String, TopicDescription>, ClientError> {
        let deadline = self.deadline();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let response = self.metadata(Some(&names), deadline)?;
        let mut described = BTreeMap::new();
        for topic in response.topics {
            ClientError::check(topic.error_code, None)?;
            let Some(name) = topic.name.map(|name| name.0.to_string()) else { continue };
            let partitions = topic
                .partitions
                .iter()
                .map(|p| PartitionDescription {
                    partition: p.partition_index,
                    leader: Some(p.leader_id.0).filter(|id| *id >= 0),
                    leader_epoch: p.leader_epoch,
                    replicas: ids(&p.replica_nodes),
                    isr: ids(&p.isr_nodes),
                    ..PartitionDescription::default()
                })
                .collect();
            let topic_id = Uuid::from_bytes(*topic.topic_id.as_bytes());
            described.insert(name.clone(), TopicDescription { name, topic_id, partitions });
        }
        Ok(described)
    }

    /// Notes in the descriptions which replicas running reassignments add and remove. A broker that cannot tell has
    /// none, as for Java's tools; nor has a cluster without a controller, of which alone it is that nobody knows: then the
    /// reason is returned.
    pub(crate) fn note_reassignments(
        &mut self,
        topics: &mut [TopicDescription],
    ) -> Result<Option<ClientError>, ClientError> {
        if topics.is_empty() {
            return Ok(None);
        }
        let request = ListPartitionReassignmentsRequest::default()
            .with_timeout_ms(LISTING_TIMEOUT_MS)
            .with_topics(None);
        let deadline = self.deadline().min(Instant::now() + LISTING_MAX);
        let listed = self.retry(deadline, |client| {
            let response = client.any(deadline)?.call(&request, deadline);
            let response = response.inspect_err(|error| client.forget_bootstrap(error))?;
            ClientError::check(response.error_code, response.error_message.as_deref()).map(|()| response)
        });
        let response = match listed {
            Ok(response) => response,
            Err(ClientError::Unsupported { .. }) => return Ok(None),
            Err(error) if error.code() == Some(ErrorCode::ClusterAuthorizationFailed) => return Ok(None),
            Err(error) if error.is_retriable() => return Ok(Some(error)),
            Err(error) => return Err(error),
        };
        for moving in &response.topics {
            let Some(topic) = topics.iter_mut().find(|t| t.name == *moving.name.0) else { continue };
            for p in &moving.partitions {
                if let Some(known) = topic.partitions.iter_mut().find(|k| k.partition == p.partition_index) {
                    known.adding = ids(&p.adding_replicas);
                    known.removing = ids(&p.removing_replicas);
                }
            }
        }
        Ok(None)
    }

    /// Creates a topic; `validate_only` asks whether it could.
    pub(crate) fn create_topic(&mut self, topic: &NewTopic, validate_only: bool) -> Result<(), ClientError> {
        let assignments = topic.assignments.iter().flatten().enumerate();
        let creatable = CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(if topic.assignments.is_some() {
                -1
            } else {
                topic.partitions.unwrap_or(-1)
            })
            .with_replication_factor(topic.replication_factor.unwrap_or(-1))
            .with_assignments(
                assignments
                    .map(|(partition, replicas)| {
                        CreatableReplicaAssignment::default()
                            .with_partition_index(i32::try_from(partition).unwrap_or(i32::MAX))
                            .with_broker_ids(replicas.iter().map(|id| BrokerId(*id)).collect())
                    })
                    .collect(),
            )
            .with_configs(
                topic
                    .configs
                    .iter()
                    .map(|(key, value)| {
                        CreatableTopicConfig::default().with_name(string(key)).with_value(Some(string(value)))
                    })
                    .collect(),
            );
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable])
            .with_timeout_ms(CHANGE_TIMEOUT_MS)
            .with_validate_only(validate_only);
        self.change(&request, |response| {
            response.topics.iter().map(|t| (t.error_code, t.error_message.as_deref())).collect()
        })
    }

    /// Grows a topic to `count` partitions; `new` holds the new partitions' replicas, where the caller chooses.
    pub(crate) fn create_partitions(
        &mut self,
        topics: &[(String, Option<Vec<Vec<i32>>>)],
        count: i32,
    ) -> Result<(), ClientError> {
        self.grow_topics(topics, count, false)
    }

    /// As `create_partitions`; `validate_only` asks whether it could be.
    pub(crate) fn grow_topics(
        &mut self,
        topics: &[(String, Option<Vec<Vec<i32>>>)],
        count: i32,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let topics = topics
            .iter()
            .map(|(name, new)| {
                let assignments = new.as_ref().map(|new| {
                    new.iter()
                        .map(|replicas| {
                            CreatePartitionsAssignment::default()
                                .with_broker_ids(replicas.iter().map(|id| BrokerId(*id)).collect())
                        })
                        .collect()
                });
                CreatePartitionsTopic::default()
                    .with_name(topic_name(name))
                    .with_count(count)
                    .with_assignments(assignments)
            })
            .collect();
        let request = CreatePartitionsRequest::default()
            .with_topics(topics)
            .with_timeout_ms(CHANGE_TIMEOUT_MS)
            .with_validate_only(validate_only);
        self.change(&request, |response| {
            response.results.iter().map(|t| (t.error_code, t.error_message.as_deref())).collect()
        })
    }

    /// Deletes topics by name.
    pub(crate) fn delete_topics(&mut self, names: &[String]) -> Result<(), ClientError> {
        let deadline = self.deadline();
        let version = self.any(deadline)?.version_of::<DeleteTopicsRequest>()?;
        let request = DeleteTopicsRequest::default().with_timeout_ms(CHANGE_TIMEOUT_MS);
        let request = if version >= 6 {
            let by_name = |name: &String| DeleteTopicState::default().with_name(Some(topic_name(name)));
            request.with_topics(names.iter().map(by_name).collect())
        } else {
            request.with_topic_names(names.iter().map(|name| topic_name(name)).collect())
        };
        self.change(&request, |response| {
            response.responses.iter().map(|t| (t.error_code, t.error_message.as_deref())).collect()
        })
    }

    /// Sends a change and fails with the first of its errors; tries again where the cluster was not ready.
    fn change<R: kafka_protocol::protocol::Request>(
        &mut self,
        request: &R,
        errors: impl Fn(&R::Response) -> Vec<(i16, Option<&str>)>,
    ) -> Result<(), ClientError> {
        let deadline = self.deadline();
        let mut has_controller = true;
        self.retry(deadline, |client| {
            let response = client.any(deadline)?.call(request, request_deadline(deadline));
            let response = response.inspect_err(|error| client.forget_bootstrap(error))?;
            let mut errors = errors(&response).into_iter();
            let checked = errors.try_for_each(|(code, message)| ClientError::check(code, message));
            has_controller =
                !matches!(&checked, Err(error) if error.code() == Some(ErrorCode::NotController));
            checked
        })
        .map_err(|error| match error {
            // No answer at all may be the next one to those.
            ClientError::Connection { .. } | ClientError::Broker { .. } if !has_controller => {
                ClientError::Timeout(NO_CONTROLLER.into())
            }
            // The broker is there, and waits for somebody itself.
            ClientError::Connection { address, source } if source.kind() == std::io::ErrorKind::TimedOut => {
                ClientError::Timeout(format!(
                    "{source} from {address}; has the cluster an active controller?"
                ))
            }
            // Java's client words these itself.
            ClientError::Connection { .. } => {
                ClientError::Timeout("Timed out waiting for a node assignment.".into())
            }
            other => other,
        })
    }

    /// A topic's name by its id, or `None`.
    pub(crate) fn topic_name_of(&mut self, topic_id: Uuid) -> Result<Option<String>, ClientError> {
        let deadline = self.deadline();
        // By its text, for the type of the library's ids is not ours to name.
        let hex: String = topic_id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let topic =
            MetadataRequestTopic::default().with_topic_id(hex.parse().unwrap_or_default()).with_name(None);
        let request: MetadataRequest = metadata::request(None, false).with_topics(Some(vec![topic]));
        let response = self.metadata_request(request, deadline)?;
        Ok(response
            .topics
            .into_iter()
            .find(|t| t.error_code == 0)
            .and_then(|t| t.name)
            .map(|n| n.0.to_string()))
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|id| id.0).collect()
}
