//! Settings of listeners, connections, requests and replication between brokers.

use crate::config::definitions::definitions;

definitions! {
    /// Settings of listeners, connections, requests and replication between brokers.
    pub(super) NETWORK {
        "advertised.listeners": List = null, NonEmptyDistinctList, High, ReadOnly, "What clients and other brokers are told to connect to; as listeners where it is not set.";
        "connections.max.idle.ms": Long = "600000", Any, Medium, ReadOnly, "How long a connection may be silent before it is closed.";
        "controller.listener.names": List = required, NonEmptyDistinctList, High, ReadOnly, "Which of the listeners belong to the controller; brokers use the first one.";
        "controller.socket.timeout.ms": Int = "30000", Any, Medium, ReadOnly, "How long a broker waits on a connection to the controller.";
        "delete.records.purgatory.purge.interval.requests": Int = "1", Any, Medium, ReadOnly, "Finished DeleteRecords requests that are kept before they are cleared.";
        "early.start.listeners": List = null, DistinctList, High, ReadOnly, "Listeners that answer before the broker is ready.";
        "fetch.max.bytes": Int = "57671680", AtLeast(1024), Medium, ReadOnly, "Bytes in one answer to a fetch, whatever the client asks for.";
        "fetch.purgatory.purge.interval.requests": Int = "1000", Any, Medium, ReadOnly, "Finished fetches that are kept before they are cleared.";
        "inter.broker.listener.name": String = null, Any, Medium, ReadOnly, "The listener that brokers use among themselves.";
        "listener.security.protocol.map": String = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", Any, Low, PerBroker, "Which security protocol each listener name stands for.";
        "listeners": List = "PLAINTEXT://:9092", NonEmptyDistinctList, High, PerBroker, "Where this node listens: NAME://host:port, separated by commas. An empty host is every interface.";
        "max.connection.creation.rate": Int = "2147483647", AtLeast(0), Medium, ClusterWide, "New connections a second.";
        "max.connections": Int = "2147483647", AtLeast(0), Medium, ClusterWide, "Connections at the same time.";
        "max.connections.per.ip": Int = "2147483647", AtLeast(0), Medium, ClusterWide, "Connections at the same time from one address.";
        "max.connections.per.ip.overrides": String = "", Any, Medium, ClusterWide, "Other bounds for certain addresses: address:number, separated by commas.";
        "max.incremental.fetch.session.cache.slots": Int = "1000", AtLeast(0), Medium, ReadOnly, "Fetch sessions that are remembered.";
        "max.request.partition.size.limit": Int = "2000", AtLeast(1), Medium, ReadOnly, "Partitions in one answer to DescribeTopicPartitions.";
        "num.io.threads": Int = "8", AtLeast(1), High, ClusterWide, "Threads that serve requests, disk access included.";
        "num.network.threads": Int = "3", AtLeast(1), High, ClusterWide, "Threads that read requests and send answers, for each listener.";
        "num.replica.alter.log.dirs.threads": Int = null, Any, High, ReadOnly, "Threads that move replicas between log directories.";
        "num.replica.fetchers": Int = "1", AtLeast(1), High, ClusterWide, "Connections by which a follower fetches from one leader.";
        "producer.purgatory.purge.interval.requests": Int = "1000", Any, Medium, ReadOnly, "Finished produce requests that are kept before they are cleared.";
        "queued.max.request.bytes": Long = "-1", Any, Medium, ReadOnly, "Bytes of requests that wait to be served, over all connections; -1 for the program's own bound.";
        "queued.max.requests": Int = "500", AtLeast(1), High, ReadOnly, "Requests that wait to be served before no more are read.";
        "replica.fetch.backoff.ms": Int = "1000", AtLeast(0), Medium, ReadOnly, "Pause of a follower after a failed fetch.";
        "replica.fetch.max.bytes": Int = "1048576", AtLeast(0), Medium, ReadOnly, "Bytes a follower fetches of one partition at a time.";
        "replica.fetch.min.bytes": Int = "1", Any, High, ReadOnly, "Bytes a leader gathers before it answers a follower.";
        "replica.fetch.response.max.bytes": Int = "10485760", AtLeast(0), Medium, ReadOnly, "Bytes in one answer to a follower.";
        "replica.fetch.wait.max.ms": Int = "500", Any, High, ReadOnly, "How long a leader makes a follower wait for new records.";
        "replica.high.watermark.checkpoint.interval.ms": Long = "5000", Any, High, ReadOnly, "How often high watermarks are written to disk.";
        "replica.lag.time.max.ms": Long = "30000", Any, High, ReadOnly, "How long a follower may lag before it leaves the in-sync replicas.";
        "replica.selector.class": String = null, Any, Medium, ReadOnly, "Class that picks the replica a consumer reads from.";
        "replica.socket.receive.buffer.bytes": Int = "65536", Any, High, ReadOnly, "Receive buffer of a follower's connection.";
        "replica.socket.timeout.ms": Int = "30000", Any, High, ReadOnly, "How long a follower waits on its connection to a leader.";
        "replication.quota.window.num": Int = "11", AtLeast(1), Low, ReadOnly, "How many samples a replication quota remembers.";
        "replication.quota.window.size.seconds": Int = "1", AtLeast(1), Low, ReadOnly, "Length of one such sample.";
        "request.timeout.ms": Int = "30000", Any, High, ReadOnly, "How long a request between nodes may take.";
        "socket.connection.setup.timeout.max.ms": Long = "30000", Any, Medium, ReadOnly, "Upper bound of the time to set up a connection between nodes.";
        "socket.connection.setup.timeout.ms": Long = "10000", Any, Medium, ReadOnly, "Time to set up a connection between nodes; doubled by each failure.";
        "socket.listen.backlog.size": Int = "50", AtLeast(1), Medium, ReadOnly, "Connections that wait to be accepted.";
        "socket.receive.buffer.bytes": Int = "102400", Any, High, ReadOnly, "Receive buffer of connections; -1 for the system's choice.";
        "socket.request.max.bytes": Int = "104857600", AtLeast(1), High, ReadOnly, "Largest request.";
        "socket.send.buffer.bytes": Int = "102400", Any, High, ReadOnly, "Send buffer of connections; -1 for the system's choice.";
    }
}
