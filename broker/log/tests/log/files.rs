//! Every file as Apache Kafka writes it: its name and its bytes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use moldau_log::file_system::FaultFileSystem;
use moldau_log::{
    AppendOrigin, FileCache, LogConfig, LogDirectory, MetaProperties, PartitionCheckpoint, PartitionLog,
};
use moldau_model::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicPartition, Uuid,
};
use moldau_record::{BatchBuilder, ControlRecord};

use crate::support::*;

/// Two segments, of epochs 4 and 9. In each three batches of two records and of one size, the second of which is the
/// youngest, and an index entry for every batch but the first.
fn log_of_two_segments(disk: &Disk) -> PartitionLog {
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let mut log = disk.open(config);
    for epoch in [4, 9] {
        for time in [200, 300, 250] {
            let mut builder = BatchBuilder::new();
            builder.append(TimestampMs(time + i64::from(epoch) * 1000), None, Some(b"value"), &[]).unwrap();
            builder.append(TimestampMs(100), None, None, &[]).unwrap();
            let mut bytes = builder.build().unwrap();
            log.append_as_leader(&mut bytes, LeaderEpoch(epoch), AppendOrigin::Client, NOW).unwrap();
        }
        if epoch == 4 {
            log.roll(NOW).unwrap();
        }
    }
    sync(&mut log);
    log
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_partitions_files_have_kafkas_names() {
    let disk = Disk::new();
    let mut log = log_of_two_segments(&disk);
    log.close(NOW).unwrap();
    let mut names = disk.names();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "00000000000000000000.index",
            "00000000000000000000.log",
            "00000000000000000000.timeindex",
            "00000000000000000006.index",
            "00000000000000000006.log",
            "00000000000000000006.snapshot",
            "00000000000000000006.timeindex",
            "00000000000000000012.snapshot",
            "leader-epoch-checkpoint",
            "partition.metadata",
        ]
    );
}

#[test]
fn an_offset_index_is_the_relative_last_offset_and_the_position() {
    let disk = Disk::new();
    log_of_two_segments(&disk).close(NOW).unwrap();
    for base in ["00000000000000000000", "00000000000000000006"] {
        let size = disk.bytes(&format!("{base}.log")).len() / 3;
        let expected = format!("00000003{size:08x}00000005{:08x}", 2 * size);
        assert_eq!(hex(&disk.bytes(&format!("{base}.index"))), expected, "{base}");
    }
}

#[test]
fn a_time_index_ascends_and_ends_with_the_segments_maximum() {
    let disk = Disk::new();
    log_of_two_segments(&disk).close(NOW).unwrap();
    // 4300 is the largest in the batch that ends at relative offset 3; the third batch adds none.
    assert_eq!(hex(&disk.bytes("00000000000000000000.timeindex")), format!("{:016x}00000003", 4300));
    assert_eq!(hex(&disk.bytes("00000000000000000006.timeindex")), format!("{:016x}00000003", 9300));

    let disk = Disk::new();
    let mut log = disk.open(LogConfig::default());
    append(&mut log, at(&[1, 7, 3])).unwrap();
    log.close(NOW).unwrap();
    let expected = format!("{:016x}00000002", NOW.0 + 7);
    assert_eq!(hex(&disk.bytes("00000000000000000000.timeindex")), expected, "closing adds the last");
    assert_eq!(disk.bytes("00000000000000000000.index"), b"", "nothing to look up in one batch");
}

