//! Every metric of a node: its name, what it means, who tells it. `/metrics` knows no other names, and `docs/METRICS.md` is
//! made of this table.

/// What a metric's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    Histogram,
    /// Quantiles that the node estimates itself, with sum and count.
    Summary,
}

/// The families of names, each of which `metrics.families` can leave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// What the JMX exporter makes of Apache Kafka's MBeans by Strimzi's rules.
    Jmx,
    /// `kafka_exporter`'s.
    Exporter,
    /// What Kafka has no name for.
    Moldau,
    /// What every process has.
    Process,
}

/// Which node tells a metric, so that sums over all nodes come out right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Teller {
    /// Each node of itself.
    Node,
    /// The leader of the partition, which knows best; of one without a leader, the broker with the lowest id.
    Leader,
    /// The coordinator of the group.
    Coordinator,
    /// The unfenced broker with the lowest id: all brokers know the cluster's metadata, one tells.
    OneBroker,
    /// The active controller.
    ActiveController,
    /// Each controller of itself.
    Controller,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub name: &'static str,
    pub kind: Kind,
    pub family: Family,
    pub teller: Teller,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

impl Kind {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

impl Family {
    pub const ALL: [Self; 4] = [Self::Jmx, Self::Exporter, Self::Moldau, Self::Process];

    /// As `metrics.families` names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jmx => "jmx",
            Self::Exporter => "exporter",
            Self::Moldau => "moldau",
            Self::Process => "process",
        }
    }
}

impl Teller {
    /// As the reference puts it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "each broker",
            Self::Leader => "the partition's leader",
            Self::Coordinator => "the group's coordinator",
            Self::OneBroker => "one broker",
            Self::ActiveController => "the active controller",
            Self::Controller => "each controller",
        }
    }
}

macro_rules! metrics {
    ($($id:ident = $name:literal $kind:ident $family:ident $teller:ident [$($label:literal),*] $help:literal;)*) => {
        /// One for each row of [`DEFINITIONS`], in its order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric { $(#[doc = $help] $id),* }

        /// The table.
        pub static DEFINITIONS: &[Definition] = &[$(Definition {
            name: $name,
            kind: Kind::$kind,
            family: Family::$family,
            teller: Teller::$teller,
            labels: &[$($label),*],
            help: $help,
        }),*];
    };
}

