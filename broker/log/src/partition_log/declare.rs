//! A new log, which is there before its files are. To make a directory and two files takes a file system half a
//! millisecond; a topic of fifty partitions would wait for that before its first answer.

use std::io;
use std::path::PathBuf;

use moldau_model::{TimestampMs, TopicId, TopicPartition};

use super::{LogEnvironment, PartitionLog, RecoveryReport};
use crate::segment::Segment;
use crate::{LogConfig, LogError};

impl PartitionLog {
    /// An empty log that has nothing on disk yet. It does all that a log does; [`PartitionLog::make`] makes its files,
    /// and so does whatever needs them first. The caller knows that there is no such directory.
    #[must_use]
    pub fn declare(
        environment: &LogEnvironment,
        directory: PathBuf,
        topic_partition: TopicPartition,
        topic_id: TopicId,
        config: LogConfig,
        now: TimestampMs,
    ) -> Self {
        let mut log = Self::without_segments(environment, directory, topic_partition, topic_id, config);
        log.segments.push_back(Segment::declare(&log.storage, log.log_start_offset, now));
        log.is_declared_only = true;
        log.check();
        log
    }

    /// Makes the files of a log that was only declared; of any other it does nothing. Not synced: the first ticket does
    /// that. After an error it may be called again.
    pub fn make(&mut self) -> Result<(), LogError> {
        if !self.is_declared_only {
            return Ok(());
        }
        self.check_online()?;
        let mut report = RecoveryReport::default();
        self.prepare_directory(&mut report)?;
        self.make_segment().map_err(LogError::io(self.directory()))?;
        self.is_declared_only = false;
        Ok(())
    }

    fn make_segment(&mut self) -> io::Result<()> {
        if let Some(active) = self.segments.back_mut() {
            active.make(&self.config)?;
        }
        self.durability.names().directory = true;
        Ok(())
    }

    /// The same where an error of the file system is wanted.
    pub(super) fn make_for_append(&mut self) -> io::Result<()> {
        self.make().map_err(|error| match error {
            LogError::Io { source, .. } => source,
            other => io::Error::other(other),
        })
    }

    /// Whether there is anything on disk.
    pub(crate) fn is_declared_only(&self) -> bool {
        self.is_declared_only
    }
}
