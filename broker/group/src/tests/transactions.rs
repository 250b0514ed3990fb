//! Offsets in transactions: what is seen of them, when, and by whom they may be committed.

use moldau_model::{ErrorCode, Offset, PartitionIndex, ProducerEpoch, ProducerId};

use super::harness::{Harness, TOPIC, commit, fetch, join, sync};
use crate::*;

const PRODUCER: ProducerId = ProducerId(7);

pub(super) fn in_transaction(producer_id: ProducerId, commit: OffsetCommitRequest) -> TxnOffsetCommitRequest {
    let transaction = InTransaction {
        producer_id,
        producer_epoch: ProducerEpoch(0),
        needs_verification: false,
        verification: None,
    };
    TxnOffsetCommitRequest { transaction, commit }
}

pub(super) fn marker(producer_id: ProducerId, is_commit: bool) -> EndTransactionRequest {
    let producer_epoch = ProducerEpoch(0);
    EndTransactionRequest {
        producer_id,
        producer_epoch,
        coordinator_epoch: 0,
        is_commit,
        transaction_version: 1,
    }
}

impl Harness {
    /// A commit from outside of the group, as old producers make it.
    fn send_in_transaction(
        &mut self,
        producer_id: ProducerId,
        group_id: &str,
        committed: i64,
    ) -> RequestToken {
        let request = in_transaction(producer_id, commit(group_id, "", -1, committed));
        self.send(Request::TxnOffsetCommit(request))
    }

    fn commit_in_transaction(
        &mut self,
        producer_id: ProducerId,
        group_id: &str,
        committed: i64,
    ) -> ErrorCode {
        let token = self.send_in_transaction(producer_id, group_id, committed);
        self.committed(token)
    }

