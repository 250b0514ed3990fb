//! OffsetFetch (key 9), versions 1 to 10. What has no committed offset is -1, never 0; offsets of transactions that have not
//! ended are not told.

use std::collections::BTreeMap;
use std::sync::Arc;

use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::{AppendId, GroupShard, Output};
use crate::consumer::validate_fetch;
use crate::offsets::OffsetAndMetadata;
use crate::request::{OffsetFetchRequest, RequestToken};
use crate::response::{FetchedOffset, FetchedTopic, OffsetFetchResponse, Response};
use crate::streams;
use crate::timers::TimerKey;

/// The fetches of one group that want to see what is being committed (`require_stable`), once it is: by the append they
/// wait for. None is looked at before its time, however many wait.
pub(super) type WaitingFetches = BTreeMap<(AppendId, RequestToken), OffsetFetchRequest>;

impl GroupShard {
    pub(super) fn offset_fetch(
        &mut self,
        token: RequestToken,
        request: OffsetFetchRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        if let Some(group) = self.consumer_groups.get(&request.group_id)
            && let Err(error) = validate_fetch(group, &request)
        {
            return out.push(Output::Reply { token, response: refused(&request.group_id, error) });
        }
        if let Some(group) = self.streams_groups.get(&request.group_id)
            && let Err(error) = streams::validate_fetch(group, &request)
        {
            return out.push(Output::Reply { token, response: refused(&request.group_id, error) });
        }
        if self.share_groups.get(&request.group_id).is_some() {
            let response = refused(&request.group_id, ErrorCode::GroupIdNotFound);
            return out.push(Output::Reply { token, response });
        }
        match self.appends.last_offsets_append(&request.group_id) {
            Some(until) if request.require_stable => {
                let group_id: Arc<str> = request.group_id.as_str().into();
                let deadline_ms = now_ms.saturating_add(self.config.offset_commit_timeout_ms);
                let key = TimerKey::Fetch { group_id: Arc::clone(&group_id), until, token };
                self.timers.schedule(key, deadline_ms);
                self.waiting_fetches.entry(group_id).or_default().insert((until, token), request);
            }
            _ => out.push(Output::Reply { token, response: self.committed_offsets(&request) }),
        }
    }

    /// Answers the fetches of a group that waited for nothing but what has settled.
    pub(super) fn answer_waiting_fetches(&mut self, group_id: &Arc<str>, out: &mut Vec<Output>) {
        let Some(mut ready) = self.waiting_fetches.remove(group_id) else { return };
        if let Some(pending) = self.appends.first_offsets_append(group_id) {
            let still_waiting = ready.split_off(&(pending, RequestToken(0)));
            if !still_waiting.is_empty() {
                self.waiting_fetches.insert(Arc::clone(group_id), still_waiting);
            }
        }
        for ((until, token), request) in ready {
            self.timers.cancel(&TimerKey::Fetch { group_id: Arc::clone(group_id), until, token });
            out.push(Output::Reply { token, response: self.committed_offsets(&request) });
        }
    }

    /// A fetch waited too long. NOT_COORDINATOR is what consumers of all ages repeat after.
    pub(super) fn fetch_timed_out(
        &mut self,
        group_id: &Arc<str>,
        until: AppendId,
        token: RequestToken,
        out: &mut Vec<Output>,
    ) {
        let Some(waiting) = self.waiting_fetches.get_mut(group_id) else { return };
        if waiting.remove(&(until, token)).is_some() {
            out.push(Output::Reply { token, response: refused(group_id, ErrorCode::NotCoordinator) });
        }
        if waiting.is_empty() {
            self.waiting_fetches.remove(group_id);
        }
    }

    /// Whoever reads where its transactions are, while the successor of this coordinator lets them go on, would repeat them. It is to
    /// ask again, until this one has heard of its successor, or that there is none. So is a group of which nothing is known here: its
    /// first transactions may be there. Other groups may repeat records in any case, and are told what is known here: they are to go
    /// on while nobody hears of the controllers.
    fn is_doubtful(&self, request: &OffsetFetchRequest) -> bool {
        let group_id = &request.group_id;
        request.require_stable
            && request.may_be_replaced
            && (self.commits_in_transactions(group_id) || !self.has_offsets(group_id))
    }

    fn committed_offsets(&self, request: &OffsetFetchRequest) -> Response {
        let is_doubtful = self.is_doubtful(request);
        if is_doubtful && request.topics.is_none() && !self.has_offsets(&request.group_id) {
            // No partition is named that could have the error, and none at all would mean that nothing is committed. After this code
            // all clients ask again.
            return refused(&request.group_id, ErrorCode::CoordinatorLoadInProgress);
        }
        let topics = match &request.topics {
            Some(topics) => topics
                .iter()
                .map(|topic| FetchedTopic {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|partition| {
                            let is_unstable = is_doubtful
                                || request.require_stable
                                    && self.open_transactions.contains(
                                        &request.group_id,
                                        &topic.name,
                                        *partition,
                                    );
                            if is_unstable {
                                return unstable(*partition);
                            }
                            let offset = self
                                .offsets
                                .get(&request.group_id, &topic.name, *partition)
                                .filter(|offset| !offset.is_of_another_topic(topic.topic_id));
                            fetched(*partition, offset)
                        })
                        .collect(),
                })
                .collect(),
            None => self
                .offsets
                .of_group(&request.group_id)
                .into_iter()
                .flatten()
                .map(|(topic, partitions)| FetchedTopic {
                    name: topic.to_string(),
                    topic_id: TopicId::ZERO,
                    partitions: partitions
                        .iter()
                        .map(|(partition, offset)| {
                            let is_unstable = is_doubtful
                                || request.require_stable
                                    && self.open_transactions.contains(&request.group_id, topic, *partition);
                            if is_unstable { unstable(*partition) } else { fetched(*partition, Some(offset)) }
                        })
                        .collect(),
                })
                .collect(),
        };
        Response::OffsetFetch(OffsetFetchResponse {
            group_id: request.group_id.clone(),
            error: ErrorCode::None,
            topics,
        })
    }
}

fn fetched(partition: PartitionIndex, offset: Option<&OffsetAndMetadata>) -> FetchedOffset {
    FetchedOffset {
        partition,
        topic_id: offset.map_or(TopicId::ZERO, |offset| offset.topic_id),
        committed_offset: offset.map_or(Offset::NONE, |offset| offset.offset),
        committed_leader_epoch: offset.map_or(LeaderEpoch::NONE, |offset| offset.leader_epoch),
        metadata: offset.map(|offset| offset.metadata.to_string()).unwrap_or_default(),
        error: ErrorCode::None,
    }
}

/// A transaction that has not ended commits an offset here: the client is to ask again (KIP-447).
fn unstable(partition: PartitionIndex) -> FetchedOffset {
    FetchedOffset { error: ErrorCode::UnstableOffsetCommit, ..fetched(partition, None) }
}

pub(super) fn refused(group_id: &str, error: ErrorCode) -> Response {
    Response::OffsetFetch(OffsetFetchResponse { group_id: group_id.to_owned(), error, topics: Vec::new() })
}
