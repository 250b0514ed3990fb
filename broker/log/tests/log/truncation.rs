//! Cutting a diverged end off, and what is forgotten with it.

use moldau_log::file_system::Operation;
use moldau_log::{AppendOrigin, LogConfig, LogError, PartitionLog};
use moldau_model::{LeaderEpoch, Offset};

use crate::support::*;

fn append_in(log: &mut PartitionLog, epoch: i32, mut bytes: Vec<u8>) {
    log.append_as_leader(&mut bytes, LeaderEpoch(epoch), AppendOrigin::Client, NOW).unwrap();
}

/// Batches of three records, offsets 0 to 59; epochs 0 from 0, 2 from 21, 5 from 42.
fn log_of_epochs(disk: &Disk) -> PartitionLog {
    let mut log = disk.open(small());
    for number in 0..20 {
        append_in(&mut log, [0, 2, 5][number / 7], batch(3));
    }
    log
}

#[test]
fn the_batch_that_holds_the_offset_goes_whole_and_nothing_before_it() {
    for (to, end) in [(60, 60), (99, 60), (59, 57), (57, 57), (56, 54), (30, 30), (1, 0), (0, 0)] {
        let disk = Disk::new();
        let mut log = log_of_epochs(&disk);
        let whole = read_all(&log);
        let cut = log.truncate_to(Offset(to), NOW).unwrap();
        assert_eq!((cut, log.log_end_offset()), (to < 60, Offset(end)), "to {to}");
        let size = whole.len() / 20;
        let left = whole[..size * (end as usize / 3)].to_vec();
        assert!(read_all(&log) == left, "to {to}");
        assert_eq!(log.size_bytes(), left.len() as u64, "to {to}");
        assert_eq!(log.offset_for_timestamp(NOW, Offset(60)).unwrap().is_some(), end > 0);
        append_in(&mut log, 7, batch(3));
        assert_eq!(offsets(&log), (0..end + 3).collect::<Vec<i64>>(), "to {to}");
        let (log, report) = disk.reopen(small(), UNCLEAN);
        assert_eq!(offsets(&log), (0..end + 3).collect::<Vec<i64>>(), "to {to}, reopened");
        assert_eq!((report.bytes_truncated, report.notes), (0, Vec::new()));
        assert_eq!(log.epoch_for_offset(Offset(end)), Some(LeaderEpoch(7)));
    }
}

#[test]
fn epochs_that_began_behind_the_cut_are_forgotten() {
    for (to, latest, ends) in [
        (50, Some(5), [(0, 21), (2, 42), (5, 48)]),
        (42, Some(2), [(0, 21), (2, 42), (2, 42)]),
        (30, Some(2), [(0, 21), (2, 30), (2, 30)]),
        (21, Some(0), [(0, 21), (0, 21), (0, 21)]),
    ] {
        let mut log = log_of_epochs(&Disk::new());
        log.truncate_to(Offset(to), NOW).unwrap();
        assert_eq!(log.latest_epoch(), latest.map(LeaderEpoch), "to {to}");
        for (asked, (epoch, end)) in [0, 2, 5].into_iter().zip(ends) {
            let found = log.end_offset_for_epoch(LeaderEpoch(asked));
            if asked > latest.unwrap() {
                assert_eq!(found, None, "epoch {asked} after a cut to {to}");
            } else {
                let found = found.unwrap();
                assert_eq!(
                    (found.leader_epoch.0, found.end_offset.0),
                    (epoch, end),
                    "epoch {asked}, cut to {to}"
                );
            }
        }
    }
}

#[test]
fn an_epoch_without_a_record_is_forgotten_where_nothing_is_cut() {
    let mut log = log_of_epochs(&Disk::new());
    log.assign_leader_epoch(LeaderEpoch(9));
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(9)));
    assert!(!log.truncate_to(Offset(60), NOW).unwrap());
    assert_eq!((log.latest_epoch(), log.log_end_offset()), (Some(LeaderEpoch(5)), Offset(60)));
}

#[test]
fn a_producer_is_as_it_was_at_the_cut() {
    let disk = Disk::new();
    for cut in 0..=30 {
        let disk = if cut % 2 == 0 { disk.clone() } else { Disk::new() };
        let mut log = disk.open(small());
        log.truncate_fully_and_start_at(Offset(0), NOW).unwrap();
        for number in 0..30 {
            append(&mut log, idempotent(9, 1, number, 1)).unwrap();
        }
        log.truncate_to(Offset(cut), NOW).unwrap();
        let sequence = cut as i32;
        if cut > 0 {
            let last = append(&mut log, idempotent(9, 1, sequence - 1, 1)).unwrap();
            assert!(last.duplicate && last.first_offset == Offset(cut - 1), "cut at {cut}");
            assert!(
                append(&mut log, idempotent(9, 1, sequence + 1, 1)).is_err(),
                "a gap after a cut at {cut}"
            );
        }
        let next = append(&mut log, idempotent(9, 1, sequence, 1)).unwrap();
        assert!(!next.duplicate && next.first_offset == Offset(cut), "cut at {cut}");
    }
}

