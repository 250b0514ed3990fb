//! What a shard answers. The shell gives it the shape, and the codes, of the request's version.

use moldau_model::{ErrorCode, ProducerEpoch, ProducerId, TimestampMs, TopicPartition};

use crate::state::TransactionState;

/// The answer to one [`Request`](crate::Request), of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    InitProducerId(ProducerResponse),
    AddPartitions(AddPartitionsResponse),
    VerifyPartitions(AddPartitionsResponse),
    EndTransaction(ProducerResponse),
    DescribeTransaction(DescribedTransaction),
    ListTransactions(ListTransactionsResponse),
}

/// What the producer goes on with; `-1`, `-1` with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerResponse {
    pub error: ErrorCode,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
}

impl ProducerResponse {
    pub(crate) const fn refused(error: ErrorCode) -> Self {
        Self { error, producer_id: ProducerId::NONE, producer_epoch: ProducerEpoch::NONE }
    }
}

/// One code for each partition asked for, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPartitionsResponse {
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

/// One transactional id of DescribeTransactions. With an error all else is as if empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTransaction {
    pub error: ErrorCode,
    pub transactional_id: String,
    /// `None` with an error.
    pub state: Option<TransactionState>,
    pub timeout_ms: i32,
    pub started_at: TimestampMs,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// Those that have no marker yet.
    pub partitions: Vec<TopicPartition>,
}

impl DescribedTransaction {
    pub(crate) fn refused(transactional_id: &str, error: ErrorCode) -> Self {
        Self {
            error,
            transactional_id: transactional_id.to_owned(),
            state: None,
            timeout_ms: 0,
            started_at: TimestampMs(0),
            producer_id: ProducerId(0),
            producer_epoch: ProducerEpoch(0),
            partitions: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTransactionsResponse {
    pub error: ErrorCode,
    /// Filters that name no state.
    pub unknown_states: Vec<String>,
    pub transactions: Vec<ListedTransaction>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTransaction {
    pub transactional_id: String,
    pub producer_id: ProducerId,
    pub state: TransactionState,
}
