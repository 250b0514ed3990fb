//! OffsetFetch (key 9), versions 1 to 10. What has no committed offset is -1, never 0.

use std::sync::Arc;

use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::{AppendId, GroupShard, Output};
use crate::offsets::OffsetAndMetadata;
use crate::request::{OffsetFetchRequest, RequestToken};
use crate::response::{FetchedOffset, FetchedTopic, OffsetFetchResponse, Response};
use crate::timers::TimerKey;

/// A fetch that wants to see what is being committed (`require_stable`), once it is.
#[derive(Debug)]
pub(super) struct WaitingFetch {
    pub(super) token: RequestToken,
    request: OffsetFetchRequest,
    until: AppendId,
}

impl GroupShard {
    pub(super) fn offset_fetch(
        &mut self,
        token: RequestToken,
        request: OffsetFetchRequest,
        now_ms: i64,
        out: &mut Vec<Output>,
    ) {
        match self.appends.last_offsets_append(&request.group_id) {
            Some(until) if request.require_stable => {
                let deadline_ms = now_ms.saturating_add(self.config.offset_commit_timeout_ms);
                self.timers.schedule(TimerKey::Fetch(token), deadline_ms);
                let group_id: Arc<str> = request.group_id.as_str().into();
                self.waiting_fetches.entry(group_id).or_default().push(WaitingFetch {
                    token,
                    request,
                    until,
                });
            }
            _ => out.push(Output::Reply { token, response: self.committed_offsets(&request) }),
        }
    }

    /// Answers the fetches of a group that waited for nothing but what has settled.
    pub(super) fn answer_waiting_fetches(&mut self, group_id: &Arc<str>, out: &mut Vec<Output>) {
        let Some(waiting) = self.waiting_fetches.remove(group_id) else { return };
        let (still_waiting, ready): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|fetch| self.appends.has_offsets_pending_until(group_id, fetch.until));
        for fetch in ready {
            self.timers.cancel(&TimerKey::Fetch(fetch.token));
            out.push(Output::Reply { token: fetch.token, response: self.committed_offsets(&fetch.request) });
        }
        if !still_waiting.is_empty() {
            self.waiting_fetches.insert(Arc::clone(group_id), still_waiting);
        }
    }

    /// A fetch waited too long. NOT_COORDINATOR is what consumers of all ages repeat after.
    pub(super) fn fetch_timed_out(&mut self, token: RequestToken, out: &mut Vec<Output>) {
        self.waiting_fetches.retain(|_, waiting| {
            waiting.retain(|fetch| {
                if fetch.token == token {
                    let response = refused(&fetch.request.group_id, ErrorCode::NotCoordinator);
                    out.push(Output::Reply { token, response });
                }
                fetch.token != token
            });
            !waiting.is_empty()
        });
    }

    fn committed_offsets(&self, request: &OffsetFetchRequest) -> Response {
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
                        .map(|(partition, offset)| fetched(*partition, Some(offset)))
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
        committed_offset: offset.map_or(Offset::NONE, |offset| offset.offset),
        committed_leader_epoch: offset.map_or(LeaderEpoch::NONE, |offset| offset.leader_epoch),
        metadata: offset.map(|offset| offset.metadata.to_string()).unwrap_or_default(),
        error: ErrorCode::None,
    }
}

pub(super) fn refused(group_id: &str, error: ErrorCode) -> Response {
    Response::OffsetFetch(OffsetFetchResponse { group_id: group_id.to_owned(), error, topics: Vec::new() })
}
