//! A group in use changes its protocol: from the classic one when the first member of the consumer protocol joins, back when
//! the last one goes (KIP-848, `group.consumer.migration.policy`). No partition changes its owner by that alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, GenerationId, PartitionIndex, TopicId};

use super::classic::{CONSUMER_PROTOCOL_TYPE, as_assignment, encoded};
use super::draft::{Context, Draft, Refused, TimerChange};
use super::group::ConsumerGroup;
use super::member::{
    Assignment, ClassicMember, ConsumerMemberMetadata, CurrentAssignment, MemberState, OwnedPartitions,
};
use crate::group::{ClassicGroup, Member};
use crate::records::{
    ConsumerRecord, GroupEpoch, RecordError, Subscription, TargetEpoch, decode_assignment,
    subscription_version,
};

/// Whether a member of the consumer protocol may join the classic group.
pub(crate) fn check_upgrade(context: &Context<'_>, group: &ClassicGroup) -> Result<(), Refused> {
    let why = if !context.config.consumer.migration.upgrade {
        "online upgrade is disabled"
    } else if !group.uses_consumer_protocol() {
        "the group does not use the consumer embedded protocol"
    } else if group.member_count() > context.config.consumer.size_max {
        "the group size exceeds the consumer group maximum size"
    } else {
        return Ok(());
    };
    Err(not_upgraded(group, why))
}

fn not_upgraded(group: &ClassicGroup, why: &str) -> Refused {
    let message = format!("Cannot upgrade classic group {} to consumer group because {why}.", group.group_id);
    Refused::new(ErrorCode::GroupIdNotFound, message)
}

/// Writes the classic group's members, with what they have, as those of a consumer group at the group's generation. Those
/// who wait for a rebalance of the classic group have to join again.
pub(crate) fn upgrade(
    draft: &mut Draft<'_>,
    context: &Context<'_>,
    group: &ClassicGroup,
) -> Result<(), Refused> {
    let malformed = |_: RecordError| not_upgraded(group, "the embedded consumer protocol is malformed");
    let GenerationId(epoch) = group.generation_id;
    let mut members = Vec::new();
    for member in group.members() {
        let selected = group.protocol_name.as_deref().and_then(|name| member.metadata(name));
        let said = selected.or(member.protocols.first().map(|protocol| &protocol.metadata));
        let subscription = Subscription::decode(said.map_or(&[], |said| said)).map_err(malformed)?;
        let assigned = decode_assignment(&member.assignment).map_err(malformed)?;
        let target = as_assignment(&assigned, context.metadata);
        let metadata = ConsumerMemberMetadata {
            instance_id: member.group_instance_id.clone(),
            rack_id: subscription.rack_id.map(Arc::from),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            topic_names: subscription.topics.iter().copied().map(Arc::from).collect(),
            topic_regex: "".into(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            server_assignor: None,
            classic: Some(ClassicMember {
                session_timeout_ms: member.session_timeout_ms,
                protocols: member.protocols.clone(),
            }),
        };
        members.push((member, metadata, target, as_assignment(&subscription.owned, context.metadata)));
    }
    let has_been_assigned: BTreeSet<(TopicId, PartitionIndex)> =
        members.iter().flat_map(|(_, _, target, _)| pairs(target)).collect();
    for (member, metadata, ..) in &members {
        let member_id = Arc::clone(&member.member_id);
        draft.write(ConsumerRecord::Member { member_id, metadata: Some(metadata.clone()) });
    }
    draft.write(ConsumerRecord::Epoch(Some(GroupEpoch { epoch, metadata_hash: 0 })));
    for (member, _, target, _) in &members {
        let member_id = Arc::clone(&member.member_id);
        draft.write(ConsumerRecord::TargetMember { member_id, target: Some(target.clone()) });
    }
    draft.write(ConsumerRecord::TargetEpoch(Some(TargetEpoch { epoch, timestamp_ms: 0 })));
    for (member, _, target, owned) in members {
        let assigned = at_epoch(pairs(&target), epoch);
        // What it owned when it joined, and was not assigned again, it may read until it has joined once more. (Kafka
        // lets others have it at once.)
        let pending_revocation =
            at_epoch(pairs(&owned).filter(|partition| !has_been_assigned.contains(partition)), epoch);
        let state = if pending_revocation.is_empty() {
            MemberState::Stable
        } else {
            MemberState::UnrevokedPartitions
        };
        let (member_epoch, previous_member_epoch) = (epoch, epoch);
        let current =
            CurrentAssignment { member_epoch, previous_member_epoch, state, assigned, pending_revocation };
        let member_id = || Arc::clone(&member.member_id);
        draft.write(ConsumerRecord::CurrentAssignment { member_id: member_id(), current: Some(current) });
        let timeout_ms = i64::from(member.session_timeout_ms);
        draft.timers.push(TimerChange::Session { member_id: member_id(), timeout_ms });
    }
    Ok(())
}

fn pairs(assignment: &Assignment) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
    assignment.iter().flat_map(|(topic_id, partitions)| partitions.iter().map(|p| (*topic_id, *p)))
}

fn at_epoch(partitions: impl Iterator<Item = (TopicId, PartitionIndex)>, epoch: i32) -> OwnedPartitions {
    let mut owned = OwnedPartitions::new();
    for (topic_id, partition) in partitions {
        owned.entry(topic_id).or_default().insert(partition, epoch);
    }
    owned
}

/// The record of the classic group that a group becomes whose members all speak the classic protocol; `None` where it may
/// not, or cannot, be one.
pub(crate) fn downgraded(context: &Context<'_>, group: &ConsumerGroup) -> Option<Bytes> {
    let config = context.config;
    if !config.consumer.migration.downgrade
        || group.is_empty()
        || group.consumer_member_count() > 0
        || group.member_count() > config.group_max_size
    {
        return None;
    }
    let mut classic = ClassicGroup::new(Arc::clone(&group.group_id), context.now_ms);
    classic.generation_id = GenerationId(group.epoch);
    classic.protocol_type = Some(CONSUMER_PROTOCOL_TYPE.to_owned());
    for (member_id, member) in group.members() {
        let said = member.metadata.classic.as_ref()?;
        classic.add(Member {
            member_id: Arc::clone(member_id),
            group_instance_id: member.metadata.instance_id.clone(),
            client_id: Arc::clone(&member.metadata.client_id),
            client_host: Arc::clone(&member.metadata.client_host),
            rebalance_timeout_ms: member.metadata.rebalance_timeout_ms,
            session_timeout_ms: said.session_timeout_ms,
            protocols: said.protocols.clone(),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        });
    }
    classic.protocol_name = Some(classic.select_protocol()?);
    classic.forget_leader();
    let record = classic.to_record(|member| {
        let first = member.protocols.first();
        let version = first.and_then(|first| subscription_version(&first.metadata).ok()).unwrap_or(0);
        // What it has, not what it was to have: somebody else may not have given that up. (Kafka writes the target.)
        let mut has: BTreeMap<TopicId, Vec<PartitionIndex>> = BTreeMap::new();
        let owned = group.member(&member.member_id).into_iter().flat_map(|member| member.current.owned());
        owned.for_each(|(topic_id, partition)| has.entry(topic_id).or_default().push(partition));
        encoded(version, has.into_iter(), context.metadata)
    });
    (record.len() <= config.group_record_bytes_max).then_some(record)
}
