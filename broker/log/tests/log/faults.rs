//! A disk that fails: what is refused, what is taken back, and what is never tried again.

use std::path::Path;

use moldau_log::file_system::{FaultKind, Operation};
use moldau_log::{AppendError, LogConfig, LogError, PartitionLog, ReadError};
use moldau_model::{ErrorCode, Offset};

use crate::support::*;

const LOG: &str = "00000000000000000000.log";

fn io_code(error: &AppendError) -> bool {
    matches!(error, AppendError::Io(_)) && error.error_code() == ErrorCode::KafkaStorageError
}

#[test]
fn a_write_that_fails_or_finds_the_disk_full_leaves_no_byte() {
    for kind in [FaultKind::Io, FaultKind::NoSpace] {
        let disk = Disk::new();
        let mut log = disk.open(LogConfig::default());
        append(&mut log, batch(3)).unwrap();
        let before = disk.bytes(LOG);
        disk.fs.fail_once(Operation::Write, 0, kind);
        let error = append(&mut log, idempotent(9, 0, 0, 5)).unwrap_err();
        assert!(io_code(&error), "{error}");
        assert_eq!(disk.bytes(LOG), before, "{kind:?}");
        assert_eq!((log.log_end_offset(), offsets(&log)), (Offset(3), vec![0, 1, 2]));
        assert!(log.active_producers().is_empty(), "the producer may send it again");

        // Space is freed: the log goes on as if nothing had been.
        let info = append(&mut log, idempotent(9, 0, 0, 2)).unwrap();
        assert!(!info.duplicate && info.first_offset == Offset(3));
        sync(&mut log);
        let (log, report) = disk.reopen(LogConfig::default(), UNCLEAN);
        assert_eq!((offsets(&log), report.bytes_truncated), (vec![0, 1, 2, 3, 4], 0));
    }
}

#[test]
fn a_disk_that_stays_full_refuses_every_write_and_serves_every_read() {
    let disk = Disk::new();
    let mut log = disk.open(small());
    for number in 0..20 {
        append(&mut log, numbered(number)).unwrap();
    }
    sync(&mut log);
    disk.fs.fail_always(Operation::Write, FaultKind::NoSpace);
    disk.fs.fail_always(Operation::Create, FaultKind::NoSpace);
    for number in 0..50 {
        assert!(io_code(&append(&mut log, numbered(number)).unwrap_err()));
    }
    assert_eq!(offsets(&log), (0..20).collect::<Vec<i64>>());
    log.update_config(LogConfig { retention_bytes: 0, file_delete_delay_ms: 0, ..small() });
    log.delete_records_to(Offset(15), Offset(20)).unwrap();
    assert!(log.delete_old_segments(NOW, Offset(15)).unwrap().segments > 0, "deleting is how space is freed");
    assert!(log.purge_deleted(NOW) > 0);
    disk.fs.clear_faults();
    append(&mut log, numbered(20)).unwrap();
    assert_eq!(offsets(&log), (15..21).collect::<Vec<i64>>());
}

#[test]
fn a_short_write_is_gone_on_with() {
    let disk = Disk::new();
    let mut log = disk.open(LogConfig::default());
    for length in [1, 60, 61, 100] {
        disk.fs.fail_once(Operation::Write, 0, FaultKind::ShortWrite(length));
        append(&mut log, batch(3)).unwrap();
    }
    assert_eq!(records(&disk.bytes(LOG)).len(), 12);
    disk.fs.fail_once(Operation::Write, 0, FaultKind::ShortWrite(0));
    assert!(io_code(&append(&mut log, batch(3)).unwrap_err()), "a disk that takes nothing is an error");
    assert_eq!(log.log_end_offset(), Offset(12));
}

#[test]
fn a_write_that_cannot_be_taken_back_ends_the_log() {
    let disk = Disk::new();
    let mut log = disk.open(LogConfig::default());
    append(&mut log, batch(3)).unwrap();
    disk.fs.fail_once(Operation::Write, 0, FaultKind::NoSpace);
    disk.fs.fail_once(Operation::SetLength, 0, FaultKind::Io);
    assert!(io_code(&append(&mut log, batch(3)).unwrap_err()));
    expect_offline(&mut log, "could not be taken back");
    assert!(log.failure().is_some());
    let (log, _) = disk.reopen(LogConfig::default(), UNCLEAN);
    assert_eq!(offsets(&log), [0, 1, 2]);
}

