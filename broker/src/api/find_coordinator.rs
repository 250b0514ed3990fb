//! FindCoordinator (10), versions 0 to 6: which broker coordinates a group, the transactions of an id, or a share partition.
//!
//! - 1: the key's type. 4: several keys at once (KIP-699). 5 and 6: codes that concern transactions and share groups.
//!
//! The coordinator is the leader of the key's partition of `__consumer_offsets`, `__transaction_state` or `__share_group_state`,
//! which is created on the first search. Kafka answers that search with COORDINATOR_NOT_AVAILABLE and lets the client ask again; here the
//! answer waits, within a bound, until the coordinator is there.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use moldau_model::{BrokerId, ErrorCode, PartitionIndex};
use moldau_share::SharePartitionKey;

use super::auto_create::{Requester, ensure_topic};
use super::message::{broker_id, text};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;
use crate::control::ControlPlane;
use crate::coordinator::{OFFSETS_TOPIC, SHARE_STATE_TOPIC, TRANSACTION_TOPIC};

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(10, "FindCoordinator", 0, 6, handle);

const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;
const KEY_SHARE: i8 = 2;
/// From this version on.
const SHARE_KEYS_SINCE: i16 = 6;
/// How long a new coordinator may take to load its (empty) partition before clients are told to come again.
const LOAD_LIMIT: Duration = Duration::from_secs(1);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<FindCoordinatorRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let control = &broker.control;
    let keys =
        if context.api_version < 4 { vec![request.key.clone()] } else { request.coordinator_keys.clone() };
    let is_key = |key: &StrBytes| request.key_type != KEY_SHARE || is_share_key(context.api_version, key);
    let may_ask = |key: &StrBytes| check(&context, request.key_type, key).is_ok();
    let is_new = |topic: &&str| {
        keys.iter().any(|key| is_key(key) && may_ask(key))
            && control.image().topics().by_name(topic).is_none()
    };
    let Some(topic) = topic_of(request.key_type).filter(is_new) else {
        return context.ready(&answer(control, &context, request.key_type, &keys));
    };
    let control = Arc::clone(control);
    Reply::Pending(Box::pin(async move {
        ensure_topic(&control, topic, &Requester::broker(&control)).await;
        for key in &keys {
            wait_loaded(&control, topic, key).await;
        }
        context.response(&answer(&control, &context, request.key_type, &keys))
    }))
}

/// Whether a key is one of a share partition, in a version that has those.
fn is_share_key(api_version: i16, key: &str) -> bool {
    api_version >= SHARE_KEYS_SINCE && SharePartitionKey::parse(key).is_some()
}

/// The topic whose partitions' leaders coordinate keys of this type.
fn topic_of(key_type: i8) -> Option<&'static str> {
    match key_type {
        KEY_GROUP => Some(OFFSETS_TOPIC),
        KEY_TRANSACTION => Some(TRANSACTION_TOPIC),
        KEY_SHARE => Some(SHARE_STATE_TOPIC),
        _ => None,
    }
}

fn partition_for(control: &ControlPlane, topic: &str, key: &str) -> PartitionIndex {
    if topic == SHARE_STATE_TOPIC {
        control.share_state.partition_for(key)
    } else if topic == TRANSACTION_TOPIC {
        control.transactions.partition_for(key)
    } else {
        control.coordinator.partition_for(key)
    }
}

/// Where this broker is the new coordinator, waits until it can answer.
async fn wait_loaded(control: &ControlPlane, topic: &str, key: &str) {
    let partition = partition_for(control, topic, key);
    let image = control.image();
    let led_here = image
        .partition_by_name(topic, partition)
        .is_some_and(|(_, partition)| partition.leader == control.node_id);
    if !led_here {
        return;
    }
    if topic == SHARE_STATE_TOPIC {
        control.share_state.wait_active(partition, LOAD_LIMIT).await;
    } else if topic == TRANSACTION_TOPIC {
        control.transactions.wait_active(partition, LOAD_LIMIT).await;
    } else {
        control.coordinator.wait_active(partition, LOAD_LIMIT).await;
    }
}

fn answer(
    control: &ControlPlane,
    context: &RequestContext,
    key_type: i8,
    keys: &[StrBytes],
) -> FindCoordinatorResponse {
    let found = keys.iter().map(|key| find(control, context, key_type, key));
    if context.api_version >= 4 {
        return FindCoordinatorResponse::default().with_coordinators(found.collect());
    }
    let one = found.into_iter().next().unwrap_or_default();
    let response = FindCoordinatorResponse::default()
        .with_error_code(one.error_code)
        .with_node_id(one.node_id)
        .with_host(one.host)
        .with_port(one.port);
    if context.api_version >= 1 { response.with_error_message(one.error_message) } else { response }
}

/// Whether the asker may know who coordinates a key. Share partitions are the brokers' own business.
fn check(context: &RequestContext, key_type: i8, key: &str) -> Result<(), ErrorCode> {
    let (operation, resource, code) = match key_type {
        KEY_TRANSACTION => (
            Operation::Describe,
            Resource::transactional_id(key),
            ErrorCode::TransactionalIdAuthorizationFailed,
        ),
        KEY_SHARE => (Operation::ClusterAction, Resource::CLUSTER, ErrorCode::ClusterAuthorizationFailed),
        _ => (Operation::Describe, Resource::group(key), ErrorCode::GroupAuthorizationFailed),
    };
    if is_authorized(context, operation, resource) { Ok(()) } else { Err(code) }
}

fn find(control: &ControlPlane, context: &RequestContext, key_type: i8, key: &StrBytes) -> Coordinator {
    let refuse = |error: ErrorCode, message: &str| {
        Coordinator::default()
            .with_key(key.clone())
            .with_node_id(broker_id(BrokerId::NONE))
            .with_port(-1)
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
    };
    let Some(topic) = topic_of(key_type) else {
        return refuse(ErrorCode::InvalidRequest, ErrorCode::InvalidRequest.message());
    };
    if topic == SHARE_STATE_TOPIC && !is_share_key(context.api_version, key) {
        let message = if context.api_version >= 4 { "" } else { ErrorCode::InvalidRequest.message() };
        return refuse(ErrorCode::InvalidRequest, message);
    }
    if let Err(code) = check(context, key_type, key) {
        return refuse(code, code.message());
    }
    let image = control.image();
    let partition = partition_for(control, topic, key);
    let listener = image
        .partition_by_name(topic, partition)
        .and_then(|(_, partition)| image.broker(partition.leader))
        .filter(|broker| !broker.fenced)
        .and_then(|broker| Some((broker.id, broker.listener(&context.listener)?)));
    match listener {
        Some((id, listener)) => Coordinator::default()
            .with_key(key.clone())
            .with_node_id(broker_id(id))
            .with_host(text(&listener.host))
            .with_port(i32::from(listener.port))
            .with_error_message(Some(text(if context.api_version < 4 { "NONE" } else { "" }))),
        None => refuse(ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorNotAvailable.message()),
    }
}
