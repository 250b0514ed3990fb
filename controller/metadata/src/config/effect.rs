//! What each setting does today. Every one of Kafka's is known, and its value is checked; what is not honoured says so at
//! the start and in `docs/CONFIGURATION.md`, and what would be dangerous to ignore is refused.

use super::synonyms::TOPIC_SYNONYMS;

/// What becomes of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what Kafka says, or what our own documentation says.
    Honoured,
    /// It is checked, kept and shown; nothing reads it, for this reason.
    WithoutEffect(&'static str),
    /// It does what it says, except for values that end the start: which, and why.
    RefusedInPart(&'static str),
    /// Setting it ends the start, for this reason.
    Refused(&'static str),
}

/// Broker settings that something reads, apart from those that topics inherit.
const HONOURED_BROKER: &[&str] = &[
    "add.partitions.to.txn.retry.backoff.max.ms",
    "add.partitions.to.txn.retry.backoff.ms",
    "advertised.listeners",
    "allow.everyone.if.no.acl.found",
    "auto.create.topics.enable",
    "auto.leader.rebalance.enable",
    "broker.heartbeat.interval.ms",
    "broker.id",
    "broker.rack",
    "broker.session.timeout.ms",
    "cluster.secret",
    "connection.failed.authentication.delay.ms",
    "connections.authentication.timeout.ms",
    "connections.max.idle.ms",
    "connections.max.reauth.ms",
    "controlled.shutdown.enable",
    "cordoned.log.dirs",
    "controller.listener.names",
    "controller.quorum.auto.join.enable",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.election.timeout.ms",
    "controller.quorum.voters",
    "controller.quota.window.num",
    "controller.quota.window.size.seconds",
    "default.replication.factor",
    "delegation.token.expiry.check.interval.ms",
    "delegation.token.expiry.time.ms",
    "delegation.token.max.lifetime.ms",
    "delegation.token.secret.key",
    "delete.topic.enable",
    "fetch.max.bytes",
    "flush.journal.bytes",
    "flush.policy",
    "follower.replication.throttled.rate",
    "group.consumer.assignment.interval.ms",
    "group.consumer.assignors",
    "group.consumer.heartbeat.interval.ms",
    "group.consumer.max.assignment.interval.ms",
    "group.consumer.max.heartbeat.interval.ms",
    "group.consumer.max.session.timeout.ms",
    "group.consumer.max.size",
    "group.consumer.migration.policy",
    "group.consumer.min.assignment.interval.ms",
    "group.consumer.min.heartbeat.interval.ms",
    "group.consumer.min.session.timeout.ms",
    "group.consumer.regex.refresh.interval.ms",
    "group.consumer.session.timeout.ms",
    "group.initial.rebalance.delay.ms",
    "group.initial.rebalance.quiet.ms",
    "group.max.session.timeout.ms",
    "group.max.size",
    "group.min.session.timeout.ms",
    "group.share.assignment.interval.ms",
    "group.share.delivery.count.limit",
    "group.share.heartbeat.interval.ms",
    "group.share.initialize.retry.interval.ms",
    "group.share.max.assignment.interval.ms",
    "group.share.max.delivery.count.limit",
    "group.share.max.heartbeat.interval.ms",
    "group.share.max.partition.max.record.locks",
    "group.share.max.record.lock.duration.ms",
    "group.share.max.session.timeout.ms",
    "group.share.max.share.sessions",
    "group.share.max.size",
    "group.share.min.assignment.interval.ms",
    "group.share.min.delivery.count.limit",
    "group.share.min.heartbeat.interval.ms",
    "group.share.min.partition.max.record.locks",
    "group.share.min.record.lock.duration.ms",
    "group.share.min.session.timeout.ms",
    "group.share.partition.max.record.locks",
    "group.share.record.lock.duration.ms",
    "group.share.session.timeout.ms",
    "group.streams.assignment.interval.ms",
    "group.streams.heartbeat.interval.ms",
    "group.streams.initial.rebalance.delay.ms",
    "group.streams.max.assignment.interval.ms",
    "group.streams.max.heartbeat.interval.ms",
    "group.streams.max.session.timeout.ms",
    "group.streams.max.size",
    "group.streams.max.standby.replicas",
    "group.streams.min.assignment.interval.ms",
    "group.streams.min.heartbeat.interval.ms",
    "group.streams.min.session.timeout.ms",
    "group.streams.num.standby.replicas",
    "group.streams.session.timeout.ms",
    "http.listener",
    "http.ui.allowed.hosts",
    "http.ui.readonly",
    "inter.broker.listener.name",
    "leader.imbalance.check.interval.seconds",
    "leader.replication.throttled.rate",
    "listener.security.protocol.map",
    "listeners",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.enable",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.threads",
    "log.dir",
    "log.dirs",
    "log.flush.offset.checkpoint.interval.ms",
    "log.retention.check.interval.ms",
    "max.connection.creation.rate",
    "max.connections",
    "max.connections.per.ip",
    "max.connections.per.ip.overrides",
    "max.incremental.fetch.session.cache.slots",
    "max.request.partition.size.limit",
    "max.unauthenticated.connections",
    "max.unauthenticated.connections.per.ip",
    "metadata.log.dir",
    "metadata.log.reserve.bytes",
    "metrics.families",
    "metrics.series.max",
    "node.id",
    "num.partitions",
    "num.replica.alter.log.dirs.threads",
    "num.replica.fetchers",
    "offset.metadata.max.bytes",
    "offsets.commit.timeout.ms",
    "offsets.retention.check.interval.ms",
    "offsets.retention.minutes",
    "offsets.topic.num.partitions",
    "offsets.topic.replication.factor",
    "offsets.topic.segment.bytes",
    "otel.bsp.schedule.delay",
    "otel.exporter.otlp.endpoint",
    "otel.exporter.otlp.headers",
    "otel.exporter.otlp.protocol",
    "otel.exporter.otlp.timeout",
    "otel.exporter.otlp.traces.endpoint",
    "otel.resource.attributes",
    "otel.sdk.disabled",
    "otel.service.name",
    "otel.traces.exporter",
    "otel.traces.sampler",
    "otel.traces.sampler.arg",
    "process.roles",
    "producer.id.expiration.ms",
    "queued.max.request.bytes",
    "quota.window.num",
    "quota.window.size.seconds",
    "replica.alter.log.dirs.io.max.bytes.per.second",
    "replica.fetch.backoff.ms",
    "replica.fetch.max.bytes",
    "replica.fetch.min.bytes",
    "replica.fetch.response.max.bytes",
    "replica.fetch.wait.max.ms",
    "replica.high.watermark.checkpoint.interval.ms",
    "replica.lag.time.max.ms",
    "replica.socket.timeout.ms",
    "replication.quota.window.num",
    "replication.quota.window.size.seconds",
    "request.timeout.ms",
    "sasl.jaas.config",
    "sasl.mechanism.controller.protocol",
    "sasl.mechanism.inter.broker.protocol",
    "sasl.oauthbearer.clock.skew.seconds",
    "sasl.oauthbearer.expected.audience",
    "sasl.oauthbearer.expected.issuer",
    "sasl.oauthbearer.jwks.endpoint.refresh.ms",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms",
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
    "sasl.oauthbearer.scope.claim.name",
    "sasl.oauthbearer.sub.claim.name",
    "sasl.server.max.receive.size",
    "security.inter.broker.protocol",
    "share.coordinator.cold.partition.snapshot.interval.ms",
    "share.coordinator.snapshot.update.records.per.snapshot",
    "share.coordinator.state.topic.min.isr",
    "share.coordinator.state.topic.num.partitions",
    "share.coordinator.state.topic.prune.interval.ms",
    "share.coordinator.state.topic.replication.factor",
    "share.coordinator.state.topic.segment.bytes",
    "share.coordinator.write.timeout.ms",
    "socket.request.max.bytes",
    "ssl.cipher.suites",
    "ssl.client.auth",
    "ssl.endpoint.identification.algorithm",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.location",
    "ssl.principal.mapping.rules",
    "ssl.truststore.certificates",
    "ssl.truststore.location",
    "super.users",
    "telemetry.max.bytes",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms",
    "transaction.max.timeout.ms",
    "transaction.partition.verification.enable",
    "transaction.remove.expired.transaction.cleanup.interval.ms",
    "transaction.state.log.min.isr",
    "transaction.state.log.num.partitions",
    "transaction.state.log.replication.factor",
    "transaction.state.log.segment.bytes",
    "transactional.id.expiration.ms",
];

/// Of those the ones of which a change takes effect while the broker runs, apart from those that topics inherit.
const HEARD_AT_RUN_TIME: &[&str] = &[
    "cordoned.log.dirs",
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.threads",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

/// Topic settings that nothing reads.
const TOPIC_WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("local.retention.bytes", TIERED),
    ("local.retention.ms", TIERED),
    ("remote.log.copy.disable", TIERED),
    ("remote.log.delete.on.disable", TIERED),
];

const TIERED: &str = "there is no tiered storage";
const REPLICATION: &str = "comes with replication between nodes";
const QUORUM: &str =
    "the metadata quorum is openraft's; `controller.quorum.election.timeout.ms` sets its timers";
const SECURITY: &str = "a part of Java's TLS, Kerberos or login that has no counterpart here";
const TRANSACTIONS: &str = "comes with transactions";
const METRICS: &str = "Java's metrics reporters; `http.listener` serves the metrics";
const INTERNALS: &str = "tunes a part of Kafka that has no counterpart here";
const NEVER: &str = "it would promise what is not there yet";

/// Why names that begin like this have no effect, if they are not honoured. The first that fits counts.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("remote.", TIERED),
    ("log.local.", TIERED),
    ("follower.fetch.last.tiered", TIERED),
    ("controller.quorum.", QUORUM),
    ("controller.socket.", INTERNALS),
    ("controller.performance.", INTERNALS),
    ("metadata.", "the metadata log is openraft's, with bounds of its own"),
    ("internal.metadata.", "the metadata log is openraft's, with bounds of its own"),
    ("initial.broker.registration.", "a broker asks until it is registered"),
    ("early.start.listeners", INTERNALS),
    ("replica.", REPLICATION),
    ("alter.log.dirs.", REPLICATION),
    ("log.dir.failure.timeout.ms", REPLICATION),
    ("unclean.leader.election.interval.ms", REPLICATION),
    ("transaction.state.log.load.buffer.size", INTERNALS),
    ("transaction.two.phase.commit.enable", "two-phase commit is unfinished in Kafka 4.3 (KIP-939)"),
    ("transaction", TRANSACTIONS),
    ("group.share.assignors", INTERNALS),
    ("group.share.persister.class.name", INTERNALS),
    ("share.coordinator.append.linger.ms", INTERNALS),
    ("share.coordinator.cached.buffer.max.bytes", INTERNALS),
    ("share.coordinator.load.buffer.size", INTERNALS),
    ("share.coordinator.state.topic.compression.codec", INTERNALS),
    ("share.coordinator.threads", INTERNALS),
    ("share.fetch.purgatory.purge.interval.requests", INTERNALS),
    ("sasl.oauthbearer.", "tokens are read out of files, and not asked for; nodes do not log in by tokens"),
    ("sasl.", SECURITY),
    ("ssl.", SECURITY),
    ("security.", SECURITY),
    ("kafka.metrics.", METRICS),
    ("metric", METRICS),
    ("unstable.", "no unfinished version is served"),
];

/// Settings that end the start, all of their values or some.
const REFUSED: &[(&str, Effect)] = &[
    ("alter.config.policy.class.name", Effect::Refused(NEVER)),
    ("authorizer.class.name", Effect::RefusedInPart("any class but Kafka's `StandardAuthorizer`")),
    ("client.quota.callback.class", Effect::Refused(NEVER)),
    ("config.providers", Effect::Refused("secrets in other places are not looked up")),
    ("create.topic.policy.class.name", Effect::Refused(NEVER)),
    (
        "group.coordinator.rebalance.protocols",
        Effect::RefusedInPart(
            "a list without `classic`, as in Kafka; of the other protocols `consumer` and `streams` alone have an effect",
        ),
    ),
    ("principal.builder.class", Effect::WithoutEffect(SECURITY)),
    ("remote.log.storage.system.enable", Effect::RefusedInPart("`true`: there is no tiered storage")),
    (
        "sasl.enabled.mechanisms",
        Effect::RefusedInPart(
            "any but `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512` and `OAUTHBEARER` on a listener that asks for SASL",
        ),
    ),
    (
        "sasl.oauthbearer.jwks.endpoint.url",
        Effect::RefusedInPart("any but `https://` and `file:/path` on a listener that takes OAUTHBEARER"),
    ),
    (
        "sasl.server.callback.handler.class",
        Effect::RefusedInPart(
            "any class but Kafka's `OAuthBearerValidatorCallbackHandler` on a listener that takes OAUTHBEARER",
        ),
    ),
    (
        "ssl.enabled.protocols",
        Effect::RefusedInPart("any but `TLSv1.2` and `TLSv1.3` on a listener that asks for TLS"),
    ),
    (
        "ssl.key.password",
        Effect::RefusedInPart("on a listener that asks for TLS: an encrypted key is not read"),
    ),
    ("ssl.keystore.type", Effect::RefusedInPart("any type but `PEM` on a listener that asks for TLS")),
    ("ssl.truststore.type", Effect::RefusedInPart("any type but `PEM` on a listener that asks for TLS")),
    ("replica.selector.class", Effect::RefusedInPart("any class but Kafka's `RackAwareReplicaSelector`")),
];

/// Settings whose being set is refused, with the reason.
pub(super) fn refused_when_set() -> impl Iterator<Item = (&'static str, &'static str)> {
    REFUSED.iter().filter_map(|(name, effect)| match effect {
        Effect::Refused(why) => Some((*name, *why)),
        _ => None,
    })
}

/// What a broker setting does.
#[must_use]
pub fn broker_effect(name: &str) -> Effect {
    if let Some((_, effect)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
        return *effect;
    }
    if HONOURED_BROKER.contains(&name) {
        return Effect::Honoured;
    }
    if let Some(topic) = inheriting_topic_setting(name) {
        return topic_effect(topic);
    }
    let why =
        WITHOUT_EFFECT.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(INTERNALS, |(_, why)| why);
    Effect::WithoutEffect(why)
}

/// Whether a change of a broker setting takes effect while the broker runs.
#[must_use]
pub fn is_heard_at_run_time(name: &str) -> bool {
    HEARD_AT_RUN_TIME.contains(&name) || inheriting_topic_setting(name).is_some()
}

/// What a topic setting does.
#[must_use]
pub fn topic_effect(name: &str) -> Effect {
    if name == "remote.storage.enable" {
        return Effect::RefusedInPart("`true`: there is no tiered storage");
    }
    match TOPIC_WITHOUT_EFFECT.iter().find(|(own, _)| *own == name) {
        Some((_, why)) => Effect::WithoutEffect(why),
        None => Effect::Honoured,
    }
}

/// What a setting of a group does.
#[must_use]
pub const fn group_effect(_name: &str) -> Effect {
    Effect::Honoured
}

/// What a setting of a client metrics subscription does.
#[must_use]
pub const fn client_metrics_effect() -> Effect {
    Effect::Honoured
}

/// The topic setting that takes its default from this broker setting. Such ones change while the broker runs.
#[must_use]
pub fn inheriting_topic_setting(broker_name: &str) -> Option<&'static str> {
    let inherits = |synonyms: &&super::synonyms::TopicSynonyms| {
        synonyms.broker.iter().any(|(name, _)| *name == broker_name)
    };
    TOPIC_SYNONYMS.iter().find(inherits).map(|synonyms| synonyms.topic)
}