/// Every way in is closed, with the first reason.
fn expect_offline(log: &mut PartitionLog, why: &str) {
    let reasons = [
        match append(log, batch(1)) {
            Err(AppendError::Offline { reason }) => reason,
            other => panic!("{other:?}"),
        },
        match log.append_as_follower(&batch(1), NOW) {
            Err(AppendError::Offline { reason }) => reason,
            other => panic!("{other:?}"),
        },
        match log.read(Offset(0), 100, Offset(1), true) {
            Err(ReadError::Offline { reason }) => reason,
            other => panic!("{other:?}"),
        },
        match log.offset_for_timestamp(NOW, Offset(1)) {
            Err(ReadError::Offline { reason }) => reason,
            other => panic!("{other:?}"),
        },
    ];
    for reason in &reasons {
        assert!(reason.contains(why), "{reason}");
    }
    let end = log.log_end_offset();
    let refused = [
        log.roll(NOW).err(),
        log.truncate_to(Offset(0), NOW).err(),
        log.truncate_fully_and_start_at(Offset(0), NOW).err(),
        log.delete_records_to(Offset(0), Offset(1)).err(),
        log.delete_old_segments(NOW, Offset(1)).err(),
        log.clean(Offset(1), NOW).err(),
        log.close(NOW).err(),
    ];
    for (number, error) in refused.iter().enumerate() {
        assert!(matches!(error, Some(LogError::Offline { .. })), "{number}: {error:?}");
    }
    assert!(log.begin_sync().is_none());
    assert_eq!(log.log_end_offset(), end);
}

#[test]
fn a_sync_that_failed_is_never_tried_again() {
    for operation in [Operation::SyncData, Operation::SyncDirectory] {
        let disk = Disk::new();
        let mut log = disk.open(LogConfig::default());
        append(&mut log, batch(3)).unwrap();
        disk.fs.fail_once(operation, 0, FaultKind::Io);
        let ticket = log.begin_sync().unwrap();
        ticket.run().unwrap_err();
        assert_eq!(log.complete_sync(ticket), Offset(0), "{operation:?}");
        assert!(
            log.failure().is_some_and(|reason| reason.contains("a sync failed")),
            "the directory must know"
        );
        let syncs = disk.fs.count(Operation::SyncData);
        expect_offline(&mut log, "a sync failed");
        assert_eq!(disk.fs.count(Operation::SyncData), syncs, "the pages may be clean by now, and lost");
    }
}

#[test]
fn the_first_reason_stays() {
    let mut log = Disk::new().open(LogConfig::default());
    log.poison("the first".into());
    log.poison("the second".into());
    expect_offline(&mut log, "the first");
    assert_eq!(log.failure(), None, "who said so knows");
    let mut log = Disk::new().open(LogConfig::default());
    log.close(NOW).unwrap();
    assert_eq!(log.failure(), None, "it is only closed");
}

#[test]
fn a_sync_that_fails_in_a_roll_ends_the_log_too() {
    let disk = Disk::new();
    let mut log = disk.open(small());
    append(&mut log, batch(3)).unwrap();
    disk.fs.fail_once(Operation::SyncData, 0, FaultKind::Io);
    log.roll(NOW).unwrap_err();
    assert!(log.failure().is_some_and(|reason| reason.contains("a sync failed")));
    expect_offline(&mut log, "a sync failed");
}

#[test]
fn a_ticket_that_was_never_run_makes_nothing_durable() {
    let mut log = Disk::new().open(LogConfig::default());
    append(&mut log, batch(3)).unwrap();
    let ticket = log.begin_sync().unwrap();
    assert!(log.begin_sync().is_none(), "one at a time");
    assert_eq!(log.complete_sync(ticket), Offset(0));
    expect_offline(&mut log, "a sync failed");
}

#[test]
fn a_sync_covers_what_was_there_when_it_began() {
    let disk = Disk::new();
    let mut log = disk.open(small());
    for _ in 0..3 {
        append(&mut log, batch(3)).unwrap();
    }
    let ticket = log.begin_sync().unwrap();
    for _ in 0..30 {
        append(&mut log, batch(3)).unwrap();
    }
    ticket.run().unwrap();
    assert_eq!(log.complete_sync(ticket), Offset(9));
    assert_eq!(sync(&mut log), Offset(99));
    assert!(log.begin_sync().is_none(), "nothing is dirty");
    disk.fs.power_cut(9);
    assert_eq!(disk.try_open(small(), UNCLEAN).unwrap().0.log_end_offset(), Offset(99));
}

#[test]
fn a_segment_that_cannot_be_made_leaves_the_old_one_in_use() {
    let disk = Disk::new();
    let mut log = disk.open(small());
    while log.segment_base_offsets().len() < 2 {
        append(&mut log, batch(3)).unwrap();
    }
    let segments = log.segment_base_offsets();
    disk.fs.fail_once(Operation::Create, 0, FaultKind::NoSpace);
    let mut refused = 0;
    while log.segment_base_offsets() == segments {
        if let Err(error) = append(&mut log, batch(3)) {
            assert!(io_code(&error), "{error}");
            refused += 1;
        }
    }
    assert_eq!(refused, 1);
    assert_eq!(offsets(&log).len() as i64, log.log_end_offset().0);
}

