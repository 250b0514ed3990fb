//! A leader proposes a new ISR: a compare-and-swap on the partition's epoch (KIP-497, KIP-841, KIP-903).

use std::collections::BTreeSet;

use moldau_cluster::{
    AlterPartition, AlterPartitionReply, AlterPartitionRequest, AlteredPartition, IsrMember,
    LeaderRecoveryState as RequestedState,
};
use moldau_metadata::{
    LeaderRecoveryState, MetadataImage, MetadataRecord, PartitionRegistration, records::PartitionChange,
};
use moldau_model::{BrokerId, ErrorCode, Uuid};

use super::partition_change::{CachedRules, Wish, has_online_directory};
use super::placement::default_directories;
use super::register_broker::check_broker_epoch;
use super::{ApiError, Decision, Settings};

/// Decides on each proposed ISR by itself.
///
/// # Errors
/// `STALE_BROKER_EPOCH` for the request as a whole; each partition has its own code in the reply.
pub fn alter_partition(
    image: &MetadataImage,
    settings: &Settings,
    request: &AlterPartition,
) -> Result<Decision<AlterPartitionReply>, ApiError> {
    check_broker_epoch(image, request.broker_id, request.broker_epoch)?;
    let mut rules = CachedRules::new(image, settings);
    let mut changed = BTreeSet::new();
    let mut records = Vec::new();
    let mut partitions = Vec::with_capacity(request.partitions.len());
    for proposal in &request.partitions {
        let mut decide = || {
            let partition = check(image, request.broker_id, proposal)?;
            if changed.contains(&(proposal.topic_id, proposal.partition)) {
                // The same request has just raised the epoch that this proposal names.
                return Err(ErrorCode::InvalidUpdateVersion);
            }
            let topic = image.topics().by_id(proposal.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
            let may_lead =
                |id: BrokerId| image.is_active_broker(id) && has_online_directory(image, partition, id);
            let mut wish = Wish::new(topic, proposal.partition, partition, rules.of(topic), &may_lead);
            wish.isr = proposal.new_isr.iter().map(|member| member.broker_id).collect();
            wish.recovery_state = recovery_state(proposal);
            for (id, directory) in new_directories(image, partition, &wish.isr) {
                wish.assignment.relocate(id, directory);
            }
            let change = wish.record();
            let altered = altered(partition, change.as_ref());
            if let Some(change) = change {
                changed.insert((proposal.topic_id, proposal.partition));
                records.push(MetadataRecord::from(change));
            }
            Ok(altered)
        };
        partitions.push(decide());
    }
    Ok(Decision { records, response: AlterPartitionReply { partitions } })
}

/// Kafka's checks in Kafka's order: a client that meets two faults at once learns of the same one.
fn check<'a>(
    image: &'a MetadataImage,
    sender: BrokerId,
    proposal: &AlterPartitionRequest,
) -> Result<&'a PartitionRegistration, ErrorCode> {
    let topic = image.topics().by_id(proposal.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    let partition = topic.partition(proposal.partition).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    // Who knows a later epoch than this controller has learned of it from a later controller.
    if proposal.leader_epoch > partition.leader_epoch || proposal.partition_epoch > partition.partition_epoch
    {
        return Err(ErrorCode::NotController);
    }
    if proposal.leader_epoch < partition.leader_epoch {
        return Err(ErrorCode::FencedLeaderEpoch);
    }
    if sender != partition.leader {
        return Err(ErrorCode::InvalidRequest);
    }
    if proposal.partition_epoch < partition.partition_epoch {
        return Err(ErrorCode::InvalidUpdateVersion);
    }
    let isr: Vec<BrokerId> = proposal.new_isr.iter().map(|member| member.broker_id).collect();
    let is_repeated = isr.iter().enumerate().any(|(place, id)| isr[..place].contains(id));
    if isr.is_empty() || is_repeated || !isr.iter().all(|id| partition.replicas.contains(id)) {
        return Err(ErrorCode::InvalidRequest);
    }
    if !isr.contains(&partition.leader) {
        return Err(ErrorCode::InvalidRequest);
    }
    if recovery_state(proposal) == LeaderRecoveryState::Recovering
        && (isr.len() > 1 || partition.leader_recovery_state == LeaderRecoveryState::Recovered)
    {
        return Err(ErrorCode::InvalidRequest);
    }
    if !proposal.new_isr.iter().all(|member| is_eligible(image, partition, member)) {
        return Err(ErrorCode::IneligibleReplica);
    }
    Ok(partition)
}

/// Neither fenced nor on its way down, and the incarnation that the leader has seen. Who joins has to have room for what
/// comes.
fn is_eligible(image: &MetadataImage, partition: &PartitionRegistration, member: &IsrMember) -> bool {
    let id = member.broker_id;
    image.broker(id).is_some_and(|broker| {
        broker.is_active()
            && (member.broker_epoch.0 == -1 || member.broker_epoch == broker.epoch)
            && (partition.isr.contains(&id) || !broker.is_full(partition.directory(id)))
    })
}

/// Where the replicas are that join and are not where they were: their disks were replaced, and they have caught up on the
/// new ones. Until such a replica joins, nobody may take it for one that has its records; unless told afterwards, nobody
/// ever would.
fn new_directories(
    image: &MetadataImage,
    partition: &PartitionRegistration,
    isr: &[BrokerId],
) -> Vec<(BrokerId, Uuid)> {
    let has_moved =
        |id: &BrokerId| !partition.isr.contains(id) && !has_online_directory(image, partition, *id);
    let moved: Vec<BrokerId> = isr.iter().copied().filter(has_moved).collect();
    let directories = default_directories(image, &moved);
    moved.into_iter().zip(directories).collect()
}

const fn recovery_state(proposal: &AlterPartitionRequest) -> LeaderRecoveryState {
    match proposal.leader_recovery_state {
        RequestedState::Recovered => LeaderRecoveryState::Recovered,
        RequestedState::Recovering => LeaderRecoveryState::Recovering,
    }
}

/// The partition as it will be once `change` is replayed.
fn altered(partition: &PartitionRegistration, change: Option<&PartitionChange>) -> AlteredPartition {
    let leader = change.and_then(|change| change.leader);
    let isr = change.and_then(|change| change.isr.as_ref());
    let state = change.and_then(|change| change.leader_recovery_state);
    let state = state.map_or(partition.leader_recovery_state, |state| {
        LeaderRecoveryState::try_from(state).unwrap_or_default()
    });
    AlteredPartition {
        leader: leader.map_or(partition.leader, BrokerId),
        leader_epoch: if leader.is_some() { partition.leader_epoch.next() } else { partition.leader_epoch },
        isr: isr.map_or_else(|| partition.isr.clone(), |isr| isr.ids.iter().copied().map(BrokerId).collect()),
        leader_recovery_state: match state {
            LeaderRecoveryState::Recovered => RequestedState::Recovered,
            LeaderRecoveryState::Recovering => RequestedState::Recovering,
        },
        partition_epoch: if change.is_some() {
            partition.partition_epoch.next()
        } else {
            partition.partition_epoch
        },
    }
}

#[cfg(test)]
mod tests;
