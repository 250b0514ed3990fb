//! One of `log.dirs`: who owns it, what it holds, and whether it still can be trusted.

mod clean_shutdown;
mod future;
mod names;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use moldau_model::{BrokerEpoch, Offset, TimestampMs, TopicId, TopicPartition};
use parking_lot::Mutex;

use crate::checkpoint::Checkpoints;
use crate::file_system::{FileLock, OpenFile, Space};
use crate::partition_log::LogEnvironment;
use crate::sync::DirectorySync;
use crate::{
    FileCache, FileSystem, Journal, LogConfig, LogError, MetaProperties, MovedFrom, OpenMode, PartitionLog,
    RecoveryReport, Room, journal, meta_properties, partition_metadata,
};
use clean_shutdown::CleanShutdown;

const LOCK_FILE: &str = ".lock";
/// Says that a sync failed here, and what the page cache holds need not be on the disk. It is never synced itself: a loss
/// of power takes it away together with the pages that it warns of.
const SYNC_FAILED_FILE: &str = ".sync-failed";

/// A partition's directory, as found at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOnDisk {
    pub topic_partition: TopicPartition,
    /// From `partition.metadata`; `None` if that file is missing or unreadable.
    pub topic_id: Option<TopicId>,
    pub directory: PathBuf,
    /// Where older copies of it may be.
    pub moved_from: MovedFrom,
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

/// A partition whose directory was renamed and waits to be removed.
#[derive(Debug)]
struct Deleted {
    path: PathBuf,
    at: TimestampMs,
}

/// One log directory, held by its lock file. All methods take `&self`: share it in an `Arc`.
#[derive(Debug)]
pub struct LogDirectory {
    path: PathBuf,
    file_system: Arc<dyn FileSystem>,
    environment: LogEnvironment,
    checkpoints: Arc<Checkpoints>,
    meta_properties: Mutex<Option<MetaProperties>>,
    clean_shutdown: Option<CleanShutdown>,
    deleted: Mutex<Vec<Deleted>>,
    offline: OnceLock<Arc<str>>,
    _lock: Box<dyn FileLock>,
}

impl LogDirectory {
    /// Makes the directory if need be, takes its lock, reads identity, checkpoints and the clean-shutdown marker (which
    /// it removes: from here on a crash is a crash). Checkpoints that are corrupt never stand in the way: they count as
    /// missing, with a warning. A `meta.properties` that cannot be read does.
    pub fn open(
        file_system: Arc<dyn FileSystem>,
        file_cache: Arc<FileCache>,
        path: PathBuf,
    ) -> Result<Self, LogError> {
        create_durably(&*file_system, &path).map_err(LogError::io(&path))?;
        let lock = file_system.lock(&path.join(LOCK_FILE)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => LogError::Locked { path: path.clone() },
            _ => LogError::Io { path: path.join(LOCK_FILE), source: error },
        })?;
        let meta_properties = read_meta_properties(&*file_system, &path)?;
        let checkpoints =
            Checkpoints::load(Arc::clone(&file_system), path.clone()).map_err(LogError::io(&path))?;
        let checkpoints = Arc::new(checkpoints);
        if clean_shutdown::is_there(&*file_system, &path).map_err(LogError::io(&path))? {
            // Everything is in the segments, and a journal that was left is older. Without the marker it would be believed.
            journal::remove(&*file_system, &path).map_err(LogError::io(&path))?;
        }
        let clean_shutdown = clean_shutdown::take(&*file_system, &path).map_err(LogError::io(&path))?;
        if let Some(replayed) = journal::replay(&*file_system, &path).map_err(LogError::io(&path))? {
            tracing::info!(path = %path.display(), ?replayed, "the sync journal was replayed");
        }
        // Also makes durable the names of partitions that a killed process left in the page cache.
        file_system.sync_dir(&path).map_err(LogError::io(&path))?;
        let sync_has_failed = file_system
            .file_length(&path.join(SYNC_FAILED_FILE))
            .map_err(LogError::io(path.join(SYNC_FAILED_FILE)))?
            .is_some();
        if sync_has_failed {
            tracing::warn!(path = %path.display(), "a sync failed here: what was not durable is written again");
        }
        let room = Arc::new(Room::new(Arc::clone(&file_system), path.clone()));
        let environment = LogEnvironment {
            file_system: Arc::clone(&file_system),
            file_cache,
            rewrites_recovered: sync_has_failed,
            parent: Some(Arc::new(DirectorySync::new(path.clone()))),
            checkpoints: Some(Arc::clone(&checkpoints)),
            journal: Some(Arc::new(Journal::new(Arc::clone(&file_system), path.clone(), Arc::clone(&room)))),
            room,
        };
        Ok(Self {
            path,
            file_system,
            environment,
            checkpoints,
            meta_properties: Mutex::new(meta_properties),
            clean_shutdown,
            deleted: Mutex::new(Vec::new()),
            offline: OnceLock::new(),
            _lock: lock,
        })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sync journal of this directory's partitions.
    #[must_use]
    pub fn journal(&self) -> Option<&Arc<Journal>> {
        self.environment.journal.as_ref()
    }

