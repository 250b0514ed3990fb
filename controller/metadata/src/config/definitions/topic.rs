//! Settings of topics.

use crate::config::definitions::definitions;

definitions! {
    /// Every setting of a topic.
    pub TOPIC {
        "cleanup.policy": List = "delete", ListOf(&["compact", "delete"]), Medium, ClusterWide, "What becomes of old segments: delete, compact, both, or neither.";
        "compression.gzip.level": Int = "-1", GzipLevel, Medium, ClusterWide, "Level of gzip; 1 to 9, or -1 for zlib's choice.";
        "compression.lz4.level": Int = "9", Between(1, 17), Medium, ClusterWide, "Level of lz4.";
        "compression.type": String = "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium, ClusterWide, "How batches are stored; producer keeps what the producer sent.";
        "compression.zstd.level": Int = "3", Between(-131072, 22), Medium, ClusterWide, "Level of zstd.";
        "delete.retention.ms": Long = "86400000", AtLeast(0), Medium, ClusterWide, "How long a tombstone stays in a compacted topic.";
        "file.delete.delay.ms": Long = "60000", AtLeast(0), Medium, ClusterWide, "How long a deleted file stays on disk, for readers that still have it open.";
        "flush.messages": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "Records after which a partition is flushed to disk, whatever producers ask for.";
        "flush.ms": Long = "9223372036854775807", AtLeast(0), Medium, ClusterWide, "Time after which a partition is flushed to disk, whatever producers ask for.";
        "follower.replication.throttled.replicas": List = "", ThrottledReplicas, Medium, ClusterWide, "Replicas that are throttled as followers: partition:broker, separated by commas, or * for all.";
        "index.interval.bytes": Int = "4096", AtLeast(0), Medium, ClusterWide, "Bytes of records between two entries of the offset index.";
        internal "internal.segment.bytes": Int = null, Any, Medium, ClusterWide, "Size of segments, for tests: without the lower bound of segment.bytes.";
        "leader.replication.throttled.replicas": List = "", ThrottledReplicas, Medium, ClusterWide, "Replicas that are throttled as leaders: partition:broker, separated by commas, or * for all.";
        "local.retention.bytes": Long = "-2", AtLeast(-2), Medium, ClusterWide, "Bytes of a tiered partition that stay on the broker; -2 for as retention.bytes.";
        "local.retention.ms": Long = "-2", AtLeast(-2), Medium, ClusterWide, "How long records of a tiered partition stay on the broker; -2 for as retention.ms.";
        "max.compaction.lag.ms": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "How long a record may stay uncleaned.";
        "max.message.bytes": Int = "1048588", AtLeast(0), Medium, ClusterWide, "Largest batch, compressed as it is.";
        "message.timestamp.after.max.ms": Long = "3600000", AtLeast(0), Medium, ClusterWide, "How far a record's time may lie ahead of the broker's.";
        "message.timestamp.before.max.ms": Long = "9223372036854775807", AtLeast(0), Medium, ClusterWide, "How far a record's time may lie behind the broker's.";
        "message.timestamp.type": String = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, "Whose time a record carries: its producer's, or the broker's at the append.";
        "min.cleanable.dirty.ratio": Double = "0.5", Fraction(0.0, 1.0), Medium, ClusterWide, "Share of a log that has to be dirty before it is cleaned.";
        "min.compaction.lag.ms": Long = "0", AtLeast(0), Medium, ClusterWide, "How long a record stays uncleaned at least.";
        "min.insync.replicas": Int = "1", AtLeast(1), Medium, ClusterWide, "In-sync replicas that an acks=all write needs.";
        "preallocate": Boolean = "false", Any, Medium, ClusterWide, "Whether new segments are created at full size.";
        "remote.log.copy.disable": Boolean = "false", Any, Medium, ClusterWide, "Whether a tiered topic stops tiering and only reads what is tiered.";
        "remote.log.delete.on.disable": Boolean = "false", Any, Medium, ClusterWide, "Whether tiered records go when tiering is switched off.";
        "remote.storage.enable": Boolean = "false", Any, Medium, ClusterWide, "Whether the topic is tiered. Not implemented here: true is refused.";
        "retention.bytes": Long = "-1", Any, Medium, ClusterWide, "Bytes of a partition that are kept; -1 for no limit.";
        "retention.ms": Long = "604800000", AtLeast(-1), Medium, ClusterWide, "How long segments are kept; -1 for no limit.";
        "segment.bytes": Int = "1073741824", AtLeast(1048576), Medium, ClusterWide, "Largest segment.";
        "segment.index.bytes": Int = "10485760", AtLeast(4), Medium, ClusterWide, "Largest index file.";
        "segment.jitter.ms": Long = "0", AtLeast(0), Medium, ClusterWide, "Random time by which a segment is rolled earlier, so that not all roll at once.";
        "segment.ms": Long = "604800000", AtLeast(1), Medium, ClusterWide, "Time after which a new segment is begun.";
        "unclean.leader.election.enable": Boolean = "false", Any, Medium, ClusterWide, "Whether a replica that is not in sync may lead at last, at the price of records.";
    }
}
