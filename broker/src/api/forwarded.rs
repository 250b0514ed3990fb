//! The requests that only the controller answers: CreateTopics (19), DeleteTopics (20), CreateAcls (30), DeleteAcls (31),
//! AlterConfigs (33), CreatePartitions (37), CreateDelegationToken (38), RenewDelegationToken (39), ExpireDelegationToken (40),
//! ElectLeaders (43), IncrementalAlterConfigs (44), AlterPartitionReassignments (45), ListPartitionReassignments (46),
//! AlterClientQuotas (49), AlterUserScramCredentials (51), UpdateFeatures (57), UnregisterBroker (64), AddRaftVoter (80) and
//! RemoveRaftVoter (81).
//!
//! A broker passes them on as they came, with who sent them, and passes the answer back as it came. It answers only once
//! its own image shows what was done, so that whoever created a topic can produce to it at once. Where the controller
//! cannot be reached, the answer is Kafka's for that: each part of the request with the same code.

mod own_log_dirs;
mod refused;
mod tokens_refused;

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use moldau_cluster::ControllerError;
use moldau_kafka::ApiKey;
use moldau_model::ErrorCode;

use super::auto_create::Requester;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_visible};
use crate::broker::Broker;
use crate::control::CATCH_UP_LIMIT;
use crate::response::ResponseFrame;

pub(super) const CREATE_TOPICS: ApiSupport = ApiSupport::new(19, "CreateTopics", 2, 7, handle);
pub(super) const DELETE_TOPICS: ApiSupport = ApiSupport::new(20, "DeleteTopics", 1, 6, handle);
pub(super) const CREATE_ACLS: ApiSupport = ApiSupport::new(30, "CreateAcls", 1, 3, handle);
pub(super) const DELETE_ACLS: ApiSupport = ApiSupport::new(31, "DeleteAcls", 1, 3, handle);
pub(super) const ALTER_CONFIGS: ApiSupport = ApiSupport::new(33, "AlterConfigs", 0, 2, handle);
pub(super) const CREATE_PARTITIONS: ApiSupport = ApiSupport::new(37, "CreatePartitions", 0, 3, handle);
pub(super) const CREATE_DELEGATION_TOKEN: ApiSupport =
    ApiSupport::new(38, "CreateDelegationToken", 1, 3, handle);
pub(super) const RENEW_DELEGATION_TOKEN: ApiSupport =
    ApiSupport::new(39, "RenewDelegationToken", 1, 2, handle);
pub(super) const EXPIRE_DELEGATION_TOKEN: ApiSupport =
    ApiSupport::new(40, "ExpireDelegationToken", 1, 2, handle);
pub(super) const INCREMENTAL_ALTER_CONFIGS: ApiSupport =
    ApiSupport::new(44, "IncrementalAlterConfigs", 0, 1, handle);
pub(super) const ELECT_LEADERS: ApiSupport = ApiSupport::new(43, "ElectLeaders", 0, 2, handle);
pub(super) const ALTER_PARTITION_REASSIGNMENTS: ApiSupport =
    ApiSupport::new(45, "AlterPartitionReassignments", 0, 1, handle);
pub(super) const LIST_PARTITION_REASSIGNMENTS: ApiSupport =
    ApiSupport::new(46, "ListPartitionReassignments", 0, 0, handle);
pub(super) const UNREGISTER_BROKER: ApiSupport = ApiSupport::new(64, "UnregisterBroker", 0, 0, handle);
pub(super) const ALTER_CLIENT_QUOTAS: ApiSupport = ApiSupport::new(49, "AlterClientQuotas", 0, 1, handle);
pub(super) const ALTER_USER_SCRAM_CREDENTIALS: ApiSupport =
    ApiSupport::new(51, "AlterUserScramCredentials", 0, 0, handle);
pub(super) const UPDATE_FEATURES: ApiSupport = ApiSupport::new(57, "UpdateFeatures", 0, 2, handle);
pub(super) const ADD_RAFT_VOTER: ApiSupport = ApiSupport::new(80, "AddRaftVoter", 0, 1, handle);
pub(super) const REMOVE_RAFT_VOTER: ApiSupport = ApiSupport::new(81, "RemoveRaftVoter", 0, 0, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, body) = request.into_body();
    let Some(api_key) = ApiKey::from_code(context.api_key) else { return Reply::Close("unknown api key") };
    // The controller must not see what a broker would have refused to read.
    if let Err(error) = moldau_kafka::check_request(api_key, context.api_version, &body) {
        tracing::debug!(%error, %api_key, "unreadable request");
        return Reply::Close("unreadable request");
    }
    if !context.may_manage_tokens && tokens_refused::is_about_tokens(api_key) {
        let code = ErrorCode::DelegationTokenRequestNotAllowed;
        return tokens_refused::answer(api_key, &context, body, code);
    }
    let control = Arc::clone(&broker.control);
    // Deferred: what a client sends next may rely on what this one changes.
    Reply::Deferred(Box::pin(async move {
        let version = context.api_version;
        // Who may not alter it is told by the controller, and nothing of this broker.
        let checked = is_visible(&context, Operation::AlterConfigs, Resource::CLUSTER)
            .then(|| own_log_dirs::check(&control, api_key, version, &body))
            .flatten();
        let body = match checked {
            Some(checked) if checked.is_empty => {
                return match checked.completed(api_key, version, Bytes::new()) {
                    Some(body) => Reply::Ready(framed(api_key, &context, &body)),
                    None => Reply::Ready(ResponseFrame::unanswerable()),
                };
            }
            Some(ref checked) => checked.body.clone(),
            None => body,
        };
        let forward = Requester::of(&context).forward(
            control.node_id,
            context.api_key,
            context.api_version,
            body.clone(),
        );
        match control.channel.forward(forward).await {
            Ok(forwarded) => {
                control.metadata.wait_for_offset(forwarded.metadata_offset, CATCH_UP_LIMIT).await;
                let body = match checked {
                    Some(checked) => checked.completed(api_key, version, forwarded.body),
                    None => Some(forwarded.body),
                };
                let answer = body.map(|body| framed(api_key, &context, &body));
                Reply::Ready(answer.unwrap_or_else(ResponseFrame::unanswerable))
            }
            // Kafka's broker closes the connection where the controller does not know the request.
            Err(ControllerError::Kafka(ErrorCode::UnsupportedVersion)) => {
                Reply::Close("the controller does not serve this request")
            }
            Err(error) => {
                tracing::warn!(%error, %api_key, "request cannot be forwarded");
                refused::answer(api_key, &context, body, error.error_code())
            }
        }
    }))
}

/// The controller's answer, under this connection's header.
fn framed(api_key: ApiKey, context: &RequestContext, body: &[u8]) -> ResponseFrame {
    let is_flexible = api_key.response_header_version(context.api_version) >= 1;
    let header_length = 4 + usize::from(is_flexible);
    let Ok(size) = i32::try_from(header_length + body.len()) else {
        return ResponseFrame::unanswerable();
    };
    let mut frame = BytesMut::with_capacity(4 + header_length + body.len());
    frame.put_i32(size);
    frame.put_i32(context.correlation_id);
    if is_flexible {
        // No tagged fields.
        frame.put_u8(0);
    }
    frame.put_slice(body);
    // Who had too many partitions created or deleted has to wait, as the controller says.
    let throttle_ms = moldau_kafka::throttle_time_position(api_key, context.api_version)
        .and_then(|position| body.get(position..position + 4))
        .and_then(|field| field.try_into().ok())
        .map_or(0, i32::from_be_bytes);
    ResponseFrame::new(frame).telling_throttle(throttle_ms)
}
