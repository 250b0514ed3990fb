//! DescribeLogDirs (35), versions 1 to 5 (KIP-113): what lies in which log directory, and how much room there is.
//!
//! - 2: flexible. 3: an error for the whole answer. 4: the volume's size and room (KIP-827). 5: whether it is
//!   cordoned (KIP-1066).

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use moldau_kafka::{DESCRIBE_LOG_DIRS_LIBRARY_VERSION, encode_describe_log_dirs_response};
use moldau_model::ErrorCode;

use super::message::{text, topic_name};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::log_dirs::LogDir;
use crate::replica_manager::Partition;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(35, "DescribeLogDirs", 1, 5, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let version = request.context.api_version.min(DESCRIBE_LOG_DIRS_LIBRARY_VERSION);
    let (context, request) = match request.decode_as::<DescribeLogDirsRequest>(version) {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    if !is_authorized(&context, Operation::Describe, Resource::CLUSTER) {
        let refused =
            if context.api_version >= 3 { ErrorCode::ClusterAuthorizationFailed } else { ErrorCode::None };
        let response = DescribeLogDirsResponse::default().with_error_code(refused.code());
        return Reply::Ready(answer(&context, &response, &[]));
    }
    // Asking a volume for its room may wait for the volume.
    let broker = Arc::clone(broker);
    Reply::Pending(Box::pin(async move {
        let described = tokio::task::spawn_blocking(move || {
            let response = describe_all(&broker, &context, &request);
            let dirs = broker.replica_manager.dirs();
            let opened = dirs.iter().map(|dir| dir.is_online() && dir.is_cordoned());
            let cordoned: Vec<bool> = opened.chain(dirs.unopened().iter().map(|_| false)).collect();
            answer(&context, &response, &cordoned)
        });
        described.await.unwrap_or_else(|error| {
            tracing::error!(%error, "describing log directories failed");
            ResponseFrame::unanswerable()
        })
    }))
}

fn answer(context: &RequestContext, response: &DescribeLogDirsResponse, cordoned: &[bool]) -> ResponseFrame {
    let (version, correlation_id) = (context.api_version, context.correlation_id);
    match encode_describe_log_dirs_response(version, correlation_id, response, cordoned) {
        Ok(frame) => ResponseFrame::new(frame),
        Err(error) => {
            tracing::error!(%error, "cannot encode the description of log directories");
            ResponseFrame::unanswerable()
        }
    }
}

fn describe_all(
    broker: &Broker,
    context: &RequestContext,
    request: &DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let wanted: Option<HashSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let of_topic = topics.iter().map(|topic| (topic.topic.as_str(), &topic.partitions));
        of_topic.flat_map(|(name, partitions)| partitions.iter().map(move |index| (name, *index))).collect()
    });
    let mut partitions = broker.replica_manager.partitions();
    partitions.retain(|partition| {
        let id = partition.topic_partition();
        wanted.as_ref().is_none_or(|wanted| wanted.contains(&(&*id.topic, id.partition.0)))
    });
    partitions.sort_by(|a, b| a.topic_partition().cmp(b.topic_partition()));
    let dirs = broker.replica_manager.dirs();
    let opened = dirs.iter().map(|dir| describe(dir, context.api_version, &partitions));
    let unopened = dirs.unopened().iter().map(|path| offline(path, context.api_version));
    DescribeLogDirsResponse::default().with_results(opened.chain(unopened).collect())
}

fn offline(path: &Path, version: i16) -> DescribeLogDirsResult {
    let mut result = DescribeLogDirsResult::default()
        .with_log_dir(text(path.display().to_string()))
        .with_error_code(ErrorCode::KafkaStorageError.code());
    if version >= 4 {
        (result.total_bytes, result.usable_bytes) = (-1, -1);
    }
    result
}

fn describe(dir: &LogDir, version: i16, partitions: &[Arc<Partition>]) -> DescribeLogDirsResult {
    let space = if dir.is_online() { dir.log.space().ok() } else { None };
    let Some(space) = space else { return offline(dir.log.path(), version) };
    let mut result =
        DescribeLogDirsResult::default().with_log_dir(text(dir.log.path().display().to_string()));
    if version >= 4 {
        result.total_bytes = i64::try_from(space.total_bytes).unwrap_or(i64::MAX);
        result.usable_bytes = i64::try_from(space.usable_bytes).unwrap_or(i64::MAX);
    }
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for partition in partitions {
        let copy = partition.future().filter(|copy| copy.directory == dir.id);
        let (size, offset_lag) = match copy {
            Some(copy) => (copy.size_bytes, copy.offset_lag),
            None if partition.dir().id != dir.id => continue,
            None => match partition.size_bytes() {
                Some(size) => (size, 0),
                None => continue,
            },
        };
        let id = partition.topic_partition();
        topics.entry(&id.topic).or_default().push(
            DescribeLogDirsPartition::default()
                .with_partition_index(id.partition.0)
                .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX))
                .with_offset_lag(offset_lag)
                .with_is_future_key(copy.is_some()),
        );
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        DescribeLogDirsTopic::default().with_name(topic_name(name)).with_partitions(partitions)
    });
    result.with_topics(topics.collect())
}
