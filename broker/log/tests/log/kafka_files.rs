//! A log directory that Apache Kafka 4.3.0 wrote and closed (`tests/fixtures/kafka-4.3.0`): it opens here without a scan,
//! and the same batches written here make the same files, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_log::{
    CleanupPolicy, FileCache, LogConfig, LogDirectory, LogEnvironment, OpenMode, PartitionLog,
    RealFileSystem, RecoveryReport,
};
use moldau_model::{BrokerEpoch, BrokerId, Offset, TimestampMs, TopicId, TopicPartition};
use moldau_record::{Batches, TimestampType};

use crate::support::*;

const TOPICS: [&str; 4] = ["broker-time", "codecs", "compacted", "transactional"];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kafka-4.3.0")
}

/// As the topics were created there: `internal.segment.bytes=6000`, `index.interval.bytes=200`.
fn config(topic: &str) -> LogConfig {
    let mut config = LogConfig { segment_bytes: 6000, index_interval_bytes: 200, ..LogConfig::default() };
    if topic == "compacted" {
        config.cleanup_policy = CleanupPolicy { delete: false, compact: true };
    }
    if topic == "broker-time" {
        config.message_timestamp_type = TimestampType::LogAppendTime;
    }
    config
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn kafkas_directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixture(), folder.path());
    folder
}

/// The files of one partition. The producers of a snapshot come in no order: they are sorted, and the CRC left out.
fn files(partition: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(partition).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mut bytes = fs::read(entry.path()).unwrap();
        if name.ends_with(".snapshot") {
            assert_eq!(bytes[2..6], crc32c::crc32c(&bytes[6..]).to_be_bytes(), "{name}");
            let mut producers: Vec<&[u8]> = bytes[10..].chunks_exact(46).collect();
            producers.sort_unstable();
            bytes = [&bytes[..2], &bytes[6..10], &producers.concat()].concat();
        }
        files.insert(name, bytes);
    }
    files
}

fn topic_id_of(partition: &Path) -> TopicId {
    let text = fs::read_to_string(partition.join("partition.metadata")).unwrap();
    text.lines().nth(1).unwrap().strip_prefix("topic_id: ").unwrap().parse().unwrap()
}

fn open(folder: &Path, topic: &str, topic_id: TopicId, mode: OpenMode) -> (PartitionLog, RecoveryReport) {
    let environment = LogEnvironment::new(Arc::new(RealFileSystem), Arc::new(FileCache::new(8)));
    let partition = TopicPartition::new(topic, 0);
    let directory = folder.join(partition.to_string());
    PartitionLog::open(&environment, directory, partition, topic_id, config(topic), mode, NOW).unwrap()
}

fn expect_same(kafkas: &Path, ours: &Path, but: &[&str], what: &str) {
    let (kafkas, ours) = (files(kafkas), files(ours));
    let names = |files: &BTreeMap<String, Vec<u8>>| -> Vec<String> {
        files.keys().filter(|name| !but.iter().any(|suffix| name.ends_with(suffix))).cloned().collect()
    };
    assert_eq!(names(&ours), names(&kafkas), "{what}");
    for name in names(&kafkas) {
        assert!(
            kafkas[&name] == ours[&name],
            "{what}: {name}: {:02x?}, not {:02x?}",
            ours[&name],
            kafkas[&name]
        );
    }
}

#[test]
fn a_directory_that_kafka_closed_opens_without_a_scan() {
    let folder = kafkas_directory();
    let directory =
        LogDirectory::open(Arc::new(RealFileSystem), Arc::new(FileCache::new(8)), folder.path().into())
            .unwrap();
    assert!(directory.was_clean_shutdown());
    assert_eq!(directory.clean_shutdown_broker_epoch(), Some(BrokerEpoch(13)));
    let properties = directory.meta_properties().unwrap();
    assert_eq!((properties.cluster_id.as_str(), properties.node_id), ("DaPHQl4qTUu7cSovGNlPcA", BrokerId(1)));
    let mut found = directory.list_partitions().unwrap();
    found.sort_unstable_by(|one, other| one.topic_partition.cmp(&other.topic_partition));
    let expected =
        [("broker-time", 160, 160), ("codecs", 160, 160), ("compacted", 151, 40), ("transactional", 47, 47)];
    assert_eq!(found.len(), expected.len());
    for (found, (topic, end, records_expected)) in found.iter().zip(expected) {
        assert_eq!(found.topic_partition, TopicPartition::new(topic, 0));
        let topic_id = found.topic_id.unwrap();
        let (log, report) =
            directory.open_partition(&found.topic_partition, topic_id, config(topic), NOW).unwrap();
        assert_eq!(report, RecoveryReport::default(), "{topic}");
        assert_eq!(log.log_end_offset(), Offset(end), "{topic}");
        assert_eq!(directory.high_watermark_checkpoint(&found.topic_partition), Some(Offset(end)));
        let batches: usize = Batches::new(&read_all(&log))
            .map(|batch| {
                let batch = batch.unwrap();
                batch.check_crc().unwrap();
                batch.record_count() as usize
            })
            .sum();
        assert_eq!(batches, records_expected, "{topic}");
    }
}

