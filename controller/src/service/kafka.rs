//! Kafka's admin requests, as brokers pass them on: decoded here, decided by the event loop, answered in the version in
//! which they were asked. One file for each API key.

mod acls;
mod add_raft_voter;
mod alter_client_quotas;
mod alter_configs;
mod alter_partition_reassignments;
mod alter_user_scram_credentials;
mod changes;
mod create_acls;
mod create_delegation_token;
mod create_partitions;
mod create_topics;
mod delete_acls;
mod delete_topics;
mod elect_leaders;
mod expire_delegation_token;
mod incremental_alter_configs;
mod list_partition_reassignments;
mod remove_raft_voter;
mod renew_delegation_token;
mod unregister_broker;
mod update_features;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    IncrementalAlterConfigsRequest, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::{Encodable, Request, StrBytes};
use moldau_cluster::{ControllerError, Forward, Forwarded};
use moldau_kafka::{ApiKey, VersionRange, WireError, decode};
use moldau_metadata::ConfigResourceType;
use moldau_model::{BrokerId, ErrorCode, Offset};

pub(super) use acls::described as described_acls;

pub(crate) use changes::Change;

use super::Service;
use crate::audit::AuditLog;
use crate::manage::{ApiError, Asker, Mutator};
use crate::raft::VoterChangeError;

/// The APIs that a controller carries out for a broker's client. Changes, and what became of them, are in the audit log.
pub(super) async fn handle(service: &Service, request: Forward) -> Result<Forwarded, ControllerError> {
    let mut only_validated = false;
    let outcome = carry_out(service, &request, &mut only_validated).await;
    if let (Some(api_key), Ok(forwarded)) = (ApiKey::from_code(request.api_key), &outcome)
        && AuditLog::tells_changes()
        && let Some(change) = Change::of_answer(api_key, request.api_version, &forwarded.body)
    {
        service.audit.tell_change(&request, api_key, &change, only_validated);
    }
    outcome
}

/// `only_validated` comes to say whether the request asks only what would come of it.
async fn carry_out(
    service: &Service,
    request: &Forward,
    only_validated: &mut bool,
) -> Result<Forwarded, ControllerError> {
    let unsupported = || ControllerError::Kafka(ErrorCode::UnsupportedVersion);
    let api_key = ApiKey::from_code(request.api_key).ok_or_else(unsupported)?;
    let version = request.api_version;
    if !served_versions(api_key).contains(version) {
        return Err(unsupported());
    }
    let (principal, client_host) = (&request.principal, &request.client_host);
    tracing::debug!(%principal, %client_host, api = api_key.name(), version, "a forwarded request");
    let mutator = |knows_refusals_since: i16| Mutator {
        user: principal.strip_prefix("User:").unwrap_or(principal).into(),
        client_id: request.client_id.as_deref().unwrap_or_default().into(),
        knows_refusals: version >= knows_refusals_since,
    };
    let asker =
        Asker::of_forwarded(principal, client_host, api_key.name()).map_err(ControllerError::Kafka)?;
    let body = request.body.clone();
    match api_key {
        ApiKey::AddRaftVoter => {
            let (request, _) = moldau_kafka::decode_add_raft_voter(version, &body).map_err(unreadable)?;
            answer(0, add_raft_voter::handle(service, &asker, request).await?)
        }
        ApiKey::AlterClientQuotas => {
            let asked: AlterClientQuotasRequest = parse(version, body)?;
            *only_validated = asked.validate_only;
            answer(version, alter_client_quotas::handle(service, asker, asked).await?)
        }
        ApiKey::AlterConfigs => {
            let asked: AlterConfigsRequest = parse(version, body)?;
            *only_validated = asked.validate_only;
            answer(version, alter_configs::handle(service, request.broker_id, asker, asked).await?)
        }
        ApiKey::AlterPartitionReassignments => answer(
            version,
            alter_partition_reassignments::handle(service, asker, parse(version, body)?).await?,
        ),
        ApiKey::CreateAcls => {
            answer(version, create_acls::handle(service, asker, parse(version, body)?).await?)
        }
        ApiKey::AlterUserScramCredentials => answer(
            version,
            alter_user_scram_credentials::handle(service, asker, parse(version, body)?).await?,
        ),
        ApiKey::DeleteAcls => {
            answer(version, delete_acls::handle(service, asker, parse(version, body)?).await?)
        }
        ApiKey::CreateDelegationToken => answer(
            version,
            create_delegation_token::handle(service, version, asker, parse(version, body)?).await?,
        ),
        ApiKey::CreatePartitions => {
            let asked: CreatePartitionsRequest = parse(version, body)?;
            *only_validated = asked.validate_only;
            answer(version, create_partitions::handle(service, asker, mutator(3), asked).await?)
        }
        ApiKey::CreateTopics => {
            let asked: CreateTopicsRequest = parse(version, body)?;
            *only_validated = asked.validate_only;
            answer(version, create_topics::handle(service, version, asker, mutator(6), asked).await?)
        }
        ApiKey::DeleteTopics => answer(
            version,
            delete_topics::handle(service, version, asker, mutator(5), parse(version, body)?).await?,
        ),
        ApiKey::ElectLeaders => {
            answer(version, elect_leaders::handle(service, version, asker, parse(version, body)?).await?)
        }
        ApiKey::ExpireDelegationToken => {
            answer(version, expire_delegation_token::handle(service, asker, parse(version, body)?).await?)
        }
        ApiKey::IncrementalAlterConfigs => {
            let asked: IncrementalAlterConfigsRequest = parse(version, body)?;
            *only_validated = asked.validate_only;
            answer(
                version,
                incremental_alter_configs::handle(service, request.broker_id, asker, asked).await?,
            )
        }
        ApiKey::ListPartitionReassignments => answer(
            version,
            list_partition_reassignments::handle(service, asker, parse(version, body)?).await?,
        ),
        ApiKey::RemoveRaftVoter => {
            answer(version, remove_raft_voter::handle(service, &asker, parse(version, body)?).await?)
        }
        ApiKey::RenewDelegationToken => {
            answer(version, renew_delegation_token::handle(service, asker, parse(version, body)?).await?)
        }
        ApiKey::UnregisterBroker => {
            answer(version, unregister_broker::handle(service, asker, &parse(version, body)?).await?)
        }
        ApiKey::UpdateFeatures => {
            let asked: UpdateFeaturesRequest = parse(version, body)?;
            *only_validated = asked.validate_only;
            answer(version, update_features::handle(service, version, asker, asked).await?)
        }
        _ => Err(unsupported()),
    }
}

