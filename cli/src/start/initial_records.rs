//! What `kafka-storage format` leaves for the controller that founds the cluster: records of its first batch. Those who are
//! formatted in the same way leave the same, and one of them founds it.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use moldau_metadata::{MetadataBatch, MetadataRecord, decode_batch, encode_batch};

use super::storage::StorageError;

const FILE_NAME: &str = "initial.records";

/// Writes them down, for nobody else to read: they hold what passwords are checked by.
pub(crate) fn write(directory: &Path, records: Vec<MetadataRecord>) -> Result<(), StorageError> {
    let io = |source| StorageError::Io { path: directory.join(FILE_NAME), source };
    fs::create_dir_all(directory).map_err(io)?;
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(directory.join(FILE_NAME))
        .map_err(io)?;
    file.write_all(&encode_batch(&MetadataBatch::from(records))).map_err(io)?;
    file.sync_all().map_err(io)?;
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(io)
}

/// What was written down; nothing where nothing was.
pub(super) fn read(directory: &Path) -> Result<Vec<MetadataRecord>, StorageError> {
    let path = directory.join(FILE_NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(StorageError::Io { path, source }),
    };
    let batch = decode_batch(&bytes);
    batch
        .map(|batch| batch.records)
        .map_err(|error| StorageError::Unreadable { path, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use moldau_metadata::records;

    use super::*;

    #[test]
    fn what_is_written_down_is_read_and_nobody_else_may() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).unwrap().is_empty());
        let written = vec![MetadataRecord::from(records::NoOp {})];
        write(directory.path(), written.clone()).unwrap();
        assert_eq!(read(directory.path()).unwrap(), written);
        let mode = fs::metadata(directory.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
        fs::write(directory.path().join(FILE_NAME), b"\xff").unwrap();
        assert!(matches!(read(directory.path()), Err(StorageError::Unreadable { .. })));
    }
}
