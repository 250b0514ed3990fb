//! Settings of groups and of client metrics subscriptions.

use crate::config::definitions::definitions;

definitions! {
    /// Every setting of a group (KIP-848, KIP-932, KIP-1071).
    pub GROUP {
        "consumer.assignment.interval.ms": Int = "1000", AtLeast(0), Medium, ClusterWide, "";
        "consumer.heartbeat.interval.ms": Int = "5000", AtLeast(1), Medium, ClusterWide, "";
        "consumer.session.timeout.ms": Int = "45000", AtLeast(1), Medium, ClusterWide, "";
        "share.assignment.interval.ms": Int = "1000", AtLeast(0), Medium, ClusterWide, "";
        "share.auto.offset.reset": String = "latest", OffsetReset, Medium, ClusterWide, "";
        "share.delivery.count.limit": Int = "5", AtLeast(2), Medium, ClusterWide, "";
        "share.heartbeat.interval.ms": Int = "5000", AtLeast(1), Medium, ClusterWide, "";
        "share.isolation.level": String = "read_uncommitted", OneOf(&["read_committed", "read_uncommitted"]), Medium, ClusterWide, "";
        "share.partition.max.record.locks": Int = "2000", AtLeast(100), Medium, ClusterWide, "";
        "share.record.lock.duration.ms": Int = "30000", AtLeast(1000), Medium, ClusterWide, "";
        "share.renew.acknowledge.enable": Boolean = "true", Any, Medium, ClusterWide, "";
        "share.session.timeout.ms": Int = "45000", AtLeast(1), Medium, ClusterWide, "";
        "streams.assignment.interval.ms": Int = "1000", AtLeast(0), Medium, ClusterWide, "";
        "streams.heartbeat.interval.ms": Int = "5000", AtLeast(1), Medium, ClusterWide, "";
        "streams.initial.rebalance.delay.ms": Int = "3000", AtLeast(0), Medium, ClusterWide, "";
        "streams.num.standby.replicas": Int = "0", AtLeast(0), Medium, ClusterWide, "";
        "streams.session.timeout.ms": Int = "45000", AtLeast(1), Medium, ClusterWide, "";
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
