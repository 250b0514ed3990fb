//! Fetch sessions: what is told again, what is forgotten, and which epochs are refused.

use super::*;

fn target(partition: i32, offset: i64) -> FetchTarget {
    FetchTarget {
        key: key(partition),
        fetch_offset: Offset(offset),
        bytes_max: 100,
        current_leader_epoch: LeaderEpoch::NONE,
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start: Offset::NONE,
        durable_end: Offset::NONE,
        is_named: true,
        known: None,
    }
}

fn key(partition: i32) -> FetchKey {
    FetchKey { topic: FetchTopicRef::Name("t".into()), partition: PartitionIndex(partition) }
}

fn quiet(high_watermark: i64) -> Answered {
    Answered {
        has_records: false,
        is_notable: false,
        is_settled: true,
        high_watermark: Offset(high_watermark),
        log_start_offset: Offset(0),
    }
}

fn records(high_watermark: i64) -> Answered {
    Answered { has_records: true, is_settled: false, ..quiet(high_watermark) }
}

fn failed() -> Answered {
    Answered { is_notable: true, is_settled: false, ..quiet(-1) }
}

fn open(cache: &FetchSessionCache, now: Instant) -> i32 {
    let context = cache.begin(0, 0, vec![target(0, 0), target(1, 0)], &[], false, now).unwrap();
    let (id, told) = context.finish(cache, &[quiet(5), quiet(5)], now);
    assert_eq!(told, [true, true]);
    id
}

#[test]
fn an_incremental_answer_tells_what_changed_alone() {
    let (cache, now) = (FetchSessionCache::new(10), Instant::now());
    let id = open(&cache, now);
    assert_ne!(id, 0);
    for (epoch, answers, expected) in [
        (1, [quiet(5), quiet(5)], [false, false]),
        (2, [quiet(6), quiet(5)], [true, false]),
        (3, [failed(), quiet(5)], [true, false]),
        (4, [failed(), quiet(5)], [true, false]),
        (5, [quiet(6), quiet(5)], [true, false]),
        (6, [quiet(6), quiet(5)], [false, false]),
    ] {
        let context = cache.begin(id, epoch, Vec::new(), &[], false, now).unwrap();
        assert_eq!(context.targets.len(), 2);
        assert_eq!(context.finish(&cache, &answers, now), (id, expected.to_vec()), "epoch {epoch}");
    }
}

#[test]
fn a_follower_that_cuts_its_log_is_told_the_high_watermark_once_more() {
    let (cache, now) = (FetchSessionCache::new(10), Instant::now());
    let has_parted = Answered { is_notable: true, is_settled: false, ..quiet(5) };
    let context = cache.begin(0, 0, vec![target(0, 7)], &[], false, now).unwrap();
    let (id, told) = context.finish(&cache, &[has_parted], now);
    assert_eq!(told, [true]);
    // With the cut done it asks from where the logs are the same.
    for (epoch, expected) in [(1, true), (2, false)] {
        let context = cache.begin(id, epoch, vec![target(0, 5)], &[], false, now).unwrap();
        assert_eq!(context.finish(&cache, &[quiet(5)], now), (id, vec![expected]), "epoch {epoch}");
    }
}

#[test]
fn a_partition_that_got_records_goes_to_the_end() {
    let (cache, now) = (FetchSessionCache::new(10), Instant::now());
    let id = open(&cache, now);
    let context = cache.begin(id, 1, Vec::new(), &[], false, now).unwrap();
    context.finish(&cache, &[records(6), quiet(5)], now);
    let context = cache.begin(id, 2, vec![target(0, 6)], &[], false, now).unwrap();
    // The one that the request does not name is the session's memory.
    assert_eq!(context.targets, [FetchTarget { is_named: false, ..target(1, 0) }, target(0, 6)]);
}

