//! What differs between two images. A delta is computed from the two, not kept beside the replay: so it cannot
//! disagree with them, and a broker that is sent a snapshot gets its delta the same way as one that follows batches.
//! The cost follows the change, for the images share what did not change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{BrokerId, PartitionIndex, ProducerId, TopicId, Uuid};

use crate::{
    BrokerRegistration, ConfigResource, MetadataImage, MetadataPosition, PartitionRegistration, QuotaEntity,
    ResourceConfigs, SortedMap, TopicImage,
};

/// A broker's registration before and after. Both are there unless it came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerDelta {
    pub before: Option<Arc<BrokerRegistration>>,
    pub after: Option<Arc<BrokerRegistration>>,
}

/// A partition before (nothing: it is new) and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDelta {
    pub before: Option<Arc<PartitionRegistration>>,
    pub after: Arc<PartitionRegistration>,
}

/// A topic that is new, or some of whose partitions are new or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDelta {
    /// The topic as it is now.
    pub topic: Arc<TopicImage>,
    /// Whether it did not exist before.
    pub created: bool,
    /// The new and the changed partitions, those alone.
    pub partitions: BTreeMap<PartitionIndex, PartitionDelta>,
}

/// All configs of one resource, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDelta {
    pub before: Arc<ResourceConfigs>,
    pub after: Arc<ResourceConfigs>,
}

/// What changed from one image to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataDelta {
    /// Where the earlier image stood.
    pub from: MetadataPosition,
    /// Where the later one stands.
    pub to: MetadataPosition,
    pub brokers: BTreeMap<BrokerId, BrokerDelta>,
    /// New and changed topics. One that was deleted and created again has another id: it is in both maps.
    pub topics: BTreeMap<TopicId, TopicDelta>,
    /// The topics that are gone, as they were.
    pub deleted_topics: BTreeMap<TopicId, Arc<TopicImage>>,
    /// The resources whose configs changed. A deleted topic's are among them if it had any.
    pub configs: BTreeMap<ConfigResource, ConfigDelta>,
    /// Whose quotas changed, came or went.
    pub client_quotas: BTreeSet<QuotaEntity>,
    /// The access control entries that came or went.
    pub acls: BTreeSet<Uuid>,
    /// The ids of the delegation tokens that came, were renewed or went.
    pub delegation_tokens: BTreeSet<Arc<str>>,
    /// The features whose level changed, with the new one; 0 is "removed".
    pub features: BTreeMap<Arc<str>, i16>,
    /// The next producer id, if it changed.
    pub next_producer_id: Option<ProducerId>,
    /// The cluster's id, if it became known.
    pub cluster_id: Option<Arc<str>>,
}

impl MetadataDelta {
    /// What leads from `before` to `after`.
    #[must_use]
    pub fn between(before: &MetadataImage, after: &MetadataImage) -> Self {
        let mut delta = Self { from: before.position(), to: after.position(), ..Self::default() };
        before.brokers.for_each_difference(&after.brokers, |id, before, after| {
            delta.brokers.insert(*id, BrokerDelta { before: before.cloned(), after: after.cloned() });
        });
        before.topics.by_id.for_each_difference(&after.topics.by_id, |id, before, after| {
            match (before, after) {
                (before, Some(after)) => {
                    delta.topics.insert(*id, topic_delta(before, after));
                }
                (Some(before), None) => {
                    delta.deleted_topics.insert(*id, Arc::clone(before));
                }
                (None, None) => {}
            }
        });
        before.configs.resources.for_each_difference(&after.configs.resources, |resource, before, after| {
            let configs = |configs: Option<&Arc<ResourceConfigs>>| configs.cloned().unwrap_or_default();
            let change = ConfigDelta { before: configs(before), after: configs(after) };
            delta.configs.insert(resource.clone(), change);
        });
        before.client_quotas.entities.for_each_difference(&after.client_quotas.entities, |entity, _, _| {
            delta.client_quotas.insert(entity.clone());
        });
        before.acls.by_id.for_each_difference(&after.acls.by_id, |id, _, _| {
            delta.acls.insert(*id);
        });
        let (earlier, later) = (&before.delegation_tokens.by_id, &after.delegation_tokens.by_id);
        earlier.for_each_difference(later, |id, _, _| {
            delta.delegation_tokens.insert(Arc::clone(id));
        });
        if !Arc::ptr_eq(&before.features, &after.features) {
            for (name, level) in after.features() {
                if before.features().get(name) != Some(level) {
                    delta.features.insert(Arc::clone(name), *level);
                }
            }
            let removed = before.features().keys().filter(|name| !after.features().contains_key(*name));
            delta.features.extend(removed.map(|name| (Arc::clone(name), 0)));
        }
        if before.next_producer_id() != after.next_producer_id() {
            delta.next_producer_id = Some(after.next_producer_id());
        }
        if before.cluster_id() != after.cluster_id() {
            delta.cluster_id = after.cluster_id().cloned();
        }
        delta
    }

    /// Whether the images say the same; their positions may differ.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.brokers.is_empty()
            && self.topics.is_empty()
            && self.deleted_topics.is_empty()
            && self.configs.is_empty()
            && self.client_quotas.is_empty()
            && self.acls.is_empty()
            && self.delegation_tokens.is_empty()
            && self.features.is_empty()
            && self.next_producer_id.is_none()
            && self.cluster_id.is_none()
    }
}

fn topic_delta(before: Option<&Arc<TopicImage>>, after: &Arc<TopicImage>) -> TopicDelta {
    let none = SortedMap::default();
    let earlier = before.map_or(&none, |topic| &topic.partitions);
    let mut partitions = BTreeMap::new();
    earlier.for_each_difference(&after.partitions, |index, before, after| {
        // Partitions are only ever added: a topic shrinks by deletion alone.
        if let Some(after) = after {
            partitions.insert(*index, PartitionDelta { before: before.cloned(), after: Arc::clone(after) });
        }
    });
    TopicDelta { topic: Arc::clone(after), created: before.is_none(), partitions }
}
