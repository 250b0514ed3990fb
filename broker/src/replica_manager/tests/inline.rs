//! Rounds of syncs that the appending thread runs itself, instead of the directory's threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::log_dirs::LogDir;
use crate::sync::{SyncPlug, Syncer};

struct Syncing {
    f: Fixture,
    dir: Arc<LogDir>,
    failures: Arc<AtomicUsize>,
    _syncer: Syncer,
    _runtime: tokio::runtime::Runtime,
}

impl Syncing {
    /// With a journal, and threads that have had a look at the disk.
    fn on_workers(workers: usize) -> Self {
        let mut f = Fixture::new();
        f.create();
        let dir = f.partition(0).dir();
        dir.log.journal().unwrap().enable(1 << 20, 1000);
        // The machine that tests may stand still for longer than a disk of a connection's may.
        dir.sync.take_for_quick();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).build().unwrap();
        let failures = Arc::new(AtomicUsize::new(0));
        let syncer = {
            let (_inside, failures) = (runtime.enter(), Arc::clone(&failures));
            let failed = move |_: &LogDir| {
                failures.fetch_add(1, Ordering::SeqCst);
            };
            Syncer::start(Arc::clone(&dir), Arc::new(failed)).unwrap()
        };
        let syncing = Self { f, dir, failures, _syncer: syncer, _runtime: runtime };
        // The first sync makes names durable, which is not the journal's; the second tells what that takes.
        for _ in 0..2 {
            syncing.f.append_only(0);
            syncing.f.append_only(1);
            syncing.until(|syncing| {
                [0, 1].iter().all(|partition| syncing.is_durable(*partition)) && syncing.dir.sync.is_idle()
            });
        }
        syncing
    }

    fn is_durable(&self, partition: i32) -> bool {
        let partition = self.f.partition(partition);
        let end = partition.lock().log.as_ref().unwrap().log_end_offset();
        partition.high_watermark() == end
    }

    fn until(&self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !condition(self) {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_turn_whose_producer_waits_for_nothing_else_is_durable_when_it_ends() {
    let syncing = Syncing::on_workers(2);
    for turn in 0..20 {
        let plug = SyncPlug::new();
        syncing.f.append_only(0);
        syncing.f.append_only(1);
        syncing.f.append_only(0);
        assert!(!syncing.is_durable(0));
        let syncs = syncing.f.disk.count(Operation::SyncData);
        drop(plug);
        assert!(syncing.is_durable(0) && syncing.is_durable(1), "turn {turn}");
        assert_eq!(syncing.f.disk.count(Operation::SyncData), syncs + 1, "by one sync of the journal");
    }
    assert_eq!(syncing.dir.sync.inline_rounds(), 20);
}

#[test]
fn nobody_runs_a_round_on_the_only_worker_there_is() {
    let syncing = Syncing::on_workers(1);
    let plug = SyncPlug::new();
    syncing.f.append_only(0);
    drop(plug);
    syncing.until(|syncing| syncing.is_durable(0));
    assert_eq!(syncing.dir.sync.inline_rounds(), 0);
}

#[test]
fn what_nobody_waits_for_is_left_to_the_threads() {
    let syncing = Syncing::on_workers(2);
    let partition = syncing.f.partition(0);
    assert!(!partition.waits_for_sync_alone());
    let plug = SyncPlug::new();
    syncing.f.append_only(0);
    assert!(partition.waits_for_sync_alone());
    // As one whose producer did not ask to wait.
    partition.lock().produces.clear();
    drop(plug);
    syncing.until(|syncing| syncing.is_durable(0));
    assert_eq!(syncing.dir.sync.inline_rounds(), 0);
}

#[test]
fn a_sync_that_fails_on_the_connections_thread_takes_the_directory_offline_as_any_other() {
    let syncing = Syncing::on_workers(2);
    let partition = syncing.f.partition(0);
    let committed = partition.high_watermark();
    let plug = SyncPlug::new();
    syncing.f.append_only(0);
    syncing.f.disk.fail_once(Operation::SyncData, 0, FaultKind::Io);
    drop(plug);
    assert!(!syncing.dir.is_online());
    assert_eq!(syncing.failures.load(Ordering::SeqCst), 1, "and the broker hears of it");
    assert_eq!(partition.high_watermark(), committed, "and nobody reads what may not be there");
}
