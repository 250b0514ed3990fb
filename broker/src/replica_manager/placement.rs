//! In which log directory replicas are, where the metadata does not know (KIP-858).

use moldau_cluster::ReplicaDirectory;
use moldau_metadata::MetadataImage;

use super::{Hosted, ReplicaManager};

/// Replicas that one heartbeat names; the others follow in the next ones. Each costs the controller a record.
const NAMED_MAX: usize = 1_000;

impl ReplicaManager {
    /// The replicas that `image` has in another directory, or in none. A directory that fails takes its replicas out of ISRs and
    /// leaderships only if the controller knows them.
    pub(crate) fn misplaced(&self, image: &MetadataImage) -> Vec<ReplicaDirectory> {
        // The controller does not ask a broker with one directory.
        if self.dirs.iter().count() < 2 {
            return Vec::new();
        }
        let partitions = self.partitions.read();
        let misplaced = partitions.iter().filter_map(|(id, hosted)| {
            let Hosted::Online(partition) = hosted else { return None };
            let known =
                image.topics().partition(id.topic_id, id.partition)?.directory(self.settings.broker_id);
            let dir = partition.dir();
            // Also one in a directory that failed: the controller may have it where it was before it moved there.
            (known != dir.id).then_some(ReplicaDirectory {
                topic_id: id.topic_id,
                partition: id.partition,
                directory: dir.id,
            })
        });
        misplaced.take(NAMED_MAX).collect()
    }
}