#[test]
fn partitions_come_change_and_go() {
    let (cache, now) = (FetchSessionCache::new(10), Instant::now());
    let id = open(&cache, now);
    let context = cache.begin(id, 1, vec![target(1, 9), target(2, 3)], &[key(0)], false, now).unwrap();
    assert_eq!(context.targets, [target(1, 9), target(2, 3)]);
    let context = cache.begin(id, 2, Vec::new(), &[key(1), key(2)], false, now).unwrap();
    assert!(context.targets.is_empty());
    assert!(cache.is_empty());
}

#[test]
fn who_is_out_of_step_starts_over() {
    let (cache, now) = (FetchSessionCache::new(10), Instant::now());
    let id = open(&cache, now);
    let refused = |id, epoch, ids| cache.begin(id, epoch, Vec::new(), &[], ids, now).unwrap_err();
    assert_eq!(refused(id, 2, false), ErrorCode::InvalidFetchSessionEpoch);
    assert_eq!(refused(id.wrapping_add(1), 1, false), ErrorCode::FetchSessionIdNotFound);
    assert_eq!(refused(id, 1, true), ErrorCode::FetchSessionTopicIdError);
    cache.begin(id, -1, Vec::new(), &[], false, now).unwrap();
    assert_eq!(refused(id, 1, false), ErrorCode::FetchSessionIdNotFound);
}

#[test]
fn a_full_cache_gives_no_session_until_one_has_been_idle_for_long() {
    let (cache, now) = (FetchSessionCache::new(2), Instant::now());
    let (first, second) = (open(&cache, now), open(&cache, now + Duration::from_secs(1)));
    assert_eq!(open(&cache, now + EVICTION_AGE), 0);
    assert_ne!(open(&cache, now + EVICTION_AGE + Duration::from_millis(1)), 0);
    assert_eq!(cache.len(), 2);
    assert!(cache.begin(first, 1, Vec::new(), &[], false, now).is_err());
    assert!(cache.begin(second, 1, Vec::new(), &[], false, now).is_ok());
}

#[test]
fn the_epoch_wraps_to_one() {
    assert_eq!(next_epoch(1), 2);
    assert_eq!(next_epoch(i32::MAX), 1);
}

#[test]
fn a_followers_session_goes_before_a_clients() {
    let (cache, now) = (FetchSessionCache::new(2), Instant::now());
    let clients = [open(&cache, now), open(&cache, now + Duration::from_secs(1))];
    let follower = |partition: i32, now: Instant| {
        let mut context = cache.begin(0, 0, vec![target(partition, 0)], &[], false, now).unwrap();
        context.note_follower();
        context.finish(&cache, &[quiet(0)], now).0
    };
    let first = follower(5, now + Duration::from_secs(2));
    assert_ne!(first, 0);
    let is_there = |id: i32| cache.begin(id, 1, Vec::new(), &[], false, now).is_ok();
    assert!(!is_there(clients[0]) && is_there(clients[1]) && is_there(first));
    let second = follower(6, now + Duration::from_secs(3));
    assert_ne!(second, 0);
    // All places are followers' now: neither a client nor another follower gets one before they are old.
    assert_eq!(
        (open(&cache, now + Duration::from_secs(4)), follower(7, now + Duration::from_secs(4))),
        (0, 0)
    );
    let late = now + Duration::from_secs(200);
    assert_eq!(open(&cache, late), 0);
    assert_ne!(follower(7, late), 0);
}

#[test]
fn clients_who_name_all_partitions_that_sessions_may_have_keep_no_follower_from_its_own() {
    let (cache, now) =
        (FetchSessionCache { partitions_max: 4, ..FetchSessionCache::new(10) }, Instant::now());
    let clients = [open(&cache, now), open(&cache, now + Duration::from_secs(1))];
    assert_eq!(open(&cache, now), 0, "there is no room for another client");
    let follower = |partitions: std::ops::Range<i32>| {
        let targets: Vec<_> = partitions.map(|partition| target(partition, 0)).collect();
        let answers = vec![quiet(0); targets.len()];
        let mut context = cache.begin(0, 0, targets, &[], false, now).unwrap();
        context.note_follower();
        context.finish(&cache, &answers, now).0
    };
    let is_there = |id: i32| cache.begin(id, 1, Vec::new(), &[], false, now).is_ok();
    assert_ne!(follower(5..6), 0);
    assert_eq!(clients.map(is_there), [false, true], "the oldest goes");
    assert_eq!(follower(6..10), 0, "followers leave each other alone");
    assert_ne!(follower(6..9), 0);
}

