//! Settings of topics.

use crate::config::definitions::definitions;

definitions! {
    /// Every setting of a topic.
    pub TOPIC {
        "cleanup.policy": List = "delete", ListOf(&["compact", "delete"]), Medium, ClusterWide, "";
        "compression.gzip.level": Int = "-1", GzipLevel, Medium, ClusterWide, "";
        "compression.lz4.level": Int = "9", Between(1, 17), Medium, ClusterWide, "";
        "compression.type": String = "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium, ClusterWide, "";
        "compression.zstd.level": Int = "3", Between(-131072, 22), Medium, ClusterWide, "";
        "delete.retention.ms": Long = "86400000", AtLeast(0), Medium, ClusterWide, "";
        "file.delete.delay.ms": Long = "60000", AtLeast(0), Medium, ClusterWide, "";
        "flush.messages": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "";
        "flush.ms": Long = "9223372036854775807", AtLeast(0), Medium, ClusterWide, "";
        "follower.replication.throttled.replicas": List = "", ThrottledReplicas, Medium, ClusterWide, "";
        "index.interval.bytes": Int = "4096", AtLeast(0), Medium, ClusterWide, "";
        internal "internal.segment.bytes": Int = null, Any, Medium, ClusterWide, "";
        "leader.replication.throttled.replicas": List = "", ThrottledReplicas, Medium, ClusterWide, "";
        "local.retention.bytes": Long = "-2", AtLeast(-2), Medium, ClusterWide, "";
        "local.retention.ms": Long = "-2", AtLeast(-2), Medium, ClusterWide, "";
        "max.compaction.lag.ms": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "";
        "max.message.bytes": Int = "1048588", AtLeast(0), Medium, ClusterWide, "";
        "message.timestamp.after.max.ms": Long = "3600000", AtLeast(0), Medium, ClusterWide, "";
        "message.timestamp.before.max.ms": Long = "9223372036854775807", AtLeast(0), Medium, ClusterWide, "";
        "message.timestamp.type": String = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, "";
        "min.cleanable.dirty.ratio": Double = "0.5", Fraction(0.0, 1.0), Medium, ClusterWide, "";
        "min.compaction.lag.ms": Long = "0", AtLeast(0), Medium, ClusterWide, "";
        "min.insync.replicas": Int = "1", AtLeast(1), Medium, ClusterWide, "";
        "preallocate": Boolean = "false", Any, Medium, ClusterWide, "";
        "remote.log.copy.disable": Boolean = "false", Any, Medium, ClusterWide, "";
        "remote.log.delete.on.disable": Boolean = "false", Any, Medium, ClusterWide, "";
        "remote.storage.enable": Boolean = "false", Any, Medium, ClusterWide, "";
        "retention.bytes": Long = "-1", Any, Medium, ClusterWide, "";
        "retention.ms": Long = "604800000", AtLeast(-1), Medium, ClusterWide, "";
        "segment.bytes": Int = "1073741824", AtLeast(1048576), Medium, ClusterWide, "";
        "segment.index.bytes": Int = "10485760", AtLeast(4), Medium, ClusterWide, "";
        "segment.jitter.ms": Long = "0", AtLeast(0), Medium, ClusterWide, "";
        "segment.ms": Long = "604800000", AtLeast(1), Medium, ClusterWide, "";
        "unclean.leader.election.enable": Boolean = "false", Any, Medium, ClusterWide, "";
    }
}
