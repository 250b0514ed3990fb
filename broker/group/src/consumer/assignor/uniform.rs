//! The uniform assignor where all members subscribe to the same topics: all get the same number of partitions, some one
//! more, and nobody loses more than that takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

use super::super::member::Assignment;
use super::{GroupSubscriptions, count, take};

pub(super) fn assign(group: &GroupSubscriptions) -> BTreeMap<Arc<str>, Assignment> {
    let topics = group.members.values().next().map(|member| &member.topics);
    let mut free: BTreeSet<(TopicId, PartitionIndex)> = topics
        .into_iter()
        .flatten()
        .flat_map(|topic_id| group.partitions(*topic_id).map(|partition| (*topic_id, partition)))
        .collect();
    let members = group.members.len();
    let quota = free.len() / members;
    let mut extras = free.len() % members;

    let mut kept: Vec<(Arc<str>, Assignment)> =
        group.members.iter().map(|(member_id, member)| (Arc::clone(member_id), group.kept(member))).collect();
    for (_, assignment) in &mut kept {
        for (topic_id, partition) in pairs(assignment) {
            // Two earlier targets never share a partition; if they did, the first would keep it.
            if !free.remove(&(topic_id, partition)) {
                take(assignment, topic_id, partition);
            }
        }
    }
    // Those who have more than the others' share keep it as long as there is one more to be had.
    for (_, assignment) in &mut kept {
        let has_extra = count(assignment) > quota && extras > 0;
        extras -= usize::from(has_extra);
        let most = quota + usize::from(has_extra);
        for (topic_id, partition) in pairs(assignment).into_iter().skip(most) {
            take(assignment, topic_id, partition);
            free.insert((topic_id, partition));
        }
    }
    // As in Kafka the last ones get one more: they are the ones that are likely to have come last.
    let mut without_extra = kept.iter().filter(|(_, assignment)| count(assignment) <= quota).count();
    let mut free = free.into_iter();
    for (_, assignment) in &mut kept {
        let has = count(assignment);
        let mut most = quota;
        if has <= quota {
            most += usize::from(without_extra <= extras);
            without_extra -= 1;
        }
        for (topic_id, partition) in free.by_ref().take(most.saturating_sub(has)) {
            assignment.entry(topic_id).or_default().insert(partition);
        }
    }
    kept.into_iter().collect()
}

fn pairs(assignment: &Assignment) -> Vec<(TopicId, PartitionIndex)> {
    let of_topic = |(topic_id, partitions): (&TopicId, &BTreeSet<PartitionIndex>)| {
        let topic_id = *topic_id;
        partitions.iter().map(move |partition| (topic_id, *partition)).collect::<Vec<_>>()
    };
    assignment.iter().flat_map(of_topic).collect()
}
