//! What is new in version 10 of OffsetCommit and OffsetFetch: topics have ids on the wire, and names inside.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, OffsetFetchResponse, TopicName};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, LeaderEpoch, Offset, TopicId};

use super::message::{text, topic_name};

/// The empty name, which no topic has, if there is no topic of this id.
pub(super) fn name_of(image: &MetadataImage, id: TopicId) -> TopicName {
    image.topics().by_id(id).map(|topic| topic_name(topic.name())).unwrap_or_default()
}

/// What an OffsetFetch asks for of topics that there are not: their ids and partitions, by group.
#[derive(Debug, Default)]
pub(super) struct UnknownTopics {
    by_group: HashMap<GroupId, Vec<(TopicId, Vec<i32>)>>,
}

impl UnknownTopics {
    /// Gives the request's topics their names, and takes out those that have none. A group that is named again is not
    /// looked at again.
    pub(super) fn taken_from(
        request: &mut OffsetFetchRequest,
        topic_ids: Vec<Vec<TopicId>>,
        image: &MetadataImage,
    ) -> Self {
        let mut by_group = HashMap::new();
        for (group, ids) in request.groups.iter_mut().zip(topic_ids) {
            let Some(topics) = &mut group.topics else { continue };
            let mut unknown = Vec::new();
            let mut ids = ids.into_iter();
            topics.retain_mut(|topic| {
                let Some(id) = ids.next() else { return false };
                topic.name = name_of(image, id);
                if topic.name.is_empty() {
                    unknown.push((id, std::mem::take(&mut topic.partition_indexes)));
                }
                !topic.name.is_empty()
            });
            if let Entry::Vacant(entry) = by_group.entry(group.group_id.clone()) {
                entry.insert(unknown);
            }
        }
        Self { by_group }
    }

    /// Completes the answer, whose ids are returned in its order. The offsets of a topic that is gone have no id to be told by.
    pub(super) fn answered(
        mut self,
        response: &mut OffsetFetchResponse,
        image: &MetadataImage,
    ) -> Vec<TopicId> {
        let mut ids = Vec::new();
        for group in &mut response.groups {
            group.topics.retain(|topic| match image.topics().by_name(&topic.name) {
                Some(known) => {
                    ids.push(known.id());
                    true
                }
                None => false,
            });
            let unknown = self.by_group.remove(&group.group_id).unwrap_or_default();
            if group.error_code != ErrorCode::None.code() {
                continue;
            }
            for (id, partitions) in unknown {
                ids.push(id);
                let partitions = partitions.into_iter().map(refused).collect();
                group.topics.push(OffsetFetchResponseTopics::default().with_partitions(partitions));
            }
        }
        ids
    }
}

fn refused(partition: i32) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions::default()
        .with_partition_index(partition)
        .with_committed_offset(Offset::NONE.0)
        .with_committed_leader_epoch(LeaderEpoch::NONE.0)
        .with_metadata(Some(text("")))
        .with_error_code(ErrorCode::UnknownTopicId.code())
}
