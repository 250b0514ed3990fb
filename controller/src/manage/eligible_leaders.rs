//! What comes with eligible leader replicas (KIP-966): `min.insync.replicas` has to be one and the same number wherever
//! it is looked at, so it is a setting of the whole cluster from then on, and no broker has one of its own.

use moldau_metadata::{ConfigResource, ConfigResourceType, MetadataImage, MetadataRecord, records};
use moldau_model::ErrorCode;

use super::alter_configs::Altered;
use super::{ApiError, Settings};

/// The feature that makes replicas which fell out of a too small ISR eligible for leadership.
pub(crate) const ELIGIBLE_LEADER_REPLICAS: &str = "eligible.leader.replicas.version";
const MIN_ISR: &str = "min.insync.replicas";

/// Whether eligible leader replicas are kept.
pub(super) fn is_enabled(image: &MetadataImage) -> bool {
    image.feature_level(ELIGIBLE_LEADER_REPLICAS) > 0
}

/// The records that the feature needs beside its level: the cluster's `min.insync.replicas`, unless there is one, and
/// the end of the brokers' own ones.
#[must_use]
pub fn eligible_leader_records(image: &MetadataImage, settings: &Settings) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    let config = |resource: &ConfigResource, value: Option<String>| {
        MetadataRecord::from(records::Config {
            resource_type: i32::from(resource.resource_type.code()),
            resource_name: resource.name.to_string(),
            key: MIN_ISR.to_owned(),
            value,
        })
    };
    let has_own = |resource: &ConfigResource| {
        image.configs().of(resource).is_some_and(|configs| configs.get(MIN_ISR).is_some())
    };
    let cluster = ConfigResource::default_broker();
    if !has_own(&cluster) {
        records.push(config(&cluster, Some(settings.min_insync_replicas())));
    }
    let brokers = image.brokers().map(|broker| ConfigResource::broker(broker.id));
    records.extend(brokers.filter(has_own).map(|broker| config(&broker, None)));
    records
}

/// Refuses what would give brokers different numbers, in Kafka's words.
pub(super) fn check_alteration(
    image: &MetadataImage,
    resource: &ConfigResource,
    altered: &Altered,
) -> Result<(), ApiError> {
    if resource.resource_type != ConfigResourceType::Broker || !is_enabled(image) {
        return Ok(());
    }
    let text = match (resource.name.is_empty(), altered.get(MIN_ISR)) {
        (false, Some(Some(_))) => "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
        (true, Some(None)) => "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
        _ => return Ok(()),
    };
    Err(ApiError::new(ErrorCode::InvalidConfig, text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use moldau_model::BrokerId;

    use super::super::testing::Cluster;
    use super::*;

    fn settings(min_isr: &str) -> Settings {
        Settings::new(BrokerId(1), BTreeMap::from([(MIN_ISR.to_owned(), min_isr.to_owned())]))
    }

    fn altered(value: Option<&str>) -> Altered {
        Altered::from([(MIN_ISR.to_owned(), value.map(str::to_owned))])
    }

    #[test]
    fn the_cluster_gets_the_number_the_controller_was_started_with_once() {
        let mut cluster = Cluster::with(1, &[(ELIGIBLE_LEADER_REPLICAS, 1)], &[]);
        cluster.commit(vec![
            records::Config {
                resource_type: i32::from(ConfigResourceType::Broker.code()),
                resource_name: "1".into(),
                key: MIN_ISR.into(),
                value: Some("3".into()),
            }
            .into(),
        ]);
        let records = eligible_leader_records(&cluster.image, &settings("2"));
        cluster.commit(records);
        let of = |resource| cluster.image.configs().of(&resource).and_then(|c| c.get(MIN_ISR)).cloned();
        assert_eq!(of(ConfigResource::default_broker()).as_deref(), Some("2"));
        assert_eq!(of(ConfigResource::broker(BrokerId(1))), None);
        assert_eq!(eligible_leader_records(&cluster.image, &settings("1")), Vec::new());
    }

    #[test]
    fn brokers_cannot_have_different_numbers_while_the_feature_is_on() {
        let on = Cluster::with(1, &[(ELIGIBLE_LEADER_REPLICAS, 1)], &[]);
        let off = Cluster::new(1);
        let (all, one) = (ConfigResource::default_broker(), ConfigResource::broker(BrokerId(1)));
        for (resource, value, is_allowed) in [
            (&all, Some("2"), true),
            (&all, None, false),
            (&one, Some("2"), false),
            (&one, None, true),
            (&ConfigResource::topic("t"), Some("2"), true),
        ] {
            let result = check_alteration(&on.image, resource, &altered(value));
            assert_eq!(result.is_ok(), is_allowed, "{resource:?} {value:?}");
            assert_eq!(check_alteration(&off.image, resource, &altered(value)), Ok(()));
        }
    }
}
