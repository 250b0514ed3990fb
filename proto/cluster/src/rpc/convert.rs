//! Messages to plain types and back.

use bytes::Bytes;
use moldau_model::{
    BrokerEpoch, BrokerId, ErrorCode, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex, ProducerId,
    TimestampMs, Uuid,
};
use thiserror::Error;

use super::controller as wire;
use super::controller::partition_result::Result as WireResult;
use crate::{
    AllocateProducerIds, AlterPartition, AlterPartitionReply, AlterPartitionRequest, AlteredPartition,
    BrokerListener, FeatureRange, Forward, Forwarded, Heartbeat, HeartbeatReply, IsrMember,
    LeaderRecoveryState, MetadataPosition, ProducerIdBlock, QuorumDescription, QuorumNode, QuorumReplica,
    RegisterBroker, RegisteredBroker, ReplicaDirectory, WatchMetadata,
};

/// A message that says what no node of ours says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("malformed message: {0}")]
pub struct Malformed(pub &'static str);

/// An id of 128 bits; none is zero.
///
/// # Errors
/// If the length is another.
pub fn uuid(bytes: &[u8]) -> Result<Uuid, Malformed> {
    match bytes {
        [] => Ok(Uuid::ZERO),
        bytes => bytes.try_into().map(Uuid::from_bytes).map_err(|_| Malformed("an id has 16 bytes")),
    }
}

fn uuids(all: &[Bytes]) -> Result<Vec<Uuid>, Malformed> {
    all.iter().map(|bytes| uuid(bytes)).collect()
}

fn bytes(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn short(number: i32, what: &'static str) -> Result<i16, Malformed> {
    i16::try_from(number).map_err(|_| Malformed(what))
}

impl From<BrokerListener> for wire::BrokerListener {
    fn from(listener: BrokerListener) -> Self {
        Self {
            name: listener.name,
            host: listener.host,
            port: listener.port.into(),
            security_protocol: listener.security_protocol.into(),
        }
    }
}

impl TryFrom<wire::BrokerListener> for BrokerListener {
    type Error = Malformed;

    fn try_from(listener: wire::BrokerListener) -> Result<Self, Malformed> {
        Ok(Self {
            name: listener.name,
            host: listener.host,
            port: listener.port.try_into().map_err(|_| Malformed("a port has 16 bits"))?,
            security_protocol: short(listener.security_protocol, "a security protocol has 16 bits")?,
        })
    }
}

impl From<RegisterBroker> for wire::RegisterBrokerRequest {
    fn from(request: RegisterBroker) -> Self {
        let feature = |feature: FeatureRange| wire::FeatureRange {
            name: feature.name,
            min: feature.min.into(),
            max: feature.max.into(),
        };
        Self {
            broker_id: request.broker_id.0,
            cluster_id: request.cluster_id,
            incarnation_id: bytes(request.incarnation_id),
            listeners: request.listeners.into_iter().map(Into::into).collect(),
            features: request.features.into_iter().map(feature).collect(),
            rack: request.rack,
            log_dirs: request.log_dirs.into_iter().map(bytes).collect(),
            previous_broker_epoch: request.previous_broker_epoch.0,
            waited_ms: request.waited_ms,
        }
    }
}

impl TryFrom<wire::RegisterBrokerRequest> for RegisterBroker {
    type Error = Malformed;

    fn try_from(request: wire::RegisterBrokerRequest) -> Result<Self, Malformed> {
        let feature = |feature: wire::FeatureRange| {
            Ok(FeatureRange {
                name: feature.name,
                min: short(feature.min, "a feature level has 16 bits")?,
                max: short(feature.max, "a feature level has 16 bits")?,
            })
        };
        Ok(Self {
            broker_id: BrokerId(request.broker_id),
            cluster_id: request.cluster_id,
            incarnation_id: uuid(&request.incarnation_id)?,
            listeners: request.listeners.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            features: request.features.into_iter().map(feature).collect::<Result<_, _>>()?,
            rack: request.rack,
            log_dirs: uuids(&request.log_dirs)?,
            previous_broker_epoch: BrokerEpoch(request.previous_broker_epoch),
            waited_ms: request.waited_ms,
        })
    }
}

impl From<RegisteredBroker> for wire::RegisterBrokerResponse {
    fn from(registered: RegisteredBroker) -> Self {
        Self { broker_epoch: registered.broker_epoch.0 }
    }
}

impl From<wire::RegisterBrokerResponse> for RegisteredBroker {
    fn from(response: wire::RegisterBrokerResponse) -> Self {
        Self { broker_epoch: BrokerEpoch(response.broker_epoch) }
    }
}

impl From<Heartbeat> for wire::HeartbeatRequest {
    fn from(request: Heartbeat) -> Self {
        Self {
            broker_id: request.broker_id.0,
            broker_epoch: request.broker_epoch.0,
            metadata_offset: request.metadata_offset.0,
            want_fence: request.want_fence,
            want_shutdown: request.want_shutdown,
            offline_log_dirs: request.offline_log_dirs.into_iter().map(bytes).collect(),
            full_log_dirs: request.full_log_dirs.into_iter().map(bytes).collect(),
            cordoned_log_dirs: request.cordoned_log_dirs.into_iter().map(bytes).collect(),
            replica_directories: request
                .replica_directories
                .into_iter()
                .map(|replica| wire::ReplicaDirectory {
                    topic_id: bytes(replica.topic_id),
                    partition_index: replica.partition.0,
                    directory: bytes(replica.directory),
                })
                .collect(),
        }
    }
}

impl TryFrom<wire::HeartbeatRequest> for Heartbeat {
    type Error = Malformed;

    fn try_from(request: wire::HeartbeatRequest) -> Result<Self, Malformed> {
        Ok(Self {
            broker_id: BrokerId(request.broker_id),
            broker_epoch: BrokerEpoch(request.broker_epoch),
            metadata_offset: Offset(request.metadata_offset),
            want_fence: request.want_fence,
            want_shutdown: request.want_shutdown,
            offline_log_dirs: uuids(&request.offline_log_dirs)?,
            full_log_dirs: uuids(&request.full_log_dirs)?,
            cordoned_log_dirs: uuids(&request.cordoned_log_dirs)?,
            replica_directories: request
                .replica_directories
                .iter()
                .map(|replica| {
                    Ok(ReplicaDirectory {
                        topic_id: uuid(&replica.topic_id)?,
                        partition: PartitionIndex(replica.partition_index),
                        directory: uuid(&replica.directory)?,
                    })
                })
                .collect::<Result<_, Malformed>>()?,
        })
    }
}

impl From<HeartbeatReply> for wire::HeartbeatResponse {
    fn from(reply: HeartbeatReply) -> Self {
        Self {
            is_caught_up: reply.is_caught_up,
            is_fenced: reply.is_fenced,
            should_shut_down: reply.should_shut_down,
            metadata_offset: Some(reply.metadata_offset.0),
        }
    }
}

impl From<wire::HeartbeatResponse> for HeartbeatReply {
    fn from(response: wire::HeartbeatResponse) -> Self {
        Self {
            is_caught_up: response.is_caught_up,
            is_fenced: response.is_fenced,
            should_shut_down: response.should_shut_down,
            metadata_offset: response.metadata_offset.map_or(Offset::NONE, Offset),
        }
    }
}

impl From<AllocateProducerIds> for wire::AllocateProducerIdsRequest {
    fn from(request: AllocateProducerIds) -> Self {
        Self { broker_id: request.broker_id.0, broker_epoch: request.broker_epoch.0 }
    }
}

impl From<wire::AllocateProducerIdsRequest> for AllocateProducerIds {
    fn from(request: wire::AllocateProducerIdsRequest) -> Self {
        Self { broker_id: BrokerId(request.broker_id), broker_epoch: BrokerEpoch(request.broker_epoch) }
    }
}

impl From<ProducerIdBlock> for wire::AllocateProducerIdsResponse {
    fn from(block: ProducerIdBlock) -> Self {
        Self { first: block.first.0, count: block.count }
    }
}

impl From<wire::AllocateProducerIdsResponse> for ProducerIdBlock {
    fn from(response: wire::AllocateProducerIdsResponse) -> Self {
        Self { first: ProducerId(response.first), count: response.count }
    }
}

const fn recovery_code(state: LeaderRecoveryState) -> i32 {
    match state {
        LeaderRecoveryState::Recovered => 0,
        LeaderRecoveryState::Recovering => 1,
    }
}

const fn recovery_state(code: i32) -> Result<LeaderRecoveryState, Malformed> {
    match code {
        0 => Ok(LeaderRecoveryState::Recovered),
        1 => Ok(LeaderRecoveryState::Recovering),
        _ => Err(Malformed("a leader is recovered or recovering")),
    }
}

impl From<AlterPartition> for wire::AlterPartitionRequest {
    fn from(request: AlterPartition) -> Self {
        let member = |member: IsrMember| wire::IsrMember {
            broker_id: member.broker_id.0,
            broker_epoch: member.broker_epoch.0,
        };
        let partition = |partition: AlterPartitionRequest| wire::PartitionIsr {
            topic_id: bytes(partition.topic_id),
            partition: partition.partition.0,
            leader_epoch: partition.leader_epoch.0,
            partition_epoch: partition.partition_epoch.0,
            new_isr: partition.new_isr.into_iter().map(member).collect(),
            leader_recovery_state: recovery_code(partition.leader_recovery_state),
        };
        Self {
            broker_id: request.broker_id.0,
            broker_epoch: request.broker_epoch.0,
            partitions: request.partitions.into_iter().map(partition).collect(),
        }
    }
}

impl TryFrom<wire::AlterPartitionRequest> for AlterPartition {
    type Error = Malformed;

    fn try_from(request: wire::AlterPartitionRequest) -> Result<Self, Malformed> {
        let member = |member: wire::IsrMember| IsrMember {
            broker_id: BrokerId(member.broker_id),
            broker_epoch: BrokerEpoch(member.broker_epoch),
        };
        let partition = |partition: wire::PartitionIsr| {
            Ok(AlterPartitionRequest {
                topic_id: uuid(&partition.topic_id)?,
                partition: PartitionIndex(partition.partition),
                leader_epoch: LeaderEpoch(partition.leader_epoch),
                partition_epoch: PartitionEpoch(partition.partition_epoch),
                new_isr: partition.new_isr.into_iter().map(member).collect(),
                leader_recovery_state: recovery_state(partition.leader_recovery_state)?,
            })
        };
        Ok(Self {
            broker_id: BrokerId(request.broker_id),
            broker_epoch: BrokerEpoch(request.broker_epoch),
            partitions: request.partitions.into_iter().map(partition).collect::<Result<_, _>>()?,
        })
    }
}

impl From<AlterPartitionReply> for wire::AlterPartitionResponse {
    fn from(reply: AlterPartitionReply) -> Self {
        let altered = |altered: AlteredPartition| wire::AlteredPartition {
            leader: altered.leader.0,
            leader_epoch: altered.leader_epoch.0,
            isr: altered.isr.into_iter().map(|id| id.0).collect(),
            leader_recovery_state: recovery_code(altered.leader_recovery_state),
            partition_epoch: altered.partition_epoch.0,
        };
        let result = |result: Result<AlteredPartition, ErrorCode>| match result {
            Ok(partition) => WireResult::Altered(altered(partition)),
            Err(code) => WireResult::Error(code.code().into()),
        };
        let partition = |partition| wire::PartitionResult { result: Some(result(partition)) };
        Self { partitions: reply.partitions.into_iter().map(partition).collect() }
    }
}

impl TryFrom<wire::AlterPartitionResponse> for AlterPartitionReply {
    type Error = Malformed;

    fn try_from(response: wire::AlterPartitionResponse) -> Result<Self, Malformed> {
        let altered = |altered: wire::AlteredPartition| {
            Ok(AlteredPartition {
                leader: BrokerId(altered.leader),
                leader_epoch: LeaderEpoch(altered.leader_epoch),
                isr: altered.isr.into_iter().map(BrokerId).collect(),
                leader_recovery_state: recovery_state(altered.leader_recovery_state)?,
                partition_epoch: PartitionEpoch(altered.partition_epoch),
            })
        };
        let partition = |partition: wire::PartitionResult| match partition.result {
            Some(WireResult::Altered(partition)) => altered(partition).map(Ok),
            Some(WireResult::Error(code)) => {
                Ok(Err(ErrorCode::from_code(short(code, "an error code has 16 bits")?)))
            }
            None => Err(Malformed("a partition without a result")),
        };
        Ok(Self { partitions: response.partitions.into_iter().map(partition).collect::<Result<_, _>>()? })
    }
}

impl From<MetadataPosition> for wire::MetadataPosition {
    fn from(position: MetadataPosition) -> Self {
        Self { offset: position.offset.0, epoch: position.epoch.0 }
    }
}

impl From<wire::MetadataPosition> for MetadataPosition {
    fn from(position: wire::MetadataPosition) -> Self {
        Self { offset: Offset(position.offset), epoch: LeaderEpoch(position.epoch) }
    }
}

impl From<WatchMetadata> for wire::WatchMetadataRequest {
    fn from(request: WatchMetadata) -> Self {
        Self { cluster_id: request.cluster_id, after: request.after.map(Into::into) }
    }
}

impl From<wire::WatchMetadataRequest> for WatchMetadata {
    fn from(request: wire::WatchMetadataRequest) -> Self {
        Self { cluster_id: request.cluster_id, after: request.after.map(Into::into) }
    }
}

impl From<QuorumDescription> for wire::DescribeQuorumResponse {
    fn from(quorum: QuorumDescription) -> Self {
        let replica = |replica: QuorumReplica| wire::QuorumReplica {
            node_id: replica.node_id.0,
            directory_id: bytes(replica.directory_id),
            log_end_offset: replica.log_end_offset.0,
            last_fetch_timestamp_ms: replica.last_fetch_timestamp_ms.0,
            last_caught_up_timestamp_ms: replica.last_caught_up_timestamp_ms.0,
        };
        let node = |node: QuorumNode| wire::QuorumNode {
            node_id: node.node_id.0,
            listeners: node.listeners.into_iter().map(Into::into).collect(),
        };
        Self {
            leader_id: quorum.leader_id.0,
            leader_epoch: quorum.leader_epoch.0,
            high_watermark: quorum.high_watermark.0,
            voters: quorum.voters.into_iter().map(replica).collect(),
            observers: quorum.observers.into_iter().map(replica).collect(),
            nodes: quorum.nodes.into_iter().map(node).collect(),
        }
    }
}

impl TryFrom<wire::DescribeQuorumResponse> for QuorumDescription {
    type Error = Malformed;

    fn try_from(response: wire::DescribeQuorumResponse) -> Result<Self, Malformed> {
        let replica = |replica: wire::QuorumReplica| {
            Ok(QuorumReplica {
                node_id: BrokerId(replica.node_id),
                directory_id: uuid(&replica.directory_id)?,
                log_end_offset: Offset(replica.log_end_offset),
                last_fetch_timestamp_ms: TimestampMs(replica.last_fetch_timestamp_ms),
                last_caught_up_timestamp_ms: TimestampMs(replica.last_caught_up_timestamp_ms),
            })
        };
        let node = |node: wire::QuorumNode| {
            Ok(QuorumNode {
                node_id: BrokerId(node.node_id),
                listeners: node.listeners.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            })
        };
        Ok(Self {
            leader_id: BrokerId(response.leader_id),
            leader_epoch: LeaderEpoch(response.leader_epoch),
            high_watermark: Offset(response.high_watermark),
            voters: response.voters.into_iter().map(replica).collect::<Result<_, _>>()?,
            observers: response.observers.into_iter().map(replica).collect::<Result<_, _>>()?,
            nodes: response.nodes.into_iter().map(node).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Forward> for wire::ForwardRequest {
    fn from(request: Forward) -> Self {
        Self {
            broker_id: request.broker_id.0,
            api_key: request.api_key.into(),
            api_version: request.api_version.into(),
            body: request.body,
            principal: request.principal,
            client_host: request.client_host,
            client_id: request.client_id,
            listener: request.listener,
        }
    }
}

impl TryFrom<wire::ForwardRequest> for Forward {
    type Error = Malformed;

    fn try_from(request: wire::ForwardRequest) -> Result<Self, Malformed> {
        Ok(Self {
            broker_id: BrokerId(request.broker_id),
            api_key: short(request.api_key, "an API key has 16 bits")?,
            api_version: short(request.api_version, "an API version has 16 bits")?,
            body: request.body,
            principal: request.principal,
            client_host: request.client_host,
            client_id: request.client_id,
            listener: request.listener,
        })
    }
}

impl From<Forwarded> for wire::ForwardResponse {
    fn from(forwarded: Forwarded) -> Self {
        Self { body: forwarded.body, metadata_offset: forwarded.metadata_offset.0 }
    }
}

impl From<wire::ForwardResponse> for Forwarded {
    fn from(response: wire::ForwardResponse) -> Self {
        Self { body: response.body, metadata_offset: Offset(response.metadata_offset) }
    }
}