#[test]
fn a_session_that_asks_again_ends_the_wait_of_what_it_asked_before() {
    let (cache, now) = (FetchSessionCache::new(10), Instant::now());
    let id = open(&cache, now);
    let first = cache.begin(id, 1, Vec::new(), &[], false, now).unwrap();
    let waiter = Arc::new(FetchWaiter::new(1));
    assert!(first.park(&waiter));
    let second = cache.begin(id, 2, vec![target(7, 0)], &[], false, now).unwrap();
    assert!(!first.park(&waiter), "nor does it begin to wait after that");
    assert!(second.park(&Arc::new(FetchWaiter::new(1))));
    assert_eq!((first.targets.len(), second.targets.len()), (2, 3));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (end, waited) = runtime.block_on(async {
        let start = tokio::time::Instant::now();
        (waiter.wait(start + Duration::from_secs(3600)).await, start.elapsed())
    });
    assert_eq!(waited, Duration::ZERO, "not at its deadline");
    assert_eq!(end, crate::purgatory::WaitEnd::Over);
}

#[test]
fn a_followers_session_looks_at_what_it_names_at_what_changed_and_at_what_it_did_not_get() {
    let (cache, now) = (FetchSessionCache::new(10), Instant::now());
    let id_of = |partition: i32| TopicIdPartition {
        topic_id: TopicId::from_bytes([1; 16]),
        partition: PartitionIndex(partition),
    };
    let of = |partition: i32| {
        let id = id_of(partition);
        FetchTarget {
            key: FetchKey { topic: FetchTopicRef::Id(id.topic_id), partition: id.partition },
            ..target(partition, 0)
        }
    };
    let mut context = cache.begin(0, 0, (0..5).map(of).collect(), &[], true, now).unwrap();
    context.note_follower();
    let (id, _) = context.finish(&cache, &[quiet(0); 5], now);
    let mut epoch = 0;
    let mut looked_at = |named: &[i32], may_join: bool, answers: &dyn Fn(i32) -> Answered| {
        epoch += 1;
        let named = named.iter().copied().map(of).collect();
        let context = cache.begin_for(id, epoch, named, &[], true, may_join, now).unwrap();
        let watch = Arc::clone(context.watch().unwrap());
        let mut found: Vec<i32> = context.targets.iter().map(|target| target.key.partition.0).collect();
        let answers: Vec<Answered> = found.iter().map(|partition| answers(*partition)).collect();
        context.finish(&cache, &answers, now);
        found.sort_unstable();
        (found, watch)
    };
    let settled = |_: i32| quiet(0);
    // Nobody has told of changes before the first look, so that one is at all.
    let (found, watch) = looked_at(&[], false, &settled);
    assert_eq!(found, [0, 1, 2, 3, 4]);
    assert!(looked_at(&[], false, &settled).0.is_empty());
    watch.mark(id_of(3), Change::News);
    watch.mark(id_of(9), Change::Records);
    let got = |partition: i32| if partition == 3 { records(1) } else { quiet(0) };
    assert_eq!(looked_at(&[1], false, &got).0, [1, 3]);
    // It got records, and may not have taken them.
    assert_eq!(looked_at(&[], false, &settled).0, [3]);
    assert!(looked_at(&[], false, &settled).0.is_empty());
    assert_eq!(looked_at(&[], true, &settled).0, [0, 1, 2, 3, 4], "let into ISRs");
    assert!(looked_at(&[], true, &settled).0.is_empty());
}
