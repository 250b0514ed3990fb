//! A topic's settings as typed values: what its log and its replication need to know.

use std::collections::BTreeSet;

use moldau_model::{BrokerId, PartitionIndex};

use super::definitions::topic_definition;
use super::value::{as_list, parse_boolean, parse_double};

/// `message.timestamp.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's time.
    CreateTime,
    /// The broker's time at the append.
    LogAppendTime,
}

/// `compression.type`: what batches are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    Uncompressed,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The replicas of a topic whose replication is throttled (KIP-73).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThrottledReplicas {
    All,
    Listed(BTreeSet<(PartitionIndex, BrokerId)>),
}

impl ThrottledReplicas {
    fn of(text: &str) -> Self {
        let elements = as_list(text);
        if elements == ["*"] {
            return Self::All;
        }
        let pair = |element: &str| {
            let (partition, broker) = element.split_once(':')?;
            Some((PartitionIndex(partition.parse().ok()?), BrokerId(broker.parse().ok()?)))
        };
        Self::Listed(elements.into_iter().filter_map(pair).collect())
    }

    /// Whether the broker's replica of the partition is among them.
    #[must_use]
    pub fn contains(&self, partition: PartitionIndex, broker: BrokerId) -> bool {
        match self {
            Self::All => true,
            Self::Listed(listed) => listed.contains(&(partition, broker)),
        }
    }
}

/// The effective settings of one topic. Times in milliseconds, sizes in bytes; -1 stands for "no limit" where Kafka
/// says so.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy` holds `delete`: retention applies.
    pub cleanup_delete: bool,
    /// `cleanup.policy` holds `compact`: the cleaner applies.
    pub cleanup_compact: bool,
    pub compression_type: CompressionType,
    pub compression_gzip_level: i32,
    pub compression_lz4_level: i32,
    pub compression_zstd_level: i32,
    pub delete_retention_ms: i64,
    pub file_delete_delay_ms: i64,
    /// Records appended before a flush is due; `i64::MAX` for never.
    pub flush_messages: i64,
    /// Time before a flush is due; `i64::MAX` for never.
    pub flush_ms: i64,
    pub follower_throttled_replicas: ThrottledReplicas,
    pub index_interval_bytes: i32,
    pub leader_throttled_replicas: ThrottledReplicas,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: i32,
    pub message_timestamp_after_max_ms: i64,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    pub preallocate: bool,
    /// -1: no limit.
    pub retention_bytes: i64,
    /// -1: no limit.
    pub retention_ms: i64,
    /// `internal.segment.bytes` where that is set, else `segment.bytes`.
    pub segment_bytes: i32,
    pub segment_index_bytes: i32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    pub unclean_leader_election_enable: bool,
}

impl Default for TopicConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self::from_values(|_| None)
    }
}

impl TopicConfig {
    /// Builds the settings from their effective texts. A text that is missing or does not parse (it was stored by a
    /// version that took it) counts as Kafka's default, since a log has to be opened in any case.
    #[must_use]
    pub fn from_values<'a>(value_of: impl Fn(&str) -> Option<&'a str>) -> Self {
        let values = Values(&value_of);
        let cleanup = values.text("cleanup.policy");
        let policies = as_list(cleanup);
        Self {
            cleanup_delete: policies.contains(&"delete"),
            cleanup_compact: policies.contains(&"compact"),
            compression_type: match values.text("compression.type") {
                "uncompressed" => CompressionType::Uncompressed,
                "gzip" => CompressionType::Gzip,
                "snappy" => CompressionType::Snappy,
                "lz4" => CompressionType::Lz4,
                "zstd" => CompressionType::Zstd,
                _ => CompressionType::Producer,
            },
            compression_gzip_level: values.int("compression.gzip.level"),
            compression_lz4_level: values.int("compression.lz4.level"),
            compression_zstd_level: values.int("compression.zstd.level"),
            delete_retention_ms: values.long("delete.retention.ms"),
            file_delete_delay_ms: values.long("file.delete.delay.ms"),
            flush_messages: values.long("flush.messages"),
            flush_ms: values.long("flush.ms"),
            follower_throttled_replicas: ThrottledReplicas::of(
                values.text("follower.replication.throttled.replicas"),
            ),
            index_interval_bytes: values.int("index.interval.bytes"),
            leader_throttled_replicas: ThrottledReplicas::of(
                values.text("leader.replication.throttled.replicas"),
            ),
            max_compaction_lag_ms: values.long("max.compaction.lag.ms"),
            max_message_bytes: values.int("max.message.bytes"),
            message_timestamp_after_max_ms: values.long("message.timestamp.after.max.ms"),
            message_timestamp_before_max_ms: values.long("message.timestamp.before.max.ms"),
            message_timestamp_type: match values.text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: parse_double(values.text("min.cleanable.dirty.ratio")).unwrap_or(0.5),
            min_compaction_lag_ms: values.long("min.compaction.lag.ms"),
            min_insync_replicas: values.int("min.insync.replicas"),
            preallocate: values.boolean("preallocate"),
            retention_bytes: values.long("retention.bytes"),
            retention_ms: values.long("retention.ms"),
            segment_bytes: match values.int("internal.segment.bytes") {
                bytes if bytes > 0 => bytes,
                _ => values.int("segment.bytes"),
            },
            segment_index_bytes: values.int("segment.index.bytes"),
            segment_jitter_ms: values.long("segment.jitter.ms"),
            segment_ms: values.long("segment.ms"),
            unclean_leader_election_enable: values.boolean("unclean.leader.election.enable"),
        }
    }
}

