//! `group.*`, and `share.coordinator.*`: what is read of them, and checked.

use super::{Reader, as_list};

/// `group.*`: classic, consumer, share and streams groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    pub initial_rebalance_delay_ms: i32,
    pub initial_rebalance_quiet_ms: i32,
    pub session_timeout_ms_min: i32,
    pub session_timeout_ms_max: i32,
    /// `group.max.size`.
    pub size_max: i32,
    /// Whether `group.coordinator.rebalance.protocols` names `consumer`.
    pub serves_consumer_groups: bool,
    /// `group.consumer.session.timeout.ms`.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`.
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`.
    pub consumer_assignment_interval_ms: i32,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub consumer_regex_refresh_interval_ms: i32,
    /// `group.consumer.max.size`.
    pub consumer_size_max: i32,
    /// `group.consumer.assignors`: `uniform`, `range`, or both.
    pub consumer_assignors: Vec<String>,
    /// `group.consumer.migration.policy`, in any case.
    pub consumer_migration_policy: String,
    pub share: ShareSettings,
    pub streams: StreamsSettings,
}

/// `group.streams.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsSettings {
    /// Whether `group.coordinator.rebalance.protocols` names `streams`.
    pub is_served: bool,
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: i32,
    pub assignment_interval_ms: i32,
    pub initial_rebalance_delay_ms: i32,
    /// `group.streams.num.standby.replicas`.
    pub standby_replicas: i32,
    /// `group.streams.max.size`.
    pub size_max: i32,
}

/// `group.share.*` and `share.coordinator.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareSettings {
    /// Whether `group.coordinator.rebalance.protocols` names `share`.
    pub is_served: bool,
    pub session_timeout_ms: i32,
    pub heartbeat_interval_ms: i32,
    pub assignment_interval_ms: i32,
    /// `group.share.max.size`.
    pub size_max: i32,
    pub initialize_retry_interval_ms: i32,
    pub delivery_count_limit: i32,
    /// What a group's own limit may be at most.
    pub delivery_count_limit_max: i32,
    pub record_lock_duration_ms: i32,
    /// `group.share.partition.max.record.locks`.
    pub record_locks_max: i32,
    /// `group.share.max.share.sessions`.
    pub sessions_max: i32,
    /// `share.coordinator.state.topic.num.partitions`.
    pub state_partition_count: i32,
    pub state_replication_factor: i16,
    /// Whether the user has set it.
    pub state_replication_factor_is_chosen: bool,
    pub state_min_isr: i32,
    pub state_segment_bytes: i32,
    pub write_timeout_ms: i32,
    /// `share.coordinator.snapshot.update.records.per.snapshot`.
    pub updates_per_snapshot: i32,
    /// `share.coordinator.state.topic.prune.interval.ms`.
    pub prune_interval_ms: i32,
    /// `share.coordinator.cold.partition.snapshot.interval.ms`.
    pub cold_snapshot_interval_ms: i32,
}

