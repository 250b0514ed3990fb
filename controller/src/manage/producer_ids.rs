//! Blocks of producer ids (KIP-730).

use moldau_cluster::{AllocateProducerIds, ProducerIdBlock};
use moldau_metadata::{MetadataImage, records};
use moldau_model::ErrorCode;

use super::register_broker::check_broker_epoch;
use super::{ApiError, Decision};

/// How many producer ids a broker gets at a time; Kafka's number.
pub const PRODUCER_ID_BLOCK_LENGTH: i32 = 1_000;

/// Gives the asking broker the next block. Ids of a block whose answer is lost are never used.
pub fn allocate_producer_ids(
    image: &MetadataImage,
    request: &AllocateProducerIds,
) -> Result<Decision<ProducerIdBlock>, ApiError> {
    check_broker_epoch(image, request.broker_id, request.broker_epoch)?;
    let first = image.next_producer_id();
    let Some(next_producer_id) = first.0.checked_add(i64::from(PRODUCER_ID_BLOCK_LENGTH)) else {
        let text =
            "Exhausted all producerIds as the next block's end producerId has exceeded the int64 type limit";
        return Err(ApiError::new(ErrorCode::UnknownServerError, text));
    };
    let record = records::ProducerIds {
        broker_id: request.broker_id.0,
        broker_epoch: request.broker_epoch.0,
        next_producer_id,
    };
    let response = ProducerIdBlock { first, count: PRODUCER_ID_BLOCK_LENGTH };
    Ok(Decision { records: vec![record.into()], response })
}
