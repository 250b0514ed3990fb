//! The directory of the metadata log: one process at a time, one node, one cluster.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::kv::sled_store::sync_path;
use crate::StartError;

const DIRECTORY: &str = "__cluster_metadata";
const LOCK: &str = ".lock";
const IDENTITY: &str = "quorum.properties";

/// Who a metadata log belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster_id: String,
    pub(super) node_id: i32,
    pub(super) directory_id: String,
}

/// Whether a controller has ever kept its metadata log below this directory, and it is still there.
///
/// # Errors
/// If the directory cannot be looked at.
pub fn has_metadata_log(metadata_log_dir: &Path) -> io::Result<bool> {
    metadata_log_dir.join(DIRECTORY).join(IDENTITY).try_exists()
}

/// The locked directory. Dropping it lets another process have it.
pub(super) struct MetadataDirectory {
    path: PathBuf,
    _lock: File,
}

impl MetadataDirectory {
    /// Makes the directory if there is none, locks it, and checks that it belongs to this node. A directory that lacks
    /// the identity was not finished, or comes from nowhere else; it gets this one.
    pub(super) fn open(metadata_log_dir: &Path, identity: &Identity) -> Result<Self, StartError> {
        let path = metadata_log_dir.join(DIRECTORY);
        match fs::create_dir(&path) {
            Ok(()) => sync_path(metadata_log_dir).map_err(io_error(metadata_log_dir))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error(&path)(error)),
        }
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&lock_path)
            .map_err(io_error(&lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StartError::Locked { path: lock_path }),
            Err(errno) => return Err(io_error(&lock_path)(errno.into())),
        }
        let directory = Self { path, _lock: lock };
        directory.check(identity)?;
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn check(&self, identity: &Identity) -> Result<(), StartError> {
        let path = self.path.join(IDENTITY);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error(&path)(error)),
        };
        let node_id = identity.node_id.to_string();
        let expected = [
            ("cluster.id", identity.cluster_id.as_str()),
            ("node.id", node_id.as_str()),
            ("directory.id", identity.directory_id.as_str()),
        ];
        for (what, expected) in expected {
            let found = text
                .lines()
                .filter_map(|line| line.split_once('='))
                .find_map(|(key, value)| (key == what).then_some(value))
                .ok_or_else(|| StartError::Damaged {
                    path: path.clone(),
                    reason: format!("it has no {what}"),
                })?;
            if found != expected {
                let (found, expected) = (found.to_owned(), expected.to_owned());
                return Err(StartError::WrongIdentity { path, what, found, expected });
            }
        }
        Ok(())
    }

    /// Whether it was made before, to the end.
    pub(super) fn is_finished(&self) -> Result<bool, StartError> {
        let path = self.path.join(IDENTITY);
        path.try_exists().map_err(io_error(&path))
    }

    /// Writes the identity where there is none: the last step of making a new directory.
    pub(super) fn finish(&self, identity: &Identity) -> Result<(), StartError> {
        if self.is_finished()? {
            return Ok(());
        }
        let path = self.path.join(IDENTITY);
        let temporary = self.path.join(format!("{IDENTITY}.tmp"));
        let text = format!(
            "version=1\ncluster.id={}\nnode.id={}\ndirectory.id={}\n",
            identity.cluster_id, identity.node_id, identity.directory_id
        );
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()?;
            fs::rename(&temporary, &path)?;
            sync_path(&self.path)
        };
        write().map_err(io_error(&path))
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StartError + use<> {
    let path = path.to_owned();
    move |source| StartError::Io { path, source }
}
