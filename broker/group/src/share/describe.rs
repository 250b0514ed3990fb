//! ShareGroupDescribe (key 77), version 1: a share group as an administrator sees it.

use moldau_model::ErrorCode;

use super::ASSIGNOR;
use super::group::ShareGroup;
use crate::consumer::{Context, named};
use crate::response::{DescribedShareGroup, DescribedShareMember};

pub(crate) fn described(group: &ShareGroup, context: &Context<'_>) -> DescribedShareGroup {
    let members = group.members().map(|(member_id, member)| {
        let metadata = &member.metadata;
        DescribedShareMember {
            member_id: member_id.to_string(),
            rack_id: metadata.rack_id.as_deref().map(str::to_owned),
            member_epoch: member.current.member_epoch,
            client_id: metadata.client_id.to_string(),
            client_host: metadata.client_host.to_string(),
            subscribed_topic_names: metadata.topic_names.iter().map(ToString::to_string).collect(),
            assignment: named(&member.current.assigned, context.metadata),
        }
    });
    DescribedShareGroup {
        group_id: group.group_id.to_string(),
        error: ErrorCode::None,
        error_message: None,
        state: group.state().to_owned(),
        group_epoch: group.epoch,
        assignment_epoch: group.target_epoch,
        assignor_name: ASSIGNOR.to_owned(),
        members: members.collect(),
    }
}

/// The answer for a group that there is none of, or that is of another kind.
pub(crate) fn unknown(group_id: &str, error: ErrorCode, message: Option<String>) -> DescribedShareGroup {
    DescribedShareGroup {
        group_id: group_id.to_owned(),
        error,
        error_message: message,
        state: String::new(),
        group_epoch: 0,
        assignment_epoch: 0,
        assignor_name: String::new(),
        members: Vec::new(),
    }
}
