//! A partition's copy on its way to another log directory (KIP-113). It lies in `<topic>-<partition>.<32 hex digits>-future`,
//! follows the log that it is made from, and takes its place in the end.
//!
//! The end is safe against a loss of power at any of its steps. Before it: the copy says in `moved-from` whose place it will
//! take ([`LogDirectory::prepare_replacement`]). Then, with nobody appending: all of it is made durable, it gets its final name,
//! and that is made durable ([`LogDirectory::install_future`]). From here on it is the partition, whether or not the old
//! directory still has one. Afterwards the old one is deleted, durably, and the claim goes.

use std::io;
use std::sync::Arc;

use moldau_model::{Offset, TimestampMs, TopicId, TopicPartition, Uuid};

use super::{LogDirectory, PartitionOnDisk, names, partition_metadata};
use crate::moved_from::{self, MovedFrom};
use crate::partition_log::LogEnvironment;
use crate::{LogConfig, LogError, OpenMode, PartitionLog, RecoveryReport};

impl LogDirectory {
    /// The copies found that were under way when the last owner stopped.
    pub fn list_futures(&self) -> Result<Vec<PartitionOnDisk>, LogError> {
        let entries = self.file_system.read_dir(&self.path).map_err(LogError::io(&self.path))?;
        let directories = entries.into_iter().filter(|entry| entry.is_directory);
        Ok(directories
            .filter_map(|entry| {
                let topic_partition = names::parse_future(&entry.name)?;
                Some(self.partition_on_disk(topic_partition, &entry.name))
            })
            .collect())
    }

    /// Whether a copy of the partition can have a name: a topic's may be so long that there is none.
    #[must_use]
    pub fn can_hold_future(topic_partition: &TopicPartition) -> bool {
        !names::is_too_long_to_move(topic_partition)
    }

    /// Begins a copy, or goes on with one that was `found`: what of it was not durable is checked like a log's end after a
    /// crash.
    pub fn open_future(
        &self,
        topic_partition: &TopicPartition,
        topic_id: TopicId,
        found: Option<&PartitionOnDisk>,
        config: LogConfig,
        now: TimestampMs,
    ) -> Result<(PartitionLog, RecoveryReport), LogError> {
        self.check_online()?;
        let directory = match found {
            Some(found) => found.directory.clone(),
            None => {
                // What the files say is about an earlier one of the name.
                self.checkpoints.forget(topic_partition).map_err(LogError::io(&self.path))?;
                self.path.join(names::future(topic_partition))
            }
        };
        let checkpointed = self.checkpoints.of(topic_partition);
        let mode = OpenMode {
            clean_shutdown: false,
            recovery_point: checkpointed.recovery_point.unwrap_or(Offset::ZERO),
            log_start_offset: checkpointed.log_start_offset.unwrap_or(Offset::ZERO),
        };
        let topic_partition = topic_partition.clone();
        // Its directory is going to be renamed: the journal would not find it again.
        let environment = LogEnvironment { journal: None, ..self.environment.clone() };
        PartitionLog::open(&environment, directory, topic_partition, topic_id, config, mode, now)
    }

    /// Removes a copy that is not wanted any more.
    pub fn delete_future(&self, mut future: PartitionLog, now: TimestampMs) -> Result<(), LogError> {
        future.poison("the copy was given up".into());
        let (topic_partition, directory) = (future.topic_partition().clone(), future.directory());
        drop(future);
        self.delete_directory(&topic_partition, &directory, now)
    }

    /// Writes down, durably, that `future` here is to take the place of `current`, a log in the log directory `from`. It means
    /// nothing before the copy has its final name. Blocks on syncs.
    pub fn prepare_replacement(
        &self,
        current: &MovedFrom,
        future: &std::path::Path,
        from: Uuid,
        to: Uuid,
    ) -> Result<(), LogError> {
        self.check_online()?;
        self.write_moved_from(future, &current.next(from, to))
    }

