//! Who may commit for a consumer group, and who may ask what was committed.

use moldau_model::{ErrorCode, GenerationId};

use super::group::ConsumerGroup;
use crate::request::{OffsetCommitRequest, OffsetFetchRequest};
use crate::shard::CommitKind;

/// From this version on a client knows what a stale epoch is.
const MEMBER_EPOCH_SINCE: i16 = 9;

/// What a producer says that names no member.
const GENERATION_UNKNOWN: i32 = -1;

/// A member commits at its epoch, or at an older one as long as each of the partitions has been its since then. Nobody else
/// does while there are members.
pub(crate) fn validate_commit(
    group: &ConsumerGroup,
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
    let is_classic = member.uses_classic_protocol();
    if !is_in_transaction && !is_classic && request.api_version < MEMBER_EPOCH_SINCE {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let stale = if is_classic || is_in_transaction {
        ErrorCode::IllegalGeneration
    } else {
        ErrorCode::StaleMemberEpoch
    };
    let is = member.current.member_epoch;
    if said == is {
        return Ok(());
    }
    if said > is {
        return Err(stale);
    }
    let is_since = |assigned_at: Option<i32>| assigned_at.is_some_and(|assigned_at| said >= assigned_at);
    let all = request.topics.iter().all(|topic| {
        let mut partitions = topic.partitions.iter();
        partitions.all(|p| is_since(member.current.assignment_epoch(topic.topic_id, p.partition)))
    });
    if all { Ok(()) } else { Err(stale) }
}

/// Who names a member has to be that, at its epoch.
pub(crate) fn validate_fetch(group: &ConsumerGroup, request: &OffsetFetchRequest) -> Result<(), ErrorCode> {
    if request.member_id.is_none() && request.member_epoch < 0 {
        return Ok(());
    }
    let member = group.member(request.member_id.as_deref().unwrap_or_default());
    let member = member.ok_or(ErrorCode::UnknownMemberId)?;
    if request.member_epoch == member.current.member_epoch {
        Ok(())
    } else if member.uses_classic_protocol() {
        Err(ErrorCode::IllegalGeneration)
    } else {
        Err(ErrorCode::StaleMemberEpoch)
    }
}
