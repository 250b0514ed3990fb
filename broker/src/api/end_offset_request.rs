//! ListOffsets as a broker sends it to another: where one partition ends.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::ListOffsetsRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use moldau_kafka::{decode_response, encode_request};
use moldau_model::{ErrorCode, PartitionIndex};

use super::message::{broker_id, text, topic_name};
use crate::share::Exchange;

/// What every broker serves, and more than is needed.
const VERSION: i16 = 6;
/// Who asks as a consumer does: the answer is the high watermark.
const NO_REPLICA: i32 = -1;
const LATEST: i64 = -1;

/// What writes the frame of the request.
pub(crate) fn exchange(topic: Arc<str>, partition: PartitionIndex) -> Exchange {
    Box::new(move |correlation_id, client_id| {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(partition.0)
            .with_current_leader_epoch(-1)
            .with_timestamp(LATEST);
        let topic =
            ListOffsetsTopic::default().with_name(topic_name(&topic)).with_partitions(vec![partition]);
        let body = ListOffsetsRequest::default()
            .with_replica_id(broker_id(moldau_model::BrokerId(NO_REPLICA)))
            .with_isolation_level(0)
            .with_topics(vec![topic]);
        encode_request(VERSION, correlation_id, Some(&text(client_id)), &body)
            .map_err(|error| error.to_string())
    })
}

/// The offset that the answer tells.
///
/// # Errors
/// What it says instead; NETWORK_EXCEPTION where it is no answer to this.
pub(crate) fn response(mut frame: Bytes) -> Result<i64, ErrorCode> {
    let answer = decode_response::<ListOffsetsRequest>(VERSION, &mut frame);
    let (_, answer) = answer.map_err(|_| ErrorCode::NetworkException)?;
    let partition = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
    let partition = partition.ok_or(ErrorCode::NetworkException)?;
    let error = ErrorCode::from_code(partition.error_code);
    if error.is_none() { Ok(partition.offset) } else { Err(error) }
}
