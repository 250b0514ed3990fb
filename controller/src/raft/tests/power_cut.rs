//! The power is cut at every write and every sync; what was promised is there afterwards.

use std::sync::Arc;

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::vote::{RaftLeaderId, RaftVote};

use super::super::kv::fault::FaultKv;
use super::super::log_store::LogStore;
use super::super::types::{TypeConfig, Vote, log_id};
use super::entry;

/// What the log has promised: everything here was acknowledged.
#[derive(Default)]
struct Promised {
    vote: Option<Vote>,
    /// `(term, index)` of the acknowledged entries, oldest first.
    entries: Vec<(u64, u64)>,
    /// Entries that were proposed but not acknowledged may be there or not.
    proposed: Vec<(u64, u64)>,
    purged: u64,
}

fn vote(term: u64, node: u64, committed: bool) -> Vote {
    Vote::from_leader_id(RaftLeaderId::new(term, node), committed)
}

async fn append(
    log: &mut LogStore,
    promised: &mut Promised,
    term: u64,
    indexes: std::ops::Range<u64>,
) -> bool {
    let (sender, receiver) = TypeConfig::oneshot();
    promised.proposed = indexes.clone().map(|index| (term, index)).collect();
    let entries: Vec<_> = indexes.clone().map(|index| entry(term, index, 100)).collect();
    if log.append(entries, IOFlushed::signal(sender)).await.is_err() {
        return false;
    }
    // What was appended is readable at once, before it is durable.
    let read = log.get_log_reader().await.try_get_log_entries(indexes.clone()).await.unwrap();
    assert_eq!(read.len() as u64, indexes.end - indexes.start);
    if !matches!(receiver.await, Ok(Ok(()))) {
        return false;
    }
    promised.entries.append(&mut promised.proposed);
    true
}

/// A life of a log: elections, entries, a follower's truncation, a purge. Ends where the power does.
async fn live(log: &mut LogStore, promised: &mut Promised) -> Option<()> {
    macro_rules! save_vote {
        ($vote:expr) => {
            log.save_vote(&$vote).await.ok()?;
            promised.vote = Some($vote);
        };
    }
    append(log, promised, 0, 0..1).await.then_some(())?;
    save_vote!(vote(1, 1, false));
    save_vote!(vote(1, 1, true));
    append(log, promised, 1, 1..3).await.then_some(())?;
    append(log, promised, 1, 3..6).await.then_some(())?;
    log.save_committed(Some(log_id(1, 3))).await.ok()?;
    save_vote!(vote(2, 7, false));
    // Another leader overwrites what was not committed. From here on the entries may be gone.
    promised.entries.truncate(4);
    promised.proposed = vec![(1, 4), (1, 5)];
    log.truncate_after(Some(log_id(1, 3))).await.ok()?;
    append(log, promised, 2, 4..8).await.then_some(())?;
    promised.purged = 3;
    log.purge(log_id(1, 2)).await.ok()?;
    save_vote!(vote(3, 1, false));
    append(log, promised, 3, 8..10).await.then_some(())?;
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_entries_and_votes_survive_a_power_cut_at_every_step() {
    let whole = Arc::new(FaultKv::default());
    let mut log = LogStore::open(whole.clone()).unwrap();
    assert!(live(&mut log, &mut Promised::default()).await.is_some(), "without a cut the life is whole");
    drop(log);
    let mut restarts = 0;
    for cut in 0..whole.steps() {
        let store = Arc::new(FaultKv::cut_power_at(cut));
        let mut promised = Promised::default();
        let mut log = LogStore::open(store.clone()).unwrap();
        assert!(live(&mut log, &mut promised).await.is_none(), "the power was not cut at {cut}");
        drop(log);
        for survivors in 0..=store.unsynced_count() {
            check(&store.after_power_cut(survivors), &promised, cut, survivors).await;
            restarts += 1;
        }
    }
    println!("power cut {restarts} times: the Raft log");
    assert!(restarts > whole.steps(), "{restarts}");
}

async fn check(store: &FaultKv, promised: &Promised, cut: u64, survivors: usize) {
    let at = format!("cut at step {cut}, {survivors} unsynced writes survived");
    let mut log = LogStore::open(Arc::new(store.after_power_cut(0))).unwrap();
    let mut reader = log.get_log_reader().await;
    let state = log.get_log_state().await.unwrap();
    let first = state.last_purged_log_id.map_or(0, |id| id.index + 1);
    assert!(first <= promised.purged, "{at}");
    let found: Vec<(u64, u64)> = reader
        .try_get_log_entries(first..)
        .await
        .unwrap()
        .iter()
        .map(|entry| (entry.log_id.leader_id.term, entry.log_id.index))
        .collect();
    let expected: Vec<_> = promised.entries.iter().copied().filter(|(_, index)| *index >= first).collect();
    assert_eq!(found[..expected.len().min(found.len())], expected, "{at}");
    let more = &found[expected.len()..];
    assert!(promised.proposed.starts_with(more), "{at}: {more:?} was never proposed");
    assert_eq!(state.last_log_id.map(|id| id.index), found.last().map(|(_, index)| *index), "{at}");

    let found = reader.read_vote().await.unwrap();
    if let Some(promised) = promised.vote {
        let found = found.unwrap_or_else(|| panic!("{at}: the vote is lost"));
        // That the vote won may be forgotten, whom it was for may not.
        assert!(found.leader_id >= promised.leader_id, "{at}: {found} after {promised}");
    }
    let committed = log.read_committed().await.unwrap();
    assert!(committed <= state.last_log_id, "{at}");
}
