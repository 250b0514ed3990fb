//! What the share coordinator's APIs (83 to 87) have in common: a request is taken apart into share partitions, each is asked of
//! its shard, and the answers are put together again.

use std::sync::Arc;

use futures::future::join_all;
use moldau_model::{ErrorCode, PartitionIndex, TopicId};
use moldau_share::{Refusal, Request, Response, SharePartitionKey};

use super::RequestContext;
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::control::ControlPlane;

/// One share partition of a request, by its topic and partition.
pub(super) type Asked = (TopicId, i32, Request);

/// The key of a share partition that a request names.
pub(super) fn key(group_id: &Arc<str>, topic_id: TopicId, partition: i32) -> SharePartitionKey {
    SharePartitionKey { group_id: Arc::clone(group_id), topic_id, partition: PartitionIndex(partition) }
}

/// Asks the shards of all share partitions. Answers come in the order of the questions.
pub(super) async fn ask_all(
    broker: &Arc<Broker>,
    context: &RequestContext,
    asked: Vec<Asked>,
) -> Vec<(TopicId, i32, Response)> {
    let is_allowed = is_authorized(context, Operation::ClusterAction, Resource::CLUSTER);
    let is_served = broker.share.is_served();
    let answers = asked.into_iter().map(|(topic_id, partition, request)| {
        let control = &broker.control;
        let refused = if !is_served {
            Some(ErrorCode::UnsupportedVersion.into())
        } else if !is_allowed {
            Some(ErrorCode::ClusterAuthorizationFailed.into())
        } else {
            check(control, &request)
        };
        let answer = match refused {
            Some(refusal) => Err(refusal),
            None => {
                let id = request.key().to_string();
                control.share_state.submit(&id, request.clone()).map_err(Refusal::from)
            }
        };
        async move {
            let response = match answer {
                Ok(answer) => answer.await.unwrap_or_else(|_| request.refused(ErrorCode::NotCoordinator)),
                Err(refusal) => request.refused_with(refusal),
            };
            (topic_id, partition, response)
        }
    });
    join_all(answers.collect::<Vec<_>>()).await
}

/// What is wrong with a share partition, whatever its state.
fn check(control: &ControlPlane, request: &Request) -> Option<Refusal> {
    let key = request.key();
    let invalid = |message: &str| Refusal { error: ErrorCode::InvalidRequest, message: message.to_owned() };
    if key.partition.0 < 0 {
        return Some(invalid("The partition id cannot be a negative number."));
    }
    if key.topic_id.is_zero() {
        return Some(invalid("The topic id cannot be null."));
    }
    if matches!(request, Request::Read { .. } | Request::Write { .. }) {
        // Of what was initialized the topic was there; the rest is refused for that.
        return None;
    }
    let image = control.image();
    let is_known = image.topics().partition(key.topic_id, key.partition).is_some();
    (!is_known).then(|| ErrorCode::UnknownTopicOrPartition.into())
}

/// Topics in the order in which they were asked for, each with what `make` makes of its partitions' answers.
pub(super) fn by_topic<P>(
    answers: Vec<(TopicId, i32, Response)>,
    mut make: impl FnMut(i32, Response) -> P,
) -> Vec<(TopicId, Vec<P>)> {
    let mut topics: Vec<(TopicId, Vec<P>)> = Vec::new();
    for (topic_id, partition, response) in answers {
        let made = make(partition, response);
        match topics.last_mut() {
            Some((last, partitions)) if *last == topic_id => partitions.push(made),
            _ => topics.push((topic_id, vec![made])),
        }
    }
    topics
}

/// Code and message of an answer to a change.
pub(super) fn outcome(response: Response) -> (i16, Option<String>) {
    let result = match response {
        Response::Changed(result) => result,
        Response::Read(read) => read.map(|_| ()),
        Response::Summary(summary) => summary.map(|_| ()),
    };
    match result {
        Ok(()) => (0, None),
        Err(refusal) => (refusal.error.code(), Some(refusal.message)),
    }
}
