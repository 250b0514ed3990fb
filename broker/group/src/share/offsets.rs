//! What administrators do to the offsets of a share group, and what the share coordinator has said since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use moldau_model::{ErrorCode, TopicId};

use super::ShareDraft;
use super::group::ShareGroup;
use super::state_partitions::{StatePartitions, StateTopic};
use crate::consumer::{CoordinatorMetadata, Refused};
use crate::records::{GroupEpoch, ShareRecord};
use crate::request::{ShareOffsetsChange, TopicPartitions};
use crate::response::ShareOffsetsAnswer;

/// The partitions that have a state.
pub(crate) fn view(group: &ShareGroup) -> ShareOffsetsAnswer {
    answer(
        group,
        group.state_partitions.initialized.iter().map(|(topic_id, topic)| (*topic_id, topic.clone())),
    )
}

/// Changes which partitions have a state. Gives those that the share coordinator is to be told of.
pub(crate) fn decide(
    draft: &mut ShareDraft<'_>,
    metadata: &dyn CoordinatorMetadata,
    change: &ShareOffsetsChange,
) -> Result<ShareOffsetsAnswer, Refused> {
    let mut partitions = draft.group().state_partitions.clone();
    let mut told: Vec<(TopicId, StateTopic)> = Vec::new();
    match change {
        ShareOffsetsChange::Alter(topics) => {
            check_empty(draft.group())?;
            if !draft.is_written {
                let (epoch, metadata_hash) = (draft.group().epoch, draft.group().metadata_hash);
                draft.write(ShareRecord::Epoch(Some(GroupEpoch { epoch, metadata_hash })));
            }
            let topics: BTreeMap<TopicId, StateTopic> =
                topics.iter().filter_map(|topic| state_topic(topic, metadata)).collect();
            partitions.begin_initializing(&topics);
            told.extend(topics);
        }
        ShareOffsetsChange::Initialized(topics) => {
            for topic in topics {
                partitions.note_initialized(topic.topic_id, &topic.partitions.iter().copied().collect());
            }
        }
        ShareOffsetsChange::Delete(topic_ids) => {
            check_empty(draft.group())?;
            delete(&mut partitions, topic_ids.iter().copied(), &mut told);
        }
        ShareOffsetsChange::DeleteAll => {
            check_empty(draft.group())?;
            delete(&mut partitions, draft.group().state_partitions.topic_ids(), &mut told);
        }
        ShareOffsetsChange::Deleted(topic_ids) => {
            for topic_id in topic_ids {
                partitions.deleting.remove(topic_id);
            }
        }
    }
    if partitions != draft.group().state_partitions {
        draft.write(ShareRecord::StatePartitions(Some(partitions)));
    }
    Ok(answer(draft.group(), told))
}

/// Topics are gone, and with them what the share coordinator knew of them.
pub(crate) fn forget_deleted_topics(draft: &mut ShareDraft<'_>, metadata: &dyn CoordinatorMetadata) {
    let mut partitions = draft.group().state_partitions.clone();
    for topic_id in partitions.topic_ids() {
        if metadata.topic_name(topic_id).is_none() {
            partitions.forget(topic_id);
        }
    }
    if partitions != draft.group().state_partitions {
        draft.write(ShareRecord::StatePartitions(Some(partitions)));
    }
}

fn check_empty(group: &ShareGroup) -> Result<(), Refused> {
    if group.is_empty() {
        Ok(())
    } else {
        Err(Refused::new(ErrorCode::NonEmptyGroup, ErrorCode::NonEmptyGroup.message()))
    }
}

/// A topic that was about to be deleted before, and whose deletion did not come to an end, is told again: whoever tells knows
/// its partitions.
fn delete(
    partitions: &mut StatePartitions,
    topic_ids: impl IntoIterator<Item = TopicId>,
    told: &mut Vec<(TopicId, StateTopic)>,
) {
    for topic_id in topic_ids {
        let topic = partitions.begin_deleting(topic_id).or_else(|| {
            let name = Arc::clone(partitions.deleting.get(&topic_id)?);
            Some(StateTopic { name, partitions: BTreeSet::new() })
        });
        told.extend(topic.map(|topic| (topic_id, topic)));
    }
}

fn state_topic(topic: &TopicPartitions, metadata: &dyn CoordinatorMetadata) -> Option<(TopicId, StateTopic)> {
    let name = metadata.topic_name(topic.topic_id)?;
    Some((topic.topic_id, StateTopic { name, partitions: topic.partitions.iter().copied().collect() }))
}

fn answer(group: &ShareGroup, topics: impl IntoIterator<Item = (TopicId, StateTopic)>) -> ShareOffsetsAnswer {
    let topics = topics.into_iter().map(|(topic_id, topic)| TopicPartitions {
        topic_id,
        partitions: topic.partitions.into_iter().collect(),
    });
    ShareOffsetsAnswer { state_epoch: group.epoch, topics: topics.collect() }
}