#[test]
fn what_a_log_can_do_without_does_not_stop_it() {
    // Time index, leader epochs, producer snapshot: only the last can be made again from the log at any time.
    let disk = Disk::new();
    let mut log = disk.open(small());
    append(&mut log, idempotent(9, 0, 0, 1)).unwrap();
    for passes in [0, 1] {
        disk.fs.fail_once(Operation::Write, passes, FaultKind::NoSpace);
        log.roll(NOW).unwrap_err();
        assert_eq!(log.segment_base_offsets().len(), 1);
    }
    disk.fs.fail_once(Operation::Write, 1, FaultKind::NoSpace);
    log.roll(NOW).unwrap();
    append(&mut log, idempotent(9, 0, 1, 1)).unwrap();
    assert_eq!(log.segment_base_offsets().len(), 2);
    let (mut log, _) = disk.reopen(small(), UNCLEAN);
    assert!(append(&mut log, idempotent(9, 0, 1, 1)).unwrap().duplicate);
}

/// A little of everything; the first error ends it.
fn workload(log: &mut PartitionLog, durable: &mut i64) -> Result<(), ()> {
    for number in 0..24u64 {
        append(log, if number % 3 == 0 { idempotent(9, 0, number as i32 / 3, 1) } else { numbered(number) })
            .map_err(drop)?;
        if number % 5 == 4
            && let Some(ticket) = log.begin_sync()
        {
            let result = ticket.run();
            *durable = log.complete_sync(ticket).0;
            result.map_err(drop)?;
        }
        if number == 13 {
            *durable = (*durable).min(8);
            log.truncate_to(Offset(8), NOW).map_err(drop)?;
            log.append_as_leader(&mut idempotent(9, 1, 0, 1), EPOCH, moldau_log::AppendOrigin::Client, NOW)
                .map_err(drop)?;
            return Ok(());
        }
    }
    Ok(())
}

#[test]
fn after_any_single_fault_the_log_goes_on_or_says_no_and_opens_again() {
    let operations = [
        Operation::Create,
        Operation::Write,
        Operation::SetLength,
        Operation::SyncData,
        Operation::SyncDirectory,
        Operation::Rename,
        Operation::Remove,
    ];
    for operation in operations {
        for kind in [FaultKind::Io, FaultKind::NoSpace] {
            let mut struck = 0;
            for passes in 0.. {
                let disk = Disk::new();
                disk.fs.fail_once(operation, passes, kind);
                let what = format!("{operation:?} {passes} {kind:?}");
                let mut durable = 0;
                let opened = disk.try_open(small(), CLEAN);
                let mut log = match opened {
                    Ok((log, _)) => log,
                    Err(_) => {
                        struck += 1;
                        disk.open(small())
                    }
                };
                let went_on = workload(&mut log, &mut durable).is_ok();
                let end = log.log_end_offset().0;
                let offline = log.begin_sync().is_none() && append(&mut log, batch(1)).is_err();
                if !went_on && !offline {
                    assert_eq!(offsets(&log).len() as i64, log.log_end_offset().0, "{what}");
                }
                struck += u64::from(!went_on);
                drop(log);
                disk.fs.power_cut(passes);
                let (log, _) = disk.try_open(small(), UNCLEAN).unwrap();
                let found = offsets(&log);
                assert_eq!(found, (0..found.len() as i64).collect::<Vec<i64>>(), "{what}: a hole");
                assert!(found.len() as i64 >= durable, "{what}: {} of {durable}", found.len());
                assert!(found.len() as i64 <= end + 1, "{what}");
                if passes > disk_operations(operation) {
                    break;
                }
            }
            let optional = matches!(operation, Operation::Remove);
            assert!(struck > 0 || optional, "{operation:?} was never made to fail");
        }
    }
}

/// How often the workload does it.
fn disk_operations(operation: Operation) -> u64 {
    let disk = Disk::new();
    let mut log = disk.open(small());
    workload(&mut log, &mut 0).unwrap();
    disk.fs.count(operation)
}

#[test]
fn a_partition_that_cannot_be_opened_says_where_and_why() {
    let disk = Disk::new();
    closed_log(&disk, 60);
    disk.fs.kill_process();
    disk.fs.fail_once(Operation::SyncData, 0, FaultKind::Io);
    let error = disk.try_open(small(), UNCLEAN).unwrap_err();
    assert!(error.to_string().starts_with("/data/pageview-0"), "{error}");
    assert!(matches!(&error, LogError::Io { path, .. } if path == Path::new("/data/pageview-0")));
}
