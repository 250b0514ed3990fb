//! Settings of the process: roles, quorum, metadata, quotas, metrics.

use crate::config::definitions::definitions;

definitions! {
    /// Settings of the process: roles, quorum, metadata, quotas, metrics.
    pub SERVER {
        "alter.log.dirs.replication.quota.window.num": Int = "11", AtLeast(1), Low, ReadOnly, "";
        "alter.log.dirs.replication.quota.window.size.seconds": Int = "1", AtLeast(1), Low, ReadOnly, "";
        "auto.create.topics.enable": Boolean = "true", Any, High, ReadOnly, "";
        "auto.leader.rebalance.enable": Boolean = "true", Any, High, ReadOnly, "";
        "background.threads": Int = "10", AtLeast(1), High, ClusterWide, "";
        "broker.heartbeat.interval.ms": Int = "2000", Any, Medium, ReadOnly, "";
        "broker.id": Int = "-1", Any, High, ReadOnly, "";
        "broker.rack": String = null, Any, Medium, ReadOnly, "";
        "broker.session.timeout.ms": Int = "9000", Any, Medium, ReadOnly, "";
        "controlled.shutdown.enable": Boolean = "true", Any, Medium, ReadOnly, "";
        internal "controller.performance.always.log.threshold.ms": Long = "2000", AtLeast(0), Medium, ReadOnly, "";
        internal "controller.performance.sample.period.ms": Long = "60000", AtLeast(100), Medium, ReadOnly, "";
        "controller.quorum.append.linger.ms": Int = "25", AtLeast(0), Medium, ReadOnly, "";
        "controller.quorum.auto.join.enable": Boolean = "false", Any, Low, ReadOnly, "";
        "controller.quorum.bootstrap.servers": List = "", BootstrapServers, High, ReadOnly, "";
        "controller.quorum.election.backoff.max.ms": Int = "1000", AtLeast(0), High, ReadOnly, "";
        "controller.quorum.election.timeout.ms": Int = "1000", AtLeast(0), High, ReadOnly, "";
        "controller.quorum.fetch.max.bytes": Int = "1048576", AtLeast(1), Low, ReadOnly, "";
        "controller.quorum.fetch.snapshot.max.bytes": Int = "1048576", AtLeast(1), Low, ReadOnly, "";
        "controller.quorum.fetch.timeout.ms": Int = "2000", AtLeast(0), High, ReadOnly, "";
        "controller.quorum.request.timeout.ms": Int = "2000", AtLeast(0), Medium, ReadOnly, "";
        "controller.quorum.retry.backoff.ms": Int = "20", AtLeast(0), Low, ReadOnly, "";
        "controller.quorum.voters": List = "", QuorumVoters, High, ReadOnly, "";
        "controller.quota.window.num": Int = "11", AtLeast(1), Low, ReadOnly, "";
        "controller.quota.window.size.seconds": Int = "1", AtLeast(1), Low, ReadOnly, "";
        "default.replication.factor": Int = "1", Any, Medium, ReadOnly, "";
        "delete.topic.enable": Boolean = "true", Any, High, ReadOnly, "";
        "initial.broker.registration.timeout.ms": Int = "60000", Any, Medium, ReadOnly, "";
        internal "internal.metadata.delete.delay.millis": Long = "60000", Any, Low, ReadOnly, "";
        internal "internal.metadata.log.segment.bytes": Int = null, Any, Low, ReadOnly, "";
        internal "internal.metadata.max.batch.size.in.bytes": Int = "8388608", Any, Low, ReadOnly, "";
        "kafka.metrics.polling.interval.secs": Int = "10", AtLeast(1), Low, ReadOnly, "";
        "kafka.metrics.reporters": List = "", DistinctList, Low, ReadOnly, "";
        "leader.imbalance.check.interval.seconds": Long = "300", AtLeast(1), High, ReadOnly, "";
        "metadata.log.dir": String = null, Any, High, ReadOnly, "";
        "metadata.log.max.record.bytes.between.snapshots": Long = "20971520", AtLeast(1), High, ReadOnly, "";
        "metadata.log.max.snapshot.interval.ms": Long = "3600000", AtLeast(0), High, ReadOnly, "";
        "metadata.log.segment.bytes": Int = "1073741824", AtLeast(8388608), High, ReadOnly, "";
        "metadata.log.segment.ms": Long = "604800000", Any, High, ReadOnly, "";
        "metadata.max.idle.interval.ms": Int = "500", AtLeast(0), Low, ReadOnly, "";
        "metadata.max.retention.bytes": Long = "104857600", Any, High, ReadOnly, "";
        "metadata.max.retention.ms": Long = "604800000", Any, High, ReadOnly, "";
        "metric.reporters": List = "org.apache.kafka.common.metrics.JmxReporter", DistinctList, Low, ClusterWide, "";
        "metrics.num.samples": Int = "2", AtLeast(1), Low, ReadOnly, "";
        "metrics.recording.level": String = "INFO", Any, Low, ReadOnly, "";
        "metrics.sample.window.ms": Long = "30000", AtLeast(1), Low, ReadOnly, "";
        "node.id": Int = required, AtLeast(0), High, ReadOnly, "";
        "num.partitions": Int = "1", AtLeast(1), Medium, ReadOnly, "";
        "process.roles": List = required, NonEmptyListOf(&["broker", "controller"]), High, ReadOnly, "";
        "quota.window.num": Int = "11", AtLeast(1), Low, ReadOnly, "";
        "quota.window.size.seconds": Int = "1", AtLeast(1), Low, ReadOnly, "";
        internal "server.max.startup.time.ms": Long = "9223372036854775807", AtLeast(0), Medium, ReadOnly, "";
        "telemetry.max.bytes": Int = "1048576", AtLeast(1), Low, ReadOnly, "";
        internal "unstable.api.versions.enable": Boolean = "false", Any, High, ReadOnly, "";
        internal "unstable.feature.versions.enable": Boolean = "false", Any, High, ReadOnly, "";
    }
}
