//! Segments that have their full size from the beginning (`preallocate`).

use moldau_log::file_system::{FaultKind, Operation};
use moldau_log::{LogConfig, PartitionLog};
use moldau_model::{Offset, TimestampMs};

use crate::support::*;

const FULL: usize = 1024;

fn preallocated() -> LogConfig {
    LogConfig { preallocate: true, ..small() }
}

fn lengths(disk: &Disk) -> Vec<usize> {
    let mut names = disk.names();
    names.retain(|name| name.ends_with(".log"));
    names.sort_unstable();
    names.iter().map(|name| disk.bytes(name).len()).collect()
}

fn filled(disk: &Disk, count: u64) -> PartitionLog {
    let mut log = disk.open(preallocated());
    for number in 0..count {
        append(&mut log, numbered(number)).unwrap();
    }
    sync(&mut log);
    log
}

#[test]
fn the_active_segment_has_its_full_size_and_a_closed_one_its_own() {
    let disk = Disk::new();
    let mut log = filled(&disk, 3);
    assert_eq!(lengths(&disk), [FULL]);
    let used = log.size_bytes() as usize;
    assert!(used < FULL, "the log itself knows how much of it is records");
    log.roll(NOW).unwrap();
    assert_eq!(lengths(&disk), [used, FULL]);
    append(&mut log, numbered(3)).unwrap();
    assert_eq!(offsets(&log), [0, 1, 2, 3]);
    log.close(NOW).unwrap();
    let last = log.size_bytes() as usize - used;
    assert_eq!(lengths(&disk), [used, last]);
    let (log, report) = disk.reopen(preallocated(), CLEAN);
    assert_eq!((report.bytes_truncated, log.log_end_offset()), (0, Offset(4)));
    assert_eq!(offsets(&log), [0, 1, 2, 3]);
}

#[test]
fn what_was_allocated_and_not_written_is_no_part_of_the_log_after_a_crash() {
    for loses_power in [false, true] {
        let disk = Disk::new();
        let log = filled(&disk, 20);
        assert!(log.segment_base_offsets().len() > 1);
        drop(log);
        if loses_power {
            disk.fs.power_cut(3);
        }
        let (mut log, _) = disk.reopen(preallocated(), UNCLEAN);
        assert_eq!(log.log_end_offset(), Offset(20));
        assert_eq!(lengths(&disk).iter().sum::<usize>() as u64, log.size_bytes());
        append(&mut log, numbered(20)).unwrap();
        assert_eq!(offsets(&log), (0..21).collect::<Vec<i64>>());
    }
}

#[test]
fn cuts_and_fresh_starts_leave_nothing_behind_the_records() {
    let disk = Disk::new();
    let mut log = filled(&disk, 3);
    log.truncate_to(Offset(2), NOW).unwrap();
    append(&mut log, numbered(9)).unwrap();
    assert_eq!(lengths(&disk), [log.size_bytes() as usize]);
    log.truncate_fully_and_start_at(Offset(7), NOW).unwrap();
    log.purge_deleted(TimestampMs(i64::MAX));
    append(&mut log, numbered(7)).unwrap();
    assert_eq!((lengths(&disk), offsets(&log)), (vec![FULL], vec![7]));
}

#[test]
fn without_room_for_the_full_size_a_segment_grows_as_it_is_written() {
    let mut grown = 0;
    for earlier in 0..6 {
        let disk = Disk::new();
        let mut log = filled(&disk, 3);
        disk.fs.fail_once(Operation::SetLength, earlier, FaultKind::NoSpace);
        if log.roll(NOW).is_err() {
            log.roll(NOW).unwrap();
        }
        append(&mut log, numbered(3)).unwrap();
        grown += usize::from(lengths(&disk).iter().sum::<usize>() as u64 == log.size_bytes());
        assert_eq!(offsets(&log), [0, 1, 2, 3], "{earlier}");
        drop(log);
        let (log, _) = disk.reopen(preallocated(), UNCLEAN);
        assert_eq!(offsets(&log), [0, 1, 2, 3], "{earlier}");
    }
    assert_eq!(grown, 1, "one of the faults struck the allocation");
}
