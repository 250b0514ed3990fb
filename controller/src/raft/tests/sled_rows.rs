//! How entries lie in sled.

use std::path::Path;

use bytes::Bytes;

use super::super::kv::sled_store::{SledKv, is_released};
use super::super::kv::{RaftKv, Write};

fn append(index: u64, length: usize) -> Write {
    Write::Append { index, entry: Bytes::from(vec![index as u8; length]) }
}

fn blob_count(path: &Path) -> usize {
    std::fs::read_dir(path.join("blobs")).map_or(0, Iterator::count)
}

#[test]
fn entries_of_every_length_come_back_and_none_goes_to_a_file_that_is_never_synced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let lengths = [0, 1, 6143, 6144, 6145, 12_288, 65_536, 65_537, 1 << 20, 8 << 20, 3, 8 << 20];
    {
        let store = SledKv::open(&path).unwrap();
        for (index, length) in lengths.iter().enumerate() {
            store.write(&[append(index as u64, *length)]).unwrap();
            store.sync().unwrap();
            assert_eq!(blob_count(&path), 0, "after an entry of {length} bytes");
        }
        // Small entries between large ones, and removals, which merge leaves.
        store.write(&(12..400).map(|index| append(index, 5000)).collect::<Vec<_>>()).unwrap();
        store.write(&[Write::Truncate { from: 390 }, Write::Purge { to: 2 }]).unwrap();
        store.sync().unwrap();
        assert_eq!(blob_count(&path), 0);
    }
    // Its threads may hold the files a moment longer than its handle lives.
    let is_released = (0..5_000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(1));
        is_released(&path)
    });
    assert!(is_released, "the store keeps its files");
    let store = SledKv::open(&path).unwrap();
    assert_eq!(store.bounds().unwrap(), Some((3, 389)));
    let entries = store.range(0, u64::MAX).unwrap();
    assert_eq!(entries.len(), 387);
    for (index, entry) in entries {
        let length = lengths.get(index as usize).copied().unwrap_or(5000);
        assert_eq!(entry.len(), length, "entry {index}");
        assert!(entry.iter().all(|byte| *byte == index as u8), "entry {index}");
    }
    assert_eq!(blob_count(&path), 0);
}

#[test]
fn a_torn_last_entry_ends_the_log_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = SledKv::open(&directory.path().join("log")).unwrap();
    store.write(&[append(0, 10), append(1, 20_000), append(2, 20_000)]).unwrap();
    for missing_part in [3, 1, 0] {
        // Written, and not synced yet: only such a write can be torn.
        store.remove_part(2, missing_part);
        assert_eq!(store.bounds().unwrap(), Some((0, 1)), "without part {missing_part}");
        assert_eq!(store.range(0, 9).unwrap().len(), 2);
        store.write(&[append(2, 20_000)]).unwrap();
        assert_eq!(store.bounds().unwrap(), Some((0, 2)));
    }
}

#[test]
fn a_torn_entry_inside_the_log_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    for missing_part in [0, 1, 3] {
        let store = SledKv::open(&directory.path().join(format!("log{missing_part}"))).unwrap();
        store.write(&[append(0, 10), append(1, 20_000), append(2, 20_000)]).unwrap();
        store.remove_part(1, missing_part);
        let error = store.bounds().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
        assert_eq!(store.range(0, 9).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }
    let store = SledKv::open(&directory.path().join("hole")).unwrap();
    store.write(&[append(0, 10), append(2, 10)]).unwrap();
    assert_eq!(store.bounds().unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}
