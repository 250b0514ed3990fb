//! Metadata (3), versions 0 to 13: brokers, topics, partitions, leaders.
//!
//! - 0: an empty list of topics means all of them; from 1 on null does, and an empty list means none.
//! - 1: rack, controller, internal topics. 2: cluster id. 4: auto-creation may be declined. 5: offline replicas.
//! - 7: leader epochs (KIP-320). 8: authorized operations (KIP-430), the cluster's until 10.
//! - 10: topic ids in the answer, 12: in the request too (KIP-516). 13: an error for the whole answer (KIP-1102).
//!
//! A topic that does not exist is created by the controller where both the request and `auto.create.topics.enable` allow
//! it. Kafka answers UNKNOWN_TOPIC_OR_PARTITION at once and lets the client ask again; here the answer waits for the topic,
//! within a bound, and shows it. Nor is a leader named at once to which this broker's own connection has just broken: see
//! `departures`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use moldau_metadata::{MetadataImage, TopicImage};
use moldau_model::{ErrorCode, TopicId, validate_topic_name};

use super::auto_create::{Requester, create_topics};
use super::message::{OPERATIONS_NOT_ASKED, broker_id, broker_ids, model_uuid, text, topic_name, wire_uuid};
use super::topic_view::{is_internal, is_reachable, view};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{
    Operation, Resource, authorized_operations, cluster_operations, is_authorized, is_visible,
};
use crate::broker::Broker;
use crate::control::ControlPlane;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(3, "Metadata", 0, 13, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<MetadataRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let control = &broker.control;
    let image = control.image();
    let wanted = match Wanted::of(&context, &request) {
        Ok(wanted) => wanted,
        Err(error) => return context.ready(&refused(&context, &request, error)),
    };
    let doubt = wanted.doubtful_until(control, &image);
    let mut missing = if request.allow_auto_topic_creation || context.api_version < 4 {
        wanted.names_to_create(control, &image)
    } else {
        Vec::new()
    };
    missing.retain(|name| is_visible(&context, Operation::Describe, Resource::topic(name)));
    let refused = take_uncreatable(&context, &mut missing);
    if missing.is_empty() && doubt.is_none() {
        return context.ready(&answer(control, &image, &context, &request, &wanted, &refused));
    }
    let control = Arc::clone(control);
    Reply::Pending(Box::pin(async move {
        if !missing.is_empty() {
            create_topics(&control, &missing, &Requester::of(&context)).await;
        }
        wait_for_verdict(&control, &wanted).await;
        let image = control.image();
        context.response(&answer(&control, &image, &context, &request, &wanted, &refused))
    }))
}

/// Takes out the topics that the asker may not create.
fn take_uncreatable(context: &RequestContext, missing: &mut Vec<String>) -> BTreeSet<String> {
    if missing.is_empty() || is_visible(context, Operation::Create, Resource::CLUSTER) {
        return BTreeSet::new();
    }
    let mut refused = BTreeSet::new();
    missing.retain(|name| {
        let is_allowed = is_authorized(context, Operation::Create, Resource::topic(name));
        if !is_allowed {
            refused.insert(name.clone());
        }
        is_allowed
    });
    refused
}

/// The topics a request names.
enum Wanted {
    All,
    Names(Vec<String>),
    Ids(Vec<TopicId>),
}

impl Wanted {
    fn of(context: &RequestContext, request: &MetadataRequest) -> Result<Self, ErrorCode> {
        let Some(topics) = &request.topics else { return Ok(Self::All) };
        if context.api_version == 0 && topics.is_empty() {
            return Ok(Self::All);
        }
        let has_ids = topics.iter().any(|topic| !topic.topic_id.is_nil());
        if context.api_version < 12 && (has_ids || topics.iter().any(|topic| topic.name.is_none())) {
            return Err(ErrorCode::InvalidRequest);
        }
        if topics.iter().any(|topic| topic.name.is_none() && topic.topic_id.is_nil()) {
            return Err(ErrorCode::InvalidRequest);
        }
        if has_ids {
            let ids = topics.iter().map(|topic| model_uuid(topic.topic_id));
            return Ok(Self::Ids(ids.filter(|id| !id.is_zero()).collect()));
        }
        // A topic named twice is told once.
        let mut names: Vec<String> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for name in topics.iter().filter_map(|topic| topic.name.as_ref()) {
            if seen.insert(name.as_str()) {
                names.push(name.to_string());
            }
        }
        Ok(Self::Names(names))
    }