#[test]
fn the_same_batches_make_the_same_files() {
    for topic in ["broker-time", "codecs", "transactional"] {
        let kafkas = fixture().join(format!("{topic}-0"));
        let topic_id = topic_id_of(&kafkas);
        let (reader_folder, folder) = (kafkas_directory(), tempfile::tempdir().unwrap());
        let (reader, _) = open(reader_folder.path(), topic, topic_id, CLEAN);
        let (mut log, _) = open(folder.path(), topic, topic_id, CLEAN);
        for batch in Batches::new(&read_all(&reader)) {
            log.append_as_follower(batch.unwrap().bytes(), NOW).unwrap();
        }
        log.close(NOW).unwrap();
        expect_same(&kafkas, &folder.path().join(format!("{topic}-0")), &[], topic);
    }
}

#[test]
fn indexes_that_are_rebuilt_are_those_that_kafka_wrote() {
    for topic in TOPICS {
        for mode in [CLEAN, UNCLEAN] {
            let folder = kafkas_directory();
            let partition = folder.path().join(format!("{topic}-0"));
            // No file is an index without entries: only who reads the whole log knows better.
            let made_anew = |name: &str| {
                (name.ends_with("index") && (mode == UNCLEAN || !name.ends_with(".txnindex")))
                    || name == "leader-epoch-checkpoint"
            };
            for name in files(&partition).keys().filter(|name| made_anew(name)) {
                fs::remove_file(partition.join(name)).unwrap();
            }
            let (mut log, report) = open(folder.path(), topic, topic_id_of(&partition), mode);
            assert!(report.indexes_rebuilt > 0 && report.bytes_truncated == 0, "{topic}: {report:?}");
            log.close(NOW).unwrap();
            // Of a compacted log the batches cannot tell any more where its first epoch began.
            let but: &[&str] = if topic == "compacted" { &["leader-epoch-checkpoint"] } else { &[] };
            expect_same(&fixture().join(format!("{topic}-0")), &partition, but, topic);
        }
    }
}

#[test]
fn the_producers_of_kafkas_snapshot_are_those_of_its_log() {
    for topic in TOPICS {
        let folder = kafkas_directory();
        let partition = folder.path().join(format!("{topic}-0"));
        let topic_id = topic_id_of(&partition);
        let (log, _) = open(folder.path(), topic, topic_id, CLEAN);
        let by_snapshot = log.active_producers();
        assert!(!by_snapshot.is_empty(), "{topic}");
        drop(log);
        for name in files(&partition).keys().filter(|name| name.ends_with(".snapshot")) {
            fs::remove_file(partition.join(name)).unwrap();
        }
        let (log, _) = open(folder.path(), topic, topic_id, CLEAN);
        assert_eq!(log.active_producers(), by_snapshot, "{topic}");
    }
}

#[test]
fn a_log_that_kafka_compacted_is_compacted_on() {
    let folder = kafkas_directory();
    let partition = folder.path().join("compacted-0");
    let (mut log, _) = open(folder.path(), "compacted", topic_id_of(&partition), CLEAN);
    let map = |log: &PartitionLog| {
        let mut map = BTreeMap::new();
        for (_, key, value) in records(&read_all(log)) {
            map.insert(key.unwrap(), value);
        }
        map.retain(|_, value| value.is_some());
        map
    };
    let before = map(&log);
    assert_eq!(before["key0"].as_deref(), Some("last"));
    log.roll(NOW).unwrap();
    let size = log.size_bytes();
    log.clean(log.log_end_offset(), NOW).unwrap();
    assert_eq!(map(&log), before);
    assert!(log.size_bytes() < size);
    log.clean(log.log_end_offset(), TimestampMs(i64::MAX / 2)).unwrap();
    assert_eq!(map(&log), before, "without its tombstones too");
}
