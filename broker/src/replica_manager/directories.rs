//! Which log directory a replica is to be in, and moves there (KIP-113).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use moldau_log::{LogDirectory, LogError, PartitionOnDisk};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, PartitionIndex, TopicIdPartition, TopicPartition, Uuid};

use super::{Hosted, Partition, ReplicaManager};
use crate::clock;
use crate::log_dirs::LogDir;
use crate::log_mover::MoveQueue;

/// Partitions that are not here yet of which it is remembered where they are to be. Whoever asks for more asks again.
const PREFERRED_MAX: usize = 100_000;

impl ReplicaManager {
    /// Moves the partition's log to the directory of this path, if it is not there. With a replica that is not here yet the
    /// wish is remembered. Blocks on the disk.
    ///
    /// # Errors
    /// Kafka's codes for what is wrong with the wish.
    pub fn alter_log_dir(
        &self,
        image: &MetadataImage,
        topic: &str,
        partition: PartitionIndex,
        path: &str,
    ) -> Result<(), ErrorCode> {
        let topic_partition = TopicPartition::new(topic, partition.0);
        if !LogDirectory::can_hold_future(&topic_partition) {
            return Err(ErrorCode::InvalidTopicException);
        }
        let is_unopened = self.dirs.unopened().iter().any(|unopened| unopened == std::path::Path::new(path));
        let missing = if is_unopened { ErrorCode::KafkaStorageError } else { ErrorCode::LogDirNotFound };
        let dir = self.dirs.by_path(path).ok_or(missing)?;
        if !dir.is_online() {
            return Err(ErrorCode::KafkaStorageError);
        }
        if dir.is_cordoned() {
            return Err(ErrorCode::InvalidReplicaAssignment);
        }
        let _one_at_a_time = self.altering.lock();
        let known = image.partition_by_name(topic, partition);
        let id = known.as_ref().map(|(topic, _)| TopicIdPartition { topic_id: topic.id(), partition });
        match id.and_then(|id| self.hosted(id)) {
            Some(Hosted::Online(partition)) if partition.is_dir_online() => self.move_to(&partition, dir),
            Some(Hosted::Online(_) | Hosted::Offline) => Err(ErrorCode::KafkaStorageError),
            None => {
                self.prefer(topic_partition, dir.id);
                let is_known = id.is_some();
                Err(if is_known {
                    ErrorCode::ReplicaNotAvailable
                } else {
                    ErrorCode::UnknownTopicOrPartition
                })
            }
        }
    }

    fn move_to(&self, partition: &Arc<Partition>, dir: &Arc<LogDir>) -> Result<(), ErrorCode> {
        if partition.moves_to() == Some(dir.id) {
            return Ok(());
        }
        partition.cancel_move();
        if partition.dir().id == dir.id {
            return Ok(());
        }
        partition.begin_move(dir, None)?;
        self.moves.push(Arc::clone(partition));
        Ok(())
    }

    fn prefer(&self, topic_partition: TopicPartition, dir: Uuid) {
        let mut preferred = self.preferred_dirs.lock();
        if preferred.len() < PREFERRED_MAX || preferred.contains_key(&topic_partition) {
            preferred.insert(topic_partition, dir);
        }
    }

    /// Where a replica that comes here is to be, if that was said before. It is said once.
    pub(super) fn take_preferred(&self, topic_partition: &TopicPartition) -> Option<Arc<LogDir>> {
        let id = self.preferred_dirs.lock().remove(topic_partition)?;
        self.dirs.by_id(id).filter(|dir| dir.is_online()).cloned()
    }

    /// Goes on with the move that was under way when the broker stopped, if the log is still the one that was moved.
    pub(super) fn resume_move(&self, partition: &Arc<Partition>) {
        let found = self.futures.lock().remove(partition.topic_partition());
        for (dir, found) in found.into_iter().flatten() {
            let is_of_log = found.topic_id == Some(partition.id().topic_id)
                && dir.id != partition.dir().id
                && !partition.is_moving();
            if is_of_log && partition.begin_move(&dir, Some(&found)).is_ok() {
                self.moves.push(Arc::clone(partition));
            } else {
                delete_copy(&dir, &found);
            }
        }
    }

    /// Deletes copies of logs that are not here.
    pub(super) fn remove_stray_copies(&self) {
        for (dir, found) in std::mem::take(&mut *self.futures.lock()).into_values().flatten() {
            delete_copy(&dir, &found);
        }
    }

    /// Whether the replica may lie in a directory that failed: the one that metadata names, or, where metadata names none, any,
    /// as long as it is not known which replicas are new, and ever after for one that was taken for offline then. What lies
    /// elsewhere may be older than what was acknowledged, and an empty log is.
    pub(super) fn may_lie_in_failed(
        &self,
        id: TopicIdPartition,
        named: Uuid,
        found: Option<&PartitionOnDisk>,
    ) -> bool {
        if self.dirs.offline_count() == 0 || self.dirs.by_id(named).is_some_and(|dir| dir.is_online()) {
            return false;
        }
        match found {
            Some(found) => !named.is_zero() && !found.moved_from.supersedes(named),
            None => {
                let was_there = matches!(self.hosted(id), Some(Hosted::Offline));
                !named.is_zero() || was_there || !self.is_loaded.load(Ordering::Acquire)
            }
        }
    }

    /// The partitions that are being moved.
    pub(crate) fn moves(&self) -> &MoveQueue {
        &self.moves
    }

    /// `replica.alter.log.dirs.io.max.bytes.per.second`, unless it is no limit.
    pub(crate) fn move_rate(&self) -> Option<f64> {
        *self.move_rate.lock()
    }

    /// A log has moved: the checkpoints are to say so, and the controller is to hear of it.
    pub(crate) fn note_moved(&self, from: &LogDir, to: &LogDir) {
        for dir in [to, from] {
            if let Err(error) = self.write_checkpoints(dir) {
                tracing::error!(path = %dir.log.path().display(), %error, "cannot write checkpoints");
            }
        }
        self.dirs.note_moved();
    }
}

fn delete_copy(dir: &LogDir, found: &PartitionOnDisk) {
    tracing::info!(partition = %found.topic_partition, "deleting a copy of a log that is not moved any more");
    let deleted: Result<(), LogError> = dir.log.delete_stray(found, clock::now());
    if let Err(error) = deleted {
        tracing::error!(partition = %found.topic_partition, %error, "cannot delete a copy");
    }
}