    fn names_to_create(&self, control: &ControlPlane, image: &MetadataImage) -> Vec<String> {
        let Self::Names(names) = self else { return Vec::new() };
        if !control.config.auto_create_topics {
            return Vec::new();
        }
        let is_missing =
            |name: &&String| image.topics().by_name(name).is_none() && validate_topic_name(name).is_ok();
        names.iter().filter(is_missing).cloned().collect()
    }
}

impl Wanted {
    /// Until when the answer waits to hear whether a leader that it would name has gone.
    fn doubtful_until(&self, control: &ControlPlane, image: &MetadataImage) -> Option<Instant> {
        let mut leaders = BTreeSet::new();
        let mut add = |topic: &Arc<TopicImage>| leaders.extend(topic.partitions().map(|(_, p)| p.leader));
        match self {
            // Whoever asks for everything has lost nobody.
            Self::All => return None,
            Self::Names(names) => {
                names.iter().filter_map(|name| image.topics().by_name(name)).for_each(&mut add)
            }
            Self::Ids(ids) => ids.iter().filter_map(|id| image.topics().by_id(*id)).for_each(&mut add),
        }
        leaders.remove(&control.node_id);
        control.departures.doubt(image, &leaders, Instant::now())
    }
}

/// Waits until the metadata does not name a leader any more that seems to have gone; within a bound, after which what is
/// known is told.
async fn wait_for_verdict(control: &ControlPlane, wanted: &Wanted) {
    let mut applied = control.metadata.watch_applied();
    loop {
        applied.mark_unchanged();
        let Some(until) = wanted.doubtful_until(control, &control.image()) else { return };
        if !matches!(tokio::time::timeout_at(until.into(), applied.changed()).await, Ok(Ok(()))) {
            return;
        }
    }
}

fn refused(context: &RequestContext, request: &MetadataRequest, error: ErrorCode) -> MetadataResponse {
    let topics = request.topics.as_deref().unwrap_or_default().iter().map(|topic| {
        let mut answer = MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(Some(topic.name.clone().unwrap_or_default()));
        if context.api_version >= 10 {
            answer.topic_id = topic.topic_id;
        }
        answer
    });
    MetadataResponse::default().with_topics(topics.collect())
}

fn answer(
    control: &ControlPlane,
    image: &MetadataImage,
    context: &RequestContext,
    request: &MetadataRequest,
    wanted: &Wanted,
    uncreatable: &BTreeSet<String>,
) -> MetadataResponse {
    let topics = match wanted {
        Wanted::All => {
            let is_seen = |name: &str| is_visible(context, Operation::Describe, Resource::topic(name));
            let seen = image.topics().iter().filter(|topic| is_seen(topic.name()));
            seen.map(|topic| known(image, context, request, topic)).collect()
        }
        Wanted::Names(names) => names
            .iter()
            .map(|name| match image.topics().by_name(name) {
                _ if !is_authorized(context, Operation::Describe, Resource::topic(name)) => {
                    unauthorized().with_name(Some(topic_name(name)))
                }
                Some(topic) => known(image, context, request, topic),
                None if uncreatable.contains(name) => unauthorized()
                    .with_name(Some(topic_name(name)))
                    .with_is_internal(context.api_version >= 1 && is_internal(name)),
                None => unknown_name(context, request, name),
            })
            .collect(),
        Wanted::Ids(ids) => ids
            .iter()
            .map(|id| match image.topics().by_id(*id) {
                // An id tells nothing; the name that it has would.
                Some(topic)
                    if !is_authorized(context, Operation::Describe, Resource::topic(topic.name())) =>
                {
                    unauthorized().with_name(None).with_topic_id(wire_uuid(*id))
                }
                Some(topic) => known(image, context, request, topic),
                None => MetadataResponseTopic::default()
                    .with_error_code(ErrorCode::UnknownTopicId.code())
                    .with_name(None)
                    .with_topic_id(wire_uuid(*id)),
            })
            .collect(),
    };
    let mut response = MetadataResponse::default()
        .with_brokers(brokers(control, image, context))
        .with_controller_id(broker_id(control.controller_for_clients(image)))
        .with_topics(topics)
        .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED);
    if context.api_version >= 2 {
        response.cluster_id = Some(text(&control.cluster_id));
    }
    if (8..=10).contains(&context.api_version) {
        let asked = request.include_cluster_authorized_operations;
        response.cluster_authorized_operations = cluster_operations(context, asked);
    }
    response
}

