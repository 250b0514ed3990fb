//! What a topic's configuration says about its logs. Names and defaults are Kafka's.

use moldau_record::TimestampType;

/// Whether old segments are deleted, superseded records compacted away, or both (`cleanup.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// One topic's settings as its logs need them. Every field's unit is in its name.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment never grows beyond it.
    pub segment_bytes: u32,
    /// `segment.ms`: how old a segment's first record grows before the next append rolls it.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: at most this much is taken off `segment_ms`, so that segments do not roll all at once.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment rolls once either of its indexes holds this much.
    pub segment_index_bytes: u32,
    /// `preallocate`: a segment's file has its full size from the beginning, until the segment is closed.
    pub preallocate: bool,
    /// `index.interval.bytes`: one index entry for about this many bytes of log.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: the largest batch, as the client sent it.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub message_timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far a create time may lie behind the broker's clock.
    pub message_timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far it may lie ahead.
    pub message_timestamp_after_max_ms: i64,
    /// `retention.ms`; negative is for ever.
    pub retention_ms: i64,
    /// `retention.bytes`; negative is without limit.
    pub retention_bytes: i64,
    pub cleanup_policy: CleanupPolicy,
    /// `file.delete.delay.ms`: how long a removed segment's files stay, for those who still read them.
    pub file_delete_delay_ms: i64,
    /// `delete.retention.ms`: how long compaction keeps a tombstone.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: a record younger than this is not compacted away.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a record older than this makes the log due for compaction.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`: the share of not yet compacted bytes that makes the log due.
    pub min_cleanable_dirty_ratio: f64,
    /// `producer.id.expiration.ms` (a broker's setting): an idle producer is forgotten after it.
    pub producer_id_expiration_ms: i64,
    /// The most producers that one partition remembers; beyond it the longest idle one is forgotten.
    pub producer_ids_max: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            preallocate: false,
            index_interval_bytes: 4096,
            max_message_bytes: 1_048_588,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 3_600_000,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            file_delete_delay_ms: 60_000,
            delete_retention_ms: 24 * 3_600_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            producer_id_expiration_ms: 24 * 3_600_000,
            producer_ids_max: 100_000,
        }
    }
}
