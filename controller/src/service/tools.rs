//! Kafka's frames on the CONTROLLER listener, as tools send them with `--bootstrap-controller` (KIP-919): what the quorum
//! is, and where nobody has to know a secret, also what brokers would forward. A tool cannot prove that it knows one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId as WireBrokerId, DescribeClusterRequest, DescribeClusterResponse,
    DescribeQuorumResponse, TopicName,
};
use moldau_cluster::{ControllerError, Forward, QuorumDescription, QuorumReplica};
use moldau_kafka::{
    ApiKey, RequestHeader, SIZE_PREFIX_BYTES, UNAUTHENTICATED_REQUEST_SIZE_MAX, VersionRange, WireError,
    decode, encode_response, frame_size, size_prefix, unsupported_api_versions,
};
use moldau_model::{BrokerId, ErrorCode, Operation, Principal};
use moldau_security::link::{Gate, GateLink};
use moldau_security::principal::ANONYMOUS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::kafka::{served_versions, text};
use super::{Service, Users, controller_listener};
use crate::manage::{Access, Asker};

/// How long a tool may be silent.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
const METADATA_TOPIC: &str = "__cluster_metadata";
const ENDPOINT_CONTROLLERS: i8 = 2;
/// Kafka's number for "not asked".
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
const API_VERSIONS: VersionRange = VersionRange::new(0, 4);

/// What everybody may ask, as far as an authorizer lets them.
const OPEN: &[(ApiKey, VersionRange)] = &[
    (ApiKey::ApiVersions, API_VERSIONS),
    (ApiKey::DescribeQuorum, VersionRange::new(0, 2)),
    (ApiKey::DescribeCluster, VersionRange::new(0, 2)),
    (ApiKey::DescribeAcls, VersionRange::new(1, 3)),
];

/// The keys of authentication, which are told where it is asked for: clients look whether they are there.
const OF_AUTHENTICATION: &[(ApiKey, VersionRange)] =
    &[(ApiKey::SaslHandshake, VersionRange::new(0, 1)), (ApiKey::SaslAuthenticate, VersionRange::new(0, 2))];

/// What changes the cluster, and is carried out as if a broker had forwarded it.
const FORWARDED: &[ApiKey] = &[
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::AlterConfigs,
    ApiKey::AlterUserScramCredentials,
    ApiKey::CreateDelegationToken,
    ApiKey::RenewDelegationToken,
    ApiKey::ExpireDelegationToken,
    ApiKey::CreatePartitions,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::UpdateFeatures,
    ApiKey::UnregisterBroker,
    ApiKey::AddRaftVoter,
    ApiKey::RemoveRaftVoter,
];

/// Why a tool's connection ends before the tool does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0} is not served here")]
    NotServed(ApiKey),
    #[error("{0}")]
    Refused(#[from] ControllerError),
}

/// Answers one tool until it has enough.
pub(crate) async fn serve(
    service: &Arc<Service>,
    mut stream: GateLink,
    gate: Option<&Gate>,
    peer: SocketAddr,
    may_change: bool,
) -> Result<(), ToolError> {
    loop {
        let mut prefix = [0; SIZE_PREFIX_BYTES];
        match tokio::time::timeout(IDLE_LIMIT, stream.read_exact(&mut prefix)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Ok(()),
        }
        let mut frame = BytesMut::zeroed(frame_size(prefix, UNAUTHENTICATED_REQUEST_SIZE_MAX)?);
        tokio::time::timeout(IDLE_LIMIT, stream.read_exact(&mut frame)).await.map_err(io::Error::other)??;
        if let Some(gate) = gate {
            let users = Users(service);
            let looked = tokio::time::timeout(IDLE_LIMIT, gate.is_request(&mut stream, &frame, &users));
            if !looked.await.map_err(io::Error::other)?? {
                continue;
            }
        }
        let may_change = MayChange { anything: may_change, tokens: shows_itself(&stream) };
        let user = stream.user().unwrap_or(ANONYMOUS);
        let answer = answer(service, frame.freeze(), peer, user, may_change).await?;
        tokio::time::timeout(IDLE_LIMIT, stream.write_all(&answer)).await.map_err(io::Error::other)??;
        tokio::time::timeout(IDLE_LIMIT, stream.flush()).await.map_err(io::Error::other)??;
    }
}

