//! The range assignor: each topic's partitions in consecutive ranges, to its members in one order for all topics, so that
//! partitions of one number in topics of one size come to one member.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

use super::super::member::Assignment;
use super::{GroupSubscriptions, MemberSubscription};

/// What of a topic is still to be given out.
struct Remainder {
    next: i32,
    end: i32,
    quota: i32,
    /// How many of the first members get one more.
    extra: i32,
}

pub(super) fn assign(group: &GroupSubscriptions) -> BTreeMap<Arc<str>, Assignment> {
    let mut subscribers: BTreeMap<TopicId, i32> = BTreeMap::new();
    for topic_id in group.members.values().flat_map(|member| &member.topics) {
        *subscribers.entry(*topic_id).or_default() += 1;
    }
    let mut remainders: BTreeMap<TopicId, Remainder> = subscribers
        .into_iter()
        .map(|(topic_id, members)| {
            let end = group.partition_count(topic_id);
            (topic_id, Remainder { next: 0, end, quota: end / members, extra: end % members })
        })
        .collect();
    let mut assignments = BTreeMap::new();
    for (member_id, member) in in_order(group) {
        let mut assignment = Assignment::new();
        for topic_id in &member.topics {
            let Some(remainder) = remainders.get_mut(topic_id) else { continue };
            let count = remainder.quota + i32::from(remainder.extra > 0);
            remainder.extra -= i32::from(remainder.extra > 0);
            let start = remainder.next;
            remainder.next = (start + count).min(remainder.end);
            if start < remainder.next {
                assignment.insert(*topic_id, (start..remainder.next).map(PartitionIndex).collect());
            }
        }
        assignments.insert(Arc::clone(member_id), assignment);
    }
    assignments
}

/// Static members first, by their instance ids, so that a restart changes nothing; then the others by their ids.
fn in_order(group: &GroupSubscriptions) -> Vec<(&Arc<str>, &MemberSubscription)> {
    let mut members: Vec<_> = group.members.iter().collect();
    members.sort_by(|(a_id, a), (b_id, b)| {
        let key = |id, member: &MemberSubscription| {
            (member.instance_id.is_none(), member.instance_id.clone().unwrap_or(id))
        };
        key(Arc::clone(a_id), a).cmp(&key(Arc::clone(b_id), b))
    });
    members
}
