//! Who makes durable what it appended on its own thread: a connection that is alone in its turn, a fetcher with an answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::sync::{Syncer, Turns, plug_syncs, sync_held, sync_held_by_follower};

struct Synced {
    f: Fixture,
    _syncer: Syncer,
    has_failed: Arc<AtomicBool>,
}

impl Synced {
    /// With threads that have synced, so that the disk is known to be quick, and the names of three partitions are durable.
    fn new() -> Self {
        let mut f = Fixture::new();
        f.create();
        let has_failed = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&has_failed);
        let failed = Arc::new(move |_: &LogDir| told.store(true, Ordering::Release));
        let syncer = Syncer::start(f.partition(0).dir(), failed).unwrap();
        let synced = Self { f, _syncer: syncer, has_failed };
        for partition in 0..3 {
            synced.f.append_only(partition);
            synced.wait_for(partition, 1);
        }
        synced
    }

    fn durable_end(&self, partition: i32) -> i64 {
        self.f.partition(partition).lock().log.as_ref().unwrap().durable_end_offset().0
    }

    /// Until the directory's threads have made so much durable.
    fn wait_for(&self, partition: i32, end: i64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.durable_end(partition) < end {
            assert!(Instant::now() < deadline, "nobody syncs");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_of_one_that_is_alone_is_durable_when_its_round_returns() {
    let synced = Synced::new();
    let plug = plug_syncs();
    synced.f.append_only(0);
    synced.f.append_only(0);
    sync_held(&Turns::default(), Duration::ZERO);
    assert_eq!(synced.durable_end(0), 3);
    synced.f.append_only(0);
    sync_held(&Turns::default(), Duration::ZERO);
    assert_eq!(synced.durable_end(0), 4, "and so is the next one");
    drop(plug);
    assert_eq!(synced.f.queued(0), 0);
    synced.f.append_only(0);
    synced.wait_for(0, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_without_a_journal_are_shared_with_the_threads() {
    let synced = Synced::new();
    let plug = plug_syncs();
    (0..3).for_each(|partition| synced.f.append_only(partition));
    sync_held(&Turns::default(), Duration::ZERO);
    (0..3).for_each(|partition| synced.wait_for(partition, 2));
    drop(plug);
    assert_eq!(synced.f.queued(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_round_may_not_take_is_left_to_the_threads() {
    let mut f = Fixture::new();
    f.create();
    let plug = plug_syncs();
    f.append_only(0);
    sync_held(&Turns::default(), Duration::ZERO);
    drop(plug);
    assert_eq!(f.queued(0), 1, "nobody has started threads, and nothing is known of the disk");
    let synced = Synced::new();
    let dir = synced.f.partition(0).dir();
    let plug = plug_syncs();
    synced.f.append_only(0);
    assert!(!sync_held(&Turns::default(), Duration::from_secs(1)), "what takes so long is better shared");
    assert_eq!(synced.durable_end(0), 1);
    assert!(dir.sync.begin_inline(), "somebody else has a round");
    sync_held(&Turns::default(), Duration::ZERO);
    assert_eq!(synced.durable_end(0), 1);
    drop(plug);
    dir.sync.end_round(false);
    synced.wait_for(0, 2);
}

#[test]
fn a_fetcher_syncs_what_it_took_in_where_that_is_better() {
    let synced = Synced::new();
    let plug = plug_syncs();
    synced.f.append_only(0);
    sync_held_by_follower(|sync| {
        assert!(sync > Duration::ZERO, "a sync of this disk took some time");
        false
    });
    assert_eq!(synced.durable_end(0), 1);
    sync_held_by_follower(|_| true);
    assert_eq!(synced.durable_end(0), 2, "what was left before");
    drop(plug);
    assert_eq!(synced.f.queued(0), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_fails_in_such_a_round_takes_the_directory_offline() {
    let synced = Synced::new();
    let partition = synced.f.partition(0);
    let plug = plug_syncs();
    synced.f.append_only(0);
    synced.f.disk.fail_once(Operation::SyncData, 0, FaultKind::Io);
    sync_held(&Turns::default(), Duration::ZERO);
    drop(plug);
    assert!(synced.has_failed.load(Ordering::Acquire));
    assert!(!partition.is_dir_online());
    assert_eq!(partition.lock().log.as_ref().unwrap().durable_end_offset(), Offset(1));
}