/// What a tool may do here, before any authorizer is asked.
#[derive(Clone, Copy)]
struct MayChange {
    anything: bool,
    tokens: bool,
}

/// Whether a tool may ask for delegation tokens: it has shown who it is, and not by such a token.
fn shows_itself(link: &GateLink) -> bool {
    link.user().is_some() && !link.is_by_token()
}

/// The answer to ApiVersions, the one request that may come before authentication; nothing to any other.
pub(crate) fn versions_before_authentication(frame: &[u8], may_change: bool) -> Option<Vec<u8>> {
    let header = RequestHeader::parse(&mut Bytes::copy_from_slice(frame)).ok()?;
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    let answer = match header.api_key {
        ApiKey::ApiVersions if !API_VERSIONS.contains(version) => {
            unsupported_api_versions(correlation_id, API_VERSIONS)
        }
        ApiKey::ApiVersions => {
            encode_response(header.api_key, version, correlation_id, &api_versions(may_change))
        }
        _ => return None,
    };
    answer.ok().map(|answer| answer.to_vec())
}

async fn answer(
    service: &Arc<Service>,
    mut frame: Bytes,
    peer: SocketAddr,
    user: &str,
    may_change: MayChange,
) -> Result<Bytes, ToolError> {
    let header = RequestHeader::parse(&mut frame)?;
    let RequestHeader { api_key, api_version: version, correlation_id, .. } = header;
    if api_key == ApiKey::ApiVersions && !API_VERSIONS.contains(version) {
        return Ok(unsupported_api_versions(correlation_id, API_VERSIONS)?.freeze());
    }
    let host = peer.ip().to_canonical();
    let asker = Asker { principal: Principal::user(user), host, request: api_key.name() };
    match api_key {
        ApiKey::ApiVersions => {
            let body = api_versions(may_change.anything);
            Ok(encode_response(api_key, version, correlation_id, &body)?.freeze())
        }
        ApiKey::DescribeCluster => {
            let body = describe_cluster(service, &asker, &decode(version, &mut frame)?, version);
            Ok(encode_response(api_key, version, correlation_id, &body)?.freeze())
        }
        ApiKey::DescribeQuorum => {
            let body = describe_quorum(service, &asker, version);
            Ok(encode_response(api_key, version, correlation_id, &body)?.freeze())
        }
        ApiKey::DescribeAcls => {
            let image = service.applied.image();
            let access = Access::new(service.authorizer.as_ref(), image.acls(), &asker, &*service.audit);
            let request = decode(version, &mut frame)?;
            let body = super::kafka::described_acls(&request, &image, &access, service.authorizer.is_some());
            Ok(encode_response(api_key, version, correlation_id, &body)?.freeze())
        }
        _ if may_change.anything && FORWARDED.contains(&api_key) => {
            let refused = (!may_change.tokens)
                .then(|| super::kafka::tokens_refused(api_key, version, &asker, &frame))
                .flatten();
            if let Some(body) = refused {
                return Ok(framed(api_key, version, correlation_id, &body?)?);
            }
            let request = Forward {
                broker_id: BrokerId::NONE,
                api_key: api_key.code(),
                api_version: version,
                body: frame,
                principal: asker.principal.to_string(),
                client_host: asker.host.to_string(),
                client_id: header.client_id.as_ref().map(|id| id.to_string()),
                listener: service.listener_name.clone(),
            };
            let body = match service.forward(request).await {
                Ok(forwarded) => forwarded.body,
                Err(error) => super::kafka::refusal(api_key, version, &error).ok_or(error)?,
            };
            Ok(framed(api_key, version, correlation_id, &body)?)
        }
        _ => Err(ToolError::NotServed(api_key)),
    }
}

/// The frame around a body that is encoded already.
fn framed(api_key: ApiKey, version: i16, correlation_id: i32, body: &[u8]) -> Result<Bytes, WireError> {
    let tagged_fields: &[u8] = if api_key.response_header_version(version) >= 1 { &[0] } else { &[] };
    let size = size_of::<i32>() + tagged_fields.len() + body.len();
    let mut frame = BytesMut::with_capacity(SIZE_PREFIX_BYTES + size);
    frame.extend_from_slice(&size_prefix(size)?);
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    frame.extend_from_slice(tagged_fields);
    frame.extend_from_slice(body);
    Ok(frame.freeze())
}

