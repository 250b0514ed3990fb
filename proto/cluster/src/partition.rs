//! A leader proposes a new ISR (KIP-497, KIP-841, KIP-903).

use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, PartitionEpoch, PartitionIndex, TopicId};

/// Whether the leader was elected from the ISR, or uncleanly and still may hold less than was acknowledged (KIP-704).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaderRecoveryState {
    /// Kafka's 0.
    #[default]
    Recovered,
    /// Kafka's 1: elected uncleanly.
    Recovering,
}

/// One proposed member of the ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsrMember {
    /// The replica.
    pub broker_id: BrokerId,
    /// The incarnation the leader has seen fetching, or `BrokerEpoch(-1)` where it cannot know; a stale one is
    /// refused with `INELIGIBLE_REPLICA`.
    pub broker_epoch: BrokerEpoch,
}

/// A new ISR for one partition: a compare-and-swap on `partition_epoch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartitionRequest {
    /// The partition's topic.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The leadership in which the sender leads.
    pub leader_epoch: LeaderEpoch,
    /// The partition's epoch the sender last applied.
    pub partition_epoch: PartitionEpoch,
    /// The whole new ISR; it contains the sender.
    pub new_isr: Vec<IsrMember>,
    /// `Recovering` only while the ISR is the leader alone.
    pub leader_recovery_state: LeaderRecoveryState,
}

/// ISR changes of one broker, each decided on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartition {
    /// The sender, which must lead every partition it names.
    pub broker_id: BrokerId,
    /// The sender's incarnation. An older one is refused as a whole with `STALE_BROKER_EPOCH`.
    pub broker_epoch: BrokerEpoch,
    /// The changes.
    pub partitions: Vec<AlterPartitionRequest>,
}

/// A partition's state after a change was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlteredPartition {
    /// The leader, which the change may have moved; `BrokerId::NONE` if there is none.
    pub leader: BrokerId,
    /// The leadership's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The ISR.
    pub isr: Vec<BrokerId>,
    /// See [`LeaderRecoveryState`].
    pub leader_recovery_state: LeaderRecoveryState,
    /// The epoch after the change.
    pub partition_epoch: PartitionEpoch,
}

/// One result for each of [`AlterPartition::partitions`], in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartitionReply {
    /// The new state, or Kafka's code for why there is none.
    pub partitions: Vec<Result<AlteredPartition, ErrorCode>>,
}
