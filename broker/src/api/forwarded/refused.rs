//! What a forwarded request is answered where the controller did not take it.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as AlteredResource;
use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementallyAlteredResource;
use kafka_protocol::messages::{
    AddRaftVoterResponse, AlterClientQuotasRequest, AlterClientQuotasResponse, AlterConfigsRequest,
    AlterConfigsResponse, AlterPartitionReassignmentsResponse, AlterUserScramCredentialsRequest,
    AlterUserScramCredentialsResponse, CreateAclsRequest, CreateAclsResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteAclsRequest,
    DeleteAclsResponse, DeleteTopicsRequest, DeleteTopicsResponse, ElectLeadersResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListPartitionReassignmentsResponse,
    RemoveRaftVoterResponse, UnregisterBrokerResponse, UpdateFeaturesResponse, alter_client_quotas_request,
    alter_client_quotas_response,
};
use kafka_protocol::protocol::StrBytes;
use moldau_kafka::ApiKey;
use moldau_model::ErrorCode;

use super::super::message::text;
use super::super::{Reply, RequestContext};
use super::tokens_refused;

/// The request's own shape of answer, with one code throughout.
pub(super) fn answer(api_key: ApiKey, context: &RequestContext, mut body: Bytes, error: ErrorCode) -> Reply {
    let code = error.code();
    let message = || Some(text(error.message()));
    let version = context.api_version;
    let unreadable = Reply::Close("unreadable request");
    match api_key {
        ApiKey::CreateTopics => {
            let Ok(request) = moldau_kafka::decode::<CreateTopicsRequest>(version, &mut body) else {
                return unreadable;
            };
            let topics = request.topics.into_iter().map(|topic| {
                CreatableTopicResult::default()
                    .with_name(topic.name)
                    .with_error_code(code)
                    .with_error_message(message())
            });
            context.ready(&CreateTopicsResponse::default().with_topics(topics.collect()))
        }
        ApiKey::DeleteTopics => {
            let Ok(request) = moldau_kafka::decode::<DeleteTopicsRequest>(version, &mut body) else {
                return unreadable;
            };
            let by_name = request.topic_names.into_iter().map(|name| (Some(name), uuid::Uuid::nil()));
            let by_state = request.topics.into_iter().map(|topic| (topic.name, topic.topic_id));
            let topics = by_name.chain(by_state).map(|(name, id)| {
                let result =
                    DeletableTopicResult::default().with_name(name).with_topic_id(id).with_error_code(code);
                if version >= 5 { result.with_error_message(message()) } else { result }
            });
            context.ready(&DeleteTopicsResponse::default().with_responses(topics.collect()))
        }
        ApiKey::CreatePartitions => {
            let Ok(request) = moldau_kafka::decode::<CreatePartitionsRequest>(version, &mut body) else {
                return unreadable;
            };
            let topics = request.topics.into_iter().map(|topic| {
                CreatePartitionsTopicResult::default()
                    .with_name(topic.name)
                    .with_error_code(code)
                    .with_error_message(message())
            });
            context.ready(&CreatePartitionsResponse::default().with_results(topics.collect()))
        }
        ApiKey::CreateAcls | ApiKey::DeleteAcls => acls_refused(api_key, context, body, code, message),
        ApiKey::AlterConfigs => {
            let Ok(request) = moldau_kafka::decode::<AlterConfigsRequest>(version, &mut body) else {
                return unreadable;
            };
            let resources = request.resources.into_iter().map(|resource| {
                AlteredResource::default()
                    .with_error_code(code)
                    .with_error_message(message())
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name)
            });
            context.ready(&AlterConfigsResponse::default().with_responses(resources.collect()))
        }
        key if tokens_refused::is_about_tokens(key) => tokens_refused::answer(key, context, body, error),
        ApiKey::AlterClientQuotas => quotas_refused(context, body, code, message),
        ApiKey::AlterUserScramCredentials => credentials_refused(context, body, code, message),
        ApiKey::ElectLeaders => {
            let response = ElectLeadersResponse::default();
            context.ready(&if version >= 1 { response.with_error_code(code) } else { response })
        }
        ApiKey::AlterPartitionReassignments => context.ready(
            &AlterPartitionReassignmentsResponse::default()
                .with_error_code(code)
                .with_error_message(message()),
        ),
        ApiKey::ListPartitionReassignments => context.ready(
            &ListPartitionReassignmentsResponse::default()
                .with_error_code(code)
                .with_error_message(message()),
        ),
        ApiKey::AddRaftVoter => context
            .ready(&AddRaftVoterResponse::default().with_error_code(code).with_error_message(message())),
        ApiKey::RemoveRaftVoter => context
            .ready(&RemoveRaftVoterResponse::default().with_error_code(code).with_error_message(message())),
        ApiKey::UpdateFeatures => context
            .ready(&UpdateFeaturesResponse::default().with_error_code(code).with_error_message(message())),
        ApiKey::UnregisterBroker => context
            .ready(&UnregisterBrokerResponse::default().with_error_code(code).with_error_message(message())),
        _ => {
            let Ok(request) = moldau_kafka::decode::<IncrementalAlterConfigsRequest>(version, &mut body)
            else {
                return unreadable;
            };
            let resources = request.resources.into_iter().map(|resource| {
                IncrementallyAlteredResource::default()
                    .with_error_code(code)
                    .with_error_message(message())
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name)
            });
            context.ready(&IncrementalAlterConfigsResponse::default().with_responses(resources.collect()))
        }
    }
}