impl Reader<'_> {
    /// What a consumer, share or streams group is told lies within what groups may choose for themselves.
    pub(super) fn consumer_group_checks(&self, refuse: &mut dyn FnMut(&str, String)) {
        for [name, least, most] in [
            [
                "group.consumer.assignment.interval.ms",
                "group.consumer.min.assignment.interval.ms",
                "group.consumer.max.assignment.interval.ms",
            ],
            [
                "group.consumer.heartbeat.interval.ms",
                "group.consumer.min.heartbeat.interval.ms",
                "group.consumer.max.heartbeat.interval.ms",
            ],
            [
                "group.consumer.session.timeout.ms",
                "group.consumer.min.session.timeout.ms",
                "group.consumer.max.session.timeout.ms",
            ],
            [
                "group.streams.assignment.interval.ms",
                "group.streams.min.assignment.interval.ms",
                "group.streams.max.assignment.interval.ms",
            ],
            [
                "group.streams.heartbeat.interval.ms",
                "group.streams.min.heartbeat.interval.ms",
                "group.streams.max.heartbeat.interval.ms",
            ],
            [
                "group.streams.session.timeout.ms",
                "group.streams.min.session.timeout.ms",
                "group.streams.max.session.timeout.ms",
            ],
            [
                "group.share.assignment.interval.ms",
                "group.share.min.assignment.interval.ms",
                "group.share.max.assignment.interval.ms",
            ],
            [
                "group.share.heartbeat.interval.ms",
                "group.share.min.heartbeat.interval.ms",
                "group.share.max.heartbeat.interval.ms",
            ],
            [
                "group.share.session.timeout.ms",
                "group.share.min.session.timeout.ms",
                "group.share.max.session.timeout.ms",
            ],
            [
                "group.share.record.lock.duration.ms",
                "group.share.min.record.lock.duration.ms",
                "group.share.max.record.lock.duration.ms",
            ],
            [
                "group.share.partition.max.record.locks",
                "group.share.min.partition.max.record.locks",
                "group.share.max.partition.max.record.locks",
            ],
            [
                "group.share.delivery.count.limit",
                "group.share.min.delivery.count.limit",
                "group.share.max.delivery.count.limit",
            ],
        ] {
            if self.int(most) < self.int(least) {
                refuse(most, format!("{most} must be greater than or equal to {least}"));
            }
            if self.int(name) < self.int(least) {
                refuse(name, format!("{name} must be greater than or equal to {least}"));
            }
            if self.int(name) > self.int(most) {
                refuse(name, format!("{name} must be less than or equal to {most}"));
            }
        }
        for (heartbeat, session) in [
            ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"),
            ("group.share.heartbeat.interval.ms", "group.share.session.timeout.ms"),
            ("group.streams.heartbeat.interval.ms", "group.streams.session.timeout.ms"),
        ] {
            if self.int(heartbeat) >= self.int(session) {
                refuse(heartbeat, format!("{heartbeat} must be less than {session}"));
            }
        }
        let (replicas, most) = ("group.streams.num.standby.replicas", "group.streams.max.standby.replicas");
        if self.int(replicas) > self.int(most) {
            refuse(replicas, format!("{replicas} must be less than or equal to {most}"));
        }
        for assignor in as_list(self.text("group.consumer.assignors")) {
            if !matches!(assignor, "uniform" | "range") {
                refuse("group.consumer.assignors", format!("{assignor} is not one of uniform and range"));
            }
        }
    }

    pub(super) fn group(&self) -> GroupSettings {
        let protocols = as_list(self.text("group.coordinator.rebalance.protocols"));
        let assignors = as_list(self.text("group.consumer.assignors"));
        GroupSettings {
            initial_rebalance_delay_ms: self.int("group.initial.rebalance.delay.ms"),
            initial_rebalance_quiet_ms: self.int("group.initial.rebalance.quiet.ms"),
            session_timeout_ms_min: self.int("group.min.session.timeout.ms"),
            session_timeout_ms_max: self.int("group.max.session.timeout.ms"),
            size_max: self.int("group.max.size"),
            serves_consumer_groups: protocols.contains(&"consumer"),
            consumer_session_timeout_ms: self.int("group.consumer.session.timeout.ms"),
            consumer_heartbeat_interval_ms: self.int("group.consumer.heartbeat.interval.ms"),
            consumer_assignment_interval_ms: self.int("group.consumer.assignment.interval.ms"),
            consumer_regex_refresh_interval_ms: self.int("group.consumer.regex.refresh.interval.ms"),
            consumer_size_max: self.int("group.consumer.max.size"),
            consumer_assignors: assignors.into_iter().map(str::to_owned).collect(),
            consumer_migration_policy: self.text("group.consumer.migration.policy").to_owned(),
            share: self.share(),
            streams: self.streams(),
        }
    }

    fn streams(&self) -> StreamsSettings {
        let protocols = as_list(self.text("group.coordinator.rebalance.protocols"));
        StreamsSettings {
            is_served: protocols.contains(&"streams"),
            session_timeout_ms: self.int("group.streams.session.timeout.ms"),
            heartbeat_interval_ms: self.int("group.streams.heartbeat.interval.ms"),
            assignment_interval_ms: self.int("group.streams.assignment.interval.ms"),
            initial_rebalance_delay_ms: self.int("group.streams.initial.rebalance.delay.ms"),
            standby_replicas: self.int("group.streams.num.standby.replicas"),
            size_max: self.int("group.streams.max.size"),
        }
    }

    fn share(&self) -> ShareSettings {
        let protocols = as_list(self.text("group.coordinator.rebalance.protocols"));
        ShareSettings {
            is_served: protocols.contains(&"share"),
            session_timeout_ms: self.int("group.share.session.timeout.ms"),
            heartbeat_interval_ms: self.int("group.share.heartbeat.interval.ms"),
            assignment_interval_ms: self.int("group.share.assignment.interval.ms"),
            size_max: self.int("group.share.max.size"),
            initialize_retry_interval_ms: self.int("group.share.initialize.retry.interval.ms"),
            delivery_count_limit: self.int("group.share.delivery.count.limit"),
            delivery_count_limit_max: self.int("group.share.max.delivery.count.limit"),
            record_lock_duration_ms: self.int("group.share.record.lock.duration.ms"),
            record_locks_max: self.int("group.share.partition.max.record.locks"),
            sessions_max: self.int("group.share.max.share.sessions"),
            state_partition_count: self.int("share.coordinator.state.topic.num.partitions"),
            state_replication_factor: self.short("share.coordinator.state.topic.replication.factor"),
            state_replication_factor_is_chosen: self
                .is_set("share.coordinator.state.topic.replication.factor"),
            state_min_isr: i32::from(self.short("share.coordinator.state.topic.min.isr")),
            state_segment_bytes: self.int("share.coordinator.state.topic.segment.bytes"),
            write_timeout_ms: self.int("share.coordinator.write.timeout.ms"),
            updates_per_snapshot: self.int("share.coordinator.snapshot.update.records.per.snapshot"),
            prune_interval_ms: self.int("share.coordinator.state.topic.prune.interval.ms"),
            cold_snapshot_interval_ms: self.int("share.coordinator.cold.partition.snapshot.interval.ms"),
        }
    }
}
