//! FindCoordinator (10), versions 0 to 6: which broker coordinates a group.
//!
//! - 1: the key's type. 4: several keys at once (KIP-699). 5 and 6: codes that concern transactions and share groups.
//!
//! The coordinator is the leader of the group's partition of `__consumer_offsets`, which is created on the first search.
//! Kafka answers that search with COORDINATOR_NOT_AVAILABLE and lets the client ask again; here the answer waits, within
//! a bound, until the coordinator is there. Transactions have no coordinator yet.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;
use moldau_model::{BrokerId, ErrorCode};

use super::auto_create::{Requester, ensure_offsets_topic};
use super::message::{broker_id, text};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::broker::Broker;
use crate::control::ControlPlane;
use crate::coordinator::OFFSETS_TOPIC;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(10, "FindCoordinator", 0, 6, handle);

const KEY_GROUP: i8 = 0;
const KEY_TRANSACTION: i8 = 1;
const KEY_SHARE: i8 = 2;
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
    let is_new = request.key_type == KEY_GROUP
        && !keys.is_empty()
        && control.image().topics().by_name(OFFSETS_TOPIC).is_none();
    if !is_new {
        return context.ready(&answer(control, &context, request.key_type, &keys));
    }
    let control = Arc::clone(control);
    Reply::Pending(Box::pin(async move {
        ensure_offsets_topic(&control, &Requester::of(&context)).await;
        for key in &keys {
            let partition = control.coordinator.partition_for(key);
            let image = control.image();
            let led_here = image
                .partition_by_name(OFFSETS_TOPIC, partition)
                .is_some_and(|(_, partition)| partition.leader == control.node_id);
            if led_here {
                control.coordinator.wait_active(partition, LOAD_LIMIT).await;
            }
        }
        context.response(&answer(&control, &context, request.key_type, &keys))
    }))
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

fn find(control: &ControlPlane, context: &RequestContext, key_type: i8, key: &StrBytes) -> Coordinator {
    let refuse = |error: ErrorCode, message: &str| {
        Coordinator::default()
            .with_key(key.clone())
            .with_node_id(broker_id(BrokerId::NONE))
            .with_port(-1)
            .with_error_code(error.code())
            .with_error_message(Some(text(message)))
    };
    match key_type {
        KEY_GROUP => {}
        KEY_TRANSACTION => {
            return refuse(ErrorCode::CoordinatorNotAvailable, "transactions are not implemented yet");
        }
        // Share groups are not served yet: what Kafka says of a share key that is none ends the client's search.
        KEY_SHARE if context.api_version >= 4 => return refuse(ErrorCode::InvalidRequest, ""),
        _ => return refuse(ErrorCode::InvalidRequest, ErrorCode::InvalidRequest.message()),
    }
    let image = control.image();
    let partition = control.coordinator.partition_for(key);
    let listener = image
        .partition_by_name(OFFSETS_TOPIC, partition)
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