fn acls_refused(
    api_key: ApiKey,
    context: &RequestContext,
    mut body: Bytes,
    code: i16,
    message: impl Fn() -> Option<StrBytes>,
) -> Reply {
    if api_key == ApiKey::CreateAcls {
        let Ok(request) = moldau_kafka::decode::<CreateAclsRequest>(context.api_version, &mut body) else {
            return Reply::Close("unreadable request");
        };
        let result = AclCreationResult::default().with_error_code(code).with_error_message(message());
        let results = vec![result; request.creations.len()];
        return context.ready(&CreateAclsResponse::default().with_results(results));
    }
    let Ok(request) = moldau_kafka::decode::<DeleteAclsRequest>(context.api_version, &mut body) else {
        return Reply::Close("unreadable request");
    };
    let result = DeleteAclsFilterResult::default().with_error_code(code).with_error_message(message());
    let results = vec![result; request.filters.len()];
    context.ready(&DeleteAclsResponse::default().with_filter_results(results))
}

fn quotas_refused(
    context: &RequestContext,
    mut body: Bytes,
    code: i16,
    message: impl Fn() -> Option<StrBytes>,
) -> Reply {
    let Ok(request) = moldau_kafka::decode::<AlterClientQuotasRequest>(context.api_version, &mut body) else {
        return Reply::Close("unreadable request");
    };
    let entries = request.entries.into_iter().map(|entry| {
        let part = |part: alter_client_quotas_request::EntityData| {
            alter_client_quotas_response::EntityData::default()
                .with_entity_type(part.entity_type)
                .with_entity_name(part.entity_name)
        };
        alter_client_quotas_response::EntryData::default()
            .with_error_code(code)
            .with_error_message(message())
            .with_entity(entry.entity.into_iter().map(part).collect())
    });
    context.ready(&AlterClientQuotasResponse::default().with_entries(entries.collect()))
}

fn credentials_refused(
    context: &RequestContext,
    mut body: Bytes,
    code: i16,
    message: impl Fn() -> Option<StrBytes>,
) -> Reply {
    let decoded = moldau_kafka::decode::<AlterUserScramCredentialsRequest>(context.api_version, &mut body);
    let Ok(request) = decoded else { return Reply::Close("unreadable request") };
    let deleted = request.deletions.into_iter().map(|deletion| deletion.name);
    let users: BTreeSet<StrBytes> =
        deleted.chain(request.upsertions.into_iter().map(|upsertion| upsertion.name)).collect();
    let results = users.into_iter().map(|user| {
        AlterUserScramCredentialsResult::default()
            .with_user(user)
            .with_error_code(code)
            .with_error_message(message())
    });
    context.ready(&AlterUserScramCredentialsResponse::default().with_results(results.collect()))
}
