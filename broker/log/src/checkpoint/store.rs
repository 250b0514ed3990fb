//! The four checkpoint files of a log directory, and what they say at the moment.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use moldau_model::{Offset, TopicPartition};
use parking_lot::Mutex;

use super::{
    FILE_BYTES_MAX, FIRST_DIRTY, HIGH_WATERMARK, LOG_START_OFFSET, RECOVERY_POINT, decode_offsets,
    encode_offsets,
};
use crate::FileSystem;

type Offsets = HashMap<TopicPartition, Offset>;

/// Every change is written atomically before it is believed.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    file_system: Arc<dyn FileSystem>,
    directory: PathBuf,
    /// One lock for all: two writers would use the same temporary file.
    on_disk: Mutex<OnDisk>,
}

#[derive(Debug, Default)]
struct OnDisk {
    recovery_points: Offsets,
    log_starts: Offsets,
    high_watermarks: Offsets,
    first_dirty: Offsets,
}

/// What the files say of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpointed {
    pub(crate) recovery_point: Option<Offset>,
    pub(crate) log_start_offset: Option<Offset>,
    pub(crate) high_watermark: Option<Offset>,
    /// Everything below it was compacted.
    pub(crate) first_dirty: Option<Offset>,
}

impl Checkpoints {
    /// Reads the files. One that is corrupt counts as missing: its partitions are then recovered from their start.
    pub(crate) fn load(file_system: Arc<dyn FileSystem>, directory: PathBuf) -> io::Result<Self> {
        let read = |name: &str| -> io::Result<Offsets> {
            let path = directory.join(name);
            let bytes = match file_system.read_small(&path, FILE_BYTES_MAX) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Offsets::new()),
                Err(error) => return Err(error),
            };
            Ok(decode_offsets(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "checkpoint ignored");
                Offsets::new()
            }))
        };
        let on_disk = OnDisk {
            recovery_points: read(RECOVERY_POINT)?,
            log_starts: read(LOG_START_OFFSET)?,
            high_watermarks: read(HIGH_WATERMARK)?,
            first_dirty: read(FIRST_DIRTY)?,
        };
        Ok(Self { file_system, directory, on_disk: Mutex::new(on_disk) })
    }

    pub(crate) fn of(&self, partition: &TopicPartition) -> Checkpointed {
        let on_disk = self.on_disk.lock();
        Checkpointed {
            recovery_point: on_disk.recovery_points.get(partition).copied(),
            log_start_offset: on_disk.log_starts.get(partition).copied(),
            high_watermark: on_disk.high_watermarks.get(partition).copied(),
            first_dirty: on_disk.first_dirty.get(partition).copied(),
        }
    }

    fn write(&self, name: &str, current: &mut Offsets, new: Offsets) -> io::Result<()> {
        if *current == new {
            return Ok(());
        }
        let mut lines: Vec<(&TopicPartition, Offset)> =
            new.iter().map(|(at, offset)| (at, *offset)).collect();
        lines.sort_unstable();
        self.file_system.replace_file(&self.directory.join(name), encode_offsets(&lines).as_bytes())?;
        *current = new;
        Ok(())
    }

    /// Replaces the files whose content is to change.
    pub(crate) fn write_all(
        &self,
        recovery_points: Offsets,
        log_starts: Offsets,
        high_watermarks: Offsets,
    ) -> io::Result<()> {
        let mut on_disk = self.on_disk.lock();
        // Log starts first: a log must not be found to end before them when the others are already newer.
        self.write(LOG_START_OFFSET, &mut on_disk.log_starts, log_starts)?;
        self.write(RECOVERY_POINT, &mut on_disk.recovery_points, recovery_points)?;
        self.write(HIGH_WATERMARK, &mut on_disk.high_watermarks, high_watermarks)
    }

    /// Takes a partition out: what the files say is about one that had the same name.
    pub(crate) fn forget(&self, partition: &TopicPartition) -> io::Result<()> {
        let mut on_disk = self.on_disk.lock();
        let without = |offsets: &Offsets| {
            let mut offsets = offsets.clone();
            offsets.remove(partition);
            offsets
        };
        let on_disk = &mut *on_disk;
        for (name, current) in [
            (LOG_START_OFFSET, &mut on_disk.log_starts),
            (RECOVERY_POINT, &mut on_disk.recovery_points),
            (HIGH_WATERMARK, &mut on_disk.high_watermarks),
            (FIRST_DIRTY, &mut on_disk.first_dirty),
        ] {
            if current.contains_key(partition) {
                let new = without(current);
                self.write(name, current, new)?;
            }
        }
        Ok(())
    }

    /// Makes sure that the file names no earlier log start of these partitions.
    pub(crate) fn raise_log_starts(&self, log_starts: &[(TopicPartition, Offset)]) -> io::Result<()> {
        let mut on_disk = self.on_disk.lock();
        let mut new = on_disk.log_starts.clone();
        for (partition, log_start) in log_starts {
            let stored = new.entry(partition.clone()).or_insert(*log_start);
            *stored = (*stored).max(*log_start);
        }
        self.write(LOG_START_OFFSET, &mut on_disk.log_starts, new)
    }

    /// Makes sure that the file names no later log start than this one.
    pub(crate) fn lower_log_start(&self, partition: &TopicPartition, log_start: Offset) -> io::Result<()> {
        let mut on_disk = self.on_disk.lock();
        if on_disk.log_starts.get(partition).is_none_or(|stored| *stored <= log_start) {
            return Ok(());
        }
        let mut new = on_disk.log_starts.clone();
        new.insert(partition.clone(), log_start);
        self.write(LOG_START_OFFSET, &mut on_disk.log_starts, new)
    }

    /// Writes down that everything below `first_dirty` was compacted.
    pub(crate) fn set_first_dirty(&self, partition: &TopicPartition, first_dirty: Offset) -> io::Result<()> {
        let mut on_disk = self.on_disk.lock();
        let mut new = on_disk.first_dirty.clone();
        new.insert(partition.clone(), first_dirty);
        self.write(FIRST_DIRTY, &mut on_disk.first_dirty, new)
    }

    /// Makes sure that the file does not call compacted what is written again from `end` on.
    pub(crate) fn lower_first_dirty(&self, partition: &TopicPartition, end: Offset) -> io::Result<()> {
        let stored = self.of(partition).first_dirty;
        if stored.is_none_or(|stored| stored <= end) {
            return Ok(());
        }
        self.set_first_dirty(partition, end)
    }
}
