//! The promises of share partitions and of the share coordinator.

mod coordinator;
mod failures;
mod model;
mod partition;
mod records;
mod upkeep;

use std::sync::Arc;

use moldau_model::{ErrorCode, TopicId};

use crate::*;

fn batch(first: i64, last: i64, state: DeliveryState, delivery_count: i16) -> StateBatch {
    StateBatch { first, last, state, delivery_count }
}

fn key(partition: i32) -> SharePartitionKey {
    SharePartitionKey::new("g", TopicId::ONE, partition)
}

fn member(name: &str) -> Arc<str> {
    name.into()
}

/// A share partition that nobody has read yet, from offset 0 on.
fn fresh(limits: Limits) -> SharePartition {
    let state = ReadState { state_epoch: 1, start_offset: START_OFFSET_UNKNOWN, batches: Vec::new() };
    SharePartition::new(limits, 0, &state, 0)
}

const LIMITS: Limits = Limits { delivery_count_max: 2, records_in_flight_max: 100, lock_duration_ms: 1_000 };