    /// `None` in a directory that was never formatted.
    #[must_use]
    pub fn meta_properties(&self) -> Option<MetaProperties> {
        self.meta_properties.lock().clone()
    }

    /// Writes `meta.properties`. The caller has checked that the directory has none, or the same.
    pub fn format(&self, properties: &MetaProperties) -> Result<(), LogError> {
        let path = self.path.join(meta_properties::FILE_NAME);
        let text = properties.encode();
        self.file_system.replace_file(&path, text.as_bytes()).map_err(LogError::io(path))?;
        *self.meta_properties.lock() = Some(properties.clone());
        Ok(())
    }

    /// Whether the last owner closed the directory cleanly.
    #[must_use]
    pub fn was_clean_shutdown(&self) -> bool {
        self.clean_shutdown.is_some()
    }

    /// The broker epoch of that shutdown, if it was clean and told (KIP-966).
    #[must_use]
    pub fn clean_shutdown_broker_epoch(&self) -> Option<BrokerEpoch> {
        self.clean_shutdown.and_then(|shutdown| shutdown.broker_epoch)
    }

    /// The partitions found, in no order. Leftovers of deletions are removed on the way.
    pub fn list_partitions(&self) -> Result<Vec<PartitionOnDisk>, LogError> {
        let entries = self.file_system.read_dir(&self.path).map_err(LogError::io(&self.path))?;
        let mut partitions = Vec::new();
        for entry in entries.into_iter().filter(|entry| entry.is_directory) {
            let directory = self.path.join(&entry.name);
            let waits = self.deleted.lock().iter().any(|deleted| deleted.path == directory);
            if names::is_deleted(&entry.name) && !waits {
                self.file_system.remove_dir_all(&directory).map_err(LogError::io(&directory))?;
            } else if let Some(topic_partition) = names::parse_partition(&entry.name) {
                partitions.push(self.partition_on_disk(topic_partition, &entry.name));
            }
        }
        Ok(partitions)
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
        let (mut log, report) = self.open_or_declare_partition(topic_partition, topic_id, config, now)?;
        log.make()?;
        Ok((log, report))
    }

    /// Opens a partition; one that is not on disk is only declared, which costs nothing: [`PartitionLog::make`] or its
    /// first record makes it.
    pub fn open_or_declare_partition(
        &self,
        topic_partition: &TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        now: TimestampMs,
    ) -> Result<(PartitionLog, RecoveryReport), LogError> {
        self.check_online()?;
        let directory = self.path.join(topic_partition.to_string());
        let is_new = match self.file_system.read_dir(&directory) {
            Ok(_) => false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(LogError::Io { path: directory, source: error }),
        };
        if is_new {
            self.checkpoints.forget(topic_partition).map_err(LogError::io(&self.path))?;
            let topic_partition = topic_partition.clone();
            let log =
                PartitionLog::declare(&self.environment, directory, topic_partition, topic_id, config, now);
            return Ok((log, RecoveryReport::default()));
        }
        let checkpointed = self.checkpoints.of(topic_partition);
        let mode = OpenMode {
            clean_shutdown: self.was_clean_shutdown(),
            recovery_point: checkpointed.recovery_point.unwrap_or(Offset::ZERO),
            log_start_offset: checkpointed.log_start_offset.unwrap_or(Offset::ZERO),
        };
        let (mut log, report) = PartitionLog::open(
            &self.environment,
            directory,
            topic_partition.clone(),
            topic_id,
            config,
            mode,
            now,
        )?;
        if let Some(offset) = checkpointed.first_dirty {
            log.restore_first_dirty_offset(offset);
        }
        let on_disk = self.partition_on_disk(topic_partition.clone(), &topic_partition.to_string());
        log.moved_from = on_disk.moved_from;
        Ok((log, report))
    }

    /// Renames the partition's directory to `<topic>-<partition>.<hex>-delete`; `purge_deleted` removes it later.
    /// Reads under way go on.
    pub fn delete_partition(&self, mut log: PartitionLog, now: TimestampMs) -> Result<(), LogError> {
        log.abandon_journal().map_err(LogError::io(&self.path))?;
        log.poison("the partition was deleted".into());
        let topic_partition = log.topic_partition().clone();
        let directory = log.directory();
        if log.is_declared_only() {
            return Ok(());
        }
        drop(log);
        self.delete_directory(&topic_partition, &directory, now)
    }

    /// The same for a partition that was found but never opened (of a topic that is gone).
    pub fn delete_stray(&self, stray: &PartitionOnDisk, now: TimestampMs) -> Result<(), LogError> {
        self.delete_directory(&stray.topic_partition, &stray.directory, now)
    }

    fn delete_directory(
        &self,
        topic_partition: &TopicPartition,
        directory: &Path,
        now: TimestampMs,
    ) -> Result<(), LogError> {
        let path = self.path.join(names::deleted(topic_partition));
        self.file_system.rename(directory, &path).map_err(LogError::io(directory))?;
        self.deleted.lock().push(Deleted { path, at: now });
        Ok(())
    }

