//! What lies in which log directory.

use std::time::Instant;

use kafka_protocol::messages::DescribeLogDirsRequest;
use moldau_model::ErrorCode;

use super::{Client, ClientError};

/// One of a broker's log directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogDirDescription {
    pub(crate) path: String,
    /// Why it cannot be described.
    pub(crate) error: Option<ErrorCode>,
    /// Of the file system that it is on: how large that is, and how much is free. Nobody is told before version 4.
    pub(crate) total_bytes: Option<u64>,
    pub(crate) usable_bytes: Option<u64>,
    pub(crate) replicas: Vec<((String, i32), ReplicaInDir)>,
}

/// A replica, or its copy on the way here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplicaInDir {
    pub(crate) size_bytes: i64,
    pub(crate) offset_lag: i64,
    pub(crate) is_future: bool,
}

impl Client {
    /// The ids of all brokers, ascending.
    pub(crate) fn broker_ids(&mut self) -> Result<Vec<i32>, ClientError> {
        let deadline = self.deadline();
        self.metadata(Some(&[]), deadline)?;
        Ok(self.brokers().keys().copied().collect())
    }

    /// All log directories of a broker with what is in them.
    pub(crate) fn describe_log_dirs(&mut self, broker: i32) -> Result<Vec<LogDirDescription>, ClientError> {
        let deadline = self.deadline();
        self.describe_log_dirs_until(broker, deadline)
    }

    pub(crate) fn describe_log_dirs_until(
        &mut self,
        broker: i32,
        deadline: Instant,
    ) -> Result<Vec<LogDirDescription>, ClientError> {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let response = self.retry(deadline, |client| {
            let response = client.call_broker(broker, &request, deadline)?;
            ClientError::check(response.error_code, None)?;
            Ok(response)
        })?;
        let described = response.results.into_iter().map(|dir| {
            let replicas = dir.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|partition| {
                    let info = ReplicaInDir {
                        size_bytes: partition.partition_size,
                        offset_lag: partition.offset_lag,
                        is_future: partition.is_future_key,
                    };
                    ((topic.name.0.to_string(), partition.partition_index), info)
                })
            });
            LogDirDescription {
                path: dir.log_dir.to_string(),
                error: (dir.error_code != 0).then(|| ErrorCode::from_code(dir.error_code)),
                total_bytes: u64::try_from(dir.total_bytes).ok(),
                usable_bytes: u64::try_from(dir.usable_bytes).ok(),
                replicas: replicas.collect(),
            }
        });
        Ok(described.collect())
    }
}
