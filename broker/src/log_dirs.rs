//! The log directories of a broker: opened, identified, each with its queue of partitions to sync.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use moldau_log::{FileCache, FileSystem, LogDirectory, LogError, MetaProperties};
use moldau_model::{BrokerEpoch, BrokerId, Uuid};
use tokio::sync::watch;

use crate::clock;
use crate::sync::SyncQueue;

/// A directory that was full counts as such for so long at least: who joins an ISR to leave it at once stops its producers.
const FULL_MS_MIN: i64 = 10_000;
/// The room that a directory needs to be taken for usable again, or a sixteenth of its disk where that is less.
const ROOM_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Of [`LogDir::full_at_ms`]: there is room.
const HAS_ROOM: i64 = -1;

/// One log directory.
pub struct LogDir {
    pub log: LogDirectory,
    /// `directory.id` (KIP-858).
    pub id: Uuid,
    pub sync: SyncQueue,
    /// Partitions that live here; new ones go where there are fewest.
    pub(crate) partition_count: AtomicUsize,
    /// It gets no new replicas (`cordoned.log.dirs`, KIP-1066).
    is_cordoned: AtomicBool,
    /// When something found no room here last, in monotonic time.
    full_at_ms: AtomicI64,
    changed: watch::Sender<u64>,
}

impl std::fmt::Debug for LogDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.log.path().display())
    }
}

/// Why the log directories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogDirsError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{path} belongs to cluster {found}, this broker to {expected}")]
    OtherCluster { path: PathBuf, found: String, expected: String },
    #[error("{path} belongs to node {found}, this is node {expected}")]
    OtherNode { path: PathBuf, found: BrokerId, expected: BrokerId },
    #[error("no log directory can be used: {0}")]
    NoneOnline(String),
    #[error("the operating system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// All log directories, in the order of `log.dirs`.
pub struct LogDirs {
    dirs: Vec<Arc<LogDir>>,
    /// Those that could not be opened. They are offline until the next start, and nobody knows their ids.
    unopened: Vec<PathBuf>,
    /// Turns true with the last directory's failure, and stays so.
    all_failed: watch::Sender<bool>,
    /// Counts failures, and directories that are full or have room again: the controller is to hear of them at once.
    changed: watch::Sender<u64>,
}

/// An id nobody else has.
pub fn random_uuid() -> Result<Uuid, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(Uuid::from_random_bytes(bytes))
}

impl LogDirs {
    /// Opens the directories and formats those that are new. One that is another's is refused, whichever it is: starting
    /// with the rest would hide a mistake. One that the disk does not give is left, as are those that have `failed` already:
    /// what lies in the others is served.
    pub fn open(
        file_system: &Arc<dyn FileSystem>,
        paths: &[PathBuf],
        failed: &[PathBuf],
        cluster_id: &str,
        node_id: BrokerId,
        open_files_max: usize,
    ) -> Result<Self, LogDirsError> {
        let cache = Arc::new(FileCache::new(open_files_max));
        let (mut dirs, mut unopened) = (Vec::with_capacity(paths.len()), Vec::new());
        let mut reasons = Vec::new();
        let changed = watch::Sender::new(0);
        for path in paths {
            if failed.contains(path) {
                unopened.push(path.clone());
                continue;
            }
            let opened = open_one(file_system, &cache, path, cluster_id, node_id);
            let (log, id) = match opened {
                Ok(opened) => opened,
                Err(LogDirsError::Log(error @ (LogError::Io { .. } | LogError::Corrupt { .. }))) => {
                    tracing::error!(
                        path = %path.display(), %error,
                        "cannot open a log directory: it is offline until the next start"
                    );
                    reasons.push(error.to_string());
                    unopened.push(path.clone());
                    continue;
                }
                Err(error) => return Err(error),
            };
            dirs.push(Arc::new(LogDir {
                log,
                id,
                sync: SyncQueue::default(),
                partition_count: AtomicUsize::new(0),
                is_cordoned: AtomicBool::new(false),
                full_at_ms: AtomicI64::new(HAS_ROOM),
                changed: changed.clone(),
            }));
        }
        if dirs.is_empty() {
            return Err(LogDirsError::NoneOnline(reasons.join("; ")));
        }
        Ok(Self { dirs, unopened, all_failed: watch::Sender::new(false), changed })
    }

    /// Records in directories that share a volume with the metadata leave it so much room (ADR 47).
    pub(crate) fn keep_room_for_metadata(
        &self,
        file_system: &dyn FileSystem,
        metadata_log_dir: &Path,
        reserve_bytes: u64,
    ) {
        let of_metadata = file_system.volume(metadata_log_dir);
        for dir in &self.dirs {
            let of_records = file_system.volume(dir.log.path());
            dir.log.room().keep(if may_share(&of_metadata, &of_records) { reserve_bytes } else { 0 });
        }
    }

    /// The directories that could not be opened at the start.
    #[must_use]
    pub fn unopened(&self) -> &[PathBuf] {
        &self.unopened
    }

