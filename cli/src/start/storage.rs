//! Identity of the log directories: `meta.properties`, version 1, made at the first start or by `kafka-storage format`.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use moldau_model::Uuid;

use crate::properties;

const FILE_NAME: &str = "meta.properties";
/// Beside it, the file that `kafka-storage format` of Apache Kafka leaves is of no use here.
const VERSION: &str = "1";
/// Files that a broker leaves which ran. It takes its lock after the controller has made the metadata log.
const MARKS_OF_USE: &[&str] = &[".lock", "recovery-point-offset-checkpoint", ".kafka_cleanshutdown"];

/// What a formatted directory says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: String,
    pub(crate) node_id: i32,
    pub(crate) directory_id: Uuid,
}

/// Why storage cannot be used. One line each.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    #[error("{path}: {source}", path = path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the directory {path}, of log.dirs or metadata.log.dir, cannot be made or written to: {source}",
        path = path.display()
    )]
    Unusable { path: PathBuf, source: io::Error },
    #[error("{path}: {reason}", path = path.display())]
    Unreadable { path: PathBuf, reason: String },
    #[error(
        "{path} was in use (it holds {trace}), but the metadata log of its cluster {cluster_id} is gone from {metadata}: \
         bring it back, or choose another log.dirs",
        path = path.display(),
        metadata = metadata.display()
    )]
    LostMetadata { path: PathBuf, trace: String, cluster_id: String, metadata: PathBuf },
    #[error(
        "{path} was in use (it holds {trace}), but its {FILE_NAME}, which says by whom, is gone: bring that back, or \
         choose another log.dirs",
        path = path.display()
    )]
    LostIdentity { path: PathBuf, trace: String },
    #[error("{path} belongs to {what} {found}, not {expected}: start with that one, or choose another log.dirs", path = path.display())]
    Foreign { path: PathBuf, what: &'static str, found: String, expected: String },
}

/// Takes out of `directories` those that the disk does not give, as Kafka does; they are told of in the log. The start goes on
/// with the others.
///
/// # Errors
/// The metadata log's directory is among them, or all are.
pub(crate) fn set_failed_apart(
    directories: &mut Vec<PathBuf>,
    metadata_log_dir: Option<&Path>,
) -> Result<Vec<PathBuf>, StorageError> {
    let (mut usable, mut failed) = (Vec::with_capacity(directories.len()), Vec::new());
    let mut last = None;
    for path in directories.drain(..) {
        match check_usable(&path) {
            Ok(()) => usable.push(path),
            Err(error) if metadata_log_dir == Some(path.as_path()) => return Err(error),
            Err(error) => {
                tracing::error!(%error, "a log directory cannot be used: it is offline until the next start");
                last = Some(error);
                failed.push(path);
            }
        }
    }
    *directories = usable;
    match last {
        Some(error) if directories.is_empty() => Err(error),
        _ => Ok(failed),
    }
}

