//! The topics of groups and of transactions, and how their coordinators go about.

use super::Reader;

/// `offsets.*`: the topic of committed offsets and what is kept in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetsTopicSettings {
    pub partition_count: i32,
    pub replication_factor: i16,
    /// Whether the user chose the factor; where not, it may be lowered to the number of brokers there are.
    pub replication_factor_is_chosen: bool,
    pub segment_bytes: i32,
    /// `offsets.retention.minutes`, in milliseconds.
    pub retention_ms: i64,
    pub retention_check_interval_ms: i64,
    /// `offsets.commit.timeout.ms`.
    pub commit_timeout_ms: i32,
    /// `offset.metadata.max.bytes`.
    pub metadata_bytes_max: i32,
}

/// `transaction.*`: producer ids, the coordinator and its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionSettings {
    /// `transaction.max.timeout.ms`.
    pub timeout_ms_max: i32,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i32,
    pub state_log_partition_count: i32,
    pub state_log_replication_factor: i16,
    /// Whether the user chose the factor; where not, it may be lowered to the number of brokers there are.
    pub state_log_replication_factor_is_chosen: bool,
    pub state_log_min_isr: i32,
    pub state_log_segment_bytes: i32,
    /// `transactional.id.expiration.ms`.
    pub transactional_id_expiration_ms: i32,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub abort_timed_out_interval_ms: i32,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub remove_expired_interval_ms: i32,
}

impl Reader<'_> {
    pub(super) fn transaction(&self) -> TransactionSettings {
        TransactionSettings {
            timeout_ms_max: self.int("transaction.max.timeout.ms"),
            producer_id_expiration_ms: self.int("producer.id.expiration.ms"),
            state_log_partition_count: self.int("transaction.state.log.num.partitions"),
            state_log_replication_factor: self.short("transaction.state.log.replication.factor"),
            state_log_replication_factor_is_chosen: self.is_set("transaction.state.log.replication.factor"),
            state_log_min_isr: self.int("transaction.state.log.min.isr"),
            state_log_segment_bytes: self.int("transaction.state.log.segment.bytes"),
            transactional_id_expiration_ms: self.int("transactional.id.expiration.ms"),
            abort_timed_out_interval_ms: self
                .int("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
            remove_expired_interval_ms: self
                .int("transaction.remove.expired.transaction.cleanup.interval.ms"),
        }
    }

    pub(super) fn offsets_topic(&self) -> OffsetsTopicSettings {
        OffsetsTopicSettings {
            partition_count: self.int("offsets.topic.num.partitions"),
            replication_factor: self.short("offsets.topic.replication.factor"),
            replication_factor_is_chosen: self.is_set("offsets.topic.replication.factor"),
            segment_bytes: self.int("offsets.topic.segment.bytes"),
            retention_ms: self.long("offsets.retention.minutes").saturating_mul(60_000),
            retention_check_interval_ms: self.long("offsets.retention.check.interval.ms"),
            commit_timeout_ms: self.int("offsets.commit.timeout.ms"),
            metadata_bytes_max: self.int("offset.metadata.max.bytes"),
        }
    }
}