/// Those that are alive, and those that were a moment ago.
fn brokers(
    control: &ControlPlane,
    image: &MetadataImage,
    context: &RequestContext,
) -> Vec<MetadataResponseBroker> {
    let fenced = control.departures.fenced(Instant::now());
    let fenced = fenced.iter().filter(|broker| !image.is_alive_broker(broker.id));
    let listed = image.alive_brokers().chain(fenced);
    let reachable = listed.filter_map(|broker| Some((broker, broker.listener(&context.listener)?)));
    reachable
        .map(|(broker, listener)| {
            MetadataResponseBroker::default()
                .with_node_id(broker_id(broker.id))
                .with_host(text(&listener.host))
                .with_port(i32::from(listener.port))
                .with_rack(broker.rack.as_ref().filter(|_| context.api_version >= 1).map(text))
        })
        .collect()
}

fn unknown_name(context: &RequestContext, request: &MetadataRequest, name: &str) -> MetadataResponseTopic {
    let error = match validate_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(topic_name(name)))
        .with_is_internal(context.api_version >= 1 && is_internal(name))
        .with_topic_authorized_operations(topic_operations(context, request, name))
}

/// What may be done with a topic, whether it exists or not, if that was asked for.
fn topic_operations(context: &RequestContext, request: &MetadataRequest, topic: &str) -> i32 {
    let asked = context.api_version >= 8 && request.include_topic_authorized_operations;
    authorized_operations(context, asked, Resource::topic(topic))
}

/// What is told of a topic that the asker may not see, or not create: nothing of it.
fn unauthorized() -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_error_code(ErrorCode::TopicAuthorizationFailed.code())
}

fn known(
    image: &MetadataImage,
    context: &RequestContext,
    request: &MetadataRequest,
    topic: &TopicImage,
) -> MetadataResponseTopic {
    let version = context.api_version;
    let partitions = topic.partitions().map(|(index, partition)| {
        let view = view(image, &context.listener, partition, version >= 6);
        let mut answer = MetadataResponsePartition::default()
            .with_error_code(view.error.code())
            .with_partition_index(index.0)
            .with_leader_id(broker_id(view.leader))
            .with_replica_nodes(broker_ids(&partition.replicas))
            .with_isr_nodes(broker_ids(&partition.isr));
        if version >= 5 {
            answer.offline_replicas = broker_ids(&view.offline_replicas);
        }
        if version >= 7 {
            answer.leader_epoch = partition.leader_epoch.0;
        }
        if version == 0 {
            tell_reachable_alone(image, &context.listener, &mut answer);
        }
        answer
    });
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(topic.name())))
        .with_topic_id(if version >= 10 { wire_uuid(topic.id()) } else { uuid::Uuid::nil() })
        .with_is_internal(version >= 1 && is_internal(topic.name()))
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(topic_operations(context, request, topic.name()))
}

/// Clients of version 0 choke on replicas they are told no address of: those are left out, which is an error of its own.
fn tell_reachable_alone(image: &MetadataImage, listener: &str, answer: &mut MetadataResponsePartition) {
    let before = answer.replica_nodes.len() + answer.isr_nodes.len();
    let reachable =
        |id: &kafka_protocol::messages::BrokerId| is_reachable(image, listener, moldau_model::BrokerId(id.0));
    answer.replica_nodes.retain(reachable);
    answer.isr_nodes.retain(reachable);
    let is_short = answer.replica_nodes.len() + answer.isr_nodes.len() < before;
    if is_short && answer.error_code == ErrorCode::None.code() {
        answer.error_code = ErrorCode::ReplicaNotAvailable.code();
    }
}
