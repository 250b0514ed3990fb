//! Settings of logs and their topics, as brokers name them; tiered storage among them.

use crate::config::definitions::definitions;

definitions! {
    /// Settings of logs and their topics, as brokers name them; tiered storage among them.
    pub LOG {
        "compression.gzip.level": Int = "-1", GzipLevel, Medium, ClusterWide, "";
        "compression.lz4.level": Int = "9", Between(1, 17), Medium, ClusterWide, "";
        "compression.type": String = "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), High, ClusterWide, "";
        "compression.zstd.level": Int = "3", Between(-131072, 22), Medium, ClusterWide, "";
        "cordoned.log.dirs": List = "", DistinctList, Medium, PerBroker, "";
        "follower.fetch.last.tiered.offset.enable": Boolean = "false", Any, Medium, ClusterWide, "";
        "log.cleaner.backoff.ms": Long = "15000", AtLeast(0), Medium, ClusterWide, "";
        "log.cleaner.dedupe.buffer.size": Long = "134217728", Any, Medium, ClusterWide, "";
        "log.cleaner.delete.retention.ms": Long = "86400000", AtLeast(0), Medium, ClusterWide, "";
        "log.cleaner.enable": Boolean = "true", Any, Medium, ReadOnly, "";
        "log.cleaner.io.buffer.load.factor": Double = "0.9", Any, Medium, ClusterWide, "";
        "log.cleaner.io.buffer.size": Int = "524288", AtLeast(0), Medium, ClusterWide, "";
        "log.cleaner.io.max.bytes.per.second": Double = "1.7976931348623157E308", Any, Medium, ClusterWide, "";
        "log.cleaner.max.compaction.lag.ms": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "";
        "log.cleaner.min.cleanable.ratio": Double = "0.5", Fraction(0.0, 1.0), Medium, ClusterWide, "";
        "log.cleaner.min.compaction.lag.ms": Long = "0", AtLeast(0), Medium, ClusterWide, "";
        "log.cleaner.threads": Int = "1", AtLeast(0), Medium, ClusterWide, "";
        "log.cleanup.policy": List = "delete", ListOf(&["compact", "delete"]), Medium, ClusterWide, "";
        "log.dir": List = "/tmp/kafka-logs", NonEmptyDistinctList, High, ReadOnly, "";
        "log.dir.failure.timeout.ms": Long = "30000", AtLeast(1), Low, ReadOnly, "";
        "log.dirs": List = null, NonEmptyDistinctList, High, ReadOnly, "";
        "log.flush.interval.messages": Long = "9223372036854775807", AtLeast(1), High, ClusterWide, "";
        "log.flush.interval.ms": Long = null, Any, High, ClusterWide, "";
        "log.flush.offset.checkpoint.interval.ms": Int = "60000", AtLeast(0), High, ReadOnly, "";
        "log.flush.scheduler.interval.ms": Long = "9223372036854775807", Any, High, ReadOnly, "";
        "log.flush.start.offset.checkpoint.interval.ms": Int = "60000", AtLeast(0), High, ReadOnly, "";
        "log.index.interval.bytes": Int = "4096", AtLeast(0), Medium, ClusterWide, "";
        "log.index.size.max.bytes": Int = "10485760", AtLeast(4), Medium, ClusterWide, "";
        internal "log.initial.task.delay.ms": Long = "30000", AtLeast(0), Low, ReadOnly, "";
        "log.local.retention.bytes": Long = "-2", AtLeast(-2), Medium, ClusterWide, "";
        "log.local.retention.ms": Long = "-2", AtLeast(-2), Medium, ClusterWide, "";
        "log.message.timestamp.after.max.ms": Long = "3600000", AtLeast(0), Medium, ClusterWide, "";
        "log.message.timestamp.before.max.ms": Long = "9223372036854775807", AtLeast(0), Medium, ClusterWide, "";
        "log.message.timestamp.type": String = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, "";
        "log.preallocate": Boolean = "false", Any, Medium, ClusterWide, "";
        "log.retention.bytes": Long = "-1", Any, High, ClusterWide, "";
        "log.retention.check.interval.ms": Long = "300000", AtLeast(1), Medium, ReadOnly, "";
        "log.retention.hours": Int = "168", Any, High, ReadOnly, "";
        "log.retention.minutes": Int = null, Any, High, ReadOnly, "";
        "log.retention.ms": Long = null, Any, High, ClusterWide, "";
        "log.roll.hours": Int = "168", AtLeast(1), High, ReadOnly, "";
        "log.roll.jitter.hours": Int = "0", AtLeast(0), High, ReadOnly, "";
        "log.roll.jitter.ms": Long = null, Any, High, ClusterWide, "";
        "log.roll.ms": Long = null, Any, High, ClusterWide, "";
        "log.segment.bytes": Int = "1073741824", AtLeast(1048576), High, ClusterWide, "";
        "log.segment.delete.delay.ms": Long = "60000", AtLeast(0), High, ClusterWide, "";
        "message.max.bytes": Int = "1048588", AtLeast(0), High, ClusterWide, "";
        "min.insync.replicas": Int = "1", AtLeast(1), High, ClusterWide, "";
        "num.recovery.threads.per.data.dir": Int = "2", AtLeast(1), High, ClusterWide, "";
        "remote.fetch.max.wait.ms": Int = "500", AtLeast(1), Medium, ClusterWide, "";
        "remote.list.offsets.request.timeout.ms": Long = "30000", AtLeast(1), Medium, ClusterWide, "";
        "remote.log.index.file.cache.total.size.bytes": Long = "1073741824", AtLeast(1), Low, ClusterWide, "";
        internal "remote.log.index.file.cache.ttl.ms": Long = "900000", AtLeast(-1), Low, ReadOnly, "";
        "remote.log.manager.copier.thread.pool.size": Int = "10", AtLeast(1), Medium, ClusterWide, "";
        "remote.log.manager.copy.max.bytes.per.second": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "";
        "remote.log.manager.copy.quota.window.num": Int = "11", AtLeast(1), Medium, ReadOnly, "";
        "remote.log.manager.copy.quota.window.size.seconds": Int = "1", AtLeast(1), Medium, ReadOnly, "";
        "remote.log.manager.expiration.thread.pool.size": Int = "10", AtLeast(1), Medium, ClusterWide, "";
        "remote.log.manager.fetch.max.bytes.per.second": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "";
        "remote.log.manager.fetch.quota.window.num": Int = "11", AtLeast(1), Medium, ReadOnly, "";
        "remote.log.manager.fetch.quota.window.size.seconds": Int = "1", AtLeast(1), Medium, ReadOnly, "";
        "remote.log.manager.follower.thread.pool.size": Int = "2", AtLeast(1), Medium, ClusterWide, "";
        "remote.log.manager.task.interval.ms": Long = "30000", AtLeast(1), Low, ReadOnly, "";
        internal "remote.log.manager.task.retry.backoff.max.ms": Long = "30000", AtLeast(1), Low, ReadOnly, "";
        internal "remote.log.manager.task.retry.backoff.ms": Long = "500", AtLeast(1), Low, ReadOnly, "";
        internal "remote.log.manager.task.retry.jitter": Double = "0.2", Fraction(0.0, 0.5), Low, ReadOnly, "";
        "remote.log.manager.thread.pool.size": Int = "2", AtLeast(1), Medium, ReadOnly, "";
        "remote.log.metadata.custom.metadata.max.bytes": Int = "128", AtLeast(0), Low, ReadOnly, "";
        "remote.log.metadata.manager.class.name": String = "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", NonEmptyString, Medium, ReadOnly, "";
        "remote.log.metadata.manager.class.path": String = null, Any, Medium, ReadOnly, "";
        "remote.log.metadata.manager.impl.prefix": String = "rlmm.config.", NonEmptyString, Medium, ReadOnly, "";
        "remote.log.metadata.manager.listener.name": String = null, NonEmptyString, Medium, ReadOnly, "";
        "remote.log.reader.max.pending.tasks": Int = "100", AtLeast(1), Medium, ReadOnly, "";
        "remote.log.reader.threads": Int = "10", AtLeast(1), Medium, ClusterWide, "";
        "remote.log.storage.manager.class.name": String = null, NonEmptyString, Medium, ReadOnly, "";
        "remote.log.storage.manager.class.path": String = null, Any, Medium, ReadOnly, "";
        "remote.log.storage.manager.impl.prefix": String = "rsm.config.", NonEmptyString, Medium, ReadOnly, "";
        "remote.log.storage.system.enable": Boolean = "false", Any, Medium, ReadOnly, "";
        "unclean.leader.election.enable": Boolean = "false", Any, High, ClusterWide, "";
        internal "unclean.leader.election.interval.ms": Long = "300000", AtLeast(1), Medium, ReadOnly, "";
    }
}
