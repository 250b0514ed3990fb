//! The log directories of a broker: opened, identified, each with its queue of partitions to sync.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use moldau_log::{FileCache, FileSystem, LogDirectory, LogError, MetaProperties};
use moldau_model::{BrokerEpoch, BrokerId, Uuid};
use tokio::sync::watch;

use crate::sync::SyncQueue;

/// One log directory.
pub struct LogDir {
    pub log: LogDirectory,
    /// `directory.id` (KIP-858).
    pub id: Uuid,
    pub sync: SyncQueue,
    /// Partitions that live here; new ones go where there are fewest.
    pub(crate) partition_count: AtomicUsize,
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
    #[error("no log directory can be used")]
    NoneOnline,
    #[error("the operating system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// All log directories, in the order of `log.dirs`.
pub struct LogDirs {
    dirs: Vec<Arc<LogDir>>,
    /// Turns true with the last directory's failure, and stays so.
    all_failed: watch::Sender<bool>,
}

/// An id nobody else has.
pub fn random_uuid() -> Result<Uuid, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(Uuid::from_random_bytes(bytes))
}

impl LogDirs {
    /// Opens the directories and formats those that are new. One that is another's is refused, whichever it is: starting
    /// with the rest would hide a mistake.
    pub fn open(
        file_system: &Arc<dyn FileSystem>,
        paths: &[PathBuf],
        cluster_id: &str,
        node_id: BrokerId,
        open_files_max: usize,
    ) -> Result<Self, LogDirsError> {
        let cache = Arc::new(FileCache::new(open_files_max));
        let mut dirs = Vec::with_capacity(paths.len());
        for path in paths {
            let log = LogDirectory::open(Arc::clone(file_system), Arc::clone(&cache), path.clone())?;
            let id = match log.meta_properties() {
                Some(found) => check_identity(path, &found, cluster_id, node_id)?,
                None => format(&log, cluster_id, node_id)?,
            };
            dirs.push(Arc::new(LogDir {
                log,
                id,
                sync: SyncQueue::default(),
                partition_count: AtomicUsize::new(0),
            }));
        }
        if dirs.is_empty() {
            return Err(LogDirsError::NoneOnline);
        }
        Ok(Self { dirs, all_failed: watch::Sender::new(false) })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<LogDir>> {
        self.dirs.iter()
    }

    /// The directory of this id, if it is one of ours.
    #[must_use]
    pub fn by_id(&self, id: Uuid) -> Option<&Arc<LogDir>> {
        self.dirs.iter().find(|dir| dir.id == id)
    }

    /// The online directory with the fewest partitions.
    #[must_use]
    pub fn least_loaded(&self) -> Option<&Arc<LogDir>> {
        self.dirs
            .iter()
            .filter(|dir| dir.is_online())
            .min_by_key(|dir| dir.partition_count.load(Ordering::Relaxed))
    }

    /// A directory has gone offline. Without any, the broker has nothing left to do, and who waits for that is told.
    pub(crate) fn note_failure(&self) {
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

    /// The broker epoch under which all directories were closed cleanly, else `BrokerEpoch(-1)` (KIP-966).
    #[must_use]
    pub fn previous_broker_epoch(&self) -> BrokerEpoch {
        let mut epochs = self.dirs.iter().map(|dir| dir.log.clean_shutdown_broker_epoch());
        let first = epochs.next().flatten();
        let same = epochs.all(|epoch| epoch == first);
        first.filter(|_| same).unwrap_or(BrokerEpoch(-1))
    }
}

impl LogDir {
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.log.offline_reason().is_none()
    }
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
