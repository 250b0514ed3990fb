//! What the group coordinator may be told. Names and defaults are Kafka's wherever Kafka has the setting.

use crate::consumer::Assignor;

/// `group.consumer.migration.policy`: whether groups in use change between the protocols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MigrationPolicy {
    /// A classic group becomes a consumer group when a member of that protocol joins.
    pub upgrade: bool,
    /// A consumer group becomes a classic one when its last member of the consumer protocol goes.
    pub downgrade: bool,
}

impl MigrationPolicy {
    /// Kafka's default, `bidirectional`.
    pub const BIDIRECTIONAL: Self = Self { upgrade: true, downgrade: true };

    /// By Kafka's name for it, in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let (upgrade, downgrade) = match name.to_ascii_lowercase().as_str() {
            "bidirectional" => (true, true),
            "upgrade" => (true, false),
            "downgrade" => (false, true),
            "disabled" => (false, false),
            _ => return None,
        };
        Some(Self { upgrade, downgrade })
    }
}

/// Settings of consumer groups (KIP-848). A group's own settings go before the first three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`. Default: 45,000.
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: what members are told. Default: 5000.
    pub heartbeat_interval_ms: i32,
    /// What members are told, if it is less, while partitions move, or have just moved: as many milliseconds as there are
    /// members, but no less than this and no more than the next. Default: 100.
    pub unsettled_heartbeat_min_ms: i32,
    /// Default: 500.
    pub unsettled_heartbeat_max_ms: i32,
    /// `group.consumer.assignment.interval.ms`: the shortest time between two target assignments of a group of 500 members
    /// or more; of a smaller one less, in proportion. Default: 1000.
    pub assignment_interval_ms: i32,
    /// `group.consumer.max.size`: members of one group, GROUP_MAX_SIZE_REACHED beyond. Default: 2,147,483,647.
    pub size_max: usize,
    /// `group.consumer.assignors`; the first is the default. Default: uniform, range.
    pub assignors: Vec<Assignor>,
    /// Default: bidirectional.
    pub migration: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`: regular expressions are resolved anew after this even if nobody
    /// told of a change. Default: 600,000.
    pub regex_refresh_interval_ms: i64,
    /// Heartbeats of one group that wait until what was decided before them is written; COORDINATOR_NOT_AVAILABLE
    /// beyond, which clients repeat. A member sends one at a time. Default: 10,000.
    pub waiting_max: usize,
    /// Bytes of records that waiting heartbeats are answered together for; the others' turn comes after that, so that
    /// one append stays below what one batch may have. Default: 256 KiB.
    pub append_bytes: usize,
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            unsettled_heartbeat_min_ms: 100,
            unsettled_heartbeat_max_ms: 500,
            assignment_interval_ms: 1_000,
            size_max: i32::MAX as usize,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration: MigrationPolicy::BIDIRECTIONAL,
            regex_refresh_interval_ms: 600_000,
            waiting_max: 10_000,
            append_bytes: 256 << 10,
        }
    }
}

/// Settings of share groups (KIP-932). A group's own settings (`share.*`) go before the first three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGroupConfig {
    /// `group.share.session.timeout.ms`. Default: 45,000.
    pub session_timeout_ms: i32,
    /// `group.share.heartbeat.interval.ms`. Default: 5000.
    pub heartbeat_interval_ms: i32,
    /// `group.share.assignment.interval.ms`: a target assignment is that old before the next is computed (KIP-1263).
    /// Default: 1000.
    pub assignment_interval_ms: i32,
    /// `group.share.max.size`: members of one group, GROUP_MAX_SIZE_REACHED beyond. Default: 200.
    pub size_max: usize,
    /// How long an answer of the share coordinator is waited for before it is asked again. Kafka's default: 30,000.
    pub initialize_retry_interval_ms: i64,
    /// Requests of one group that wait until what was decided before them is written; COORDINATOR_NOT_AVAILABLE beyond.
    /// Default: 10,000.
    pub waiting_max: usize,
    /// Bytes of records that waiting requests are answered together for, so that one append stays below what one batch may
    /// have. Default: 256 KiB.
    pub append_bytes: usize,
}

impl Default for ShareGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            assignment_interval_ms: 1_000,
            size_max: 200,
            initialize_retry_interval_ms: 30_000,
            waiting_max: 10_000,
            append_bytes: 256 << 10,
        }
    }
}

/// Settings of streams groups (KIP-1071). A group's own settings (`streams.*`) go before the first five.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsGroupConfig {
    /// `group.streams.session.timeout.ms`. Default: 45,000.
    pub session_timeout_ms: i32,
    /// `group.streams.heartbeat.interval.ms`. Default: 5000.
    pub heartbeat_interval_ms: i32,
    /// `group.streams.assignment.interval.ms`: a target assignment is that old before the next is computed (KIP-1263).
    /// Default: 1000.
    pub assignment_interval_ms: i32,
    /// `group.streams.initial.rebalance.delay.ms`: how long the first members of a group wait for more. Default: 3000.
    pub initial_rebalance_delay_ms: i32,
    /// `group.streams.num.standby.replicas`: copies of each stateful task's state. Default: 0.
    pub standby_replicas: i32,
    /// What members are told, if it is less, while tasks move, or have just moved. Default: 500.
    pub unsettled_heartbeat_interval_ms: i32,
    /// `group.streams.max.size`: members of one group, GROUP_MAX_SIZE_REACHED beyond. Default: 2,147,483,647.
    pub size_max: usize,
    /// Tasks of one application, STREAMS_INVALID_TOPOLOGY beyond: what all members are to have, standby tasks among it,
    /// has to have room in one batch. Default: 30,000.
    pub tasks_max: i64,
    /// Bytes of a topology, STREAMS_INVALID_TOPOLOGY beyond: what one record can carry. Default: 768 KiB.
    pub topology_bytes_max: usize,
    /// Requests of one group that wait until what was decided before them is written; COORDINATOR_NOT_AVAILABLE beyond.
    /// Default: 10,000.
    pub waiting_max: usize,
    /// Bytes of records that waiting requests are answered together for, so that one append stays below what one batch may
    /// have. Default: 256 KiB.
    pub append_bytes: usize,
}

impl Default for StreamsGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            assignment_interval_ms: 1_000,
            initial_rebalance_delay_ms: 3_000,
            standby_replicas: 0,
            unsettled_heartbeat_interval_ms: 500,
            size_max: i32::MAX as usize,
            tasks_max: 30_000,
            topology_bytes_max: 768 << 10,
            waiting_max: 10_000,
            append_bytes: 256 << 10,
        }
    }
}

/// Settings of the group coordinator, one set for all shards of a broker.
///
/// Every field is public since every value is taken as it is; the shell checks ranges when it parses Kafka's
/// configuration. Durations are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: a shorter session is refused with INVALID_SESSION_TIMEOUT. Default: 6000.
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`: a longer session is refused likewise. Default: 1,800,000.
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of an empty group waits for more members.
    /// It starts anew with each arrival, up to the members' rebalance timeout. Default: 3000.
    pub initial_rebalance_delay_ms: i32,
    /// `group.initial.rebalance.quiet.ms`: that wait ends early once nobody has joined for so long. Default: 500.
    pub initial_rebalance_quiet_ms: i32,
    /// `group.max.size`: members of one group, GROUP_MAX_SIZE_REACHED beyond. Default: 2,147,483,647.
    pub group_max_size: usize,
    /// `offset.metadata.max.bytes`: metadata of one committed offset, OFFSET_METADATA_TOO_LARGE beyond. Default: 4096.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds: how long offsets outlive their use. Default: seven days.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`: how often expired offsets are looked for. Default: 600,000.
    pub offsets_retention_check_interval_ms: i64,
    /// `offset.commit.timeout.ms`: how long a reply waits for its records to be replicated. Default: 5000.
    pub offset_commit_timeout_ms: i64,

    /// Groups on one shard; a request that would make one more is refused with GROUP_MAX_SIZE_REACHED.
    /// Kafka has no such bound. Default: 10,000, which is 500,000 with fifty partitions.
    pub groups_per_shard_max: usize,
    /// Members that were given an id (KIP-394) and have not joined with it yet, of one group; refused with
    /// GROUP_MAX_SIZE_REACHED beyond. Kafka counts them with the members only. Default: 10,000.
    pub pending_joins_per_group_max: usize,
    /// Bytes of all protocols' metadata of one member; INVALID_REQUEST beyond. Default: 1 MiB, what one
    /// record of `__consumer_offsets` can carry (Kafka finds out when it writes the record).
    pub member_metadata_bytes_max: usize,
    /// Protocols that one member may name; INVALID_REQUEST beyond. Default: 100.
    pub protocols_per_member_max: usize,
    /// Bytes of the metadata of all members of a group; GROUP_MAX_SIZE_REACHED beyond. Default: 16 MiB.
    pub group_metadata_bytes_max: usize,
    /// Bytes of one group's record: all its members' subscriptions and assignments. A SyncGroup whose record
    /// would be larger is answered with UNKNOWN_SERVER_ERROR, as Kafka's is. Default: 1 MiB.
    pub group_record_bytes_max: usize,
    /// Appends not yet answered by `Appended`; a request that needs one more is refused with
    /// COORDINATOR_NOT_AVAILABLE, which clients repeat. Default: 10,000.
    pub pending_appends_max: usize,
    /// Records in one append made by the coordinator itself (expiration, deleted topics). Default: 1000.
    pub records_per_append_max: usize,
    /// Consumer groups' own.
    pub consumer: ConsumerGroupConfig,
    /// Share groups' own.
    pub share: ShareGroupConfig,
    /// Streams groups' own.
    pub streams: StreamsGroupConfig,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            initial_rebalance_quiet_ms: 500,
            group_max_size: i32::MAX as usize,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval_ms: 600_000,
            offset_commit_timeout_ms: 5_000,
            groups_per_shard_max: 10_000,
            pending_joins_per_group_max: 10_000,
            member_metadata_bytes_max: 1 << 20,
            protocols_per_member_max: 100,
            group_metadata_bytes_max: 16 << 20,
            group_record_bytes_max: 1 << 20,
            pending_appends_max: 10_000,
            records_per_append_max: 1_000,
            consumer: ConsumerGroupConfig::default(),
            share: ShareGroupConfig::default(),
            streams: StreamsGroupConfig::default(),
        }
    }
}
