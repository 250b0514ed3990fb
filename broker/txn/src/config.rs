//! What the transaction coordinator may be told. Names and defaults are Kafka's wherever Kafka has the setting.

/// Settings of the transaction coordinator, one set for all shards of a broker.
///
/// Every value is taken as it is; the shell checks ranges when it parses Kafka's configuration. Durations are
/// milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`: a longer timeout is refused with INVALID_TRANSACTION_TIMEOUT. Default: 900,000.
    pub transaction_timeout_ms_max: i32,
    /// `transactional.id.expiration.ms`: how long an id that nobody uses is remembered. Default: seven days.
    pub transactional_id_expiration_ms: i64,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`. Default: 10,000.
    pub abort_timed_out_interval_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`. Default: 3,600,000.
    pub remove_expired_interval_ms: i64,
    /// `request.timeout.ms`: how long a reply waits for its records to be replicated. Default: 30,000.
    pub append_timeout_ms: i64,

    /// Pause before the end of a transaction that could not be written is written again. Default: 100.
    pub completion_retry_ms: i64,
    /// How long an AddPartitionsToTxn waits for the step before it, the end of the last transaction for one, before it is
    /// told to come again. Kafka does not wait: its clients and brokers come again after 20 ms. Default: 20; 0 for not at all.
    pub busy_wait_ms: i64,
    /// How many of them wait for one id; CONCURRENT_TRANSACTIONS beyond. Default: 100.
    pub busy_waiters_max: usize,
    /// Transactional ids of one shard; COORDINATOR_NOT_AVAILABLE beyond, since ids expire. Kafka has no such bound.
    /// Default: 100,000, which is five million with fifty partitions.
    pub transactional_ids_max: usize,
    /// Bytes of one transaction's record. A transaction that would grow beyond is refused with UNKNOWN_SERVER_ERROR, as
    /// Kafka does when the log refuses the record. Default: 1,000,000, below the topic's `max.message.bytes`.
    pub record_bytes_max: usize,
    /// Appends, and producer ids asked for, that have not come back; a request that needs one more is refused with
    /// COORDINATOR_NOT_AVAILABLE, which clients repeat. Default: 10,000.
    pub pending_max: usize,
    /// Records in one append made by the coordinator itself (expiration). Default: 1000.
    pub records_per_append_max: usize,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            transaction_timeout_ms_max: 900_000,
            transactional_id_expiration_ms: 7 * 24 * 60 * 60 * 1_000,
            abort_timed_out_interval_ms: 10_000,
            remove_expired_interval_ms: 3_600_000,
            append_timeout_ms: 30_000,
            completion_retry_ms: 100,
            busy_wait_ms: 20,
            busy_waiters_max: 100,
            transactional_ids_max: 100_000,
            record_bytes_max: 1_000_000,
            pending_max: 10_000,
            records_per_append_max: 1_000,
        }
    }
}
