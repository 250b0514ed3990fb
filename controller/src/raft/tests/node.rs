//! A whole node, on a real disk.

use std::path::Path;
use std::sync::Arc;

use moldau_metadata::{MetadataBatch, encode_batch, records};
use moldau_model::{BrokerId, Offset, Uuid};

use super::super::{ENTRY_BYTES_MAX, ProposeError, RaftNode, RaftNodeOptions};
use crate::applied::Applied;
use crate::{RaftOptions, StartError};

fn options(path: &Path) -> RaftNodeOptions {
    RaftNodeOptions {
        node_id: BrokerId(1),
        cluster_id: "a-cluster".to_owned(),
        metadata_log_dir: path.to_owned(),
        directory_id: Uuid::ONE,
        voters: [(1, String::new())].into(),
        address: String::new(),
        servers: Vec::new(),
        auto_join: false,
        secret: None,
        dialer: std::sync::Arc::new(moldau_security::link::Dialer::plain()),
        raft: RaftOptions { entries_kept_after_snapshot: 2, ..RaftOptions::default() },
    }
}

fn producer_ids(next: i64, padding: usize) -> bytes::Bytes {
    let mut records =
        vec![records::ProducerIds { broker_id: 1, broker_epoch: 1, next_producer_id: next }.into()];
    if padding > 0 {
        let value = Some("x".repeat(padding));
        let (resource_name, key) = ("t".to_owned(), "cleanup.policy".to_owned());
        records.push(records::Config { resource_type: 4, resource_name, key, value }.into());
    }
    encode_batch(&MetadataBatch::from(records))
}

async fn start(path: &Path) -> (RaftNode, Arc<Applied>) {
    let applied = Arc::new(Applied::default());
    let node = RaftNode::start(options(path), applied.clone()).await.unwrap();
    (node, applied)
}

async fn write(node: &RaftNode, next: i64, padding: usize) -> Offset {
    let term = node.quorum_state().epoch.0 as u64;
    node.propose(term, producer_ids(next, padding)).await.unwrap().applied().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_applied_is_there_after_every_restart_in_a_later_term() {
    let directory = tempfile::tempdir().unwrap();
    let mut last_term = 0;
    for round in 1..=4 {
        let (node, applied) = start(directory.path()).await;
        assert_eq!(applied.image().next_producer_id().0, (round - 1) * 1000);
        let leadership = node.leadership().expect("a lone voter leads once it has started");
        assert!(leadership.term > last_term);
        last_term = leadership.term;
        let offset = write(&node, round * 1000, 0).await;
        assert_eq!(offset, leadership.next_offset);
        assert_eq!(applied.image().next_producer_id().0, round * 1000);
        let state = node.quorum_state();
        assert_eq!((state.leader, state.voters.len()), (Some(BrokerId(1)), 1));
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_replaces_the_log_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = start(directory.path()).await;
    for round in 1..=20 {
        write(&node, round * 1000, if round == 10 { 5 << 20 } else { 10 }).await;
    }
    node.snapshot().await;
    let snapshots = || {
        std::fs::read_dir(directory.path().join("__cluster_metadata"))
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".snapshot"))
            .count()
    };
    wait_until(|| snapshots() == 1).await;
    for round in 21..=23 {
        write(&node, round * 1000, 0).await;
        node.snapshot().await;
        wait_until(|| snapshots() == 2).await;
    }
    node.shutdown().await;

    let (node, applied) = start(directory.path()).await;
    assert_eq!(applied.image().next_producer_id().0, 23_000);
    assert!(matches!(applied.snapshot(), Some(moldau_cluster::MetadataEvent::Snapshot { .. })));
    write(&node, 24_000, 0).await;
    node.shutdown().await;
}

async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..5000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("it did not come true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_entries_are_taken_and_larger_ones_refused_unproposed() {
    let directory = tempfile::tempdir().unwrap();
    let (node, applied) = start(directory.path()).await;
    write(&node, 1000, ENTRY_BYTES_MAX - 200).await;
    let error = node.propose(1, vec![0; ENTRY_BYTES_MAX + 1].into()).await.err().unwrap();
    assert!(matches!(error, ProposeError::TooLarge { .. }));
    write(&node, 2000, 0).await;
    assert_eq!(applied.image().next_producer_id().0, 2000);
    node.shutdown().await;
    let (node, applied) = start(directory.path()).await;
    assert_eq!(applied.image().next_producer_id().0, 2000);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_of_an_earlier_term_fails() {
    let directory = tempfile::tempdir().unwrap();
    let (node, applied) = start(directory.path()).await;
    let term = node.leadership().unwrap().term;
    let outcome = node.propose(term - 1, producer_ids(1000, 0)).await.unwrap().applied().await;
    assert!(matches!(outcome, Err(ProposeError::NotLeader(_))), "{outcome:?}");
    assert_eq!(applied.image().next_producer_id().0, 0);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metadata_log_has_one_owner() {
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = start(directory.path()).await;
    let second = RaftNode::start(options(directory.path()), Arc::default()).await.err().unwrap();
    assert!(matches!(second, StartError::Locked { .. }), "{second}");
    node.shutdown().await;
    for (change, what) in [
        (
            (|options: &mut RaftNodeOptions| options.node_id = BrokerId(2)) as fn(&mut RaftNodeOptions),
            "node.id",
        ),
        (|options| options.cluster_id = "another".to_owned(), "cluster.id"),
        (|options| options.directory_id = Uuid::ZERO, "directory.id"),
    ] {
        let mut options = options(directory.path());
        change(&mut options);
        let error = RaftNode::start(options, Arc::default()).await.err().unwrap();
        assert!(error.to_string().contains(what), "{error}");
    }
    let (node, _) = start(directory.path()).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_is_whole_or_refused_with_a_clear_line() {
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = start(directory.path()).await;
    for round in 1..=30 {
        write(&node, round * 1000, 30_000).await;
    }
    node.shutdown().await;
    let length = std::fs::metadata(directory.path().join(PAGES)).unwrap().len() as usize;
    let mut refused = 0;
    let places = std::iter::once(None).chain((0..length).step_by(length / 40).map(Some));
    for place in places {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(directory.path(), copy.path());
        if let Some(at) = place {
            let mut bytes = std::fs::read(copy.path().join(PAGES)).unwrap();
            bytes[at..length.min(at + 64)].iter_mut().for_each(|byte| *byte ^= 0x5a);
            std::fs::write(copy.path().join(PAGES), bytes).unwrap();
        }
        let applied = Arc::new(Applied::default());
        match RaftNode::start(options(copy.path()), applied.clone()).await {
            Ok(node) => {
                assert_eq!(applied.image().next_producer_id().0, 30_000, "damaged at {place:?}");
                node.shutdown().await;
            }
            Err(error @ StartError::Damaged { .. }) => {
                assert!(place.is_some(), "{error}");
                assert!(!error.to_string().contains('\n'), "{error}");
                refused += 1;
            }
            Err(error) => panic!("{place:?}: {error}"),
        }
    }
    assert!(refused > 5, "{refused}");
}

const PAGES: &str = "__cluster_metadata/log/db";

fn copy_directory(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