    /// How many directories are offline.
    #[must_use]
    pub fn offline_count(&self) -> usize {
        self.unopened.len() + self.dirs.iter().filter(|dir| !dir.is_online()).count()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<LogDir>> {
        self.dirs.iter()
    }

    /// The directory of this id, if it is one of ours.
    #[must_use]
    pub fn by_id(&self, id: Uuid) -> Option<&Arc<LogDir>> {
        self.dirs.iter().find(|dir| dir.id == id)
    }

    /// The directory of this path, if it is one of ours.
    #[must_use]
    pub fn by_path(&self, path: &str) -> Option<&Arc<LogDir>> {
        self.dirs.iter().find(|dir| dir.log.path() == std::path::Path::new(path))
    }

    /// A log is in another directory now: the controller is to hear of it at once.
    pub(crate) fn note_moved(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// The online directory with the fewest partitions. A cordoned one only where there is no other: as in Kafka a replica
    /// that was placed on this broker all the same has to be somewhere.
    #[must_use]
    pub fn least_loaded(&self) -> Option<&Arc<LogDir>> {
        self.dirs
            .iter()
            .filter(|dir| dir.is_online())
            .min_by_key(|dir| (dir.is_cordoned(), dir.partition_count.load(Ordering::Relaxed)))
    }

    /// A directory has gone offline. Without any, the broker has nothing left to do, and who waits for that is told.
    pub(crate) fn note_failure(&self) {
        self.changed.send_modify(|changes| *changes += 1);
        if self.dirs.iter().all(|dir| !dir.is_online()) {
            self.all_failed.send_replace(true);
        }
    }

    /// Waits until every directory has failed.
    pub async fn all_failed(&self) {
        let mut all_failed = self.all_failed.subscribe();
        // The sender is ours, and lives as long as the borrow.
        let _ = all_failed.wait_for(|all_failed| *all_failed).await;
    }

    /// The ids of the directories that are usable.
    #[must_use]
    pub fn online_ids(&self) -> Vec<Uuid> {
        self.dirs.iter().filter(|dir| dir.is_online()).map(|dir| dir.id).collect()
    }

    /// The ids of the directories that failed.
    #[must_use]
    pub fn offline_ids(&self) -> Vec<Uuid> {
        self.dirs.iter().filter(|dir| !dir.is_online()).map(|dir| dir.id).collect()
    }

    /// The ids of the directories that have no room left.
    #[must_use]
    pub fn full_ids(&self) -> Vec<Uuid> {
        self.dirs.iter().filter(|dir| dir.is_online() && dir.is_full()).map(|dir| dir.id).collect()
    }

    /// The ids of the directories that get no new replicas.
    #[must_use]
    pub fn cordoned_ids(&self) -> Vec<Uuid> {
        self.dirs.iter().filter(|dir| dir.is_cordoned()).map(|dir| dir.id).collect()
    }

    /// Cordons the directories of these paths, and no others; `*` stands for all.
    pub(crate) fn set_cordoned(&self, paths: &[&str]) {
        for dir in &self.dirs {
            let is_cordoned =
                paths.iter().any(|path| *path == "*" || std::path::Path::new(path) == dir.log.path());
            if dir.is_cordoned.swap(is_cordoned, Ordering::AcqRel) != is_cordoned {
                tracing::info!(path = %dir.log.path().display(), is_cordoned, "cordoned.log.dirs changed");
                self.changed.send_modify(|changes| *changes += 1);
            }
        }
    }

    /// Tells of every change of what the controller is told of the directories.
    #[must_use]
    pub fn watch_changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The broker epoch under which all directories were closed cleanly, else `BrokerEpoch(-1)` (KIP-966).
    #[must_use]
    pub fn previous_broker_epoch(&self) -> BrokerEpoch {
        // Nobody knows how the ones that are not there were left.
        if self.offline_count() > 0 {
            return BrokerEpoch(-1);
        }
        let mut epochs = self.dirs.iter().map(|dir| dir.log.clean_shutdown_broker_epoch());
        let first = epochs.next().flatten();
        let same = epochs.all(|epoch| epoch == first);
        first.filter(|_| same).unwrap_or(BrokerEpoch(-1))
    }
}

/// Whether two paths may be on one volume. Who cannot tell spares some room for nothing, which is better than a node that stops.
fn may_share(one: &io::Result<u64>, other: &io::Result<u64>) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        _ => true,
    }
}

/// Whether a disk of so many bytes has enough left to be written.
#[must_use]
pub fn has_room(usable_bytes: u64, total_bytes: u64) -> bool {
    usable_bytes >= ROOM_BYTES_MIN.min(total_bytes / 16)
}