    fn end(&mut self, producer_id: ProducerId, is_commit: bool) -> ErrorCode {
        match self.call(Request::EndTransaction(marker(producer_id, is_commit))) {
            Response::EndTransaction(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// What a reader of stable offsets is told.
    fn stable_offset(&mut self, group_id: &str) -> Result<i64, ErrorCode> {
        let response = self.fetch(OffsetFetchRequest { require_stable: true, ..fetch(group_id) });
        let partition = &response.topics[0].partitions[0];
        match partition.error {
            ErrorCode::None => Ok(partition.committed_offset.0),
            error => {
                assert_eq!(partition.committed_offset, Offset::NONE);
                Err(error)
            }
        }
    }
}

#[test]
fn offsets_of_a_transaction_are_seen_when_it_is_committed_and_never_when_it_is_aborted() {
    for is_commit in [true, false] {
        // Another coordinator may take over after any step.
        for fails_over_after in 0..4 {
            let mut h = Harness::new();
            let mut step = 0;
            let mut done = |h: &mut Harness| {
                step += 1;
                if step == fails_over_after {
                    h.fail_over();
                }
            };
            assert_eq!(h.commit(commit("g", "", -1, 10)), ErrorCode::None);
            done(&mut h);
            assert_eq!(h.commit_in_transaction(PRODUCER, "g", 20), ErrorCode::None);
            done(&mut h);
            assert_eq!(
                h.offset("g"),
                10,
                "who does not ask for stable offsets sees the last one that counts"
            );
            assert_eq!(h.stable_offset("g"), Err(ErrorCode::UnstableOffsetCommit));
            assert_eq!(h.end(PRODUCER, is_commit), ErrorCode::None);
            done(&mut h);
            let expected = if is_commit { 20 } else { 10 };
            assert_eq!((h.offset("g"), h.stable_offset("g")), (expected, Ok(expected)));
        }
    }
}

/// Its successor lets transactions go on: what was committed here last may be long repeated.
#[test]
fn a_coordinator_that_may_be_replaced_tells_no_offset_that_a_transaction_has_committed() {
    let doubtful = |group_id: &str| OffsetFetchRequest {
        require_stable: true,
        may_be_replaced: true,
        ..fetch(group_id)
    };
    for fails_over in [false, true] {
        let mut h = Harness::new();
        assert_eq!(h.commit(commit("plain", "", -1, 10)), ErrorCode::None);
        assert_eq!(h.commit_in_transaction(PRODUCER, "g", 20), ErrorCode::None);
        assert_eq!(h.end(PRODUCER, true), ErrorCode::None);
        if fails_over {
            h.fail_over();
        }
        for topics in [fetch("g").topics, None] {
            let response = h.fetch(OffsetFetchRequest { topics, ..doubtful("g") });
            let partition = &response.topics[0].partitions[0];
            assert_eq!(partition.error, ErrorCode::UnstableOffsetCommit);
            assert_eq!(partition.committed_offset, Offset::NONE);
        }
        // Who did not ask for stable offsets, and groups that commit in no transactions, go on.
        let response = h.fetch(OffsetFetchRequest { require_stable: false, ..doubtful("g") });
        assert_eq!(response.topics[0].partitions[0].committed_offset, Offset(20));
        let response = h.fetch(doubtful("plain"));
        assert_eq!(response.topics[0].partitions[0].committed_offset, Offset(10));
        assert_eq!(h.stable_offset("g"), Ok(20));
        // Of a group that is not known here the first transactions may be at the successor.
        let response = h.fetch(doubtful("unknown"));
        assert_eq!(response.topics[0].partitions[0].error, ErrorCode::UnstableOffsetCommit);
        let response = h.fetch(OffsetFetchRequest { topics: None, ..doubtful("unknown") });
        assert_eq!((response.error, response.topics), (ErrorCode::CoordinatorLoadInProgress, Vec::new()));
    }
}

#[test]
fn a_group_that_has_nothing_but_offsets_in_a_transaction_is_there_also_after_a_load() {
    let mut h = Harness::new();
    assert_eq!(h.commit_in_transaction(PRODUCER, "g", 1), ErrorCode::None);
    assert_eq!((h.shard.group_count(), h.offset("g")), (1, -1));
    h.fail_over();
    assert_eq!(h.shard.group_count(), 1);
    assert_eq!(h.end(PRODUCER, true), ErrorCode::None);
    assert_eq!(h.offset("g"), 1);
}

#[test]
fn a_marker_ends_one_producers_transaction_and_not_its_next_one() {
    let mut h = Harness::new();
    let other = ProducerId(8);
    assert_eq!(h.commit_in_transaction(PRODUCER, "g", 1), ErrorCode::None);
    assert_eq!(h.commit_in_transaction(other, "h", 2), ErrorCode::None);
    assert_eq!(h.end(PRODUCER, false), ErrorCode::None);
    assert_eq!(h.commit_in_transaction(PRODUCER, "g", 3), ErrorCode::None);
    assert_eq!((h.offset("g"), h.offset("h")), (-1, -1));
    assert_eq!(h.end(other, true), ErrorCode::None);
    assert_eq!((h.offset("g"), h.offset("h")), (-1, 2));
    assert_eq!(h.end(PRODUCER, true), ErrorCode::None);
    assert_eq!((h.offset("g"), h.offset("h")), (3, 2));
    assert_eq!(h.end(PRODUCER, true), ErrorCode::None, "a marker may come again");
    assert_eq!(h.offset("g"), 3);
}

#[test]
fn a_later_commit_outside_of_the_transaction_stays() {
    for fails_over in [false, true] {
        let mut h = Harness::new();
        assert_eq!(h.commit_in_transaction(PRODUCER, "g", 1), ErrorCode::None);
        assert_eq!(h.commit(commit("g", "", -1, 2)), ErrorCode::None);
        if fails_over {
            h.fail_over();
        }
        assert_eq!(h.end(PRODUCER, true), ErrorCode::None);
        assert_eq!(h.offset("g"), 2, "the log's order decides");
    }
}

/// What is written, in this order, in the test below.
#[derive(Clone, Copy, Debug)]
enum Step {
    Plain(i64),
    InTransaction(i64),
    End(bool),
    Delete,
}

#[test]
fn whatever_order_outcomes_come_in_the_logs_order_decides() {
    use Step::*;
    let scripts: [(&[Step], i64); 8] = [
        (&[InTransaction(1), End(true), InTransaction(2)], 1),
        (&[InTransaction(1), End(false), InTransaction(2), End(true)], 2),
        (&[Plain(1), InTransaction(2), End(true), Plain(3)], 3),
        (&[InTransaction(1), Plain(2), End(true)], 2),
        (&[InTransaction(1), Delete, End(true)], -1),
        (&[InTransaction(1), End(true), Delete], -1),
        (&[Plain(1), Delete, InTransaction(2), End(true)], 2),
        (&[InTransaction(1), InTransaction(2), End(true), End(false)], 2),
    ];
    for (script, expected) in scripts {
        for order in permutations(script.len()) {
            let mut h = Harness::new();
            // Something is there, so that a deletion has what to delete, and the group stays.
            assert_eq!(h.commit(commit("g", "", -1, 0)), ErrorCode::None);
            h.auto_commit = false;
            let mut tokens = Vec::new();
            for step in script {
                tokens.push(match step {
                    Plain(offset) => h.send(Request::OffsetCommit(commit("g", "", -1, *offset))),
                    InTransaction(offset) => h.send_in_transaction(PRODUCER, "g", *offset),
                    End(is_commit) => h.send(Request::EndTransaction(marker(PRODUCER, *is_commit))),
                    Delete => h.send(Request::OffsetDelete(OffsetDeleteRequest {
                        group_id: "g".into(),
                        topics: vec![OffsetDeleteTopic {
                            name: TOPIC.into(),
                            partitions: vec![PartitionIndex(0)],
                        }],
                    })),
                });
            }
            let appends: Vec<AppendId> = h.pending.keys().copied().collect();
            for at in &order {
                h.settle(appends[*at], Ok(()));
            }
            assert_eq!(h.unanswered(), 0, "{script:?} {order:?}");
            assert_eq!(h.offset("g"), expected, "{script:?} {order:?}");
            h.auto_commit = true;
            h.fail_over();
            assert_eq!(h.offset("g"), expected, "{script:?} {order:?}, after a load");
        }
    }
}

fn permutations(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(count - 1);
    let inserted = shorter.iter().flat_map(|order| {
        (0..=order.len()).map(|at| {
            let mut order = order.clone();
            order.insert(at, count - 1);
            order
        })
    });
    inserted.collect()
}

#[test]
fn a_fetch_of_stable_offsets_waits_for_a_marker_on_its_way() {
    let mut h = Harness::new();
    assert_eq!(h.commit_in_transaction(PRODUCER, "g", 5), ErrorCode::None);
    h.auto_commit = false;
    let end = h.send(Request::EndTransaction(marker(PRODUCER, true)));
    let waiting = h.send(Request::OffsetFetch(OffsetFetchRequest { require_stable: true, ..fetch("g") }));
    assert!(h.is_parked(end) && h.is_parked(waiting));
    h.commit_all();
    assert_eq!(h.fetched(waiting).topics[0].partitions[0].committed_offset, Offset(5));
}

#[test]
fn what_the_log_refuses_is_told_and_changes_nothing() {
    let mut h = Harness::new();
    assert_eq!(h.commit_in_transaction(PRODUCER, "g", 1), ErrorCode::None);
    h.auto_commit = false;
    for (said, told) in [
        (ErrorCode::InvalidProducerEpoch, ErrorCode::InvalidProducerEpoch),
        (ErrorCode::TransactionCoordinatorFenced, ErrorCode::TransactionCoordinatorFenced),
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::NotLeaderOrFollower, ErrorCode::NotCoordinator),
    ] {
        let commit = h.send_in_transaction(PRODUCER, "g", 2);
        let end = h.send(Request::EndTransaction(marker(PRODUCER, true)));
        h.fail_all(said);
        assert_eq!(h.committed(commit), told);
        assert_eq!(h.answer(end), Response::EndTransaction(told));
        assert_eq!(h.offset("g"), -1, "the transaction is open still");
    }
    h.auto_commit = true;
    assert_eq!(h.end(PRODUCER, true), ErrorCode::None);
    assert_eq!(h.offset("g"), 1);
}

#[test]
fn a_group_whose_first_commit_in_a_transaction_failed_never_was() {
    let mut h = Harness::new();
    h.auto_commit = false;
    let token = h.send_in_transaction(PRODUCER, "g", 1);
    h.fail_all(ErrorCode::InvalidTxnState);
    assert_eq!(h.committed(token), ErrorCode::InvalidTxnState);
    assert_eq!(h.shard.group_count(), 0);
}

#[test]
fn a_producer_may_commit_for_members_of_this_generation_and_old_ones_for_anybody() {
    let mut h = Harness::new();
    let (ids, generation_id) = h.stable_group("g", 1);
    let member = ids[0].as_str();
    let with_instance = OffsetCommitRequest {
        group_instance_id: Some("nobody".into()),
        ..commit("g", member, generation_id, 1)
    };
    let cases = [
        (commit("g", member, generation_id, 1), ErrorCode::None),
        (commit("g", "", -1, 1), ErrorCode::None),
        (commit("g", "nobody", generation_id, 1), ErrorCode::UnknownMemberId),
        (commit("g", member, generation_id - 1, 1), ErrorCode::IllegalGeneration),
        (commit("g", member, -1, 1), ErrorCode::IllegalGeneration),
        (commit("unknown", "m", 3, 1), ErrorCode::IllegalGeneration),
        (with_instance, ErrorCode::UnknownMemberId),
        (commit("", "", -1, 1), ErrorCode::InvalidGroupId),
    ];
    for (request, error) in cases {
        let about = format!("{} {:?} {:?}", request.group_id, request.member_id, request.generation_id);
        let token = h.send(Request::TxnOffsetCommit(in_transaction(PRODUCER, request)));
        assert_eq!(h.committed(token), error, "{about}");
    }
}

#[test]
fn a_rebalance_does_not_stop_a_transaction() {
    let mut h = Harness::new();
    let (ids, _) = h.stable_group("g", 1);
    let joined = h.send_join(join("g", &ids[0]));
    let generation_id = h.joined(joined).generation_id.0;
    // The member has not heard of its assignment yet.
    assert_eq!(h.commit(commit("g", &ids[0], generation_id, 1)), ErrorCode::RebalanceInProgress);
    let request = in_transaction(PRODUCER, commit("g", &ids[0], generation_id, 1));
    let token = h.send(Request::TxnOffsetCommit(request));
    assert_eq!(h.committed(token), ErrorCode::None);
    h.sync(sync("g", &ids[0], generation_id, &[(&ids[0], "a")]));
}

#[test]
fn deleting_a_group_or_a_topic_takes_offsets_of_open_transactions_with_it() {
    for deletes_group in [true, false] {
        for fails_over in [true, false] {
            let mut h = Harness::new();
            assert_eq!(h.commit_in_transaction(PRODUCER, "g", 1), ErrorCode::None);
            if deletes_group {
                let Response::DeleteGroups(deleted) = h.call(Request::DeleteGroups(vec!["g".into()])) else {
                    panic!("another kind of answer");
                };
                assert_eq!(deleted[0].error, ErrorCode::None);
            } else {
                h.handle(Input::TopicsDeleted(vec![TOPIC.into()]));
            }
            if fails_over {
                h.fail_over();
            }
            assert_eq!(h.end(PRODUCER, true), ErrorCode::None);
            assert_eq!(h.offset("g"), -1, "of the group: {deletes_group}, loaded: {fails_over}");
        }
    }
}

#[test]
fn offsets_do_not_expire_while_a_transaction_commits_others_in_their_place() {
    let mut h = Harness::new();
    let retention_ms = GroupConfig::default().offsets_retention_ms;
    assert_eq!(h.commit(commit("g", "", -1, 1)), ErrorCode::None);
    assert_eq!(h.commit_in_transaction(PRODUCER, "g", 2), ErrorCode::None);
    h.advance(retention_ms * 2);
    assert_eq!(h.offset("g"), 1);
    assert_eq!(h.end(PRODUCER, false), ErrorCode::None);
    h.advance(retention_ms * 2);
    assert_eq!((h.offset("g"), h.shard.group_count()), (-1, 0));
}
