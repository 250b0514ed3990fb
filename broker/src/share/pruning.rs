//! What the share coordinator does not need any more of its topic is deleted.

use std::sync::Arc;

use moldau_log::LogError;
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};
use moldau_share::ShareStateShard;

use crate::coordinator::{SHARE_STATE_TOPIC, ShareStateCoordinator, Wishes};
use crate::metadata_cache::MetadataCache;
use crate::replica_manager::ReplicaManager;

#[derive(Debug, thiserror::Error)]
enum PruneError {
    #[error("{0}")]
    Refused(ErrorCode),
    #[error("cannot write down the log start: {0}")]
    Checkpoint(#[from] LogError),
}

/// Fulfils what shards of share state wish for: that their log begins later.
#[must_use]
pub fn wishes(replicas: Arc<ReplicaManager>, metadata: Arc<MetadataCache>) -> Wishes<ShareStateShard> {
    Box::new(move |_: &Arc<ShareStateCoordinator>, partition, leader_epoch, before| {
        let (replicas, metadata) = (Arc::clone(&replicas), Arc::clone(&metadata));
        // A shard wishes once in its interval, so that few wait here.
        tokio::task::spawn_blocking(move || {
            match prune(&replicas, &metadata, partition, leader_epoch, before) {
                Ok(()) => tracing::debug!(%partition, %before, "share state that nobody needs is deleted"),
                // The next wish is for this and more.
                Err(error) => tracing::debug!(%partition, %before, %error, "share state is not deleted yet"),
            }
        });
    })
}

fn prune(
    replicas: &ReplicaManager,
    metadata: &MetadataCache,
    partition: PartitionIndex,
    leader_epoch: LeaderEpoch,
    before: Offset,
) -> Result<(), PruneError> {
    let replica = replicas.by_name(&metadata.image(), SHARE_STATE_TOPIC, partition);
    let replica = replica.map_err(PruneError::Refused)?;
    replica.prune(leader_epoch, before).map_err(PruneError::Refused)?;
    Ok(replicas.write_checkpoints(&replica.dir())?)
}
