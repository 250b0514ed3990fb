//! Settings of logs and their topics, as brokers name them; tiered storage among them.

use crate::config::definitions::definitions;

definitions! {
    /// Settings of logs and their topics, as brokers name them; tiered storage among them.
    pub(super) LOG {
        "compression.gzip.level": Int = "-1", GzipLevel, Medium, ClusterWide, "Level of gzip where topics do not say; 1 to 9, or -1 for zlib's choice.";
        "compression.lz4.level": Int = "9", Between(1, 17), Medium, ClusterWide, "Level of lz4 where topics do not say.";
        "compression.type": String = "producer", OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), High, ClusterWide, "How batches are stored where topics do not say; producer keeps what the producer sent.";
        "compression.zstd.level": Int = "3", Between(-131072, 22), Medium, ClusterWide, "Level of zstd where topics do not say.";
        "cordoned.log.dirs": List = "", DistinctList, Medium, PerBroker, "Log directories that get no new replicas.";
        "follower.fetch.last.tiered.offset.enable": Boolean = "false", Any, Medium, ClusterWide, "Whether a new follower starts at the end of what is tiered.";
        "log.cleaner.backoff.ms": Long = "15000", AtLeast(0), Medium, ClusterWide, "Pause of the cleaner when there is nothing to clean.";
        "log.cleaner.dedupe.buffer.size": Long = "134217728", Any, Medium, ClusterWide, "Memory for the keys of one cleaning, over all cleaner threads.";
        "log.cleaner.delete.retention.ms": Long = "86400000", AtLeast(0), Medium, ClusterWide, "How long a tombstone stays in a compacted topic where topics do not say.";
        "log.cleaner.enable": Boolean = "true", Any, Medium, ReadOnly, "Whether compacted topics are cleaned. Without it committed offsets grow without bound.";
        "log.cleaner.io.buffer.load.factor": Double = "0.9", Any, Medium, ClusterWide, "How full the cleaner's memory for keys may be.";
        "log.cleaner.io.buffer.size": Int = "524288", AtLeast(0), Medium, ClusterWide, "Read and write buffers of the cleaner.";
        "log.cleaner.io.max.bytes.per.second": Double = "1.7976931348623157E308", Any, Medium, ClusterWide, "Bytes a second that the cleaner reads and writes.";
        "log.cleaner.max.compaction.lag.ms": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "How long a record may stay uncleaned where topics do not say.";
        "log.cleaner.min.cleanable.ratio": Double = "0.5", Fraction(0.0, 1.0), Medium, ClusterWide, "Share of a log that has to be dirty before it is cleaned, where topics do not say.";
        "log.cleaner.min.compaction.lag.ms": Long = "0", AtLeast(0), Medium, ClusterWide, "How long a record stays uncleaned at least where topics do not say.";
        "log.cleaner.threads": Int = "1", AtLeast(0), Medium, ClusterWide, "Threads of the cleaner.";
        "log.cleanup.policy": List = "delete", ListOf(&["compact", "delete"]), Medium, ClusterWide, "What becomes of old segments where topics do not say: delete, compact, both, or neither.";
        "log.dir": List = "/tmp/kafka-logs", NonEmptyDistinctList, High, ReadOnly, "Where logs are kept; log.dirs is preferred.";
        "log.dir.failure.timeout.ms": Long = "30000", AtLeast(1), Low, ReadOnly, "How long a broker tries to tell the controller of a failed log directory.";
        "log.dirs": List = null, NonEmptyDistinctList, High, ReadOnly, "Where logs are kept: directories, separated by commas.";
        "log.flush.interval.messages": Long = "9223372036854775807", AtLeast(1), High, ClusterWide, "Records after which a partition is flushed to disk, whatever producers ask for.";
        "log.flush.interval.ms": Long = null, Any, High, ClusterWide, "Time after which a partition is flushed to disk, whatever producers ask for.";
        "log.flush.offset.checkpoint.interval.ms": Int = "60000", AtLeast(0), High, ReadOnly, "How often recovery points are written to disk.";
        "log.flush.scheduler.interval.ms": Long = "9223372036854775807", Any, High, ReadOnly, "How often partitions to flush are looked for.";
        "log.flush.start.offset.checkpoint.interval.ms": Int = "60000", AtLeast(0), High, ReadOnly, "How often log start offsets are written to disk.";
        "log.index.interval.bytes": Int = "4096", AtLeast(0), Medium, ClusterWide, "Bytes of records between two entries of the offset index.";
        "log.index.size.max.bytes": Int = "10485760", AtLeast(4), Medium, ClusterWide, "Largest index file.";
        internal "log.initial.task.delay.ms": Long = "30000", AtLeast(0), Low, ReadOnly, "Pause after the start before background work on logs begins.";
        "log.local.retention.bytes": Long = "-2", AtLeast(-2), Medium, ClusterWide, "Bytes of a tiered partition that stay on the broker; -2 for as log.retention.bytes.";
        "log.local.retention.ms": Long = "-2", AtLeast(-2), Medium, ClusterWide, "How long records of a tiered partition stay on the broker; -2 for as log.retention.ms.";
        "log.message.timestamp.after.max.ms": Long = "3600000", AtLeast(0), Medium, ClusterWide, "How far a record's time may lie ahead of the broker's.";
        "log.message.timestamp.before.max.ms": Long = "9223372036854775807", AtLeast(0), Medium, ClusterWide, "How far a record's time may lie behind the broker's.";
        "log.message.timestamp.type": String = "CreateTime", OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, "Whose time a record carries: its producer's, or the broker's at the append.";
        "log.preallocate": Boolean = "false", Any, Medium, ClusterWide, "Whether new segments are created at full size.";
        "log.retention.bytes": Long = "-1", Any, High, ClusterWide, "Bytes of a partition that are kept; -1 for no limit.";
        "log.retention.check.interval.ms": Long = "300000", AtLeast(1), Medium, ReadOnly, "How often segments to delete are looked for.";
        "log.retention.hours": Int = "168", Any, High, ReadOnly, "How long segments are kept, in hours.";
        "log.retention.minutes": Int = null, Any, High, ReadOnly, "How long segments are kept, in minutes; comes before hours.";
        "log.retention.ms": Long = null, Any, High, ClusterWide, "How long segments are kept, in milliseconds; comes before minutes. -1 for no limit.";
        "log.roll.hours": Int = "168", AtLeast(1), High, ReadOnly, "Time after which a new segment is begun, in hours.";
        "log.roll.jitter.hours": Int = "0", AtLeast(0), High, ReadOnly, "Random time by which that is earlier, in hours, so that not all roll at once.";
        "log.roll.jitter.ms": Long = null, Any, High, ClusterWide, "Random time by which that is earlier, in milliseconds; comes before hours.";
        "log.roll.ms": Long = null, Any, High, ClusterWide, "Time after which a new segment is begun, in milliseconds; comes before hours.";
        "log.segment.bytes": Int = "1073741824", AtLeast(1048576), High, ClusterWide, "Largest segment.";
        "log.segment.delete.delay.ms": Long = "60000", AtLeast(0), High, ClusterWide, "How long a deleted file stays on disk, for readers that still have it open.";
        "message.max.bytes": Int = "1048588", AtLeast(0), High, ClusterWide, "Largest batch, compressed as it is, where topics do not say.";
        "min.insync.replicas": Int = "1", AtLeast(1), High, ClusterWide, "In-sync replicas that an acks=all write needs where topics do not say.";
        "num.recovery.threads.per.data.dir": Int = "2", AtLeast(1), High, ClusterWide, "Threads for each log directory that recover logs at the start.";
        "remote.fetch.max.wait.ms": Int = "500", AtLeast(1), Medium, ClusterWide, "How long a fetch waits for tiered storage.";
        "remote.list.offsets.request.timeout.ms": Long = "30000", AtLeast(1), Medium, ClusterWide, "How long a search for an offset waits for tiered storage.";
        "remote.log.index.file.cache.total.size.bytes": Long = "1073741824", AtLeast(1), Low, ClusterWide, "Bytes of indexes of tiered segments that are kept on the broker.";
        internal "remote.log.index.file.cache.ttl.ms": Long = "900000", AtLeast(-1), Low, ReadOnly, "How long an unused index of a tiered segment stays.";
        "remote.log.manager.copier.thread.pool.size": Int = "10", AtLeast(1), Medium, ClusterWide, "Threads that copy segments to tiered storage.";
        "remote.log.manager.copy.max.bytes.per.second": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "Bytes a second that are copied to tiered storage.";
        "remote.log.manager.copy.quota.window.num": Int = "11", AtLeast(1), Medium, ReadOnly, "How many samples that quota remembers.";
        "remote.log.manager.copy.quota.window.size.seconds": Int = "1", AtLeast(1), Medium, ReadOnly, "Length of one such sample.";
        "remote.log.manager.expiration.thread.pool.size": Int = "10", AtLeast(1), Medium, ClusterWide, "Threads that delete expired tiered segments.";
        "remote.log.manager.fetch.max.bytes.per.second": Long = "9223372036854775807", AtLeast(1), Medium, ClusterWide, "Bytes a second that are fetched from tiered storage.";
        "remote.log.manager.fetch.quota.window.num": Int = "11", AtLeast(1), Medium, ReadOnly, "How many samples that quota remembers.";
        "remote.log.manager.fetch.quota.window.size.seconds": Int = "1", AtLeast(1), Medium, ReadOnly, "Length of one such sample.";
        "remote.log.manager.follower.thread.pool.size": Int = "2", AtLeast(1), Medium, ClusterWide, "Threads that follow tiered partitions.";
        "remote.log.manager.task.interval.ms": Long = "30000", AtLeast(1), Low, ReadOnly, "How often work on tiered storage is looked for.";
        internal "remote.log.manager.task.retry.backoff.max.ms": Long = "30000", AtLeast(1), Low, ReadOnly, "Upper bound of the pause after failed work on tiered storage.";
        internal "remote.log.manager.task.retry.backoff.ms": Long = "500", AtLeast(1), Low, ReadOnly, "Pause after failed work on tiered storage.";
        internal "remote.log.manager.task.retry.jitter": Double = "0.2", Fraction(0.0, 0.5), Low, ReadOnly, "Random share by which those pauses differ.";
        "remote.log.manager.thread.pool.size": Int = "2", AtLeast(1), Medium, ReadOnly, "Threads for tiered storage.";
        "remote.log.metadata.custom.metadata.max.bytes": Int = "128", AtLeast(0), Low, ReadOnly, "Bytes of a storage plugin's own metadata for a segment.";
        "remote.log.metadata.manager.class.name": String = "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", NonEmptyString, Medium, ReadOnly, "Class that keeps the metadata of tiered segments.";
        "remote.log.metadata.manager.class.path": String = null, Any, Medium, ReadOnly, "Where that class is found.";
        "remote.log.metadata.manager.impl.prefix": String = "rlmm.config.", NonEmptyString, Medium, ReadOnly, "Prefix of that class's own settings.";
        "remote.log.metadata.manager.listener.name": String = null, NonEmptyString, Medium, ReadOnly, "Listener that that class connects to.";
        "remote.log.reader.max.pending.tasks": Int = "100", AtLeast(1), Medium, ReadOnly, "Reads of tiered storage that may wait.";
        "remote.log.reader.threads": Int = "10", AtLeast(1), Medium, ClusterWide, "Threads that read tiered storage.";
        "remote.log.storage.manager.class.name": String = null, NonEmptyString, Medium, ReadOnly, "Class that stores tiered segments.";
        "remote.log.storage.manager.class.path": String = null, Any, Medium, ReadOnly, "Where that class is found.";
        "remote.log.storage.manager.impl.prefix": String = "rsm.config.", NonEmptyString, Medium, ReadOnly, "Prefix of that class's own settings.";
        "remote.log.storage.system.enable": Boolean = "false", Any, Medium, ReadOnly, "Whether there is tiered storage. Not implemented here: true is refused.";
        "unclean.leader.election.enable": Boolean = "false", Any, High, ClusterWide, "Whether a replica that is not in sync may lead at last, at the price of records.";
        internal "unclean.leader.election.interval.ms": Long = "300000", AtLeast(1), Medium, ReadOnly, "How often the controller looks for partitions that only an unclean election helps.";
    }
}