#[cfg(test)]
mod tests {
    use super::super::definitions::{TOPIC, broker, dynamic_broker_definition, topic_definition};
    use super::*;

    #[test]
    fn every_name_in_the_tables_is_a_setting() {
        for name in HEARD_AT_RUN_TIME {
            assert_eq!(broker_effect(name), Effect::Honoured, "{name}");
        }
        for name in HONOURED_BROKER.iter().chain(REFUSED.iter().map(|(name, _)| name)) {
            assert!(dynamic_broker_definition(name).is_some(), "{name}");
        }
        for (name, _) in TOPIC_WITHOUT_EFFECT {
            assert!(topic_definition(name).is_some(), "{name}");
        }
        for (prefix, _) in WITHOUT_EFFECT {
            let is_used = |name: &str| name.starts_with(prefix) && !HONOURED_BROKER.contains(&name);
            let known = broker().chain(super::super::definitions::DYNAMIC_ONLY);
            assert!(
                known.into_iter().any(|definition| is_used(definition.name)),
                "{prefix} explains nothing"
            );
        }
    }

    #[test]
    fn a_broker_setting_does_what_the_topics_that_inherit_it_do() {
        assert_eq!(broker_effect("log.retention.hours"), Effect::Honoured);
        assert_eq!(broker_effect("message.max.bytes"), Effect::Honoured);
        assert_eq!(broker_effect("compression.type"), topic_effect("compression.type"));
        assert!(TOPIC.iter().any(|definition| topic_effect(definition.name) == Effect::Honoured));
    }
}
