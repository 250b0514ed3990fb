//! What ShareFetch and ShareAcknowledge have in common: whose session it is, what is said of records, and who leads where.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream;
use moldau_kafka::SharePartitionRequest;
use moldau_metadata::MetadataImage;
use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, TopicIdPartition};
use moldau_share::{AcknowledgeType, Acknowledgement, SessionKey};

use super::RequestContext;
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

/// Partitions of one request that wait for their writes at the same time: more than a member reads from one broker, and few enough
/// that a request which names very much costs little.
const WAITING_AT_ONCE: usize = 1_000;

/// The session that a request belongs to.
pub(super) fn session_key(
    broker: &Broker,
    context: &RequestContext,
    group_id: Option<&str>,
    member_id: Option<&str>,
) -> Result<SessionKey, ErrorCode> {
    if !broker.share.is_served() {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let (Some(group_id), Some(member_id)) = (group_id, member_id) else {
        return Err(ErrorCode::InvalidRequest);
    };
    if group_id.is_empty() || member_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    if !is_authorized(context, Operation::Read, Resource::group(group_id)) {
        return Err(ErrorCode::GroupAuthorizationFailed);
    }
    Ok(SessionKey { group_id: group_id.into(), member_id: member_id.into() })
}

/// What a member says of one partition's records; an error where it makes no sense.
pub(super) type Said = (TopicIdPartition, Result<Vec<Acknowledgement>, ErrorCode>);

/// What is said in a request. Renewals have to be announced, and allowed.
pub(super) fn said(partitions: &[SharePartitionRequest], may_renew: bool) -> Vec<Said> {
    let with_something = partitions.iter().filter(|partition| !partition.acknowledgements.is_empty());
    let said = with_something.map(|partition| {
        let acknowledgements = partition.acknowledgements.iter().map(|batch| {
            let types: Option<Vec<AcknowledgeType>> = batch
                .acknowledge_types
                .iter()
                .map(|code| {
                    AcknowledgeType::from_code(*code)
                        .filter(|kind| may_renew || *kind != AcknowledgeType::Renew)
                })
                .collect();
            let types = types.ok_or(ErrorCode::InvalidRequest)?;
            let said = Acknowledgement { first: batch.first_offset, last: batch.last_offset, types };
            if said.is_valid() { Ok(said) } else { Err(ErrorCode::InvalidRequest) }
        });
        (partition.at, acknowledgements.collect())
    });
    said.collect()
}

/// Takes what a member says. The outcomes come once they are written, in the order of what was said.
pub(super) async fn acknowledge(
    broker: &Arc<Broker>,
    context: &RequestContext,
    key: &SessionKey,
    said: Vec<Said>,
) -> Vec<(TopicIdPartition, ErrorCode)> {
    let outcomes = said.into_iter().map(|(at, said)| async move {
        let outcome = async {
            let said = said?;
            check_readable(broker, context, at)?;
            let entry = broker.share.entry(&key.group_id, at).await?;
            Ok(entry.acknowledge(&broker.share, &key.member_id, &said).await)
        };
        let outcome: Result<ErrorCode, ErrorCode> = outcome.await;
        (at, outcome.unwrap_or_else(|error| error))
    });
    stream::iter(outcomes).buffered(WAITING_AT_ONCE).collect().await
}

/// Whether the member may read the partition, and whether there is such.
pub(super) fn check_readable(
    broker: &Broker,
    context: &RequestContext,
    at: TopicIdPartition,
) -> Result<(), ErrorCode> {
    let image = broker.control.image();
    let topic = image.topics().by_id(at.topic_id).ok_or(ErrorCode::UnknownTopicId)?;
    if !is_authorized(context, Operation::Read, Resource::topic(topic.name())) {
        return Err(ErrorCode::TopicAuthorizationFailed);
    }
    topic.partition(at.partition).map(|_| ()).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// The leaders that a member had better turn to.
#[derive(Debug, Default)]
pub(super) struct Leaders(BTreeSet<BrokerId>);

/// Where a leader listens.
pub(super) struct LeaderEndpoint {
    pub(super) id: BrokerId,
    pub(super) host: Arc<str>,
    pub(super) port: i32,
    pub(super) rack: Option<Arc<str>>,
}

impl Leaders {
    /// The leader of a partition whose code says that it is not this broker.
    pub(super) fn of(
        &mut self,
        broker: &Broker,
        image: &MetadataImage,
        at: TopicIdPartition,
        error: ErrorCode,
    ) -> Option<(BrokerId, LeaderEpoch)> {
        if !matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
            return None;
        }
        let leader = broker.replica_manager.current_leader(image, at)?;
        self.0.insert(leader.0);
        Some(leader)
    }

    pub(super) fn endpoints(&self, context: &RequestContext, image: &MetadataImage) -> Vec<LeaderEndpoint> {
        let alive = image.alive_brokers_with_listener(&context.listener);
        let told = alive.filter(|(broker, _)| self.0.contains(&broker.id));
        told.map(|(broker, listener)| LeaderEndpoint {
            id: broker.id,
            host: Arc::clone(&listener.host),
            port: i32::from(listener.port),
            rack: broker.rack.clone(),
        })
        .collect()
    }
}

/// The message beside a code: none beside none.
pub(super) fn message_of(error: ErrorCode) -> Option<&'static str> {
    (!error.is_none()).then(|| error.message())
}