    /// The copy takes the place of the log: the caller appends to `current` no more. The copy was prepared, and both have the
    /// same records. Blocks on syncs.
    ///
    /// # Errors
    /// The copy is of no use then, this directory has to go offline, and the log goes on where it is: that is made durable
    /// in its own directory first. Where even this fails, `current` refuses everything, as after a failed sync.
    pub fn install_future(
        &self,
        current: &mut PartitionLog,
        future: &mut PartitionLog,
        ids: (Uuid, Uuid),
    ) -> Result<(), LogError> {
        self.check_online()?;
        future.take_state_of(current)?;
        let (from, to) = ids;
        let final_path = self.path.join(future.topic_partition().to_string());
        let copy_path = future.directory();
        let renamed = self.file_system.rename(&copy_path, &final_path);
        let installed = renamed.and_then(|()| self.file_system.sync_dir(&self.path));
        if let Err(source) = installed {
            // Nobody can tell which name the next start finds: the log's claim outdoes the copy's.
            let claim = current.moved_from.next(from, to).next(to, from);
            let written = self.write_moved_from(&current.directory(), &claim);
            match &written {
                Ok(()) => current.moved_from = claim,
                Err(error) => current.fail(format!("a move could not be taken back: {error}").into()),
            }
            future.poison("the copy could not be put in place".into());
            return Err(LogError::Io { path: final_path, source });
        }
        future.storage().set_directory(&final_path);
        future.enter_journal(self.journal());
        future.moved_from = current.moved_from.next(from, to);
        Ok(())
    }

    /// Makes the names in this directory durable, those of deleted partitions included.
    pub fn sync_names(&self) -> Result<(), LogError> {
        self.file_system.sync_dir(&self.path).map_err(LogError::io(&self.path))
    }

    /// No other directory has the partition any more whose log is in `partition`: its claim to be the newer one goes. Blocks on
    /// a sync. [`PartitionLog::note_replacement_ended`] comes after it.
    pub fn end_replacement(&self, partition: &std::path::Path) -> Result<(), LogError> {
        self.remove_moved_from(partition)
    }

    pub(crate) fn write_moved_from(
        &self,
        partition: &std::path::Path,
        moved: &MovedFrom,
    ) -> Result<(), LogError> {
        let path = partition.join(moved_from::FILE_NAME);
        self.file_system.replace_file(&path, moved.encode().as_bytes()).map_err(LogError::io(path))
    }

    pub(crate) fn remove_moved_from(&self, partition: &std::path::Path) -> Result<(), LogError> {
        let path = partition.join(moved_from::FILE_NAME);
        match self.file_system.remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(LogError::Io { path, source: error })
            }
            Ok(()) | Err(_) => self.file_system.sync_dir(partition).map_err(LogError::io(partition)),
        }
    }

    pub(super) fn partition_on_disk(&self, topic_partition: TopicPartition, name: &str) -> PartitionOnDisk {
        let directory = self.path.join(name);
        let read = |name: &str, bytes_max| self.file_system.read_small(&directory.join(name), bytes_max).ok();
        let topic_id = read(partition_metadata::FILE_NAME, partition_metadata::FILE_BYTES_MAX);
        let moved_from = read(moved_from::FILE_NAME, moved_from::FILE_BYTES_MAX);
        PartitionOnDisk {
            topic_id: topic_id.and_then(|bytes| partition_metadata::decode(&bytes)),
            moved_from: moved_from.and_then(|bytes| MovedFrom::decode(&bytes)).unwrap_or_default(),
            topic_partition,
            directory,
        }
    }
}

impl PartitionLog {
    /// The claim of the log that was in `partition` is gone; nothing to this one if that was another.
    pub fn note_replacement_ended(&mut self, partition: &std::path::Path) {
        if *self.directory() == *partition {
            self.moved_from = MovedFrom::default();
        }
    }

    /// Takes over what a copy of the records alone does not tell, and makes itself durable as a whole.
    fn take_state_of(&mut self, current: &Self) -> Result<(), LogError> {
        assert_eq!(self.topic_id(), current.topic_id(), "a copy of another topic");
        assert_eq!(
            (self.log_start_offset(), self.log_end_offset()),
            (current.log_start_offset(), current.log_end_offset()),
            "the copy is not the log"
        );
        self.check_online()?;
        current.check_online()?;
        self.adopt(current);
        let made_durable = self.sync_whole();
        if made_durable.is_err() {
            self.fail("a sync failed".into());
        }
        made_durable.map_err(LogError::io(self.directory()))
    }

    /// Whether a ticket is of this log, and not of one whose place it has taken.
    #[must_use]
    pub fn issued(&self, ticket: &crate::SyncTicket) -> bool {
        Arc::ptr_eq(ticket.storage(), self.storage())
    }
}
