//! One of `log.dirs`: who owns it, what it holds, and whether it still can be trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_model::{BrokerEpoch, Offset, TimestampMs, TopicId, TopicPartition};

use crate::file_system::Space;
use crate::{FileCache, FileSystem, LogConfig, LogError, MetaProperties, PartitionLog, RecoveryReport};

/// A partition's directory, as found at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOnDisk {
    pub topic_partition: TopicPartition,
    /// From `partition.metadata`; `None` if that file is missing or unreadable.
    pub topic_id: Option<TopicId>,
    pub directory: PathBuf,
}

/// One partition's line in each of the three checkpoint files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCheckpoint {
    pub topic_partition: TopicPartition,
    /// The log's durable end.
    pub recovery_point: Offset,
    pub log_start_offset: Offset,
    pub high_watermark: Offset,
}

/// One log directory, held by its lock file. All methods take `&self`: share it in an `Arc`.
#[derive(Debug)]
pub struct LogDirectory {
    path: PathBuf,
}

#[allow(unused_variables, clippy::todo)]
impl LogDirectory {
    /// Makes the directory if need be, takes its lock, reads identity, checkpoints and the clean-shutdown marker (which
    /// it removes: from here on a crash is a crash). Files that are corrupt never stand in the way: they count as
    /// missing, with a warning. A readable `meta.properties` of another version does.
    pub fn open(
        file_system: Arc<dyn FileSystem>,
        file_cache: Arc<FileCache>,
        path: PathBuf,
    ) -> Result<Self, LogError> {
        todo!()
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `None` in a directory that was never formatted.
    #[must_use]
    pub fn meta_properties(&self) -> Option<MetaProperties> {
        todo!()
    }

    /// Writes `meta.properties`. The caller has checked that the directory has none, or the same.
    pub fn format(&self, properties: &MetaProperties) -> Result<(), LogError> {
        todo!()
    }

    /// Whether the last owner closed the directory cleanly.
    #[must_use]
    pub fn was_clean_shutdown(&self) -> bool {
        todo!()
    }

    /// The broker epoch of that shutdown, if it was clean and told (KIP-966).
    #[must_use]
    pub fn clean_shutdown_broker_epoch(&self) -> Option<BrokerEpoch> {
        todo!()
    }

    /// The partitions found, in no order. Leftovers of deletions are removed on the way.
    pub fn list_partitions(&self) -> Result<Vec<PartitionOnDisk>, LogError> {
        todo!()
    }

    /// Opens a partition, or makes it. Making it costs no sync: the first ticket of the partition syncs the names, and
    /// the directory itself once for all partitions made before.
    pub fn open_partition(
        &self,
        topic_partition: &TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        now: TimestampMs,
    ) -> Result<(PartitionLog, RecoveryReport), LogError> {
        todo!()
    }

    /// Renames the partition's directory to `<topic>-<partition>.<hex>-delete`; `purge_deleted` removes it later.
    /// Reads under way go on.
    pub fn delete_partition(&self, log: PartitionLog, now: TimestampMs) -> Result<(), LogError> {
        todo!()
    }

    /// The same for a partition that was found but never opened (of a topic that is gone).
    pub fn delete_stray(&self, stray: &PartitionOnDisk, now: TimestampMs) -> Result<(), LogError> {
        todo!()
    }

    /// Removes partitions deleted `delay_ms` ago or earlier. Returns how many.
    pub fn purge_deleted(&self, now: TimestampMs, delay_ms: i64) -> usize {
        todo!()
    }

    /// What `replication-offset-checkpoint` said at the start.
    #[must_use]
    pub fn high_watermark_checkpoint(&self, topic_partition: &TopicPartition) -> Option<Offset> {
        todo!()
    }

    /// Writes the three checkpoint files, each atomically, if their content changed. `partitions` are all of this
    /// directory. Blocks on syncs.
    pub fn write_checkpoints(&self, partitions: &[PartitionCheckpoint]) -> Result<(), LogError> {
        todo!()
    }

    /// The last step of a clean shutdown, after every log was closed: writes checkpoints and marker.
    pub fn close_clean(
        &self,
        partitions: &[PartitionCheckpoint],
        broker_epoch: BrokerEpoch,
    ) -> Result<(), LogError> {
        todo!()
    }

    /// Takes the directory offline for good, after a failed sync or write. The first reason stays; returns whether this
    /// was it.
    pub fn take_offline(&self, reason: impl Into<Arc<str>>) -> bool {
        todo!()
    }

    /// Why the directory is offline, if it is.
    #[must_use]
    pub fn offline_reason(&self) -> Option<Arc<str>> {
        todo!()
    }

    /// Size and free bytes of the volume, for DescribeLogDirs.
    pub fn space(&self) -> Result<Space, LogError> {
        todo!()
    }
}