impl LogDir {
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.log.offline_reason().is_none()
    }

    #[must_use]
    pub fn is_cordoned(&self) -> bool {
        self.is_cordoned.load(Ordering::Acquire)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full_at_ms.load(Ordering::Acquire) != HAS_ROOM
    }

    /// A write found no room, or none but what is kept for the metadata. What it wrote was taken back, so that the directory
    /// stays in use: its logs can be read, and deletion and retention make room.
    pub(crate) fn note_full(&self) {
        let now = clock::monotonic().0.max(0);
        if self.full_at_ms.swap(now, Ordering::AcqRel) == HAS_ROOM {
            tracing::error!(
                path = %self.log.path().display(), kept_for_metadata_bytes = self.reserve_bytes(),
                "no room is left, other brokers take over where they can"
            );
            self.changed.send_modify(|changes| *changes += 1);
        }
    }

    /// What is free on its disk and not for records; 0 if that is not known.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.log.space().map_or(0, |space| self.log.room().reserve_bytes(space.total_bytes))
    }

    /// Looks whether a full directory has room again. Asks the file system.
    pub(crate) fn look_for_room(&self) {
        self.log.room().forget_grant();
        let full_at_ms = self.full_at_ms.load(Ordering::Acquire);
        if full_at_ms == HAS_ROOM || clock::monotonic().0.saturating_sub(full_at_ms) < FULL_MS_MIN {
            return;
        }
        if !self.log.space().is_ok_and(|space| has_room(space.usable_bytes, space.total_bytes)) {
            return;
        }
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        // A write may have found no room meanwhile.
        if self.full_at_ms.compare_exchange(full_at_ms, HAS_ROOM, order.0, order.1).is_ok() {
            tracing::info!(path = %self.log.path().display(), "there is room again");
            self.changed.send_modify(|changes| *changes += 1);
        }
    }
}

fn open_one(
    file_system: &Arc<dyn FileSystem>,
    cache: &Arc<FileCache>,
    path: &std::path::Path,
    cluster_id: &str,
    node_id: BrokerId,
) -> Result<(LogDirectory, Uuid), LogDirsError> {
    let log = LogDirectory::open(Arc::clone(file_system), Arc::clone(cache), path.to_owned())?;
    let id = match log.meta_properties() {
        Some(found) => check_identity(path, &found, cluster_id, node_id)?,
        None => format(&log, cluster_id, node_id)?,
    };
    Ok((log, id))
}

fn check_identity(
    path: &std::path::Path,
    found: &MetaProperties,
    cluster_id: &str,
    node_id: BrokerId,
) -> Result<Uuid, LogDirsError> {
    if found.cluster_id != cluster_id {
        return Err(LogDirsError::OtherCluster {
            path: path.to_owned(),
            found: found.cluster_id.clone(),
            expected: cluster_id.to_owned(),
        });
    }
    if found.node_id != node_id {
        return Err(LogDirsError::OtherNode {
            path: path.to_owned(),
            found: found.node_id,
            expected: node_id,
        });
    }
    Ok(found.directory_id)
}

fn format(log: &LogDirectory, cluster_id: &str, node_id: BrokerId) -> Result<Uuid, LogDirsError> {
    let directory_id = random_uuid()?;
    log.format(&MetaProperties { cluster_id: cluster_id.to_owned(), node_id, directory_id })?;
    Ok(directory_id)
}

#[cfg(test)]
mod tests {
    use moldau_log::file_system::{FaultFileSystem, Space};

    use super::*;

    const MIB: u64 = 1 << 20;
    /// What is not kept for the metadata.
    const FREE_BYTES: u64 = 100 * MIB;

    /// The usable bytes of `/one` and `/two`, the metadata being in `metadata`.
    fn usable(disk: &FaultFileSystem, metadata: &str, reserve_bytes: u64) -> Vec<u64> {
        let file_system: Arc<dyn FileSystem> = Arc::new(disk.clone());
        let paths = ["/one", "/two"].map(PathBuf::from);
        let dirs = LogDirs::open(&file_system, &paths, &[], "cluster", BrokerId(1), 10).unwrap();
        dirs.keep_room_for_metadata(&*file_system, Path::new(metadata), reserve_bytes);
        dirs.iter().map(|dir| dir.log.space().unwrap().usable_bytes).collect()
    }

    #[test]
    fn room_is_kept_where_the_metadata_is() {
        let disk = FaultFileSystem::new();
        disk.set_space(Space { total_bytes: 1 << 40, usable_bytes: FREE_BYTES });
        assert_eq!(usable(&disk, "/apart", 64 * MIB), [36 * MIB, 36 * MIB], "one volume for all");
        disk.set_volume(Path::new("/one"), 1);
        disk.set_volume(Path::new("/two"), 2);
        for (metadata, reserve_bytes, expected) in [
            ("/one", 64 * MIB, [36 * MIB, FREE_BYTES]),
            ("/two/metadata", 64 * MIB, [FREE_BYTES, 36 * MIB]),
            ("/apart", 64 * MIB, [FREE_BYTES, FREE_BYTES]),
            ("/one", 0, [FREE_BYTES, FREE_BYTES]),
            ("/one", 200 * MIB, [0, FREE_BYTES]),
        ] {
            assert_eq!(usable(&disk, metadata, reserve_bytes), expected, "{metadata} {reserve_bytes}");
        }
        let unknown = || Err(io::Error::other("no such file"));
        assert!(may_share(&unknown(), &Ok(1)) && may_share(&Ok(1), &unknown()));
    }
}
