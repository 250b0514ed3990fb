//! What a change was about and what came of it, for the audit log: read out of its answer, which names both. None of it is a
//! secret: answers repeat no values.

use bytes::Bytes;
use kafka_protocol::messages::{
    AddRaftVoterResponse, AlterClientQuotasResponse, AlterConfigsResponse,
    AlterPartitionReassignmentsResponse, AlterUserScramCredentialsResponse, CreateAclsResponse,
    CreateDelegationTokenResponse, CreatePartitionsResponse, CreateTopicsResponse, DeleteAclsResponse,
    DeleteTopicsResponse, ElectLeadersResponse, ExpireDelegationTokenResponse,
    IncrementalAlterConfigsResponse, RemoveRaftVoterResponse, RenewDelegationTokenResponse,
    UnregisterBrokerResponse, UpdateFeaturesResponse,
};
use kafka_protocol::protocol::Decodable;
use moldau_kafka::ApiKey;
use moldau_metadata::{ConfigResourceType, shortened};
use moldau_model::ErrorCode;

/// How many resources of a change are named.
const NAMED_MAX: usize = 10;

/// A change that was answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// The first of them, each with its refusal if it has one.
    pub(crate) resources: Vec<String>,
    /// How many there are.
    pub(crate) count: usize,
    pub(crate) refused: usize,
}

impl Change {
    fn add(&mut self, resource: impl FnOnce() -> String, code: i16) {
        self.count += 1;
        let is_refused = code != ErrorCode::None.code();
        self.refused += usize::from(is_refused);
        if self.resources.len() < NAMED_MAX {
            let resource = shortened(&resource()).into_owned();
            let name = ErrorCode::from_code(code).name();
            self.resources.push(if is_refused { format!("{resource} ({name})") } else { resource });
        }
    }

    fn of<T>(
        results: impl IntoIterator<Item = T>,
        code: impl Fn(&T) -> i16,
        resource: impl Fn(&T) -> String,
    ) -> Self {
        let mut change = Self::default();
        for result in results {
            change.add(|| resource(&result), code(&result));
        }
        change
    }

    /// What an answer tells; `None` where the request changes nothing.
    pub(super) fn of_answer(api_key: ApiKey, version: i16, body: &Bytes) -> Option<Self> {
        let cluster = |code: i16| Self::of([code], |code| *code, |_| "cluster".to_owned());
        let in_topic = |topic: &str, partition: i32| format!("topic {topic}-{partition}");
        Some(match api_key {
            ApiKey::CreateTopics => Self::of(
                read::<CreateTopicsResponse>(version, body)?.topics,
                |it| it.error_code,
                |topic| format!("topic {}", topic.name.as_str()),
            ),
            ApiKey::DeleteTopics => Self::of(
                read::<DeleteTopicsResponse>(version, body)?.responses,
                |it| it.error_code,
                |topic| {
                    let name = topic.name.as_ref().map(|name| name.as_str().to_owned());
                    let id = || moldau_model::Uuid::from_bytes(*topic.topic_id.as_bytes()).to_string();
                    format!("topic {}", name.unwrap_or_else(id))
                },
            ),
            ApiKey::CreatePartitions => Self::of(
                read::<CreatePartitionsResponse>(version, body)?.results,
                |it| it.error_code,
                |topic| format!("topic {}", topic.name.as_str()),
            ),
            ApiKey::AlterConfigs => Self::of(
                read::<AlterConfigsResponse>(version, body)?.responses,
                |it| it.error_code,
                |resource| config(resource.resource_type, &resource.resource_name),
            ),
            ApiKey::IncrementalAlterConfigs => Self::of(
                read::<IncrementalAlterConfigsResponse>(version, body)?.responses,
                |it| it.error_code,
                |resource| config(resource.resource_type, &resource.resource_name),
            ),
            ApiKey::AlterUserScramCredentials => Self::of(
                read::<AlterUserScramCredentialsResponse>(version, body)?.results,
                |it| it.error_code,
                |result| format!("user {}", result.user.as_str()),
            ),
            ApiKey::AlterClientQuotas => Self::of(
                read::<AlterClientQuotasResponse>(version, body)?.entries,
                |it| it.error_code,
                |entry| {
                    let part = |part: &kafka_protocol::messages::alter_client_quotas_response::EntityData| {
                        let name = part.entity_name.as_ref().map_or("<default>", |name| name.as_str());
                        format!("{} {name}", part.entity_type.as_str())
                    };
                    let parts: Vec<String> = entry.entity.iter().map(part).collect();
                    parts.join(", ")
                },
            ),
            ApiKey::ElectLeaders => {
                let answer = read::<ElectLeadersResponse>(version, body)?;
                let mut change = Self::default();
                for topic in &answer.replica_election_results {
                    for result in &topic.partition_result {
                        change.add(|| in_topic(&topic.topic, result.partition_id), result.error_code);
                    }
                }
                if answer.error_code == ErrorCode::None.code() { change } else { cluster(answer.error_code) }
            }
            ApiKey::AlterPartitionReassignments => {
                let answer = read::<AlterPartitionReassignmentsResponse>(version, body)?;
                let mut change = Self::default();
                for topic in &answer.responses {
                    for result in &topic.partitions {
                        change.add(|| in_topic(&topic.name, result.partition_index), result.error_code);
                    }
                }
                if answer.error_code == ErrorCode::None.code() { change } else { cluster(answer.error_code) }
            }
            ApiKey::CreateAcls => Self::of(
                read::<CreateAclsResponse>(version, body)?.results,
                |it| it.error_code,
                |_| "access control entry".to_owned(),
            ),
            ApiKey::DeleteAcls => Self::of(
                read::<DeleteAclsResponse>(version, body)?.filter_results,
                |it| it.error_code,
                |result| format!("{} access control entries", result.matching_acls.len()),
            ),
            ApiKey::CreateDelegationToken | ApiKey::RenewDelegationToken | ApiKey::ExpireDelegationToken => {
                of_token(api_key, version, body)?
            }
            ApiKey::UpdateFeatures => {
                let answer = read::<UpdateFeaturesResponse>(version, body)?;
                if answer.results.is_empty() {
                    cluster(answer.error_code)
                } else {
                    Self::of(
                        answer.results,
                        |it| it.error_code,
                        |result| format!("feature {}", result.feature.as_str()),
                    )
                }
            }
            ApiKey::UnregisterBroker => cluster(read::<UnregisterBrokerResponse>(version, body)?.error_code),
            ApiKey::AddRaftVoter => cluster(read::<AddRaftVoterResponse>(0, body)?.error_code),
            ApiKey::RemoveRaftVoter => cluster(read::<RemoveRaftVoterResponse>(version, body)?.error_code),
            _ => return None,
        })
    }

