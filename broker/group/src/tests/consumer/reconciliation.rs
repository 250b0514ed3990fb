//! Every step of a member towards its target, as a table.

use std::collections::{BTreeMap, BTreeSet};

use moldau_model::PartitionIndex;

use super::topic_id;
use crate::TopicPartitions;
use crate::consumer::MemberState::{Stable, UnreleasedPartitions, UnrevokedPartitions};
use crate::consumer::{Assignment, CurrentAssignment, MemberState, OwnedPartitions, Reconciliation};

/// Partitions of topic `t`; those from ten on are of topic `u`.
fn split(partitions: &[i32]) -> BTreeMap<&'static str, BTreeSet<i32>> {
    let mut topics: BTreeMap<_, BTreeSet<i32>> = BTreeMap::new();
    for partition in partitions {
        topics.entry(if *partition < 10 { "t" } else { "u" }).or_default().insert(partition % 10);
    }
    topics
}

fn owned(partitions: &[(i32, i32)]) -> OwnedPartitions {
    let mut owned = OwnedPartitions::new();
    for (partition, epoch) in partitions {
        let topic = if *partition < 10 { "t" } else { "u" };
        owned.entry(topic_id(topic)).or_default().insert(PartitionIndex(partition % 10), *epoch);
    }
    owned
}

struct Case {
    what: &'static str,
    /// Epoch, state, assigned and pending partitions, each with the epoch it was assigned at.
    before: (i32, MemberState, &'static [(i32, i32)], &'static [(i32, i32)]),
    target: &'static [i32],
    reported: Option<&'static [i32]>,
    others: &'static [i32],
    after: (i32, MemberState, &'static [(i32, i32)], &'static [(i32, i32)]),
}

const CASES: [Case; 12] = [
    Case {
        what: "what is reached stays",
        before: (5, Stable, &[(0, 3)], &[]),
        target: &[1],
        reported: None,
        others: &[],
        after: (5, Stable, &[(0, 3)], &[]),
    },
    Case {
        what: "what is free is had at once",
        before: (4, Stable, &[(0, 3)], &[]),
        target: &[0, 1],
        reported: None,
        others: &[],
        after: (5, Stable, &[(0, 3), (1, 5)], &[]),
    },
    Case {
        what: "what another has is waited for, at the new epoch",
        before: (4, Stable, &[(0, 3)], &[]),
        target: &[0, 1, 2],
        reported: None,
        others: &[2],
        after: (5, UnreleasedPartitions, &[(0, 3), (1, 5)], &[]),
    },
    Case {
        what: "nothing new is had while something is to be given up",
        before: (4, Stable, &[(0, 3), (1, 3)], &[]),
        target: &[1, 2],
        reported: None,
        others: &[],
        after: (4, UnrevokedPartitions, &[(1, 3)], &[(0, 3)]),
    },
    Case {
        what: "it is asked for even if the member did not name it: it may be about to take it",
        before: (4, Stable, &[(0, 3), (1, 3)], &[]),
        target: &[1, 2],
        reported: Some(&[1]),
        others: &[],
        after: (4, UnrevokedPartitions, &[(1, 3)], &[(0, 3)]),
    },
    Case {
        what: "a member that says nothing has not given up",
        before: (4, UnrevokedPartitions, &[(1, 3)], &[(0, 3)]),
        target: &[1],
        reported: None,
        others: &[],
        after: (4, UnrevokedPartitions, &[(1, 3)], &[(0, 3)]),
    },
    Case {
        what: "nor has one that still has one of them",
        before: (4, UnrevokedPartitions, &[], &[(0, 3), (1, 3)]),
        target: &[],
        reported: Some(&[1]),
        others: &[],
        after: (4, UnrevokedPartitions, &[], &[(0, 3), (1, 3)]),
    },
    Case {
        what: "one that gave up takes the next step, which may be to give up more",
        before: (4, UnrevokedPartitions, &[(1, 3)], &[(0, 3)]),
        target: &[2],
        reported: Some(&[1]),
        others: &[],
        after: (4, UnrevokedPartitions, &[], &[(1, 3)]),
    },
    Case {
        what: "what it gave up and is to have again it gets",
        before: (4, UnrevokedPartitions, &[(1, 3)], &[(0, 3)]),
        target: &[0, 1],
        reported: Some(&[1]),
        others: &[],
        after: (5, Stable, &[(0, 5), (1, 3)], &[]),
    },
    Case {
        what: "one that waits gets what became free",
        before: (5, UnreleasedPartitions, &[(0, 3)], &[]),
        target: &[0, 1, 2],
        reported: None,
        others: &[1],
        after: (5, UnreleasedPartitions, &[(0, 3), (2, 5)], &[]),
    },
    Case {
        what: "one that waits follows the newest target",
        before: (4, UnreleasedPartitions, &[(0, 3)], &[]),
        target: &[1],
        reported: None,
        others: &[1],
        after: (4, UnrevokedPartitions, &[], &[(0, 3)]),
    },
    Case {
        what: "what it does not subscribe to is not its target",
        before: (4, Stable, &[(0, 3)], &[]),
        target: &[10, 0],
        reported: Some(&[]),
        others: &[],
        after: (5, Stable, &[(0, 3)], &[]),
    },
];