#[test]
fn a_producer_snapshot_is_version_one_with_a_crc() {
    let disk = Disk::new();
    let mut log = disk.open(LogConfig::default());
    append(&mut log, idempotent(0x1234, 5, 70, 3)).unwrap();
    let open = BatchBuilder::new().producer(ProducerId(0x1111), ProducerEpoch(1), 0).transactional(true);
    for (builder, times) in [(open, 2)] {
        let mut builder = builder;
        for time in 0..times {
            builder.append(TimestampMs(NOW.0 + time), None, Some(b"v"), &[]).unwrap();
        }
        append(&mut log, builder.build().unwrap()).unwrap();
    }
    let mut marker = BatchBuilder::new()
        .producer(ProducerId(0x2222), ProducerEpoch(6), -1)
        .transactional(true)
        .control(true);
    marker.append_control(NOW, ControlRecord::Commit { coordinator_epoch: 8 }).unwrap();
    let mut marker = marker.build().unwrap();
    log.append_as_leader(&mut marker, EPOCH, AppendOrigin::Coordinator, NOW).unwrap();
    log.close(NOW).unwrap();

    let entry = |id: i64,
                 epoch: i16,
                 sequence: i32,
                 offset: i64,
                 delta: i32,
                 time: i64,
                 coordinator: i32,
                 first: i64| {
        format!(
            "{id:016x}{epoch:04x}{sequence:08x}{offset:016x}{delta:08x}{time:016x}{coordinator:08x}{first:016x}"
        )
    };
    let entries = [
        entry(0x1111, 1, 1, 4, 1, NOW.0 + 1, -1, 3),
        entry(0x1234, 5, 72, 2, 2, NOW.0, -1, -1),
        entry(0x2222, 6, -1, -1, 0, NOW.0, 8, -1),
    ];
    let body = format!("{:08x}{}", 3, entries.concat());
    let found = disk.bytes("00000000000000000006.snapshot");
    assert_eq!(hex(&found[6..]), body);
    assert_eq!(hex(&found[..2]), "0001");
    assert_eq!(found[2..6], crc32c::crc32c(&found[6..]).to_be_bytes());
}

#[test]
fn leader_epochs_and_the_topic_id_are_text() {
    let disk = Disk::new();
    log_of_two_segments(&disk).close(NOW).unwrap();
    assert_eq!(disk.bytes("leader-epoch-checkpoint"), b"0\n2\n4 0\n9 6\n");
    let expected = format!("version: 0\ntopic_id: {}", topic_id());
    assert_eq!(String::from_utf8(disk.bytes("partition.metadata")).unwrap(), expected);
}

#[test]
fn a_log_directorys_own_files() {
    let disk = FaultFileSystem::new();
    let open = || {
        LogDirectory::open(Arc::new(disk.clone()), Arc::new(FileCache::new(8)), PathBuf::from("/data"))
            .unwrap()
    };
    let directory = open();
    directory
        .format(&MetaProperties {
            cluster_id: "mKZ8dTqYR1mXkF2g5p0Dhw".into(),
            node_id: BrokerId(3),
            directory_id: Uuid::from_random_bytes([9; 16]),
        })
        .unwrap();
    let checkpoint = |topic: &str, partition, start, end, high_watermark| PartitionCheckpoint {
        topic_partition: TopicPartition::new(topic, partition),
        recovery_point: Offset(end),
        log_start_offset: Offset(start),
        high_watermark: Offset(high_watermark),
    };
    let checkpoints =
        [checkpoint("b", 1, 5, 20, 19), checkpoint("a.x", 10, 0, 7, 7), checkpoint("a.x", 2, 0, 0, 0)];
    directory.close_clean(&checkpoints, BrokerEpoch(12)).unwrap();
    let text = |name: &str| String::from_utf8(disk.bytes(&Path::new("/data").join(name)).unwrap()).unwrap();
    assert_eq!(text("recovery-point-offset-checkpoint"), "0\n2\na.x 10 7\nb 1 20\n");
    assert_eq!(text("log-start-offset-checkpoint"), "0\n1\nb 1 5\n");
    assert_eq!(text("replication-offset-checkpoint"), "0\n2\na.x 10 7\nb 1 19\n");
    assert_eq!(text(".kafka_cleanshutdown"), "{\"version\":0,\"brokerEpoch\":12}");
    let properties = text("meta.properties");
    for line in ["cluster.id=mKZ8dTqYR1mXkF2g5p0Dhw", "node.id=3", "version=1"] {
        assert!(properties.lines().any(|found| found == line), "{properties}");
    }
}
