//! DeleteRecords (21), versions 0 to 2 (KIP-107): moves a partition's log start up; -1 means up to the high watermark.
//!
//! - 2: flexible.
//! - The new log start is written down before the answer: it does not come back with a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use moldau_model::{ErrorCode, Offset, PartitionIndex, Uuid};

use super::topic_view::is_internal;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::log_dirs::LogDir;
use crate::response::ResponseFrame;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(21, "DeleteRecords", 0, 2, handle);

/// In place of an offset: all that may be deleted.
const UP_TO_HIGH_WATERMARK: i64 = -1;

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DeleteRecordsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let broker = Arc::clone(broker);
    Reply::Deferred(Box::pin(async move {
        let deleted = tokio::task::spawn_blocking(move || {
            let response = delete_all(&broker, &context, &request);
            context.response(&response)
        });
        Reply::Ready(deleted.await.unwrap_or_else(|error| {
            tracing::error!(%error, "deleting records failed");
            ResponseFrame::unanswerable()
        }))
    }))
}

fn delete_all(
    broker: &Broker,
    context: &RequestContext,
    request: &DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut touched: BTreeMap<Uuid, Arc<LogDir>> = BTreeMap::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = PartitionIndex(partition.partition_index);
            let result = delete(broker, context, &topic.name, index, partition.offset, &mut touched);
            (partition.partition_index, result)
        });
        topics.push((topic.name.clone(), partitions.collect::<Vec<_>>()));
    }
    let mut is_written = true;
    for dir in touched.values() {
        if let Err(error) = broker.replica_manager.write_checkpoints(dir) {
            tracing::error!(path = %dir.log.path().display(), %error, "cannot write down a log start");
            is_written = false;
        }
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, result)| {
            let result =
                result.and_then(|low| if is_written { Ok(low) } else { Err(ErrorCode::KafkaStorageError) });
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
    touched: &mut BTreeMap<Uuid, Arc<LogDir>>,
) -> Result<Offset, ErrorCode> {
    if !is_authorized(context, Operation::Delete, Resource::Topic(topic)) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    let replica = broker.replica_manager.by_name(&broker.control.image(), topic, partition)?;
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let offset = (offset != UP_TO_HIGH_WATERMARK).then_some(Offset(offset));
    let low_watermark = replica.delete_records(offset)?;
    touched.entry(replica.dir.id).or_insert_with(|| Arc::clone(&replica.dir));
    Ok(low_watermark)
}
