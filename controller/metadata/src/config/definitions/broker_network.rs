//! Settings of listeners, connections, requests and replication between brokers.

use crate::config::definitions::definitions;

definitions! {
    /// Settings of listeners, connections, requests and replication between brokers.
    pub NETWORK {
        "advertised.listeners": List = null, NonEmptyDistinctList, High, ReadOnly, "";
        "connections.max.idle.ms": Long = "600000", Any, Medium, ReadOnly, "";
        "controller.listener.names": List = required, NonEmptyDistinctList, High, ReadOnly, "";
        "controller.socket.timeout.ms": Int = "30000", Any, Medium, ReadOnly, "";
        "delete.records.purgatory.purge.interval.requests": Int = "1", Any, Medium, ReadOnly, "";
        "early.start.listeners": List = null, DistinctList, High, ReadOnly, "";
        "fetch.max.bytes": Int = "57671680", AtLeast(1024), Medium, ReadOnly, "";
        "fetch.purgatory.purge.interval.requests": Int = "1000", Any, Medium, ReadOnly, "";
        "inter.broker.listener.name": String = null, Any, Medium, ReadOnly, "";
        "listener.security.protocol.map": String = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", Any, Low, PerBroker, "";
        "listeners": List = "PLAINTEXT://:9092", NonEmptyDistinctList, High, PerBroker, "";
        "max.connection.creation.rate": Int = "2147483647", AtLeast(0), Medium, ClusterWide, "";
        "max.connections": Int = "2147483647", AtLeast(0), Medium, ClusterWide, "";
        "max.connections.per.ip": Int = "2147483647", AtLeast(0), Medium, ClusterWide, "";
        "max.connections.per.ip.overrides": String = "", Any, Medium, ClusterWide, "";
        "max.incremental.fetch.session.cache.slots": Int = "1000", AtLeast(0), Medium, ReadOnly, "";
        "max.request.partition.size.limit": Int = "2000", AtLeast(1), Medium, ReadOnly, "";
        "num.io.threads": Int = "8", AtLeast(1), High, ClusterWide, "";
        "num.network.threads": Int = "3", AtLeast(1), High, ClusterWide, "";
        "num.replica.alter.log.dirs.threads": Int = null, Any, High, ReadOnly, "";
        "num.replica.fetchers": Int = "1", AtLeast(1), High, ClusterWide, "";
        "producer.purgatory.purge.interval.requests": Int = "1000", Any, Medium, ReadOnly, "";
        "queued.max.request.bytes": Long = "-1", Any, Medium, ReadOnly, "";
        "queued.max.requests": Int = "500", AtLeast(1), High, ReadOnly, "";
        "replica.fetch.backoff.ms": Int = "1000", AtLeast(0), Medium, ReadOnly, "";
        "replica.fetch.max.bytes": Int = "1048576", AtLeast(0), Medium, ReadOnly, "";
        "replica.fetch.min.bytes": Int = "1", Any, High, ReadOnly, "";
        "replica.fetch.response.max.bytes": Int = "10485760", AtLeast(0), Medium, ReadOnly, "";
        "replica.fetch.wait.max.ms": Int = "500", Any, High, ReadOnly, "";
        "replica.high.watermark.checkpoint.interval.ms": Long = "5000", Any, High, ReadOnly, "";
        "replica.lag.time.max.ms": Long = "30000", Any, High, ReadOnly, "";
        "replica.selector.class": String = null, Any, Medium, ReadOnly, "";
        "replica.socket.receive.buffer.bytes": Int = "65536", Any, High, ReadOnly, "";
        "replica.socket.timeout.ms": Int = "30000", Any, High, ReadOnly, "";
        "replication.quota.window.num": Int = "11", AtLeast(1), Low, ReadOnly, "";
        "replication.quota.window.size.seconds": Int = "1", AtLeast(1), Low, ReadOnly, "";
        "request.timeout.ms": Int = "30000", Any, High, ReadOnly, "";
        "socket.connection.setup.timeout.max.ms": Long = "30000", Any, Medium, ReadOnly, "";
        "socket.connection.setup.timeout.ms": Long = "10000", Any, Medium, ReadOnly, "";
        "socket.listen.backlog.size": Int = "50", AtLeast(1), Medium, ReadOnly, "";
        "socket.receive.buffer.bytes": Int = "102400", Any, High, ReadOnly, "";
        "socket.request.max.bytes": Int = "104857600", AtLeast(1), High, ReadOnly, "";
        "socket.send.buffer.bytes": Int = "102400", Any, High, ReadOnly, "";
    }
}
