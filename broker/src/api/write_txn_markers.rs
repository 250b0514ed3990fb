//! WriteTxnMarkers (27), version 1: the transaction coordinator ends a transaction in the partitions led here. (Version 2,
//! with the transaction's version, is read here and not advertised: our coordinators send 1.)
//!
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
use moldau_kafka::{TxnMarker, TxnMarkersRequest};
use moldau_log::{AppendOrigin, AppendTerms};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, PartitionIndex, ProducerId};
use moldau_record::{BatchBuilder, BuildError, ControlRecord};

use super::message::topic_name;
use super::{ApiSupport, Reply, Request};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::clock;
use crate::purgatory::DelayedOperation;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(27, "WriteTxnMarkers", 1, 1, handle);

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
}

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, body) = request.into_body();
    let request = match TxnMarkersRequest::decode(context.api_version, &body) {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(peer = %context.client_address, %error, "unreadable request");
            return Reply::Close("unreadable request");
        }
    };
    drop(body);
    let is_allowed = is_authorized(&context, Operation::Alter, Resource::Cluster)
        || is_authorized(&context, Operation::ClusterAction, Resource::Cluster);
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
    if operation.seal() {
        return context.ready(&response(&request, written, &operation));
    }
    Reply::Pending(Box::pin(async move {
        operation.wait(ANSWER_LIMIT).await;
        context.response(&response(&request, written, &operation))
    }))
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
    let mut batch = match build(marker) {
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

/// The batch of one control record that ends a transaction.
pub(crate) fn build(marker: &TxnMarker) -> Result<Vec<u8>, BuildError> {
    let coordinator_epoch = marker.coordinator_epoch;
    let record = if marker.is_commit {
        ControlRecord::Commit { coordinator_epoch }
    } else {
        ControlRecord::Abort { coordinator_epoch }
    };
    let mut builder = BatchBuilder::new()
        .producer(marker.producer_id, marker.producer_epoch, -1)
        .transactional(true)
        .control(true);
    builder.append_control(clock::now(), record)?;
    builder.build()
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
