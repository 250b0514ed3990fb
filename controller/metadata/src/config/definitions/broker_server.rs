//! Settings of the process: roles, quorum, metadata, quotas, metrics.

use crate::config::definitions::definitions;

definitions! {
    /// Settings of the process: roles, quorum, metadata, quotas, metrics.
    pub(super) SERVER {
        "alter.log.dirs.replication.quota.window.num": Int = "11", AtLeast(1), Low, ReadOnly, "How many samples the quota of moves between log directories remembers.";
        "alter.log.dirs.replication.quota.window.size.seconds": Int = "1", AtLeast(1), Low, ReadOnly, "Length of one such sample.";
        "auto.create.topics.enable": Boolean = "true", Any, High, ReadOnly, "Whether a topic comes into being when a client asks for it.";
        "auto.leader.rebalance.enable": Boolean = "true", Any, High, ReadOnly, "Whether leadership goes back to preferred replicas in the background.";
        "background.threads": Int = "10", AtLeast(1), High, ClusterWide, "Threads for work that nobody waits for.";
        "broker.heartbeat.interval.ms": Int = "2000", Any, Medium, ReadOnly, "How often a broker tells the controller that it is alive.";
        "broker.id": Int = "-1", Any, High, ReadOnly, "The old name of node.id.";
        "broker.rack": String = null, Any, Medium, ReadOnly, "Where the broker stands; replicas of a partition are spread over racks.";
        "broker.session.timeout.ms": Int = "9000", Any, Medium, ReadOnly, "How long a broker may stay silent before it is fenced.";
        "controlled.shutdown.enable": Boolean = "true", Any, Medium, ReadOnly, "Whether a broker moves its leaderships away before it stops.";
        internal "controller.performance.always.log.threshold.ms": Long = "2000", AtLeast(0), Medium, ReadOnly, "Controller events slower than this are always logged.";
        internal "controller.performance.sample.period.ms": Long = "60000", AtLeast(100), Medium, ReadOnly, "How often slow controller events are summed up.";
        "controller.quorum.append.linger.ms": Int = "25", AtLeast(0), Medium, ReadOnly, "How long the active controller waits for more records before it writes.";
        "controller.quorum.auto.join.enable": Boolean = "false", Any, Low, ReadOnly, "Whether a new controller joins the voters by itself.";
        "controller.quorum.bootstrap.servers": List = "", BootstrapServers, High, ReadOnly, "Controllers to ask for the quorum: host:port, separated by commas.";
        "controller.quorum.election.backoff.max.ms": Int = "1000", AtLeast(0), High, ReadOnly, "Upper bound of the pause after a lost election.";
        "controller.quorum.election.timeout.ms": Int = "1000", AtLeast(0), High, ReadOnly, "How long a controller waits without a leader before it stands for election.";
        "controller.quorum.fetch.max.bytes": Int = "1048576", AtLeast(1), Low, ReadOnly, "Bytes of the metadata log in one fetch.";
        "controller.quorum.fetch.snapshot.max.bytes": Int = "1048576", AtLeast(1), Low, ReadOnly, "Bytes of a snapshot in one fetch.";
        "controller.quorum.fetch.timeout.ms": Int = "2000", AtLeast(0), High, ReadOnly, "How long a leader of the quorum leads without hearing of a majority.";
        "controller.quorum.request.timeout.ms": Int = "2000", AtLeast(0), Medium, ReadOnly, "How long a controller waits for another one's answer.";
        "controller.quorum.retry.backoff.ms": Int = "20", AtLeast(0), Low, ReadOnly, "Pause before a failed request to a controller is repeated.";
        "controller.quorum.voters": List = "", QuorumVoters, High, ReadOnly, "The voters of the metadata quorum: id@host:port, separated by commas.";
        "controller.quota.window.num": Int = "11", AtLeast(1), Low, ReadOnly, "How many samples the quota of metadata changes remembers.";
        "controller.quota.window.size.seconds": Int = "1", AtLeast(1), Low, ReadOnly, "Length of one such sample.";
        "default.replication.factor": Int = "1", Any, Medium, ReadOnly, "Replicas of a topic that names no number, and of those created by use.";
        "delete.topic.enable": Boolean = "true", Any, High, ReadOnly, "Whether topics can be deleted.";
        "initial.broker.registration.timeout.ms": Int = "60000", Any, Medium, ReadOnly, "How long a new broker tries to register before it gives up.";
        internal "internal.metadata.delete.delay.millis": Long = "60000", Any, Low, ReadOnly, "How long files of the metadata log that are not needed any more stay.";
        internal "internal.metadata.log.segment.bytes": Int = null, Any, Low, ReadOnly, "Size of the metadata log's segments, for tests.";
        internal "internal.metadata.max.batch.size.in.bytes": Int = "8388608", Any, Low, ReadOnly, "Largest batch of the metadata log.";
        "kafka.metrics.polling.interval.secs": Int = "10", AtLeast(1), Low, ReadOnly, "How often metrics reporters are polled.";
        "kafka.metrics.reporters": List = "", DistinctList, Low, ReadOnly, "Metrics reporters of an old kind. Not used here.";
        "leader.imbalance.check.interval.seconds": Long = "300", AtLeast(1), High, ReadOnly, "How often the controller looks for leaderships to give back.";
        "metadata.log.dir": String = null, Any, High, ReadOnly, "Directory of the metadata log; the first of log.dirs where it is not set.";
        "metadata.log.max.record.bytes.between.snapshots": Long = "20971520", AtLeast(1), High, ReadOnly, "Bytes of metadata records after which a snapshot is made.";
        "metadata.log.max.snapshot.interval.ms": Long = "3600000", AtLeast(0), High, ReadOnly, "Time after which a snapshot is made if anything has changed; 0 for never.";
        "metadata.log.segment.bytes": Int = "1073741824", AtLeast(8388608), High, ReadOnly, "Size of the metadata log's segments.";
        "metadata.log.segment.ms": Long = "604800000", Any, High, ReadOnly, "Time after which a new segment of the metadata log is begun.";
        "metadata.max.idle.interval.ms": Int = "500", AtLeast(0), Low, ReadOnly, "How often the active controller writes a no-op record; 0 for never.";
        "metadata.max.retention.bytes": Long = "104857600", Any, High, ReadOnly, "Bytes of metadata log and snapshots that are kept.";
        "metadata.max.retention.ms": Long = "604800000", Any, High, ReadOnly, "How long metadata log and snapshots are kept.";
        "metric.reporters": List = "org.apache.kafka.common.metrics.JmxReporter", DistinctList, Low, ClusterWide, "Classes that report metrics. Not used here: metrics are served over HTTP.";
        "metrics.num.samples": Int = "2", AtLeast(1), Low, ReadOnly, "How many samples a metric remembers.";
        "metrics.recording.level": String = "INFO", Any, Low, ReadOnly, "Which metrics are recorded.";
        "metrics.sample.window.ms": Long = "30000", AtLeast(1), Low, ReadOnly, "Length of one sample of a metric.";
        "node.id": Int = required, AtLeast(0), High, ReadOnly, "The number of this node, unique in its cluster.";
        "num.partitions": Int = "1", AtLeast(1), Medium, ReadOnly, "Partitions of a topic that names no number, and of those created by use.";
        "process.roles": List = required, NonEmptyListOf(&["broker", "controller"]), High, ReadOnly, "What this node is: broker, controller, or both.";
        "quota.window.num": Int = "11", AtLeast(1), Low, ReadOnly, "How many samples a client quota remembers.";
        "quota.window.size.seconds": Int = "1", AtLeast(1), Low, ReadOnly, "Length of one such sample.";
        internal "server.max.startup.time.ms": Long = "9223372036854775807", AtLeast(0), Medium, ReadOnly, "How long a start may take.";
        "telemetry.max.bytes": Int = "1048576", AtLeast(1), Low, ReadOnly, "Largest metrics push of a client, compressed.";
        internal "unstable.api.versions.enable": Boolean = "false", Any, High, ReadOnly, "Whether versions of requests are served that may still change.";
        internal "unstable.feature.versions.enable": Boolean = "false", Any, High, ReadOnly, "Whether levels of features may be used that may still change.";
    }
}
