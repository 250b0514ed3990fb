//! Settings that Kafka does not have, and those that exist only while a broker runs.

use crate::config::definitions::definitions;

definitions! {
    /// Ours alone.
    pub OWN {
        "cluster.secret": Password = null, Any, Medium, ReadOnly, "A secret that the nodes of one cluster share; with it set, the CONTROLLER listener refuses whoever does not know it.";
        "connections.authentication.timeout.ms": Int = "30000", AtLeast(1), Low, ReadOnly, "How long a connection may take for its TLS handshake and to authenticate by SASL.";
        "flush.journal.bytes": Long = "67108864", AtLeast(0), Medium, ReadOnly, "What each log directory's sync journal may take on disk: small appends of many partitions become durable there by one sync, and their own files are synced in bulk later. Never more than a sixteenth of the volume; 0 switches it off.";
        "flush.policy": String = "on-ack", OneOf(&["on-ack", "interval"]), High, ReadOnly, "When an acks=all record counts as stored: on-ack after fdatasync on every in-sync replica, interval once it is in the page cache, as Apache Kafka does; interval may lose acknowledged records when machines lose power.";
        "group.initial.rebalance.quiet.ms": Int = "500", AtLeast(0), Medium, ReadOnly, "Once nobody has joined a new classic group for so long, its first rebalance waits no longer, however much of group.initial.rebalance.delay.ms is left; as much as that delay, and the wait is Apache Kafka's.";
        "http.listener": String = "127.0.0.1:9644", Any, Medium, ReadOnly, "Address of the console, of metrics and of health over HTTP; off switches it off.";
        "http.ui.allowed.hosts": List = "", Any, Low, ReadOnly, "Names by which browsers may reach the console and scrapers /metrics, besides addresses, localhost, names of one word or in .local, .internal and .svc, and the names that brokers advertise; others are refused, for a foreign page could have its name point here.";
        "http.ui.readonly": String = "auto", OneOf(&["auto", "true", "false"]), Medium, ReadOnly, "Whether the console and /api/v1 refuse every change: auto refuses where a listener asks clients who they are, or an authorizer decides what they may do. There, records are shown with false alone.";
        "max.unauthenticated.connections": Int = "2000", AtLeast(1), Low, ReadOnly, "How many connections of one node may be about their TLS handshake or SASL at the same time; one more is closed at once, and those that are authenticated go on.";
        "max.unauthenticated.connections.per.ip": Int = "500", AtLeast(1), Low, ReadOnly, "How many of the connections that are about their TLS handshake or SASL may come from one address, or from one network of 64 bits of IPv6; one more is closed at once. Also of nodes at a listener of controllers, where they show nothing but the id of the cluster.";
        "metadata.log.reserve.bytes": Long = "67108864", AtLeast(0), Medium, ReadOnly, "What records leave free of a volume on which a controller of this node keeps its metadata, too; never more than a sixteenth of the volume. Appends that would take of it are refused as on a full disk, so that the controller can go on and what is there can be deleted. 0 switches it off; where the metadata has a volume of its own nothing is kept back.";
        "metrics.families": List = "jmx,exporter,moldau,process,clients", ListOf(&["jmx", "exporter", "moldau", "process", "clients"]), Low, ReadOnly, "The families of names that /metrics tells: jmx (as the JMX exporter makes them of Apache Kafka's), exporter (as kafka_exporter has them), moldau, process, and clients (what clients push).";
        "metrics.series.max": Int = "100000", AtLeast(0), Low, ReadOnly, "How many time series of topics, partitions and groups /metrics tells at most; what is left out is counted there.";
        "otel.bsp.schedule.delay": Int = "5000", AtLeast(1), Low, ReadOnly, "How many milliseconds spans of traces wait for others (OTEL_BSP_SCHEDULE_DELAY).";
        "otel.exporter.otlp.endpoint": String = null, Any, Medium, ReadOnly, "The collector that traces of requests go to, as http://host:port; /v1/traces is appended. Without it there are no traces (OTEL_EXPORTER_OTLP_ENDPOINT).";
        "otel.exporter.otlp.headers": Password = null, Any, Low, ReadOnly, "Headers of requests to the collector, as name=value,name=value (OTEL_EXPORTER_OTLP_HEADERS).";
        "otel.exporter.otlp.protocol": String = "http/protobuf", Any, Low, ReadOnly, "The collector's protocol: http/protobuf; with another one there are no traces, and a warning (OTEL_EXPORTER_OTLP_PROTOCOL).";
        "otel.exporter.otlp.timeout": Int = "10000", AtLeast(1), Low, ReadOnly, "How many milliseconds the collector has for an answer (OTEL_EXPORTER_OTLP_TIMEOUT).";
        "otel.exporter.otlp.traces.endpoint": String = null, Any, Low, ReadOnly, "As otel.exporter.otlp.endpoint, and goes before it; taken as it is (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT).";
        "otel.resource.attributes": String = null, Any, Low, ReadOnly, "What traces say of this process, as name=value,name=value (OTEL_RESOURCE_ATTRIBUTES).";
        "otel.sdk.disabled": Boolean = "false", Any, Low, ReadOnly, "true switches traces off, whatever else is set (OTEL_SDK_DISABLED).";
        "otel.service.name": String = "moldau", Any, Low, ReadOnly, "The name of the service that traces tell (OTEL_SERVICE_NAME).";
        "otel.traces.exporter": String = null, OneOf(&["otlp", "none"]), Low, ReadOnly, "none switches traces off; otlp sends them to http://localhost:4318 where no endpoint is set (OTEL_TRACES_EXPORTER).";
        "otel.traces.sampler": String = "parentbased_always_on", OneOf(&["always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"]), Low, ReadOnly, "Which requests are traced (OTEL_TRACES_SAMPLER).";
        "otel.traces.sampler.arg": String = null, Any, Low, ReadOnly, "The part of requests, 0 to 1, that the samplers by ratio trace (OTEL_TRACES_SAMPLER_ARG).";
    }
}

definitions! {
    /// Broker settings that cannot stand in a file: replication throttles, bytes per second.
    pub DYNAMIC_ONLY {
        "follower.replication.throttled.rate": Long = "9223372036854775807", AtLeast(0), Medium, ClusterWide, "Upper bound of the bytes a second that this broker replicates as a follower, for throttled partitions.";
        "leader.replication.throttled.rate": Long = "9223372036854775807", AtLeast(0), Medium, ClusterWide, "Upper bound of the bytes a second that this broker sends to followers, for throttled partitions.";
        "replica.alter.log.dirs.io.max.bytes.per.second": Long = "9223372036854775807", AtLeast(0), Medium, ClusterWide, "Upper bound of the bytes a second for moving replicas between this broker's log directories.";
    }
}
