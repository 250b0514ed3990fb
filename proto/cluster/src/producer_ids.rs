//! Blocks of producer ids, which no two brokers and no two incarnations share (KIP-730).

use moldau_model::{BrokerEpoch, BrokerId, ProducerId};

/// A broker asks for producer ids to hand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocateProducerIds {
    /// The asking broker.
    pub broker_id: BrokerId,
    /// Its incarnation. An older one is refused with `STALE_BROKER_EPOCH`.
    pub broker_epoch: BrokerEpoch,
}

/// Ids `first ..  first + count`, for the asking broker alone, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// The block's first id.
    pub first: ProducerId,
    /// How many ids there are.
    pub count: i32,
}
