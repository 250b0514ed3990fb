//! The bytes of a marker.

use moldau_group::EndTransactionRequest;
use moldau_record::{BatchBuilder, BuildError, ControlRecord};

use crate::clock;

/// What a batch says whose producer does not count it: those that coordinators write.
pub(crate) const NO_SEQUENCE: i32 = -1;

/// The batch of one control record that ends a transaction.
pub(crate) fn marker_batch(marker: &EndTransactionRequest) -> Result<Vec<u8>, BuildError> {
    let coordinator_epoch = marker.coordinator_epoch;
    let record = if marker.is_commit {
        ControlRecord::Commit { coordinator_epoch }
    } else {
        ControlRecord::Abort { coordinator_epoch }
    };
    let mut builder = BatchBuilder::new()
        .producer(marker.producer_id, marker.producer_epoch, NO_SEQUENCE)
        .transactional(true)
        .control(true);
    builder.append_control(clock::now(), record)?;
    builder.build()
}