    /// Removes partitions deleted `delay_ms` ago or earlier. Returns how many.
    pub fn purge_deleted(&self, now: TimestampMs, delay_ms: i64) -> usize {
        let mut due = Vec::new();
        self.deleted.lock().retain(|deleted| {
            let is_due = now.0.saturating_sub(deleted.at.0) >= delay_ms;
            if is_due {
                due.push(deleted.path.clone());
            }
            !is_due
        });
        let mut removed = 0;
        for path in due {
            match self.file_system.remove_dir_all(&path) {
                Ok(()) => removed += 1,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "not removed, the next start does it")
                }
            }
        }
        removed
    }

    /// What `replication-offset-checkpoint` says.
    #[must_use]
    pub fn high_watermark_checkpoint(&self, topic_partition: &TopicPartition) -> Option<Offset> {
        self.checkpoints.of(topic_partition).high_watermark
    }

    /// Writes down that these logs start no earlier, and nothing else. Blocks on a sync.
    pub fn raise_log_starts(&self, log_starts: &[(TopicPartition, Offset)]) -> Result<(), LogError> {
        self.check_online()?;
        self.checkpoints.raise_log_starts(log_starts).map_err(LogError::io(&self.path))
    }

    /// Writes the three checkpoint files, each atomically, if their content changed. `partitions` are all of this
    /// directory. Blocks on syncs.
    pub fn write_checkpoints(&self, partitions: &[PartitionCheckpoint]) -> Result<(), LogError> {
        self.check_online()?;
        let of = |offset: fn(&PartitionCheckpoint) -> Offset| -> HashMap<TopicPartition, Offset> {
            partitions
                .iter()
                .map(|partition| (partition.topic_partition.clone(), offset(partition)))
                .filter(|(_, offset)| *offset > Offset::ZERO)
                .collect()
        };
        let written = self.checkpoints.write_all(
            of(|partition| partition.recovery_point),
            of(|partition| partition.log_start_offset),
            of(|partition| partition.high_watermark),
        );
        written.map_err(LogError::io(&self.path))
    }

    /// The last step of a clean shutdown, after every log was closed: writes checkpoints, makes everything durable, and
    /// then the marker that says so.
    pub fn close_clean(
        &self,
        partitions: &[PartitionCheckpoint],
        broker_epoch: BrokerEpoch,
    ) -> Result<(), LogError> {
        self.write_checkpoints(partitions)?;
        self.file_system.sync_volume(&self.path).map_err(LogError::io(&self.path))?;
        if let Some(journal) = self.journal() {
            journal.discard().map_err(LogError::io(&self.path))?;
        }
        let sync_failed = self.path.join(SYNC_FAILED_FILE);
        if self.environment.rewrites_recovered {
            self.file_system.remove_file(&sync_failed).map_err(LogError::io(&sync_failed))?;
        }
        clean_shutdown::write(&*self.file_system, &self.path, broker_epoch).map_err(LogError::io(&self.path))
    }

    /// Takes the directory offline for good, after a failed sync or write. The first reason stays; returns whether this
    /// was it.
    ///
    /// The kernel takes the pages of a failed sync for clean, and a process that comes back would read them and believe
    /// them. So a file is left that tells the next one to write them again.
    pub fn take_offline(&self, reason: impl Into<Arc<str>>) -> bool {
        let is_first = self.offline.set(reason.into()).is_ok();
        if is_first
            && let Err(error) = self.file_system.open(&self.path.join(SYNC_FAILED_FILE), OpenFile::Create)
        {
            tracing::error!(path = %self.path.display(), %error, "cannot leave word that a sync failed");
        }
        is_first
    }

    /// Why the directory is offline, if it is.
    #[must_use]
    pub fn offline_reason(&self) -> Option<Arc<str>> {
        self.offline.get().cloned()
    }

    fn check_online(&self) -> Result<(), LogError> {
        match self.offline.get() {
            Some(reason) => Err(LogError::Offline { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    /// Size of the volume, and what of it records may still take.
    pub fn space(&self) -> Result<Space, LogError> {
        self.room().space().map_err(LogError::io(&self.path))
    }

    /// The room that records have here.
    #[must_use]
    pub fn room(&self) -> &Room {
        &self.environment.room
    }
}

/// Makes the directory and, so that the whole of it is not lost with the power, its name and those of the directories
/// above that had to be made.
fn create_durably(file_system: &dyn FileSystem, path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| match file_system.read_dir(path) {
        Ok(_) => false,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    file_system.create_dir_all(path)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        file_system.sync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

fn read_meta_properties(
    file_system: &dyn FileSystem,
    directory: &Path,
) -> Result<Option<MetaProperties>, LogError> {
    let path = directory.join(meta_properties::FILE_NAME);
    match file_system.read_small(&path, meta_properties::FILE_BYTES_MAX) {
        Ok(bytes) => match MetaProperties::decode(&bytes) {
            Ok(properties) => Ok(Some(properties)),
            Err(message) => Err(LogError::Corrupt { path, message }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LogError::Io { path, source }),
    }
}