fn api_versions(may_change: bool) -> ApiVersionsResponse {
    let row = |(key, versions): (ApiKey, VersionRange)| {
        ApiVersion::default()
            .with_api_key(key.code())
            .with_min_version(versions.min)
            .with_max_version(versions.max)
    };
    let forwarded = FORWARDED.iter().filter(|_| may_change).map(|key| (*key, served_versions(*key)));
    let open = OPEN.iter().chain(OF_AUTHENTICATION).copied();
    let mut rows: Vec<ApiVersion> = open.chain(forwarded).map(row).collect();
    rows.sort_by_key(|row| row.api_key);
    ApiVersionsResponse::default().with_api_keys(rows)
}

fn describe_cluster(
    service: &Service,
    asker: &Asker,
    request: &DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    if version == 0 || request.endpoint_type != ENDPOINT_CONTROLLERS {
        let code = ErrorCode::MismatchedEndpointType;
        let message = "The request was sent to an endpoint of type CONTROLLER, but we wanted an endpoint of type BROKER";
        return DescribeClusterResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(message)));
    }
    // A controller asks for more than a broker does.
    if let Err(error) = service.check_cluster(asker, Operation::Alter) {
        return DescribeClusterResponse::default()
            .with_error_code(error.code.code())
            .with_error_message(error.message.map(text));
    }
    let state = service.node.quorum_state();
    let nodes = state.voters.iter().filter_map(|voter| {
        let listener = controller_listener(&service.listener_name, &voter.address)?;
        Some(
            DescribeClusterBroker::default()
                .with_broker_id(WireBrokerId(voter.node_id.0))
                .with_host(text(listener.host))
                .with_port(i32::from(listener.port)),
        )
    });
    DescribeClusterResponse::default()
        .with_endpoint_type(ENDPOINT_CONTROLLERS)
        .with_cluster_id(text(&service.cluster_id))
        .with_controller_id(WireBrokerId(state.leader.unwrap_or(BrokerId::NONE).0))
        .with_brokers(nodes.collect())
        .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn describe_quorum(service: &Service, asker: &Asker, version: i16) -> DescribeQuorumResponse {
    let allowed = service.check_cluster(asker, Operation::Describe);
    match allowed.map_err(|error| ControllerError::Kafka(error.code)).and_then(|()| service.describe_quorum())
    {
        Ok(quorum) => quorum_answer(&quorum, version),
        Err(error) => {
            let code = error.error_code();
            let response = DescribeQuorumResponse::default().with_error_code(code.code());
            if version >= 2 { response.with_error_message(Some(text(code.message()))) } else { response }
        }
    }
}

fn quorum_answer(quorum: &QuorumDescription, version: i16) -> DescribeQuorumResponse {
    let state = |replica: &QuorumReplica| {
        let mut state = ReplicaState::default()
            .with_replica_id(WireBrokerId(replica.node_id.0))
            .with_log_end_offset(replica.log_end_offset.0);
        if version >= 1 {
            state.last_fetch_timestamp = replica.last_fetch_timestamp_ms.0;
            state.last_caught_up_timestamp = replica.last_caught_up_timestamp_ms.0;
        }
        if version >= 2 {
            state.replica_directory_id = uuid::Uuid::from_bytes(*replica.directory_id.as_bytes());
        }
        state
    };
    let partition = PartitionData::default()
        .with_leader_id(WireBrokerId(quorum.leader_id.0))
        .with_leader_epoch(quorum.leader_epoch.0)
        .with_high_watermark(quorum.high_watermark.0)
        .with_current_voters(quorum.voters.iter().map(state).collect())
        .with_observers(quorum.observers.iter().map(state).collect());
    let topic = TopicData::default()
        .with_topic_name(TopicName(text(METADATA_TOPIC)))
        .with_partitions(vec![partition]);
    let response = DescribeQuorumResponse::default().with_topics(vec![topic]);
    if version < 2 {
        return response;
    }
    let nodes = quorum.nodes.iter().map(|node| {
        let listeners = node.listeners.iter().map(|listener| {
            Listener::default()
                .with_name(text(&listener.name))
                .with_host(text(&listener.host))
                .with_port(listener.port)
        });
        Node::default().with_node_id(WireBrokerId(node.node_id.0)).with_listeners(listeners.collect())
    });
    response.with_nodes(nodes.collect())
}