#[test]
fn what_is_cut_was_never_durable_and_what_stays_still_is() {
    let disk = Disk::new();
    let mut log = log_of_epochs(&disk);
    assert_eq!(sync(&mut log), Offset(60));
    append_in(&mut log, 5, batch(3));
    log.truncate_to(Offset(61), NOW).unwrap();
    assert_eq!((log.durable_end_offset(), log.log_end_offset()), (Offset(60), Offset(60)));
    log.truncate_to(Offset(30), NOW).unwrap();
    assert_eq!(log.durable_end_offset(), Offset(30));
    disk.fs.power_cut(3);
    assert_eq!(disk.try_open(small(), UNCLEAN).unwrap().0.log_end_offset(), Offset(30));
}

#[test]
fn a_ticket_from_before_the_cut_promises_nothing() {
    let mut log = log_of_epochs(&Disk::new());
    let ticket = log.begin_sync().unwrap();
    log.truncate_to(Offset(30), NOW).unwrap();
    for _ in 0..20 {
        append_in(&mut log, 6, batch(3));
    }
    ticket.run().unwrap();
    assert_eq!(log.complete_sync(ticket), Offset(0), "the new records were not all in it");
    assert_eq!(sync(&mut log), Offset(90));
}

#[test]
fn a_reader_goes_on_in_the_file_that_was_cut_away() {
    let mut log = log_of_epochs(&Disk::new());
    let slice = log.read(Offset(57), 1 << 20, Offset(60), true).unwrap().slice.unwrap();
    let before = slice.read_all().unwrap();
    log.truncate_to(Offset(3), NOW).unwrap();
    assert_eq!(slice.read_all().unwrap(), before, "the segment was renamed, and stays open");
    assert!(log.read(Offset(57), 1 << 20, Offset(60), true).is_err());
}

#[test]
fn a_log_that_is_started_anew_is_empty_there_and_takes_lower_offsets() {
    for start in [0, 7, 60, 100_000] {
        let disk = Disk::new();
        let mut log = log_of_epochs(&disk);
        log.truncate_fully_and_start_at(Offset(start), NOW).unwrap();
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(start), Offset(start)));
        assert_eq!((log.latest_epoch(), log.size_bytes()), (None, 0));
        assert!(log.active_producers().is_empty());
        assert_eq!(log.durable_end_offset(), Offset(start));
        append_in(&mut log, 1, batch(2));
        let (log, _) = disk.reopen(small(), UNCLEAN);
        assert_eq!(offsets(&log), [start, start + 1]);
        assert_eq!(log.log_start_offset(), Offset(start));
    }
}

#[test]
fn a_cut_below_the_log_start_starts_the_log_there() {
    let mut log = log_of_epochs(&Disk::new());
    log.delete_records_to(Offset(40), Offset(60)).unwrap();
    log.delete_old_segments(NOW, Offset(60)).unwrap();
    log.truncate_to(Offset(10), NOW).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset(10), Offset(10)));
}

#[test]
fn a_cut_that_fails_half_way_leaves_a_log_that_refuses_everything() {
    for operation in [Operation::Rename, Operation::SetLength, Operation::SyncData, Operation::SyncDirectory]
    {
        let disk = Disk::new();
        let mut log = log_of_epochs(&disk);
        disk.fs.fail_once(operation, 0, moldau_log::file_system::FaultKind::Io);
        let error = log.truncate_to(Offset(4), NOW).unwrap_err();
        assert!(matches!(error, LogError::Io { .. }), "{operation:?}: {error}");
        assert!(append(&mut log, batch(1)).is_err() && log.begin_sync().is_none(), "{operation:?}");
        let error = log.truncate_to(Offset(3), NOW).unwrap_err();
        assert!(matches!(error, LogError::Offline { .. }), "{operation:?}: {error}");
        let (log, _) = disk.reopen(LogConfig { ..small() }, UNCLEAN);
        let left = offsets(&log);
        assert_eq!(left, (0..left.len() as i64).collect::<Vec<i64>>(), "{operation:?}");
    }
}
