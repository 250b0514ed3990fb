//! DeleteRecords (21), versions 0 to 2 (KIP-107): moves a partition's log start up; -1 means up to the high watermark.
//!
//! - 2: flexible.
//! - The new log start is written down before the answer: it does not come back with a restart.
//! - It is answered when the whole ISR has followed: whoever leads next does not show the records again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse, TopicName};
use moldau_model::{ErrorCode, Offset, PartitionIndex, Uuid};

use super::topic_view::is_internal;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::log_dirs::LogDir;
use crate::purgatory::DelayedOperation;
use crate::replica_manager::Partition;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(21, "DeleteRecords", 0, 2, handle);

/// In place of an offset: all that may be deleted.
const UP_TO_HIGH_WATERMARK: i64 = -1;

/// What became of one partition.
type Deleted = (i32, Result<Arc<Partition>, ErrorCode>);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DeleteRecordsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let broker = Arc::clone(broker);
    Reply::Deferred(Box::pin(async move {
        let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
        let partition_count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
        let operation = Arc::new(DelayedOperation::new(partition_count));
        let deleted = {
            let (context, operation) = (context.clone(), Arc::clone(&operation));
            tokio::task::spawn_blocking(move || delete_all(&broker, &context, &request, &operation))
        };
        let topics = match deleted.await {
            Ok(topics) => topics,
            Err(error) => {
                tracing::error!(%error, "deleting records failed");
                return Reply::Ready(ResponseFrame::unanswerable());
            }
        };
        if operation.seal() {
            return context.ready(&response(topics, &operation));
        }
        Reply::Pending(Box::pin(async move {
            operation.wait(timeout).await;
            context.response(&response(topics, &operation))
        }))
    }))
}

/// Deletes here, and writes the new log starts down.
fn delete_all(
    broker: &Broker,
    context: &RequestContext,
    request: &DeleteRecordsRequest,
    operation: &Arc<DelayedOperation>,
) -> Vec<(TopicName, Vec<Deleted>)> {
    let mut touched: BTreeMap<Uuid, Arc<LogDir>> = BTreeMap::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut slot = 0;
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let index = PartitionIndex(partition.partition_index);
            let deleted = delete(broker, context, &topic.name, index, partition.offset, (operation, slot));
            if let Ok(replica) = &deleted {
                let dir = replica.dir();
                touched.entry(dir.id).or_insert(dir);
            }
            partitions.push((partition.partition_index, deleted));
            slot += 1;
        }
        topics.push((topic.name.clone(), partitions));
    }
    let mut failed = BTreeSet::new();
    for (id, dir) in touched {
        if let Err(error) = broker.replica_manager.write_checkpoints(&dir) {
            tracing::error!(path = %dir.log.path().display(), %error, "cannot write down a log start");
            failed.insert(id);
        }
    }
    for (_, result) in topics.iter_mut().flat_map(|(_, partitions)| partitions) {
        if result.as_ref().is_ok_and(|replica| failed.contains(&replica.dir().id)) {
            *result = Err(ErrorCode::KafkaStorageError);
        }
    }
    topics
}

fn response(topics: Vec<(TopicName, Vec<Deleted>)>, operation: &DelayedOperation) -> DeleteRecordsResponse {
    let mut slot = 0;
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, deleted)| {
            let result = deleted.and_then(|replica| match operation.outcome(slot) {
                ErrorCode::None => replica.low_watermark().ok_or(ErrorCode::NotLeaderOrFollower),
                code => Err(code),
            });
            slot += 1;
            DeleteRecordsPartitionResult::default()
                .with_partition_index(index)
                .with_low_watermark(result.unwrap_or(Offset::NONE).0)
                .with_error_code(result.err().unwrap_or(ErrorCode::None).code())
        });
        DeleteRecordsTopicResult::default().with_name(name).with_partitions(partitions.collect())
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn delete(
    broker: &Broker,
    context: &RequestContext,
    topic: &str,
    partition: PartitionIndex,
    offset: i64,
    slot: (&Arc<DelayedOperation>, usize),
) -> Result<Arc<Partition>, ErrorCode> {
    if !is_authorized(context, Operation::Delete, Resource::topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let replica = broker.replica_manager.by_name(&broker.control.image(), topic, partition)?;
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let offset = (offset != UP_TO_HIGH_WATERMARK).then_some(Offset(offset));
    replica.delete_records(offset, slot)?;
    Ok(replica)
}
