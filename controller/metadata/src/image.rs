//! The image: the whole metadata at one position of the log, immutable and cheap to clone.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_model::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId};

use crate::{
    AclsImage, BrokerRegistration, ClientQuotasImage, ConfigsImage, DelegationTokensImage, Listener,
    PartitionRegistration, ScramImage, SortedMap, TopicImage, TopicsImage,
};

/// A place in the metadata log: the offset of the last batch that was replayed (inclusive), and the epoch of the
/// controller that wrote it. Before the first batch the offset is -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataPosition {
    pub offset: Offset,
    pub epoch: LeaderEpoch,
}

impl MetadataPosition {
    /// Before the first batch.
    pub const START: Self = Self { offset: Offset::NONE, epoch: LeaderEpoch::ZERO };
}

impl Default for MetadataPosition {
    fn default() -> Self {
        Self::START
    }
}

/// The whole metadata. A clone shares everything; a replay shares all that its batch does not touch.
#[derive(Clone, Debug, Default)]
pub struct MetadataImage {
    pub(crate) position: MetadataPosition,
    pub(crate) cluster_id: Option<Arc<str>>,
    pub(crate) features: Arc<BTreeMap<Arc<str>, i16>>,
    pub(crate) brokers: SortedMap<BrokerId, Arc<BrokerRegistration>>,
    pub(crate) topics: TopicsImage,
    pub(crate) configs: ConfigsImage,
    pub(crate) client_quotas: ClientQuotasImage,
    pub(crate) scram: ScramImage,
    pub(crate) acls: AclsImage,
    pub(crate) delegation_tokens: DelegationTokensImage,
    pub(crate) next_producer_id: ProducerId,
}

impl MetadataImage {
    /// The image of an empty log.
    #[must_use]
    pub fn empty() -> Self {
        Self { next_producer_id: ProducerId(0), ..Self::default() }
    }

    /// Up to where the log was replayed.
    #[must_use]
    pub const fn position(&self) -> MetadataPosition {
        self.position
    }

    /// The cluster's id, once the first controller has written it.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&Arc<str>> {
        self.cluster_id.as_ref()
    }

    #[must_use]
    pub const fn topics(&self) -> &TopicsImage {
        &self.topics
    }

    #[must_use]
    pub const fn configs(&self) -> &ConfigsImage {
        &self.configs
    }

    #[must_use]
    pub const fn client_quotas(&self) -> &ClientQuotasImage {
        &self.client_quotas
    }

    #[must_use]
    pub const fn scram(&self) -> &ScramImage {
        &self.scram
    }

    /// Who may do what.
    #[must_use]
    pub const fn acls(&self) -> &AclsImage {
        &self.acls
    }

    #[must_use]
    pub const fn delegation_tokens(&self) -> &DelegationTokensImage {
        &self.delegation_tokens
    }

    /// The finalized level of a feature; 0 where it is not enabled.
    #[must_use]
    pub fn feature_level(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The finalized features by name; none has level 0.
    #[must_use]
    pub fn features(&self) -> &BTreeMap<Arc<str>, i16> {
        &self.features
    }

    /// The first producer id that no broker has been given yet.
    #[must_use]
    pub const fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// All registered brokers, by id, the fenced ones too.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerRegistration>> {
        self.brokers.iter().map(|(_, broker)| broker)
    }

    #[must_use]
    pub fn broker_count(&self) -> usize {
        self.brokers.len()
    }

    /// The brokers that clients are told of: registered and not fenced. One in controlled shutdown still is.
    pub fn alive_brokers(&self) -> impl Iterator<Item = &Arc<BrokerRegistration>> {
        self.brokers().filter(|broker| !broker.fenced)
    }

    /// The alive brokers that have this listener, each with it.
    pub fn alive_brokers_with_listener(
        &self,
        listener: &str,
    ) -> impl Iterator<Item = (&Arc<BrokerRegistration>, &Listener)> {
        self.alive_brokers().filter_map(move |broker| Some((broker, broker.listener(listener)?)))
    }

    /// Whether the broker may lead and be in an ISR.
    #[must_use]
    pub fn is_active_broker(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| broker.is_active())
    }

    /// Whether the broker is registered and not fenced.
    #[must_use]
    pub fn is_alive_broker(&self, id: BrokerId) -> bool {
        self.broker(id).is_some_and(|broker| !broker.fenced)
    }

    /// The partition by its topic's name, with the topic.
    #[must_use]
    pub fn partition_by_name(
        &self,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<(&Arc<TopicImage>, &Arc<PartitionRegistration>)> {
        let topic = self.topics.by_name(topic)?;
        Some((topic, topic.partition(partition)?))
    }
}

/// Equal are images that say the same, wherever in the log they stand.
impl PartialEq for MetadataImage {
    fn eq(&self, other: &Self) -> bool {
        self.cluster_id == other.cluster_id
            && self.features == other.features
            && self.brokers == other.brokers
            && self.topics == other.topics
            && self.configs == other.configs
            && self.client_quotas == other.client_quotas
            && self.scram == other.scram
            && self.acls == other.acls
            && self.delegation_tokens == other.delegation_tokens
            && self.next_producer_id == other.next_producer_id
    }
}

impl Eq for MetadataImage {}
