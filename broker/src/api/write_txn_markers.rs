//! WriteTxnMarkers (27), versions 1 and 2: the transaction coordinator ends a transaction in the partitions led here.
//!
//! - 2: the transaction's version, by which a marker that comes late is told from the next transaction's (KIP-1228).
//!
//! - Markers of `__consumer_offsets` go through the group coordinator of their partition, whose offsets they decide over.
//! - The answer comes when the markers are on the whole ISR. What could not be written is told one by one; the
//!   coordinator asks again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{self, WriteTxnMarkersResponse};
use moldau_group::{EndTransactionRequest, GroupShard, Request as GroupRequest, Response as GroupResponse};
use moldau_kafka::{TxnMarker, TxnMarkersRequest};
use moldau_log::{AppendOrigin, AppendTerms};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, PartitionIndex, ProducerId};

use super::group_request::mismatched;
use super::message::topic_name;
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized, is_visible};
use crate::broker::Broker;
use crate::coordinator::{Answer, OFFSETS_TOPIC};
use crate::purgatory::DelayedOperation;
use crate::transaction_markers::marker_batch;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(27, "WriteTxnMarkers", 1, 2, handle);

/// `request.timeout.ms`' default. Who coordinates asks again, for as long as it takes.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// One marker for one partition.
struct Written {
    producer_id: ProducerId,
    topic: String,
    partition: PartitionIndex,
    outcome: Outcome,
}

enum Outcome {
    Known(ErrorCode),
    /// As the slot of the operation says.
    Slot(usize),
    /// As the group coordinator will say, which is behind its partition's log.
    Coordinator(Answer<GroupShard>),
}

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) =
        match request.decode_with(|version, body| TxnMarkersRequest::decode(version, body)) {
            Ok(decoded) => decoded,
            Err(reply) => return reply,
        };
    let is_allowed = is_visible(&context, Operation::Alter, Resource::CLUSTER)
        || is_authorized(&context, Operation::ClusterAction, Resource::CLUSTER);
    let count = request.markers.iter().flat_map(|marker| &marker.topics).map(|topic| topic.partitions.len());
    let operation = Arc::new(DelayedOperation::new(count.sum()));
    let image = broker.control.image();
    let mut written = Vec::new();
    for marker in &request.markers {
        for topic in &marker.topics {
            for &partition in &topic.partitions {
                let slot = written.len();
                let outcome = if is_allowed {
                    write(broker, &image, marker, &topic.name, partition, (&operation, slot))
                } else {
                    Outcome::Known(ErrorCode::ClusterAuthorizationFailed)
                };
                let (producer_id, topic) = (marker.producer_id, topic.name.clone());
                written.push(Written { producer_id, topic, partition, outcome });
            }
        }
    }
    let asks_coordinator = written.iter().any(|one| matches!(one.outcome, Outcome::Coordinator(_)));
    if operation.seal() && !asks_coordinator {
        return context.ready(&response(&request, written, &operation));
    }
    Reply::Pending(Box::pin(async move {
        operation.wait(ANSWER_LIMIT).await;
        for one in &mut written {
            if let Outcome::Coordinator(answer) = &mut one.outcome {
                one.outcome = Outcome::Known(coordinators_word(answer).await);
            }
        }
        context.response(&response(&request, written, &operation))
    }))
}

/// The shard answers in time, by `offsets.commit.timeout.ms`. To whom it is not the coordinator it does not lead.
async fn coordinators_word(answer: &mut Answer<GroupShard>) -> ErrorCode {
    match answer.await {
        Ok(GroupResponse::EndTransaction(
            ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::NotCoordinator,
        ))
        | Err(_) => ErrorCode::NotLeaderOrFollower,
        Ok(GroupResponse::EndTransaction(code)) => code,
        Ok(other) => mismatched(&other),
    }
}

fn write(
    broker: &Broker,
    image: &MetadataImage,
    marker: &TxnMarker,
    topic: &str,
    partition: PartitionIndex,
    (operation, slot): (&Arc<DelayedOperation>, usize),
) -> Outcome {
    let replica = match broker.replica_manager.by_name(image, topic, partition) {
        Ok(replica) => replica,
        // As Kafka: a partition that is not here is not known.
        Err(ErrorCode::NotLeaderOrFollower) => return Outcome::Known(ErrorCode::UnknownTopicOrPartition),
        Err(code) => return Outcome::Known(code),
    };
    let end = EndTransactionRequest {
        producer_id: marker.producer_id,
        producer_epoch: marker.producer_epoch,
        coordinator_epoch: marker.coordinator_epoch,
        is_commit: marker.is_commit,
        transaction_version: marker.transaction_version,
    };
    if topic == OFFSETS_TOPIC {
        return match broker.control.coordinator.submit_to(partition, GroupRequest::EndTransaction(end)) {
            Ok(answer) => Outcome::Coordinator(answer),
            Err(_) => Outcome::Known(ErrorCode::NotLeaderOrFollower),
        };
    }
    let mut batch = match marker_batch(&end) {
        Ok(batch) => batch,
        Err(error) => {
            tracing::error!(%error, "a marker does not fit a batch");
            return Outcome::Known(ErrorCode::UnknownServerError);
        }
    };
    let terms =
        AppendTerms { transaction_version: marker.transaction_version, ..AppendOrigin::Coordinator.into() };
    match replica.append(&mut batch, terms, Some((operation, slot))) {
        Ok(_) => Outcome::Slot(slot),
        Err(refused) => Outcome::Known(refused.code),
    }
}

/// One entry for each producer, in the order of the request.
fn response(
    request: &TxnMarkersRequest,
    written: Vec<Written>,
    operation: &DelayedOperation,
) -> WriteTxnMarkersResponse {
    let mut results: Vec<WritableTxnMarkerResult> = Vec::new();
    let mut places: HashMap<i64, usize> = HashMap::new();
    for marker in &request.markers {
        let id = marker.producer_id.0;
        places.entry(id).or_insert_with(|| {
            results.push(WritableTxnMarkerResult::default().with_producer_id(messages::ProducerId(id)));
            results.len() - 1
        });
    }
    let mut topics = HashMap::new();
    let mut partitions = HashMap::new();
    for Written { producer_id, topic, partition, outcome } in written {
        let Some(result) = places.get(&producer_id.0).and_then(|place| results.get_mut(*place)) else {
            continue;
        };
        let code = match outcome {
            Outcome::Known(code) => code,
            Outcome::Slot(slot) => operation.outcome(slot),
            // It was waited for.
            Outcome::Coordinator(_) => ErrorCode::UnknownServerError,
        };
        let told = WritableTxnMarkerPartitionResult::default()
            .with_partition_index(partition.0)
            .with_error_code(code.code());
        let place = *topics.entry((producer_id, topic.clone())).or_insert_with(|| {
            result.topics.push(WritableTxnMarkerTopicResult::default().with_name(topic_name(topic.clone())));
            result.topics.len() - 1
        });
        let of_topic = &mut result.topics[place].partitions;
        // Whoever names a producer's partition twice is told of the last time, as by Kafka.
        match partitions.entry((producer_id, topic, partition)) {
            Entry::Occupied(place) => of_topic[*place.get()] = told,
            Entry::Vacant(place) => {
                place.insert(of_topic.len());
                of_topic.push(told);
            }
        }
    }
    WriteTxnMarkersResponse::default().with_markers(results)
}
