//! What replicas and log directories take on disk, as each broker tells.

use kafka_protocol::messages::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;

use super::metadata::topic_name;
use super::offsets::Partition;
use super::{Client, ClientError};

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaSize {
    pub(crate) broker: i32,
    pub(crate) partition: Partition,
    pub(crate) bytes: i64,
}

/// One log directory; bytes are -1 where the broker does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogDirectory {
    pub(crate) path: String,
    /// Kafka's code where it cannot be used.
    pub(crate) error: Option<&'static str>,
    pub(crate) total_bytes: i64,
    pub(crate) usable_bytes: i64,
    pub(crate) partitions: usize,
    pub(crate) log_bytes: i64,
}

impl Client {
    /// The sizes of all replicas of topics. A broker that does not answer is left out.
    pub(crate) fn replica_sizes(&mut self, topics: &[String]) -> Result<Vec<ReplicaSize>, ClientError> {
        let deadline = self.deadline();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let metadata = self.metadata(Some(&names), deadline)?;
        let asked = metadata.topics.iter().filter_map(|topic| {
            let name = topic.name.as_ref()?.0.to_string();
            let partitions = topic.partitions.iter().map(|partition| partition.partition_index).collect();
            Some(DescribableLogDirTopic::default().with_topic(topic_name(&name)).with_partitions(partitions))
        });
        let request = DescribeLogDirsRequest::default().with_topics(Some(asked.collect()));
        let brokers: Vec<i32> = self.brokers().keys().copied().collect();
        let mut sizes = Vec::new();
        for broker in brokers {
            let Ok(response) = self.call_broker(broker, &request, deadline) else { continue };
            for topic in response.results.into_iter().flat_map(|directory| directory.topics) {
                let name = topic.name.0.to_string();
                let current = topic.partitions.into_iter().filter(|partition| !partition.is_future_key);
                sizes.extend(current.map(|partition| ReplicaSize {
                    broker,
                    partition: (name.clone(), partition.partition_index),
                    bytes: partition.partition_size,
                }));
            }
        }
        Ok(sizes)
    }

    /// A broker's log directories.
    pub(crate) fn log_directories(&mut self, broker: i32) -> Result<Vec<LogDirectory>, ClientError> {
        let deadline = self.deadline();
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let response = self.retry(deadline, |client| client.call_broker(broker, &request, deadline))?;
        ClientError::check(response.error_code, None)?;
        let directories = response.results.into_iter().map(|directory| {
            let partitions = directory.topics.iter().flat_map(|topic| &topic.partitions);
            let code = moldau_model::ErrorCode::from_code(directory.error_code);
            LogDirectory {
                path: directory.log_dir.to_string(),
                error: (!code.is_none()).then_some(code.name()),
                total_bytes: directory.total_bytes,
                usable_bytes: directory.usable_bytes,
                partitions: partitions.clone().count(),
                log_bytes: partitions.map(|partition| partition.partition_size).sum(),
            }
        });
        Ok(directories.collect())
    }
}
