//! `meta.properties`, version 1: whose directory this is.

use moldau_model::{BrokerId, Uuid};

/// The identity of one log directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// `cluster.id`: 22 characters of base64 where Kafka or Moldau made it, any text where an operator chose it.
    pub cluster_id: String,
    /// `node.id`.
    pub node_id: BrokerId,
    /// `directory.id` (KIP-858).
    pub directory_id: Uuid,
}
