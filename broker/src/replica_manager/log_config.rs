//! A topic's settings as its log takes them.

use moldau_log::{CleanupPolicy, LogConfig};
use moldau_metadata::config::{TimestampType, TopicConfig};

use super::partition::PartitionSettings;

pub(super) fn log_config(topic: &TopicConfig, settings: &PartitionSettings) -> LogConfig {
    let size = |bytes: i32| u32::try_from(bytes).unwrap_or(0);
    LogConfig {
        segment_bytes: size(topic.segment_bytes),
        segment_ms: topic.segment_ms,
        segment_jitter_ms: topic.segment_jitter_ms,
        segment_index_bytes: size(topic.segment_index_bytes),
        preallocate: topic.preallocate,
        index_interval_bytes: size(topic.index_interval_bytes),
        max_message_bytes: size(topic.max_message_bytes),
        message_timestamp_type: match topic.message_timestamp_type {
            TimestampType::CreateTime => moldau_record::TimestampType::CreateTime,
            TimestampType::LogAppendTime => moldau_record::TimestampType::LogAppendTime,
        },
        message_timestamp_before_max_ms: topic.message_timestamp_before_max_ms,
        message_timestamp_after_max_ms: topic.message_timestamp_after_max_ms,
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        cleanup_policy: CleanupPolicy { delete: topic.cleanup_delete, compact: topic.cleanup_compact },
        file_delete_delay_ms: topic.file_delete_delay_ms,
        delete_retention_ms: topic.delete_retention_ms,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        min_cleanable_dirty_ratio: topic.min_cleanable_dirty_ratio,
        producer_id_expiration_ms: settings.producer_id_expiration_ms,
        ..LogConfig::default()
    }
}