metrics! {
    PartitionCount = "kafka_server_replicamanager_partitioncount" Gauge Jmx Node [] "Partitions of which this broker has a replica";
    LeaderCount = "kafka_server_replicamanager_leadercount" Gauge Jmx Node [] "Partitions that this broker leads";
    UnderReplicatedPartitions = "kafka_server_replicamanager_underreplicatedpartitions" Gauge Jmx Node [] "Partitions led here with replicas out of sync";
    UnderMinIsrPartitionCount = "kafka_server_replicamanager_underminisrpartitioncount" Gauge Jmx Node [] "Partitions led here with fewer in sync than min.insync.replicas: acks=all is refused";
    AtMinIsrPartitionCount = "kafka_server_replicamanager_atminisrpartitioncount" Gauge Jmx Node [] "Partitions led here with just min.insync.replicas in sync";
    OfflineReplicaCount = "kafka_server_replicamanager_offlinereplicacount" Gauge Jmx Node [] "Replicas of this broker whose log directory failed";
    IsrShrinks = "kafka_server_replicamanager_isrshrinks_total" Counter Jmx Node [] "Changes that made an ISR of a partition led here smaller";
    IsrExpands = "kafka_server_replicamanager_isrexpands_total" Counter Jmx Node [] "Changes that made an ISR of a partition led here larger";
    FailedIsrUpdates = "kafka_server_replicamanager_failedisrupdates_total" Counter Jmx Node [] "Changes of an ISR that the controller did not take";
    MessagesIn = "kafka_server_brokertopicmetrics_messagesin_total" Counter Jmx Node ["topic"] "Records written to partitions led here; without a label the sum over all topics";
    BytesIn = "kafka_server_brokertopicmetrics_bytesin_total" Counter Jmx Node ["topic"] "Bytes of record batches written to partitions led here";
    BytesOut = "kafka_server_brokertopicmetrics_bytesout_total" Counter Jmx Node ["topic"] "Bytes of record batches given to consumers";
    ReplicationBytesIn = "kafka_server_brokertopicmetrics_replicationbytesin_total" Counter Jmx Node [] "Bytes of record batches fetched from leaders";
    ReplicationBytesOut = "kafka_server_brokertopicmetrics_replicationbytesout_total" Counter Jmx Node [] "Bytes of record batches given to followers";
    TotalProduceRequests = "kafka_server_brokertopicmetrics_totalproducerequests_total" Counter Jmx Node ["topic"] "Appends to partitions led here";
    TotalFetchRequests = "kafka_server_brokertopicmetrics_totalfetchrequests_total" Counter Jmx Node ["topic"] "Partitions that consumers were answered of";
    FailedProduceRequests = "kafka_server_brokertopicmetrics_failedproducerequests_total" Counter Jmx Node ["topic"] "Appends that were refused";
    FailedFetchRequests = "kafka_server_brokertopicmetrics_failedfetchrequests_total" Counter Jmx Node ["topic"] "Partitions of which consumers were refused";
    RequestsTotal = "kafka_network_requestmetrics_requests_total" Counter Jmx Node ["request"] "Requests that were answered";
    RequestErrors = "kafka_network_requestmetrics_errors_total" Counter Jmx Node ["request"] "Errors told by partition in answers to Produce and Fetch, and requests that ended their connection";
    TotalTimeMs = "kafka_network_requestmetrics_totaltimems" Summary Jmx Node ["request", "quantile"] "Milliseconds from a request's arrival until its answer went to the socket, since the start";
    LocalTimeMs = "kafka_network_requestmetrics_localtimems" Summary Jmx Node ["request", "quantile"] "Milliseconds in the request's handler, since the start";
    RemoteTimeMs = "kafka_network_requestmetrics_remotetimems" Summary Jmx Node ["request", "quantile"] "Milliseconds that an answer was waited for, since the start; of those that were";
    NetworkProcessorIdle = "kafka_network_socketserver_networkprocessoravgidle_percent" Gauge Jmx Node [] "The part of the time, 0 to 1, for which the workers of the data plane were idle since the last scrape";
    RequestHandlerIdle = "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent" Gauge Jmx Node [] "The same: here the workers that read requests also handle them";
    ConnectionCount = "kafka_server_socket_server_metrics_connection_count" Gauge Jmx Node ["listener"] "Open connections";
    AuthenticationsSuccessful = "kafka_server_socket_server_metrics_successful_authentication_total" Counter Jmx Node ["listener"] "Connections that authenticated; where nothing is asked of them, all";
    AuthenticationsFailed = "kafka_server_socket_server_metrics_failed_authentication_total" Counter Jmx Node ["listener"] "Connections that did not: TLS, SASL, or too long";
    ReauthenticationsSuccessful = "kafka_server_socket_server_metrics_successful_reauthentication_total" Counter Jmx Node ["listener"] "Sessions that were renewed";
    ReauthenticationsFailed = "kafka_server_socket_server_metrics_failed_reauthentication_total" Counter Jmx Node ["listener"] "Sessions that were to be renewed, and were refused";
    ConnectionCreations = "kafka_server_socket_server_metrics_connection_creation_total" Counter Jmx Node ["listener"] "Connections that were accepted";
    PurgatorySize = "kafka_server_delayedoperationpurgatory_purgatorysize" Gauge Jmx Node ["delayedOperation"] "Requests whose answers wait: Produce for its ISR, Fetch for records";
    LogSize = "kafka_log_log_size" Gauge Jmx Node ["topic", "partition"] "Bytes of the log of each replica here";
    LogStartOffset = "kafka_log_log_logstartoffset" Gauge Jmx Node ["topic", "partition"] "The first offset of the log of each replica here";
    LogEndOffset = "kafka_log_log_logendoffset" Gauge Jmx Node ["topic", "partition"] "The next offset of the log of each replica here";
    OfflineLogDirectoryCount = "kafka_log_logmanager_offlinelogdirectorycount" Gauge Jmx Node [] "Log directories of this node that failed";
    LogFlushTimeMs = "kafka_log_logflushstats_logflushrateandtimems" Summary Jmx Node ["directory", "quantile"] "Milliseconds that syncs of logs to the disk took, since the start";
    PartitionReplicasCount = "kafka_cluster_partition_replicascount" Gauge Jmx Leader ["topic", "partition"] "Replicas of the partition";
    PartitionInSyncReplicasCount = "kafka_cluster_partition_insyncreplicascount" Gauge Jmx Leader ["topic", "partition"] "Replicas in sync";
    PartitionUnderReplicated = "kafka_cluster_partition_underreplicated" Gauge Jmx Leader ["topic", "partition"] "1 if replicas are out of sync";
    PartitionUnderMinIsr = "kafka_cluster_partition_underminisr" Gauge Jmx Leader ["topic", "partition"] "1 if fewer than min.insync.replicas are in sync";
    PartitionAtMinIsr = "kafka_cluster_partition_atminisr" Gauge Jmx Leader ["topic", "partition"] "1 if just min.insync.replicas are in sync";
    ActiveControllerCount = "kafka_controller_kafkacontroller_activecontrollercount" Gauge Jmx Controller [] "1 on the active controller, 0 on the others";
    ActiveBrokerCount = "kafka_controller_kafkacontroller_activebrokercount" Gauge Jmx ActiveController [] "Registered brokers that are not fenced";
    FencedBrokerCount = "kafka_controller_kafkacontroller_fencedbrokercount" Gauge Jmx ActiveController [] "Registered brokers that are fenced: they are down, or have not caught up";
    GlobalTopicCount = "kafka_controller_kafkacontroller_globaltopiccount" Gauge Jmx ActiveController [] "Topics of the cluster";
    GlobalPartitionCount = "kafka_controller_kafkacontroller_globalpartitioncount" Gauge Jmx ActiveController [] "Partitions of the cluster";
    OfflinePartitionsCount = "kafka_controller_kafkacontroller_offlinepartitionscount" Gauge Jmx ActiveController [] "Partitions of the cluster that nobody leads";
    PreferredReplicaImbalanceCount = "kafka_controller_kafkacontroller_preferredreplicaimbalancecount" Gauge Jmx ActiveController [] "Partitions whose leader is not the preferred one";
    RaftCurrentLeader = "kafka_server_raftmetrics_current_leader" Gauge Jmx Controller [] "The id of the active controller, as this controller knows; -1 during an election";
    RaftCurrentEpoch = "kafka_server_raftmetrics_current_epoch" Gauge Jmx Controller [] "The term of the metadata quorum";
    RaftCurrentState = "kafka_server_raftmetrics_current_state" Gauge Jmx Controller ["current_state"] "1 for what this controller is: leader, follower or observer; unattached while it knows no leader";
    RaftHighWatermark = "kafka_server_raftmetrics_high_watermark" Gauge Jmx Controller [] "The end, exclusive, of what is committed of the metadata log, as far as this controller has applied it";
    RaftLogEndOffset = "kafka_server_raftmetrics_log_end_offset" Gauge Jmx Controller [] "The end, exclusive, of this controller's metadata log";
    LastAppliedRecordOffset = "kafka_server_brokermetadatametrics_last_applied_record_offset" Gauge Jmx Node [] "How far this broker has applied the cluster's metadata";

    Brokers = "kafka_brokers" Gauge Exporter OneBroker [] "Brokers that are not fenced";
    BrokerInfo = "kafka_broker_info" Gauge Exporter OneBroker ["id", "address"] "1 for each broker that is not fenced";
    TopicPartitions = "kafka_topic_partitions" Gauge Exporter OneBroker ["topic"] "Partitions of the topic";
    TopicCurrentOffset = "kafka_topic_partition_current_offset" Gauge Exporter Leader ["topic", "partition"] "The offset behind the last record that consumers can read";
    TopicOldestOffset = "kafka_topic_partition_oldest_offset" Gauge Exporter Leader ["topic", "partition"] "The partition's first offset";
    TopicInSyncReplica = "kafka_topic_partition_in_sync_replica" Gauge Exporter Leader ["topic", "partition"] "Replicas in sync";
    TopicReplicas = "kafka_topic_partition_replicas" Gauge Exporter Leader ["topic", "partition"] "Replicas of the partition";
    TopicLeader = "kafka_topic_partition_leader" Gauge Exporter Leader ["topic", "partition"] "The id of the leader; -1 if there is none";
    TopicLeaderIsPreferred = "kafka_topic_partition_leader_is_preferred" Gauge Exporter Leader ["topic", "partition"] "1 if the preferred replica leads";
    TopicUnderReplicated = "kafka_topic_partition_under_replicated_partition" Gauge Exporter Leader ["topic", "partition"] "1 if replicas are out of sync";
    GroupMembers = "kafka_consumergroup_members" Gauge Exporter Coordinator ["consumergroup"] "Members of the group";
    GroupCurrentOffset = "kafka_consumergroup_current_offset" Gauge Exporter Coordinator ["consumergroup", "topic", "partition"] "The committed offset";
    GroupCurrentOffsetSum = "kafka_consumergroup_current_offset_sum" Gauge Exporter Coordinator ["consumergroup", "topic"] "The sum of the topic's committed offsets";
    GroupLag = "kafka_consumergroup_lag" Gauge Exporter Coordinator ["consumergroup", "topic", "partition"] "Records between the committed offset, or the partition's start where that is later, and the partition's end";
    GroupLagSum = "kafka_consumergroup_lag_sum" Gauge Exporter Coordinator ["consumergroup", "topic"] "The sum of the topic's lags";

    BrokerReady = "moldau_broker_ready" Gauge Moldau Node [] "1 if clients are sent to this broker: it is registered, not fenced and not on its way down";
    BrokerEpoch = "moldau_broker_epoch" Gauge Moldau Node [] "This broker's registration";
    MetadataOffset = "moldau_metadata_offset" Gauge Moldau Node [] "How far this broker has applied the cluster's metadata";
    MetadataOfflinePartitions = "moldau_metadata_offline_partitions" Gauge Moldau Node [] "Partitions of the whole cluster without a leader, as this broker's metadata shows it";
    MetadataBrokers = "moldau_metadata_brokers" Gauge Moldau Node [] "Registered brokers, as this broker's metadata shows it";
    RequestSeconds = "moldau_request_seconds" Histogram Moldau Node ["request", "part", "le"] "How long requests took: in their handler (local), waiting (remote), until the answer went to the socket (total)";
    RequestsWaiting = "moldau_requests_waiting" Gauge Moldau Node ["request"] "Requests whose answer is waited for";
    RequestsRefused = "moldau_requests_refused_total" Counter Moldau Node ["request"] "Requests that ended their connection: unreadable, or Kafka's way to say no at acks=0";
    RequestMemory = "moldau_request_memory_bytes" Gauge Moldau Node [] "Bytes of large requests in memory";
    RequestMemoryLimit = "moldau_request_memory_limit_bytes" Gauge Moldau Node [] "The budget for these bytes (queued.max.request.bytes), which one request at a time may exceed";
    WorkerBusy = "moldau_worker_busy_seconds_total" Counter Moldau Node [] "Time for which workers of the data plane were busy";
    Workers = "moldau_workers" Gauge Moldau Node [] "Workers of the data plane";
    SyncSeconds = "moldau_sync_seconds" Histogram Moldau Node ["directory", "le"] "How long syncs of logs to the disk took";
    SyncQueue = "moldau_sync_queue" Gauge Moldau Node ["directory"] "Partitions that wait for a sync";
    LogDirOnline = "moldau_log_dir_online" Gauge Moldau Node ["directory"] "1 if the log directory can be used";
    LogDirFull = "moldau_log_dir_full" Gauge Moldau Node ["directory"] "1 if the log directory has no room left";
    LogDirTotal = "moldau_log_dir_total_bytes" Gauge Moldau Node ["directory"] "The size of the log directory's file system";
    LogDirUsable = "moldau_log_dir_usable_bytes" Gauge Moldau Node ["directory"] "Room that is left there for records";
    LogDirReserve = "moldau_log_dir_reserve_bytes" Gauge Moldau Node ["directory"] "What records leave free there for the metadata (metadata.log.reserve.bytes)";
    ReplicationLagRecords = "moldau_replication_lag_records" Gauge Moldau Node ["follower"] "Records of partitions led here that the follower has not made durable yet";
    ReplicationLagBytes = "moldau_replication_lag_bytes" Gauge Moldau Node ["follower"] "The same in bytes, by the mean size of each partition's records";
    ReplicationLagSeconds = "moldau_replication_lag_seconds" Gauge Moldau Node ["follower"] "How long ago the follower had all of a partition, over the partitions led here that it is behind in; of the worst";
    ElectionSeconds = "moldau_controller_election_seconds" Summary Moldau Controller [] "How long this controller knew no leader of the metadata quorum, each time";
    Groups = "moldau_groups" Gauge Moldau Coordinator ["type", "state"] "Groups";
    TraceSpans = "moldau_trace_spans_total" Counter Moldau Node ["outcome"] "Spans of traces: exported, dropped for want of room in the queue, or failed at the collector; where there are traces";
    Series = "moldau_metrics_series" Gauge Moldau Node [] "Time series of topics, partitions and groups in this answer";
    SeriesOmitted = "moldau_metrics_series_omitted" Gauge Moldau Node [] "Those that were left out of it, as there are more than metrics.series.max";
    BuildInfo = "moldau_build_info" Gauge Moldau Node ["version"] "The version that runs";

    ResidentMemory = "process_resident_memory_bytes" Gauge Process Node [] "Resident memory";
    CpuSeconds = "process_cpu_seconds_total" Counter Process Node [] "CPU time, user and system";
    OpenFds = "process_open_fds" Gauge Process Node [] "Open file descriptors";
    MaxFds = "process_max_fds" Gauge Process Node [] "File descriptors that may be open";
}

impl Metric {
    #[must_use]
    pub fn definition(self) -> &'static Definition {
        &DEFINITIONS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_as_prometheus_takes_them() {
        let mut names = BTreeSet::new();
        for definition in DEFINITIONS {
            let name = definition.name;
            assert!(names.insert(name), "{name} twice");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
            assert_eq!(definition.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(!definition.help.ends_with('.'), "{name}");
        }
        assert_eq!(Metric::MaxFds.definition().name, "process_max_fds");
    }
}
