//! The transaction coordinator's decisions, and its records; sans-IO.
//!
//! One [`TransactionShard`] coordinates the transactional ids of one partition of `__transaction_state`. It takes
//! [`Input`]s with the time they came at and gives [`Output`]s: replies, records to append, markers to write into
//! the partitions of a transaction that ends. Nothing is answered, and no marker is asked for, before the records
//! that it rests on are committed.

mod config;
mod decide;
mod partitioner;
mod records;
mod request;
mod response;
mod shard;
mod state;
mod timers;
mod transaction;

#[cfg(test)]
mod tests;

pub use config::TransactionConfig;
pub use partitioner::partition_for_transactional_id;
pub use records::{RecordError, Replayed};
pub use request::{
    AddPartitionsRequest, EndTransactionRequest, InitProducerIdRequest, ListTransactionsRequest, Request,
    RequestToken,
};
pub use response::{
    AddPartitionsResponse, DescribedTransaction, ListTransactionsResponse, ListedTransaction,
    ProducerResponse, Response,
};
pub use shard::{
    AllocationId, AppendId, CoordinatorRecord, Input, Output, ShardState, TransactionMarkers,
    TransactionShard,
};
pub use state::TransactionState;