struct Values<'f, F>(&'f F);

impl<'a, F: Fn(&str) -> Option<&'a str>> Values<'_, F> {
    fn text(&self, name: &str) -> &'a str {
        let definition = topic_definition(name);
        let valid = |value: &&str| definition.is_none_or(|d| d.validate(value).is_ok());
        let own = (self.0)(name).map(str::trim).filter(valid);
        own.or_else(|| definition.and_then(|d| d.default.text())).unwrap_or_default()
    }

    fn long(&self, name: &str) -> i64 {
        self.text(name).parse().unwrap_or_default()
    }

    fn int(&self, name: &str) -> i32 {
        self.text(name).parse().unwrap_or_default()
    }

    fn boolean(&self, name: &str) -> bool {
        parse_boolean(self.text(name)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_kafkas() {
        let config = TopicConfig::default();
        assert!(config.cleanup_delete && !config.cleanup_compact);
        assert_eq!(config.retention_ms, 604_800_000);
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!(config.max_message_bytes, 1_048_588);
        assert_eq!(config.flush_messages, i64::MAX);
        assert_eq!(config.message_timestamp_type, TimestampType::CreateTime);
    }

    #[test]
    fn a_value_that_does_not_parse_counts_as_the_default() {
        let config = TopicConfig::from_values(|name| match name {
            "retention.ms" => Some("soon"),
            "segment.bytes" => Some(" 2097152 "),
            "cleanup.policy" => Some("compact, delete"),
            _ => None,
        });
        assert_eq!(config.retention_ms, 604_800_000);
        assert_eq!(config.segment_bytes, 2 << 20);
        assert!(config.cleanup_compact && config.cleanup_delete);
    }

    #[test]
    fn a_segment_size_for_tests_goes_before_the_other_one() {
        let config = TopicConfig::from_values(|name| match name {
            "internal.segment.bytes" => Some("4096"),
            "segment.bytes" => Some("2097152"),
            _ => None,
        });
        assert_eq!(config.segment_bytes, 4096);
    }

    #[test]
    fn throttled_replicas_are_all_or_the_listed_ones() {
        for (text, expected) in [
            ("", [false, false, false]),
            ("*", [true, true, true]),
            (" * ", [true, true, true]),
            ("0:1", [true, false, false]),
            ("0:2, 1:1,7:9", [false, true, true]),
            ("0:1,0:1,99999999999:1,1:1", [true, false, true]),
            ("0:1,*", [false, false, false]),
        ] {
            let setting = |name: &str| (name == "leader.replication.throttled.replicas").then_some(text);
            let config = TopicConfig::from_values(setting);
            let found = [(0, 1), (0, 2), (1, 1)].map(|(partition, broker)| {
                config.leader_throttled_replicas.contains(PartitionIndex(partition), BrokerId(broker))
            });
            assert_eq!(found, expected, "{text:?}");
            assert!(!config.follower_throttled_replicas.contains(PartitionIndex(0), BrokerId(1)));
        }
    }
}
