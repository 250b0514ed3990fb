//! What the controller was started with, as far as decisions depend on it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use moldau_metadata::MetadataImage;
use moldau_metadata::config::security::{Secret, delegation_token_secret};
use moldau_metadata::config::{BrokerSettings, effective_topic_values};
use moldau_metadata::{AuthorizerSettings, ConfigResource, ResourceConfigs};
use moldau_model::BrokerId;

/// The controller's own settings.
#[derive(Clone)]
pub struct Settings {
    node_id: BrokerId,
    statics: BTreeMap<String, String>,
    authorizer: Option<AuthorizerSettings>,
}

/// The settings may hold passwords, and are left out.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("node_id", &self.node_id).finish_non_exhaustive()
    }
}

impl Settings {
    /// Those of a controller that was started with these keys and values, by Kafka's names, and defaults else.
    #[must_use]
    pub fn new(node_id: BrokerId, statics: BTreeMap<String, String>) -> Self {
        // What is wrong with them ended the start. Should it not have: nobody gets in by a mistake.
        let authorizer = AuthorizerSettings::from_settings(&statics);
        let authorizer = authorizer.unwrap_or_else(|_| Some(AuthorizerSettings::default()));
        Self { node_id, statics, authorizer }
    }

    /// Who decides what clients may do; `None` if they may do everything.
    #[must_use]
    pub const fn authorizer(&self) -> Option<&AuthorizerSettings> {
        self.authorizer.as_ref()
    }

    /// Partitions of a topic that does not say how many it wants.
    #[must_use]
    pub fn num_partitions(&self) -> i32 {
        self.number("num.partitions", 1)
    }

    /// Replicas of a partition whose topic does not say how many it wants.
    #[must_use]
    pub fn default_replication_factor(&self) -> i16 {
        self.number("default.replication.factor", 1)
    }

    /// How often leadership goes back to preferred replicas; `None` if it stays where it went.
    #[must_use]
    pub fn leader_balance_interval(&self) -> Option<Duration> {
        let settings = BrokerSettings::of_statics(&self.statics);
        let is_enabled = settings
            .value("auto.leader.rebalance.enable")
            .is_none_or(|text| !text.trim().eq_ignore_ascii_case("false"));
        is_enabled.then(|| Duration::from_secs(self.number("leader.imbalance.check.interval.seconds", 300)))
    }

    /// Whether topics may be deleted at all.
    #[must_use]
    pub fn delete_topic_enable(&self) -> bool {
        let settings = BrokerSettings::of_statics(&self.statics);
        settings.value("delete.topic.enable") != Some("false")
    }

    /// What delegation tokens are made of; `None` where there are none.
    #[must_use]
    pub fn token_secret(&self) -> Option<Secret> {
        delegation_token_secret(&self.statics)
    }

    /// How often delegation tokens that are over are looked for; `None` where there are none.
    #[must_use]
    pub fn token_check_interval(&self) -> Option<Duration> {
        let interval =
            Duration::from_millis(self.number("delegation.token.expiry.check.interval.ms", 3_600_000));
        self.token_secret().map(|_| interval)
    }

    /// How long a delegation token can be renewed.
    pub(super) fn token_max_lifetime_ms(&self) -> i64 {
        self.number("delegation.token.max.lifetime.ms", 604_800_000)
    }

    /// How long a delegation token lives unless it is renewed.
    pub(super) fn token_expiry_ms(&self) -> i64 {
        self.number("delegation.token.expiry.time.ms", 86_400_000)
    }

    /// For how many seconds' worth a client may save up changes of partitions.
    pub(super) fn mutation_window_seconds(&self) -> f64 {
        let samples: f64 = self.number("controller.quota.window.num", 11.0);
        samples * self.number::<f64>("controller.quota.window.size.seconds", 1.0)
    }

    /// `min.insync.replicas` of topics that do not say how many they want, as this controller was started with it.
    pub(super) fn min_insync_replicas(&self) -> String {
        let settings = BrokerSettings::of_statics(&self.statics);
        settings.value("min.insync.replicas").unwrap_or("1").trim().to_owned()
    }

    fn number<N: std::str::FromStr>(&self, name: &str, fallback: N) -> N {
        let settings = BrokerSettings::of_statics(&self.statics);
        // A text that is no number was refused when the process started.
        settings.value(name).and_then(|value| value.trim().parse().ok()).unwrap_or(fallback)
    }

    /// The settings behind those that a topic makes itself, as this controller sees them.
    pub(super) fn broker_settings<'a>(
        &'a self,
        image: &'a MetadataImage,
        own: &ConfigResource,
    ) -> BrokerSettings<'a> {
        BrokerSettings {
            statics: &self.statics,
            of_this_broker: image.configs().of(own).map(|configs| &**configs),
            of_all_brokers: image.configs().of(&ConfigResource::default_broker()).map(|configs| &**configs),
        }
    }

    /// The resource that holds the dynamic settings of this node.
    pub(super) fn own_resource(&self) -> ConfigResource {
        ConfigResource::broker(self.node_id)
    }

    /// What matters of a topic's configs for choosing leaders.
    pub(super) fn election_rules(&self, image: &MetadataImage, topic: &str) -> ElectionRules {
        let topic = image.configs().of(&ConfigResource::topic(topic)).map(|configs| &**configs);
        self.election_rules_of(image, topic)
    }

    fn election_rules_of(&self, image: &MetadataImage, topic: Option<&ResourceConfigs>) -> ElectionRules {
        let own = self.own_resource();
        let values = effective_topic_values(topic, &self.broker_settings(image, &own));
        let value = |name: &str| values.get(name).map(|value| value.trim());
        ElectionRules {
            min_isr: value("min.insync.replicas").and_then(|text| text.parse().ok()).unwrap_or(1),
            unclean: value("unclean.leader.election.enable")
                .is_some_and(|text| text.eq_ignore_ascii_case("true")),
            elr: super::eligible_leaders::is_enabled(image),
        }
    }
}

/// How the leader of a partition may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ElectionRules {
    /// `min.insync.replicas`: with fewer, nothing more is committed.
    pub(super) min_isr: usize,
    /// Whether records may be lost to have a leader at all.
    pub(super) unclean: bool,
    /// Whether eligible leader replicas are kept.
    pub(super) elr: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leadership_is_balanced_as_often_as_it_says_or_never() {
        let interval = |settings: &[(&str, &str)]| {
            let statics = settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            Settings::new(BrokerId(1), statics).leader_balance_interval()
        };
        assert_eq!(interval(&[]), Some(Duration::from_secs(300)));
        let often = ("leader.imbalance.check.interval.seconds", "7");
        assert_eq!(interval(&[often]), Some(Duration::from_secs(7)));
        assert_eq!(interval(&[often, ("auto.leader.rebalance.enable", " FALSE")]), None);
    }
}