/// Whether the directory can be looked into, and, where it has no identity yet, be given one.
fn check_usable(directory: &Path) -> Result<(), StorageError> {
    trace_of_use(directory)?;
    if read(directory)?.is_none() {
        let unusable = |source| StorageError::Unusable { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(unusable)?;
        let temporary = directory.join(format!("{FILE_NAME}.tmp"));
        File::create(&temporary).map_err(unusable)?;
        fs::remove_file(&temporary).map_err(unusable)?;
    }
    Ok(())
}

/// Whoever loses the metadata log must not silently get a new, empty cluster beside the old one's records: topics would
/// be created anew, and their partitions' folders be taken for strays.
///
/// # Errors
/// A directory that was in use, where the metadata log or the directory's own identity is gone. Nothing is written.
/// A broker alone (`metadata_log_dir` is none) keeps no metadata log that it could lose.
pub(crate) fn check_nothing_is_lost(
    directories: &[PathBuf],
    metadata_log_dir: Option<&Path>,
) -> Result<(), StorageError> {
    let is_there = |directory: &Path| {
        moldau_controller::has_metadata_log(directory)
            .map_err(|source| StorageError::Io { path: directory.to_owned(), source })
    };
    let lost = match metadata_log_dir {
        Some(directory) if !is_there(directory)? => Some(directory),
        _ => None,
    };
    if let Some(directory) = metadata_log_dir.filter(|_| lost.is_none())
        && read(directory)?.is_none()
    {
        let (path, trace) = (directory.to_owned(), "a metadata log".to_owned());
        return Err(StorageError::LostIdentity { path, trace });
    }
    for path in directories {
        let Some(trace) = trace_of_use(path)? else { continue };
        let trace = trace.to_string_lossy().into_owned();
        match (read(path)?, lost) {
            (None, _) => return Err(StorageError::LostIdentity { path: path.clone(), trace }),
            (Some(identity), Some(metadata)) => {
                return Err(StorageError::LostMetadata {
                    path: path.clone(),
                    trace,
                    cluster_id: identity.cluster_id,
                    metadata: metadata.to_owned(),
                });
            }
            (Some(_), None) => {}
        }
    }
    Ok(())
}

/// Something in the directory that only a broker that ran leaves: a partition, a checkpoint, the mark of a clean end.
fn trace_of_use(directory: &Path) -> Result<Option<OsString>, StorageError> {
    let io = |source| StorageError::Io { path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    for entry in entries {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let is_partition = text
            .rsplit_once('-')
            .is_some_and(|(topic, index)| !topic.is_empty() && index.parse::<u32>().is_ok());
        if (is_partition && entry.path().is_dir()) || MARKS_OF_USE.contains(&&*text) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A log directory and its identity, which may be new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Formatted {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) is_new: bool,
}

/// A file of properties in a storage directory; `None` where there is none.
pub(super) fn read_properties(path: &Path) -> Result<Option<Vec<(String, String)>>, StorageError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StorageError::Io { path: path.to_owned(), source }),
    };
    let properties = properties::parse(&text);
    properties
        .map(Some)
        .map_err(|error| StorageError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

/// The identity of a directory; `None` where it has none yet.
pub(crate) fn read(directory: &Path) -> Result<Option<Identity>, StorageError> {
    let path = directory.join(FILE_NAME);
    let Some(properties) = read_properties(&path)? else { return Ok(None) };
    let unreadable = |reason: String| StorageError::Unreadable { path: path.clone(), reason };
    let find =
        |key: &str| properties.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let required = |key: &str| find(key).ok_or_else(|| unreadable(format!("{key} is missing")));
    if required("version")? != VERSION {
        return Err(unreadable(format!("version {} is not {VERSION}", required("version")?)));
    }
    let node_id =
        required("node.id")?.parse().map_err(|_| unreadable("node.id is not a number".to_owned()))?;
    let directory_id =
        required("directory.id")?.parse().map_err(|error| unreadable(format!("directory.id is {error}")))?;
    Ok(Some(Identity { cluster_id: required("cluster.id")?.to_owned(), node_id, directory_id }))
}

/// Writes the identity so that a crash leaves the old state or the new one.
pub(crate) fn write(directory: &Path, identity: &Identity) -> Result<(), StorageError> {
    let io = |source| StorageError::Io { path: directory.to_owned(), source };
    fs::create_dir_all(directory).map_err(io)?;
    let text = format!(
        "cluster.id={}\ndirectory.id={}\nnode.id={}\nversion={VERSION}\n",
        identity.cluster_id, identity.directory_id, identity.node_id
    );
    let temporary = directory.join(format!("{FILE_NAME}.tmp"));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(io)?;
    fs::rename(&temporary, directory.join(FILE_NAME)).map_err(io)?;
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(io)
}

/// Gives every directory an identity of this node and of one cluster: the given id, else the one that a directory
/// has, else a new one. Nothing is written if one of them belongs to somebody else.
pub(crate) fn format(
    directories: &[PathBuf],
    node_id: i32,
    cluster_id: Option<&str>,
    random: &mut dyn FnMut() -> io::Result<Uuid>,
) -> Result<Vec<Formatted>, StorageError> {
    let found = directories.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let present = found.iter().flatten().next().map(|identity| identity.cluster_id.clone());
    let cluster_id = match (cluster_id, present) {
        (Some(given), _) => given.to_owned(),
        (None, Some(present)) => present,
        (None, None) => random().map_err(no_random)?.to_string(),
    };
    for (path, identity) in directories.iter().zip(&found) {
        let Some(identity) = identity else { continue };
        let foreign = |what, found: String, expected: String| {
            Err(StorageError::Foreign { path: path.clone(), what, found, expected })
        };
        if identity.cluster_id != cluster_id {
            return foreign("cluster.id", identity.cluster_id.clone(), cluster_id);
        }
        if identity.node_id != node_id {
            return foreign("node.id", identity.node_id.to_string(), node_id.to_string());
        }
    }
    let mut formatted = Vec::with_capacity(directories.len());
    for (path, identity) in directories.iter().zip(found) {
        let is_new = identity.is_none();
        let identity = match identity {
            Some(identity) => identity,
            None => {
                let identity = Identity {
                    cluster_id: cluster_id.clone(),
                    node_id,
                    directory_id: random().map_err(no_random)?,
                };
                write(path, &identity)?;
                identity
            }
        };
        formatted.push(Formatted { path: path.clone(), identity, is_new });
    }
    Ok(formatted)
}

/// The cluster that one of these directories was formatted for.
pub(crate) fn present_cluster_id(directories: &[PathBuf]) -> Result<Option<String>, StorageError> {
    for path in directories {
        if let Some(identity) = read(path)? {
            return Ok(Some(identity.cluster_id));
        }
    }
    Ok(None)
}

fn no_random(source: io::Error) -> StorageError {
    StorageError::Io { path: PathBuf::from("random numbers"), source }
}

/// A random id, from the operating system.
pub(crate) fn random_id() -> io::Result<Uuid> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(Uuid::from_random_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting() -> impl FnMut() -> io::Result<Uuid> {
        let mut next = 0u8;
        move || {
            next += 1;
            Ok(Uuid::from_bytes([next; 16]))
        }
    }

    #[test]
    fn a_new_directory_gets_an_identity_that_stays() {
        let directory = tempfile::tempdir().unwrap();
        let paths = [directory.path().join("a"), directory.path().join("b")];
        let first = format(&paths, 1, None, &mut counting()).unwrap();
        assert!(first.iter().all(|f| f.is_new));
        assert_ne!(first[0].identity.directory_id, first[1].identity.directory_id);
        let second = format(&paths, 1, None, &mut counting()).unwrap();
        assert!(second.iter().all(|f| !f.is_new));
        assert_eq!(second[0].identity, first[0].identity);
        // A directory added later joins the cluster of the others.
        let third =
            format(&[paths[0].clone(), directory.path().join("c")], 1, None, &mut counting()).unwrap();
        assert_eq!(third[1].identity.cluster_id, first[0].identity.cluster_id);
    }

    #[test]
    fn a_lost_metadata_log_is_no_new_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let (data, metadata) = (directory.path().join("data"), directory.path().join("metadata"));
        let paths = [data.clone(), metadata.clone()];
        let check = || check_nothing_is_lost(&paths, Some(&metadata)).map_err(|error| error.to_string());
        // Before the first start, and after `kafka-storage format`.
        assert_eq!(check(), Ok(()));
        format(&paths, 1, Some("A"), &mut counting()).unwrap();
        assert_eq!(check(), Ok(()));
        // In use.
        let quorum = metadata.join("__cluster_metadata");
        fs::create_dir_all(&quorum).unwrap();
        fs::write(quorum.join("quorum.properties"), "").unwrap();
        for trace in ["orders-0", "a-b-12"] {
            fs::create_dir(data.join(trace)).unwrap();
            assert_eq!(check(), Ok(()));
            fs::rename(&quorum, directory.path().join("away")).unwrap();
            let told = check().unwrap_err();
            assert!(told.contains(trace) && told.contains("cluster A is gone"), "{told}");
            assert_eq!(told.lines().count(), 1);
            fs::rename(directory.path().join("away"), &quorum).unwrap();
            fs::remove_dir(data.join(trace)).unwrap();
        }
        // A broker without a partition leaves its mark all the same; what others leave is none.
        fs::write(data.join("recovery-point-offset-checkpoint"), "").unwrap();
        fs::remove_dir_all(&quorum).unwrap();
        assert!(check().unwrap_err().contains("recovery-point-offset-checkpoint"));
        fs::remove_file(data.join("recovery-point-offset-checkpoint")).unwrap();
        for stranger in ["lost+found", "-3", "notes-x", "orders-0.abc-delete"] {
            fs::create_dir(data.join(stranger)).unwrap();
        }
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn records_without_an_identity_are_nobodys() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("orders-0")).unwrap();
        let paths = [directory.path().to_owned()];
        let told = check_nothing_is_lost(&paths, Some(directory.path())).unwrap_err().to_string();
        assert!(told.contains("meta.properties, which says by whom, is gone"), "{told}");
    }

    #[test]
    fn somebody_elses_directory_is_refused_and_nothing_written() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        format(std::slice::from_ref(&old), 1, Some("A"), &mut counting()).unwrap();
        for (node, cluster, text) in
            [(1, Some("B"), "belongs to cluster.id A, not B"), (2, Some("A"), "belongs to node.id 1, not 2")]
        {
            let error =
                format(&[new.clone(), old.clone()], node, cluster, &mut counting()).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
            assert_eq!(read(&new).unwrap(), None);
        }
    }

    #[test]
    fn a_damaged_file_is_named_with_its_fault() {
        let directory = tempfile::tempdir().unwrap();
        for (text, fault) in [
            ("", "version is missing"),
            ("version=0\n", "version 0 is not 1"),
            ("version=1\nnode.id=x\n", "node.id is not a number"),
            ("version=1\nnode.id=1\ndirectory.id=x\ncluster.id=A\n", "directory.id is not a 22-character"),
        ] {
            fs::write(directory.path().join(FILE_NAME), text).unwrap();
            let error = read(directory.path()).unwrap_err().to_string();
            assert!(error.contains(fault), "{error}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_told_of_with_its_settings() {
        let text = check_usable(Path::new("/proc/x/log")).unwrap_err().to_string();
        assert!(
            text.starts_with("the directory /proc/x/log, of log.dirs or metadata.log.dir, cannot be made"),
            "{text}"
        );
    }
}
