//! What a shard is asked. The shell has checked who may ask, and that partitions exist.

use moldau_model::{ProducerEpoch, ProducerId, TopicPartition};

/// Names one request until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// One request to the coordinator of its transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    InitProducerId(InitProducerIdRequest),
    AddPartitions(AddPartitionsRequest),
    /// AddPartitionsToTxn with `verify_only`: whether the partitions are in the open transaction (KIP-890).
    VerifyPartitions(AddPartitionsRequest),
    EndTransaction(EndTransactionRequest),
    DescribeTransaction(String),
    /// For all ids of the shard.
    ListTransactions(ListTransactionsRequest),
}

/// InitProducerId, versions 0 to 5, with a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerIdRequest {
    pub transactional_id: String,
    pub transaction_timeout_ms: i32,
    /// Version 3 (KIP-360): what the producer goes on from; `None` for a producer that starts.
    pub expected: Option<(ProducerId, ProducerEpoch)>,
}

/// AddPartitionsToTxn, versions 0 to 5, for one transaction; AddOffsetsToTxn, as the partition of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPartitionsRequest {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub partitions: Vec<TopicPartition>,
    /// Which transactions the producer knows: 2 where a broker adds the partition for it, 0 otherwise.
    pub transaction_version: i16,
}

/// EndTxn, versions 0 to 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTransactionRequest {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub is_commit: bool,
    /// 2 from version 5 on (the epoch rises with every transaction), 0 below.
    pub transaction_version: i16,
}

/// ListTransactions, versions 0 to 2. Empty filters let all pass; the shell matches the pattern of version 2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListTransactionsRequest {
    pub states_filter: Vec<String>,
    pub producer_ids_filter: Vec<ProducerId>,
    /// Version 1: those that run for longer than this; `None` lets all pass.
    pub duration_filter_ms: Option<i64>,
}

impl Request {
    /// The id it is about; `None` for a list.
    #[must_use]
    pub fn transactional_id(&self) -> Option<&str> {
        match self {
            Self::InitProducerId(request) => Some(&request.transactional_id),
            Self::AddPartitions(request) | Self::VerifyPartitions(request) => Some(&request.transactional_id),
            Self::EndTransaction(request) => Some(&request.transactional_id),
            Self::DescribeTransaction(transactional_id) => Some(transactional_id),
            Self::ListTransactions(_) => None,
        }
    }

    /// Whether it may change something.
    pub(crate) fn may_append(&self) -> bool {
        matches!(self, Self::InitProducerId(_) | Self::AddPartitions(_) | Self::EndTransaction(_))
    }
}
