//! The uniform assignor where members subscribe to different topics: partitions go to the subscriber that has least, and
//! then move from those who have most to those who have least until nothing gets better.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

use super::super::member::Assignment;
use super::{GroupSubscriptions, count, take};

/// Passes over all topics that look for a better balance. One is enough where subscribers of a topic subscribe to the
/// same; each further one about halves what is left, and an assignment that is nearly balanced is good enough.
const PASSES_MAX: usize = 16;

/// Members by how many partitions they have, and the assignment as it grows.
struct Balance {
    members: Vec<Arc<str>>,
    assignments: Vec<Assignment>,
    loads: Vec<usize>,
}

pub(super) fn assign(group: &GroupSubscriptions) -> BTreeMap<Arc<str>, Assignment> {
    let mut balance = Balance {
        members: group.members.keys().cloned().collect(),
        assignments: group.members.values().map(|member| group.kept(member)).collect(),
        loads: Vec::new(),
    };
    let mut free: BTreeMap<TopicId, BTreeSet<PartitionIndex>> = BTreeMap::new();
    let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (at, member) in group.members.values().enumerate() {
        for topic_id in &member.topics {
            subscribers.entry(*topic_id).or_default().push(at);
            free.entry(*topic_id).or_insert_with(|| group.partitions(*topic_id).collect());
        }
    }
    for assignment in &mut balance.assignments {
        for (topic_id, partitions) in assignment.clone() {
            for partition in partitions {
                let is_free = free.get_mut(&topic_id).is_some_and(|free| free.remove(&partition));
                if !is_free {
                    take(assignment, topic_id, partition);
                }
            }
        }
    }
    balance.loads = balance.assignments.iter().map(count).collect();

    // Topics first that leave least choice: many partitions for few members.
    let mut topics: Vec<(TopicId, Vec<usize>)> = subscribers.into_iter().collect();
    topics.sort_by_key(|(topic_id, members)| {
        let per_member = i64::from(group.partition_count(*topic_id)) * 1_000_000 / members.len() as i64;
        (Reverse(per_member), members.len(), *topic_id)
    });
    for (topic_id, members) in &topics {
        let mut by_load: BTreeSet<(usize, usize)> =
            members.iter().map(|member| (balance.loads[*member], *member)).collect();
        for partition in free.remove(topic_id).into_iter().flatten() {
            let Some((_, least)) = by_load.pop_first() else { break };
            balance.give(least, *topic_id, partition);
            by_load.insert((balance.loads[least], least));
        }
    }
    for _ in 0..PASSES_MAX {
        let moved: usize =
            topics.iter().map(|(topic_id, members)| balance.even_out(*topic_id, members)).sum();
        if moved == 0 {
            break;
        }
    }
    balance.members.into_iter().zip(balance.assignments).collect()
}

impl Balance {
    fn give(&mut self, member: usize, topic_id: TopicId, partition: PartitionIndex) {
        self.assignments[member].entry(topic_id).or_default().insert(partition);
        self.loads[member] += 1;
    }

    /// Moves a topic's partitions from the subscribers that have most to those that have least, and says how many.
    fn even_out(&mut self, topic_id: TopicId, members: &[usize]) -> usize {
        let mut by_load: BTreeSet<(usize, usize)> =
            members.iter().map(|member| (self.loads[*member], *member)).collect();
        // Those who can still give a partition of this topic.
        let mut givers = by_load.clone();
        let mut moved = 0;
        while let (Some((most, giver)), Some((least, taker))) = (givers.pop_last(), by_load.first().copied())
        {
            let last =
                self.assignments[giver].get(&topic_id).and_then(|partitions| partitions.last().copied());
            let Some(partition) = last else { continue };
            if most - least <= 1 {
                break;
            }
            take(&mut self.assignments[giver], topic_id, partition);
            self.loads[giver] -= 1;
            self.give(taker, topic_id, partition);
            moved += 1;
            by_load.remove(&(most, giver));
            by_load.remove(&(least, taker));
            givers.remove(&(least, taker));
            for member in [giver, taker] {
                by_load.insert((self.loads[member], member));
                givers.insert((self.loads[member], member));
            }
        }
        moved
    }
}
