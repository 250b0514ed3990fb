//! One test for each kind of damage: the log starts without help and is its longest valid prefix.

use moldau_log::{LogConfig, LogError, OpenMode, RecoveryReport};
use moldau_model::{Offset, TopicId, TopicPartition};

use crate::support::*;

const LOG: &str = "00000000000000000000.log";

/// A log in one segment, killed.
fn crashed(batches: u64) -> (Disk, LogConfig) {
    let disk = Disk::new();
    let config = LogConfig { index_interval_bytes: 100, ..LogConfig::default() };
    let mut log = disk.open(config.clone());
    for number in 0..batches {
        append(&mut log, numbered(number)).unwrap();
    }
    (disk, config)
}

fn expect_prefix(disk: &Disk, config: &LogConfig, mode: OpenMode, count: i64) -> RecoveryReport {
    let (mut log, report) = disk.reopen(config.clone(), mode);
    assert_eq!(log.log_end_offset(), Offset(count));
    assert_eq!(log.durable_end_offset(), Offset(count));
    assert_eq!(offsets(&log), (0..count).collect::<Vec<i64>>());
    append(&mut log, numbered(1000)).unwrap();
    assert_eq!(offsets(&log), (0..=count).collect::<Vec<i64>>(), "and goes on from there");
    report
}

#[test]
fn a_tail_cut_at_every_byte() {
    let (disk, config) = crashed(8);
    let whole = disk.bytes(LOG);
    let ends: Vec<usize> = moldau_record::Batches::new(&whole)
        .scan(0, |end, batch| {
            *end += batch.unwrap().size_bytes();
            Some(*end)
        })
        .collect();
    for cut in 0..whole.len() {
        disk.set_bytes(LOG, &whole[..cut]);
        let left = ends.iter().filter(|end| **end <= cut).count();
        let report = expect_prefix(&disk, &config, UNCLEAN, left as i64);
        let start = left.checked_sub(1).map_or(0, |last| ends[last]);
        assert_eq!(report.bytes_truncated, (cut - start) as u64, "cut at {cut}");
        assert_eq!(report.has_mended(), cut > start, "cut at {cut}: {report:?}");
    }
}

#[test]
fn a_tail_cut_although_the_log_was_closed_cleanly() {
    let (disk, config) = crashed(8);
    let (mut log, _) = disk.reopen(config.clone(), UNCLEAN);
    log.close(NOW).unwrap();
    let whole = disk.bytes(LOG);
    disk.set_bytes(LOG, &whole[..whole.len() - 5]);
    let report = expect_prefix(&disk, &config, CLEAN, 7);
    assert_eq!((report.segments_scanned, report.notes.len()), (1, 1));
}

#[test]
fn a_tail_of_zeros() {
    let (disk, config) = crashed(8);
    let whole = disk.bytes(LOG);
    for zeros in [1, 60, 61, 5000] {
        disk.set_bytes(LOG, [whole.clone(), vec![0; zeros]].concat());
        let report = expect_prefix(&disk, &config, UNCLEAN, 8);
        assert_eq!(report.bytes_truncated, zeros as u64);
    }
}

#[test]
fn a_flipped_bit_anywhere_that_a_crc_covers() {
    let (disk, config) = crashed(6);
    let whole = disk.bytes(LOG);
    let size = whole.len() / 6;
    for byte in (0..whole.len()).filter(|byte| byte % size >= 16) {
        let mut flipped = whole.clone();
        flipped[byte] ^= 1 << (byte % 8);
        disk.set_bytes(LOG, flipped);
        expect_prefix(&disk, &config, UNCLEAN, (byte / size) as i64);
    }
}

#[test]
fn a_batch_twice_or_out_of_order() {
    let (disk, config) = crashed(4);
    let whole = disk.bytes(LOG);
    let size = whole.len() / 4;
    disk.set_bytes(LOG, [&whole[..], &whole[size..2 * size]].concat());
    expect_prefix(&disk, &config, UNCLEAN, 4);
}

#[test]
fn indexes_missing_torn_or_of_nonsense_are_made_anew() {
    let disk = Disk::new();
    let config = closed_log(&disk, 60);
    let indexes: Vec<String> = disk.names().into_iter().filter(|name| name.ends_with("index")).collect();
    let good: Vec<Vec<u8>> = indexes.iter().map(|name| disk.bytes(name)).collect();
    assert!(indexes.len() > 6);
    for (number, name) in indexes.iter().enumerate() {
        for damage in ["missing", "torn", "zeroed", "empty"] {
            for (name, bytes) in indexes.iter().zip(&good) {
                disk.set_bytes(name, bytes.clone());
            }
            let bytes = &good[number];
            match damage {
                "missing" => disk.remove(name),
                "torn" => disk.set_bytes(name, &bytes[..bytes.len().saturating_sub(3)]),
                "zeroed" => disk.set_bytes(name, vec![0; bytes.len()]),
                _ => disk.set_bytes(name, Vec::new()),
            }
            let (log, report) = disk.reopen(config.clone(), CLEAN);
            assert_eq!(offsets(&log), (0..60).collect::<Vec<i64>>(), "{name} {damage}");
            assert!(report.bytes_truncated == 0, "{name} {damage}: {report:?}");
            let found = log.offset_for_timestamp(NOW, log.log_end_offset()).unwrap().unwrap();
            assert_eq!(found.offset, Offset(0), "{name} {damage}");
        }
    }
}

