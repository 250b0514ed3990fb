//! The simple assignor: every partition has readers, as evenly as it goes, and members keep what they read where that allows.
//!
//! With more members than partitions, partitions are shared, each by as many members as it takes for all to have one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

use crate::consumer::Assignment;

/// Who subscribes to what, and what they were to read before.
pub(crate) type Subscriptions = BTreeMap<Arc<str>, (BTreeSet<TopicId>, Arc<Assignment>)>;

type Partition = (TopicId, PartitionIndex);

/// What each member is to read. `assignable` are the partitions of all topics.
pub(crate) fn assign(
    members: &Subscriptions,
    assignable: &BTreeMap<TopicId, BTreeSet<PartitionIndex>>,
) -> BTreeMap<Arc<str>, Assignment> {
    let mut result: BTreeMap<Arc<str>, Assignment> =
        members.keys().map(|member_id| (Arc::clone(member_id), Assignment::new())).collect();
    let mut subscriptions = members.values().map(|(topics, _)| topics);
    let first = subscriptions.next();
    let is_homogeneous = first.is_none_or(|first| subscriptions.all(|topics| topics == first));
    let pairs = |topic_id: &TopicId| {
        let topic_id = *topic_id;
        assignable.get(&topic_id).into_iter().flatten().map(move |partition| (topic_id, *partition))
    };
    if is_homogeneous {
        let partitions: Vec<Partition> = first.into_iter().flatten().flat_map(pairs).collect();
        let all: Vec<&Arc<str>> = members.keys().collect();
        share_out(members, &all, &partitions, &mut result);
        return result;
    }
    let topics: BTreeSet<TopicId> = members.values().flat_map(|(topics, _)| topics).copied().collect();
    for topic_id in topics {
        let readers = members.iter().filter(|(_, (topics, _))| topics.contains(&topic_id));
        let readers: Vec<&Arc<str>> = readers.map(|(member_id, _)| member_id).collect();
        let partitions: Vec<Partition> = pairs(&topic_id).collect();
        share_out(members, &readers, &partitions, &mut result);
    }
    result
}

/// Gives these partitions to these members, all of whom subscribe to all of them.
fn share_out(
    members: &Subscriptions,
    readers: &[&Arc<str>],
    partitions: &[Partition],
    result: &mut BTreeMap<Arc<str>, Assignment>,
) {
    if readers.is_empty() || partitions.is_empty() {
        return;
    }
    let sharing = readers.len().div_ceil(partitions.len());
    let places = sharing * partitions.len();
    // Members' places add up to those of all partitions.
    let quota =
        |at: usize| (places * (at + 1)).div_ceil(readers.len()) - (places * at).div_ceil(readers.len());
    let mut read_by: BTreeMap<Partition, BTreeSet<usize>> =
        partitions.iter().map(|partition| (*partition, BTreeSet::new())).collect();
    let mut counts = vec![0; readers.len()];
    for (at, member_id) in readers.iter().enumerate() {
        let target = members.get(*member_id).map(|(_, target)| target);
        let before = target.into_iter().flat_map(|target| target.iter());
        let before = before.flat_map(|(topic_id, partitions)| partitions.iter().map(|p| (*topic_id, *p)));
        for partition in before {
            let Some(by) = read_by.get_mut(&partition) else { continue };
            if counts[at] < quota(at) && by.len() < sharing {
                by.insert(at);
                counts[at] += 1;
            }
        }
    }
    for (at, count) in counts.iter_mut().enumerate() {
        while *count < quota(at) {
            // The one that fewest read, so that none is left out.
            let open = read_by.values_mut().filter(|by| by.len() < sharing && !by.contains(&at));
            let Some(by) = open.min_by_key(|by| by.len()) else { break };
            by.insert(at);
            *count += 1;
        }
    }
    for by in read_by.values_mut().filter(|by| by.is_empty()) {
        // The places that are left are those of members that read everything else already.
        if let Some(at) = (0..readers.len()).min_by_key(|at| counts[*at]) {
            by.insert(at);
            counts[at] += 1;
        }
    }
    for ((topic_id, partition), by) in read_by {
        for at in by {
            let assignment = result.entry(Arc::clone(readers[at])).or_default();
            assignment.entry(topic_id).or_default().insert(partition);
        }
    }
}
