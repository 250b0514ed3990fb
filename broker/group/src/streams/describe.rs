//! StreamsGroupDescribe (key 89), version 0: a streams group as an administrator sees it.

use moldau_model::ErrorCode;

use super::configure::{ConfiguredSubtopology, configure};
use super::group::StreamsGroup;
use super::message::{DescribedStreamsGroup, DescribedStreamsMember};
use super::topology::{StreamsSubtopology, StreamsTopicInfo, StreamsTopology};
use crate::consumer::Context;

pub(crate) fn described(group: &StreamsGroup, context: &Context<'_>) -> DescribedStreamsGroup {
    let members = group.members().map(|(member_id, member)| {
        let metadata = &member.metadata;
        DescribedStreamsMember {
            member_id: member_id.to_string(),
            member_epoch: member.current.member_epoch,
            instance_id: metadata.instance_id.as_deref().map(str::to_owned),
            rack_id: metadata.rack_id.as_deref().map(str::to_owned),
            client_id: metadata.client_id.to_string(),
            client_host: metadata.client_host.to_string(),
            topology_epoch: metadata.topology_epoch,
            process_id: metadata.process_id.to_string(),
            user_endpoint: metadata.user_endpoint.clone(),
            client_tags: metadata.client_tags.clone().into_iter().collect(),
            assignment: member.current.assigned.assignment(),
            target_assignment: group.target(member_id).map(|t| (**t).clone()).unwrap_or_default(),
        }
    });
    DescribedStreamsGroup {
        group_id: group.group_id.to_string(),
        error: ErrorCode::None,
        error_message: None,
        state: group.state().to_owned(),
        group_epoch: group.epoch,
        assignment_epoch: group.target_epoch,
        topology: Some(topology(group, context)),
        members: members.collect(),
    }
}

/// The topology with its numbers, or as the application said it where they are not settled.
fn topology(group: &StreamsGroup, context: &Context<'_>) -> StreamsTopology {
    let Some(own) = group.topology.as_deref() else { return StreamsTopology::default() };
    let configured = configure(own, context.metadata, context.config.streams.tasks_max).ok();
    let configured = configured.filter(|configured| configured.is_ready());
    let subtopologies = match configured.and_then(|configured| configured.subtopologies) {
        Some(all) => all.iter().map(|(id, each)| with_numbers(id, each)).collect(),
        None => own.by_id().values().map(|each| StreamsSubtopology::clone(each)).collect(),
    };
    let mut shown = StreamsTopology { epoch: own.epoch, subtopologies };
    for subtopology in &mut shown.subtopologies {
        subtopology.source_topics.sort_unstable();
        subtopology.repartition_sink_topics.sort_unstable();
        let by_name = |a: &StreamsTopicInfo, b: &StreamsTopicInfo| a.name.cmp(&b.name);
        subtopology.changelog_topics.sort_by(by_name);
        subtopology.repartition_source_topics.sort_by(by_name);
    }
    shown
}

fn with_numbers(subtopology_id: &str, configured: &ConfiguredSubtopology) -> StreamsSubtopology {
    StreamsSubtopology {
        subtopology_id: subtopology_id.to_owned(),
        source_topics: configured.source_topics.iter().map(ToString::to_string).collect(),
        changelog_topics: configured.changelog_topics.clone(),
        repartition_sink_topics: configured.repartition_sink_topics.iter().map(ToString::to_string).collect(),
        repartition_source_topics: configured.repartition_source_topics.clone(),
        ..StreamsSubtopology::default()
    }
}

/// The answer for a group that there is none of, or that is of another kind.
pub(crate) fn unknown(group_id: &str, error: ErrorCode, message: Option<String>) -> DescribedStreamsGroup {
    DescribedStreamsGroup {
        group_id: group_id.to_owned(),
        error,
        error_message: message,
        state: String::new(),
        group_epoch: 0,
        assignment_epoch: 0,
        topology: None,
        members: Vec::new(),
    }
}