fn next(case: &Case, has_subscription_changed: bool, is_joining: bool) -> CurrentAssignment {
    let (member_epoch, state, assigned, pending_revocation) = case.before;
    let current = CurrentAssignment {
        member_epoch,
        previous_member_epoch: member_epoch - 1,
        state,
        assigned: owned(assigned),
        pending_revocation: owned(pending_revocation),
    };
    let target: Assignment = split(case.target)
        .into_iter()
        .map(|(topic, partitions)| (topic_id(topic), partitions.into_iter().map(PartitionIndex).collect()))
        .collect();
    let reported = case.reported.map(|reported| {
        let topic = |(topic, partitions): (&str, BTreeSet<i32>)| TopicPartitions {
            topic_id: topic_id(topic),
            partitions: partitions.into_iter().map(PartitionIndex).collect(),
        };
        split(reported).into_iter().map(topic).collect::<Vec<_>>()
    });
    Reconciliation {
        current: &current,
        target_epoch: 5,
        target: &target,
        subscribed: &[topic_id("t")].into(),
        has_subscription_changed,
        reported: reported.as_deref(),
        is_joining,
        is_owned_by_another: &|topic, partition| topic == topic_id("t") && case.others.contains(&partition.0),
    }
    .next()
}

fn check(case: &Case, has_subscription_changed: bool, is_joining: bool) {
    let next = next(case, has_subscription_changed, is_joining);
    let (member_epoch, state, assigned, pending_revocation) = case.after;
    let shown = (next.member_epoch, next.state, next.assigned, next.pending_revocation);
    assert_eq!(shown, (member_epoch, state, owned(assigned), owned(pending_revocation)), "{}", case.what);
}

#[test]
fn a_member_gives_up_first_and_gets_what_nobody_else_has() {
    for case in &CASES {
        check(case, false, false);
    }
}

#[test]
fn a_changed_subscription_takes_what_is_not_in_it_even_at_the_targets_epoch() {
    for case in [
        Case {
            what: "while it has it, it is asked for",
            before: (5, Stable, &[(0, 3), (10, 3)], &[]),
            target: &[0, 10],
            reported: None,
            others: &[],
            after: (5, UnrevokedPartitions, &[(0, 3)], &[(10, 3)]),
        },
        Case {
            what: "it is added to what is to be given up",
            before: (4, UnrevokedPartitions, &[(10, 3)], &[(1, 3)]),
            target: &[],
            reported: Some(&[1]),
            others: &[],
            after: (4, UnrevokedPartitions, &[], &[(1, 3), (10, 3)]),
        },
        Case {
            what: "nothing happens to what is in it",
            before: (5, Stable, &[(0, 3)], &[]),
            target: &[],
            reported: None,
            others: &[],
            after: (5, Stable, &[(0, 3)], &[]),
        },
    ] {
        check(&case, true, false);
    }
}

#[test]
fn a_member_that_joins_anew_has_given_up_everything() {
    let case = Case {
        what: "what is not its any more is free",
        before: (4, Stable, &[(0, 3), (1, 3)], &[]),
        target: &[1, 2],
        reported: Some(&[]),
        others: &[],
        after: (5, Stable, &[(1, 3), (2, 5)], &[]),
    };
    check(&case, false, true);
    let case = Case {
        what: "so is what it does not subscribe to",
        before: (5, Stable, &[(0, 3), (10, 3)], &[]),
        target: &[0, 10],
        reported: Some(&[]),
        others: &[],
        after: (5, Stable, &[(0, 3)], &[]),
    };
    check(&case, true, true);
}
