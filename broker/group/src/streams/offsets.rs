//! Who may commit for a streams group, and who may ask what was committed.

use moldau_model::{ErrorCode, GenerationId};

use super::group::StreamsGroup;
use super::member::StreamsMember;
use super::topology::StreamsTopology;
use crate::request::{OffsetCommitRequest, OffsetCommitTopic, OffsetFetchRequest};
use crate::shard::CommitKind;

/// From this version on a client knows what a stale epoch is.
const MEMBER_EPOCH_SINCE: i16 = 9;
/// What a producer says that names no member.
const GENERATION_UNKNOWN: i32 = -1;

/// A member commits at its epoch, or at an older one as long as each of the tasks has been its since then. Nobody else does
/// while there are members.
pub(crate) fn validate_commit(
    group: &StreamsGroup,
    request: &OffsetCommitRequest,
    kind: CommitKind,
) -> Result<(), ErrorCode> {
    let GenerationId(said) = request.generation_id;
    if said < 0 && group.is_empty() {
        return Ok(());
    }
    let is_in_transaction = kind == CommitKind::InTransaction;
    if is_in_transaction
        && said == GENERATION_UNKNOWN
        && request.member_id.is_empty()
        && request.group_instance_id.is_none()
    {
        return Ok(());
    }
    let member = group.member(&request.member_id).ok_or(ErrorCode::UnknownMemberId)?;
    if !is_in_transaction && request.api_version < MEMBER_EPOCH_SINCE {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let is = member.current.member_epoch;
    let is_timely = said == is
        || (said < is
            && group.topology.as_ref().is_some_and(|topology| {
                request.topics.iter().all(|topic| has_since(member, topology, topic, said))
            }));
    match (is_timely, is_in_transaction) {
        (true, _) => Ok(()),
        (false, true) => Err(ErrorCode::IllegalGeneration),
        (false, false) => Err(ErrorCode::StaleMemberEpoch),
    }
}

/// Whether the tasks that read the topic's partitions have been the member's since the epoch.
fn has_since(
    member: &StreamsMember,
    topology: &StreamsTopology,
    topic: &OffsetCommitTopic,
    epoch: i32,
) -> bool {
    let Some(subtopology) = topology.reader_of(&topic.name) else { return false };
    let subtopology_id = subtopology.subtopology_id.as_str();
    topic.partitions.iter().all(|partition| {
        let of = [&member.current.assigned, &member.current.pending_revocation];
        let mut epochs =
            of.into_iter().filter_map(|held| held.assignment_epoch(subtopology_id, partition.partition));
        epochs.next().is_some_and(|assigned_at| epoch >= assigned_at)
    })
}

/// Who names a member has to be that, at its epoch.
pub(crate) fn validate_fetch(group: &StreamsGroup, request: &OffsetFetchRequest) -> Result<(), ErrorCode> {
    if request.member_id.is_none() && request.member_epoch < 0 {
        return Ok(());
    }
    let member = group.member(request.member_id.as_deref().unwrap_or_default());
    let member = member.ok_or(ErrorCode::UnknownMemberId)?;
    if request.member_epoch == member.current.member_epoch {
        Ok(())
    } else {
        Err(ErrorCode::StaleMemberEpoch)
    }
}
