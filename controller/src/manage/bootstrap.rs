//! The first batch of a metadata log.

use moldau_metadata::{MetadataRecord, records};

/// The records with which the first controller of a cluster begins its log: who the cluster is, and at which levels
/// its features start. To be proposed if, and only if, the image has no cluster id.
#[must_use]
pub fn bootstrap_records(cluster_id: &str, features: &[(&str, i16)]) -> Vec<MetadataRecord> {
    let cluster = records::Cluster { cluster_id: cluster_id.to_owned() };
    let levels = features.iter().map(|(name, level)| {
        MetadataRecord::from(records::FeatureLevel { name: (*name).to_owned(), level: i32::from(*level) })
    });
    std::iter::once(cluster.into()).chain(levels).collect()
}
