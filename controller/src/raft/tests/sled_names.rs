//! sled's files under a power cut: of a directory, the names that its last sync saw.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::{fs, io};

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::kv::sled_store::{SledKv, sync_path};
use super::super::kv::{RaftKv, Write};

/// Enough for sled to leave its first segment of 512 KiB, and to overwrite it at a later start.
const LIVES: u64 = 20;
const WRITES_PER_LIFE: u64 = 80;
const ENTRIES_KEPT: u64 = 40;

/// The files of a directory, not what is below it.
fn files(directory: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.insert(entry.file_name(), fs::read(entry.path())?);
        }
    }
    Ok(files)
}

#[test]
fn a_power_cut_in_any_life_leaves_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let durable = Mutex::new(BTreeMap::new());
    let mut acknowledged = None;
    for life in 0..LIVES {
        let path = directory.path().join(life.to_string()).join("log");
        if life == 0 {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        let sync_at = |synced: &Path| {
            if synced == path {
                *durable.lock() = files(synced)?;
            }
            sync_path(synced)
        };
        let store = SledKv::open_with(&path, &sync_at).unwrap_or_else(|error| panic!("life {life}: {error}"));
        assert_eq!(store.bounds().unwrap(), acknowledged, "life {life}");
        for index in life * WRITES_PER_LIFE..(life + 1) * WRITES_PER_LIFE {
            store.write(&[Write::Append { index, entry: Bytes::from(vec![index as u8; 300]) }]).unwrap();
            if index >= ENTRIES_KEPT {
                store.write(&[Write::Purge { to: index - ENTRIES_KEPT }]).unwrap();
            }
        }
        store.sync().unwrap();
        acknowledged = store.bounds().unwrap();
        // The pages were synced just now, and the other files as sled made them.
        let after = directory.path().join((life + 1).to_string()).join("log");
        fs::create_dir_all(&after).unwrap();
        for (name, content) in &*durable.lock() {
            let content = if name == "db" { fs::read(path.join(name)).unwrap() } else { content.clone() };
            fs::write(after.join(name), content).unwrap();
        }
        fs::copy(path.with_extension("synced"), after.with_extension("synced")).unwrap();
    }
}
