//! One setting under several names: a topic's name and the broker's, and the broker's in several units of time.

/// A topic's setting, and the broker settings it takes its default from, the strongest first; each with the factor that
/// makes milliseconds of it.
pub(super) struct TopicSynonyms {
    pub(super) topic: &'static str,
    pub(super) broker: &'static [(&'static str, i64)],
}

const HOUR_MS: i64 = 60 * 60 * 1000;
const MINUTE_MS: i64 = 60 * 1000;

const fn plain(topic: &'static str, broker: &'static [(&'static str, i64)]) -> TopicSynonyms {
    TopicSynonyms { topic, broker }
}

pub(super) const TOPIC_SYNONYMS: &[TopicSynonyms] = &[
    plain("cleanup.policy", &[("log.cleanup.policy", 1)]),
    plain("compression.gzip.level", &[("compression.gzip.level", 1)]),
    plain("compression.lz4.level", &[("compression.lz4.level", 1)]),
    plain("compression.type", &[("compression.type", 1)]),
    plain("compression.zstd.level", &[("compression.zstd.level", 1)]),
    plain("delete.retention.ms", &[("log.cleaner.delete.retention.ms", 1)]),
    plain("file.delete.delay.ms", &[("log.segment.delete.delay.ms", 1)]),
    plain("flush.messages", &[("log.flush.interval.messages", 1)]),
    plain("flush.ms", &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)]),
    plain("index.interval.bytes", &[("log.index.interval.bytes", 1)]),
    plain("local.retention.bytes", &[("log.local.retention.bytes", 1)]),
    plain("local.retention.ms", &[("log.local.retention.ms", 1)]),
    plain("max.compaction.lag.ms", &[("log.cleaner.max.compaction.lag.ms", 1)]),
    plain("max.message.bytes", &[("message.max.bytes", 1)]),
    plain("message.timestamp.after.max.ms", &[("log.message.timestamp.after.max.ms", 1)]),
    plain("message.timestamp.before.max.ms", &[("log.message.timestamp.before.max.ms", 1)]),
    plain("message.timestamp.type", &[("log.message.timestamp.type", 1)]),
    plain("min.cleanable.dirty.ratio", &[("log.cleaner.min.cleanable.ratio", 1)]),
    plain("min.compaction.lag.ms", &[("log.cleaner.min.compaction.lag.ms", 1)]),
    plain("min.insync.replicas", &[("min.insync.replicas", 1)]),
    plain("preallocate", &[("log.preallocate", 1)]),
    plain("retention.bytes", &[("log.retention.bytes", 1)]),
    plain(
        "retention.ms",
        &[("log.retention.ms", 1), ("log.retention.minutes", MINUTE_MS), ("log.retention.hours", HOUR_MS)],
    ),
    plain("segment.bytes", &[("log.segment.bytes", 1)]),
    plain("segment.index.bytes", &[("log.index.size.max.bytes", 1)]),
    plain("segment.jitter.ms", &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR_MS)]),
    plain("segment.ms", &[("log.roll.ms", 1), ("log.roll.hours", HOUR_MS)]),
    plain("unclean.leader.election.enable", &[("unclean.leader.election.enable", 1)]),
];

/// What may be set for each SASL mechanism of a listener.
const MECHANISM_SETTINGS: &[&str] =
    &["sasl.jaas.config", "connections.max.reauth.ms", "sasl.server.callback.handler.class"];

/// The broker settings a topic's setting takes its default from, the strongest first.
pub(super) fn of_topic(name: &str) -> &'static [(&'static str, i64)] {
    TOPIC_SYNONYMS.iter().find(|synonyms| synonyms.topic == name).map_or(&[], |synonyms| synonyms.broker)
}

/// The broker's first name of a topic's setting.
#[must_use]
pub fn topic_broker_synonym(topic_name: &str) -> Option<&'static str> {
    of_topic(topic_name).first().map(|(name, _)| *name)
}

/// The names under which one broker setting is known, the strongest first; the name itself where it has but one.
#[must_use]
pub fn broker_synonyms(name: &str) -> Vec<&str> {
    let family = TOPIC_SYNONYMS
        .iter()
        .map(|synonyms| synonyms.broker)
        .find(|broker| broker.len() > 1 && broker.iter().any(|(known, _)| *known == name));
    if let Some(family) = family {
        // Asked for the scheduler's interval alone, Kafka names no other.
        if name == "log.flush.scheduler.interval.ms" {
            return vec![name];
        }
        return family.iter().map(|(known, _)| *known).collect();
    }
    match name.strip_prefix("listener.name.").and_then(|rest| rest.split_once('.')) {
        Some((_, base)) => {
            // A listener's setting for one mechanism: `listener.name.NAME.plain.sasl.jaas.config`.
            let of_mechanism = MECHANISM_SETTINGS.iter().find(|setting| base.ends_with(**setting));
            vec![name, of_mechanism.copied().unwrap_or(base)]
        }
        None => vec![name],
    }
}

/// The broker setting a group's setting takes its default from.
#[must_use]
pub fn group_broker_synonym(group_name: &str) -> Option<&'static str> {
    let plain = ["share.auto.offset.reset", "share.isolation.level", "share.renew.acknowledge.enable"];
    if plain.contains(&group_name) {
        return None;
    }
    let own = super::definitions::group_definition(group_name)?;
    super::definitions::broker()
        .map(|definition| definition.name)
        .find(|name| name.strip_prefix("group.").is_some_and(|rest| rest == own.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::definitions;

    #[test]
    fn every_synonym_is_a_setting() {
        for synonyms in TOPIC_SYNONYMS {
            assert!(definitions::topic_definition(synonyms.topic).is_some(), "{}", synonyms.topic);
            for (name, _) in synonyms.broker {
                assert!(definitions::broker_definition(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn groups_take_their_defaults_from_the_broker() {
        let name = "consumer.session.timeout.ms";
        assert_eq!(group_broker_synonym(name), Some("group.consumer.session.timeout.ms"));
        assert_eq!(group_broker_synonym("share.isolation.level"), None);
    }
}