#[test]
fn a_bad_segment_takes_the_later_ones_with_it() {
    let disk = Disk::new();
    let config = closed_log(&disk, 60);
    let logs: Vec<String> = disk.names().into_iter().filter(|name| name.ends_with(".log")).collect();
    let mut second = disk.bytes(&logs[1]);
    second[100] ^= 1;
    disk.set_bytes(&logs[1], second);
    let (log, report) = disk.reopen(config.clone(), UNCLEAN);
    let base: i64 = logs[1].trim_end_matches(".log").parse().unwrap();
    assert_eq!(log.log_end_offset(), Offset(base + 1));
    assert_eq!(report.segments_removed, logs.len() - 2);
    assert_eq!(log.segment_base_offsets().len(), 2);
    assert_eq!(offsets(&log), (0..=base).collect::<Vec<i64>>());
    assert!(!disk.names().contains(&logs[2]));
}

#[test]
fn only_what_lies_from_the_recovery_points_segment_on_is_scanned() {
    let disk = Disk::new();
    let config = closed_log(&disk, 60);
    let segments = disk.names().into_iter().filter(|name| name.ends_with(".log")).count();
    for (point, scanned) in [(0, segments), (59, 1), (60, 1), (9999, 1), (20, segments - 1)] {
        let mode = OpenMode { recovery_point: Offset(point), ..UNCLEAN };
        let (log, report) = disk.reopen(config.clone(), mode);
        assert_eq!(report.segments_scanned, scanned, "recovery point {point}");
        assert_eq!(log.log_end_offset(), Offset(60));
    }
}

#[test]
fn corrupt_small_files_never_block_a_start() {
    for name in ["leader-epoch-checkpoint", "partition.metadata", "00000000000000000060.snapshot"] {
        let disk = Disk::new();
        let config = closed_log(&disk, 60);
        let good = disk.bytes(name);
        assert!(!good.is_empty());
        for damage in [Vec::new(), good[..good.len() / 2].to_vec(), vec![0; good.len()], vec![0xff; 3000]] {
            disk.set_bytes(name, damage);
            let (mut log, report) = disk.reopen(config.clone(), CLEAN);
            assert_eq!(report.notes.len(), 1, "{name}: {:?}", report.notes);
            assert_eq!(log.end_offset_for_epoch(EPOCH).unwrap().end_offset, Offset(60));
            assert_eq!(offsets(&log).len(), 60);
            log.close(NOW).unwrap();
            assert_eq!(disk.bytes(name), good, "{name} is as it was");
        }
    }
}

#[test]
fn leftovers_go_and_strangers_stay() {
    let disk = Disk::new();
    let config = closed_log(&disk, 5);
    let leftovers = [
        "00000000000000000099.log.deleted",
        "00000000000000000000.log.cleaned",
        "00000000000000000000.index.swap",
        "leader-epoch-checkpoint.tmp",
        "00000000000000000777.index",
        "00000000000000000777.timeindex",
        "00000000000000000777.snapshot",
    ];
    let strangers = ["notes.txt", "123.log", "0000000000000000000x.log", "remote_log_snapshot"];
    for name in leftovers.iter().chain(&strangers) {
        disk.set_bytes(name, b"x".to_vec());
    }
    let (log, _) = disk.reopen(config, CLEAN);
    assert_eq!(log.log_end_offset(), Offset(5));
    let names = disk.names();
    assert!(leftovers.iter().all(|name| !names.iter().any(|found| found == name)), "{names:?}");
    assert!(strangers.iter().all(|name| names.iter().any(|found| found == name)), "{names:?}");
}

#[test]
fn the_directory_of_another_topic_id_is_refused() {
    let disk = Disk::new();
    let config = closed_log(&disk, 5);
    disk.fs.kill_process();
    let other = TopicId::from_random_bytes([8; 16]);
    let partition = TopicPartition::new("pageview", 0);
    let environment = disk.environment();
    let error =
        moldau_log::PartitionLog::open(&environment, directory(), partition, other, config, CLEAN, NOW)
            .unwrap_err();
    assert!(matches!(error, LogError::InconsistentTopicId { found, .. } if found == topic_id()), "{error}");
}

#[test]
fn a_log_that_ends_before_its_start_begins_anew_there() {
    let disk = Disk::new();
    let config = closed_log(&disk, 5);
    let mode = OpenMode { log_start_offset: Offset(100), ..CLEAN };
    let (mut log, report) = disk.reopen(config, mode);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(100), Offset(100)));
    assert_eq!(report.segments_removed, 1);
    append(&mut log, numbered(1)).unwrap();
    assert_eq!(offsets(&log), [100]);
}