    /// Whether all of it was refused.
    pub(crate) const fn is_refused(&self) -> bool {
        self.refused == self.count
    }
}

fn read<R: Decodable>(version: i16, body: &Bytes) -> Option<R> {
    R::decode(&mut body.clone(), version).ok()
}

/// A change of a delegation token. The answers to two of the three do not say which one it was; the line that the decision writes
/// does.
fn of_token(api_key: ApiKey, version: i16, body: &Bytes) -> Option<Change> {
    let (token, code) = match api_key {
        ApiKey::CreateDelegationToken => {
            let answer = read::<CreateDelegationTokenResponse>(version, body)?;
            let (kind, name) = (answer.principal_type.as_str(), answer.principal_name.as_str());
            // One that was refused has no id.
            let id = if answer.token_id.is_empty() { "none" } else { answer.token_id.as_str() };
            (format!("delegation token {id} of {kind}:{name}"), answer.error_code)
        }
        ApiKey::RenewDelegationToken => {
            let answer = read::<RenewDelegationTokenResponse>(version, body)?;
            ("delegation token".to_owned(), answer.error_code)
        }
        _ => {
            let answer = read::<ExpireDelegationTokenResponse>(version, body)?;
            ("delegation token".to_owned(), answer.error_code)
        }
    };
    Some(Change::of([code], |code| *code, |_| token.clone()))
}

fn config(resource_type: i8, name: &str) -> String {
    let kind = match ConfigResourceType::from_code(resource_type) {
        Some(ConfigResourceType::Topic) => "topic",
        Some(ConfigResourceType::Broker) => "broker",
        Some(ConfigResourceType::Group) => "group",
        Some(ConfigResourceType::ClientMetrics) => "client-metrics",
        Some(ConfigResourceType::BrokerLogger) => "broker-logger",
        None => "unknown",
    };
    format!("configs of {kind} {}", if name.is_empty() { "<default>" } else { name })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::TopicName;
    use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    fn answer(results: &[(String, ErrorCode)]) -> Bytes {
        let topics = results.iter().map(|(name, code)| {
            CreatableTopicResult::default()
                .with_name(TopicName(StrBytes::from_string(name.clone())))
                .with_error_code(code.code())
        });
        let mut body = BytesMut::new();
        CreateTopicsResponse::default().with_topics(topics.collect()).encode(&mut body, 7).unwrap();
        body.freeze()
    }

    #[test]
    fn an_answer_tells_what_it_is_about_and_what_was_refused() {
        let body = answer(&[
            ("rivers".to_owned(), ErrorCode::None),
            ("secret".to_owned(), ErrorCode::TopicAuthorizationFailed),
        ]);
        let change = Change::of_answer(ApiKey::CreateTopics, 7, &body).unwrap();
        assert_eq!(change.resources, ["topic rivers", "topic secret (TOPIC_AUTHORIZATION_FAILED)"]);
        assert_eq!((change.count, change.refused, change.is_refused()), (2, 1, false));
        assert_eq!(Change::of_answer(ApiKey::ListPartitionReassignments, 0, &body), None);
    }

    #[test]
    fn a_token_is_told_without_what_its_holder_shows() {
        let mut body = BytesMut::new();
        let answer = CreateDelegationTokenResponse::default()
            .with_principal_type(StrBytes::from_static_str("User"))
            .with_principal_name(StrBytes::from_static_str("alice"))
            .with_token_id(StrBytes::from_static_str("t"))
            .with_hmac(Bytes::from_static(b"secret"));
        answer.encode(&mut body, 3).unwrap();
        let change = Change::of_answer(ApiKey::CreateDelegationToken, 3, &body.freeze()).unwrap();
        assert_eq!(change.resources, ["delegation token t of User:alice"]);
        let mut body = BytesMut::new();
        let code = ErrorCode::DelegationTokenNotFound.code();
        ExpireDelegationTokenResponse::default().with_error_code(code).encode(&mut body, 2).unwrap();
        let change = Change::of_answer(ApiKey::ExpireDelegationToken, 2, &body.freeze()).unwrap();
        assert_eq!(change.resources, ["delegation token (DELEGATION_TOKEN_NOT_FOUND)"]);
        assert!(change.is_refused());
    }

    #[test]
    fn of_many_resources_the_first_are_named() {
        let many: Vec<_> = (0..100).map(|i| (format!("t{i}"), ErrorCode::InvalidRequest)).collect();
        let change = Change::of_answer(ApiKey::CreateTopics, 7, &answer(&many)).unwrap();
        assert_eq!((change.resources.len(), change.count, change.is_refused()), (NAMED_MAX, 100, true));
    }
}
