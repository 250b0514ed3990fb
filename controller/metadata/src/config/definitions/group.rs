//! Settings of groups and of client metrics subscriptions.

use crate::config::definitions::definitions;

definitions! {
    /// Every setting of a group (KIP-848, KIP-932, KIP-1071).
    pub GROUP {
        "consumer.assignment.interval.ms": Int = "1000", AtLeast(0), Medium, ClusterWide, "Shortest time between two assignments of this consumer group.";
        "consumer.heartbeat.interval.ms": Int = "5000", AtLeast(1), Medium, ClusterWide, "How often members of this consumer group send heartbeats.";
        "consumer.session.timeout.ms": Int = "45000", AtLeast(1), Medium, ClusterWide, "How long a member of this consumer group may stay silent.";
        "share.assignment.interval.ms": Int = "1000", AtLeast(0), Medium, ClusterWide, "Shortest time between two assignments of this share group.";
        "share.auto.offset.reset": String = "latest", OffsetReset, Medium, ClusterWide, "Where this share group starts: earliest, latest, or by_duration: and how far back.";
        "share.delivery.count.limit": Int = "5", AtLeast(2), Medium, ClusterWide, "How often a record is delivered to this share group before it is given up.";
        "share.heartbeat.interval.ms": Int = "5000", AtLeast(1), Medium, ClusterWide, "How often members of this share group send heartbeats.";
        "share.isolation.level": String = "read_uncommitted", OneOf(&["read_committed", "read_uncommitted"]), Medium, ClusterWide, "Whether this share group sees records of open transactions.";
        "share.partition.max.record.locks": Int = "2000", AtLeast(100), Medium, ClusterWide, "Records of one partition that this share group may hold at the same time.";
        "share.record.lock.duration.ms": Int = "30000", AtLeast(1000), Medium, ClusterWide, "How long a member of this share group holds a record.";
        "share.renew.acknowledge.enable": Boolean = "true", Any, Medium, ClusterWide, "Whether members of this share group may hold a record longer by renewing.";
        "share.session.timeout.ms": Int = "45000", AtLeast(1), Medium, ClusterWide, "How long a member of this share group may stay silent.";
        "streams.assignment.interval.ms": Int = "1000", AtLeast(0), Medium, ClusterWide, "Shortest time between two assignments of this streams group.";
        "streams.heartbeat.interval.ms": Int = "5000", AtLeast(1), Medium, ClusterWide, "How often members of this streams group send heartbeats.";
        "streams.initial.rebalance.delay.ms": Int = "3000", AtLeast(0), Medium, ClusterWide, "How long the first rebalance of this streams group waits for more members.";
        "streams.num.standby.replicas": Int = "0", AtLeast(0), Medium, ClusterWide, "Standby replicas of each task of this streams group.";
        "streams.session.timeout.ms": Int = "45000", AtLeast(1), Medium, ClusterWide, "How long a member of this streams group may stay silent.";
    }
}

definitions! {
    /// Every setting of a client metrics subscription (KIP-714).
    pub CLIENT_METRICS {
        "interval.ms": Int = "300000", Between(100, 3600000), Medium, ClusterWide, "How often a matching client pushes its metrics.";
        "match": List = "", Any, Medium, ClusterWide, "Which clients push: patterns `property=regular expression`, all of which have to match.";
        "metrics": List = "", Any, Medium, ClusterWide, "Which metrics are pushed: prefixes of their names, or `*` for all.";
    }
}