/// The versions that are read here.
pub(super) fn served_versions(api_key: ApiKey) -> VersionRange {
    match api_key {
        ApiKey::AddRaftVoter => add_raft_voter::VERSIONS,
        _ => api_key.library_versions(),
    }
}

/// What a tool is told of a request that another controller has to carry out, where Kafka's answer has a place for it.
pub(super) fn refusal(api_key: ApiKey, version: i16, error: &ControllerError) -> Option<Bytes> {
    let ControllerError::NotController { .. } = error else { return None };
    let error = ApiError::new(ErrorCode::NotLeaderOrFollower, "");
    let answered = match api_key {
        ApiKey::AddRaftVoter => answer(0, (add_raft_voter::response(Err(error)), Offset(0))),
        ApiKey::RemoveRaftVoter => answer(version, (remove_raft_voter::response(Err(error)), Offset(0))),
        _ => return None,
    };
    answered.ok().map(|forwarded| forwarded.body)
}

/// What a tool is told that asks for something of delegation tokens, and has come by one or has not shown who it is. `None`: it asks
/// for something else.
pub(super) fn tokens_refused(
    api_key: ApiKey,
    version: i16,
    asker: &Asker,
    body: &Bytes,
) -> Option<Result<Bytes, ControllerError>> {
    let forwarded = match api_key {
        ApiKey::CreateDelegationToken => parse(version, body.clone()).and_then(|request| {
            let response = create_delegation_token::not_allowed(version, &asker.principal, &request);
            answer(version, (response, Offset(0)))
        }),
        ApiKey::RenewDelegationToken => answer(version, (renew_delegation_token::not_allowed(), Offset(0))),
        ApiKey::ExpireDelegationToken => answer(version, (expire_delegation_token::not_allowed(), Offset(0))),
        _ => return None,
    };
    Some(forwarded.map(|forwarded| forwarded.body))
}

/// A change of the voters that was refused is an answer; one that another node has to make is not.
fn voters_changed(outcome: Result<(), VoterChangeError>) -> Result<Result<(), ApiError>, ControllerError> {
    match outcome {
        Ok(()) => Ok(Ok(())),
        Err(VoterChangeError::Refused(error)) => Ok(Err(error)),
        Err(VoterChangeError::NotLeader(leader)) => Err(ControllerError::NotController { leader }),
    }
}

fn parse<T: Request>(version: i16, mut body: Bytes) -> Result<T, ControllerError> {
    decode(version, &mut body).map_err(unreadable)
}

fn unreadable(error: WireError) -> ControllerError {
    tracing::info!(%error, "a forwarded request does not decode");
    ControllerError::Kafka(ErrorCode::InvalidRequest)
}

fn answer<R: Encodable>(
    version: i16,
    (response, metadata_offset): (R, Offset),
) -> Result<Forwarded, ControllerError> {
    let mut body = BytesMut::new();
    response.encode(&mut body, version).map_err(|error| {
        tracing::error!(%error, "a response does not fit its version");
        ControllerError::Kafka(ErrorCode::UnknownServerError)
    })?;
    Ok(Forwarded { body: body.freeze(), metadata_offset })
}

/// A broker takes requests to alter its own settings alone: clients send them to the broker that they are about.
fn check_broker_resource(asked: BrokerId, resource_type: i8, name: &str) -> Result<(), ApiError> {
    let is_of_a_broker = resource_type == ConfigResourceType::Broker.code() && !name.is_empty();
    if asked == BrokerId::NONE || !is_of_a_broker {
        return Ok(());
    }
    let text = match name.parse::<i32>() {
        Ok(id) if id == asked.0 => return Ok(()),
        Ok(id) => format!("Unexpected broker id, expected {asked}, but received {id}"),
        Err(_) => format!("Node id must be an integer, but it is: {name}"),
    };
    Err(ApiError::new(ErrorCode::InvalidRequest, text))
}

pub(super) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// A result's error as responses carry it: code and message, 0 and null where there is none.
fn error_fields<T>(result: &Result<T, ApiError>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(_) => (ErrorCode::None.code(), None),
        Err(error) => (error.code.code(), error.message.clone().map(text)),
    }
}
