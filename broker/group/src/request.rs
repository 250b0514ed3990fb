//! What a shard may be asked: Kafka's requests, one group each where Kafka's carry several, decoded by the shell.

use bytes::Bytes;
use moldau_model::{
    GenerationId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId, Uuid,
    VerificationGuard,
};

use crate::TopicFilter;
use crate::streams::StreamsGroupHeartbeatRequest;

/// Names one request until it is answered. The shell hands them out; no two unanswered requests share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestToken(pub u64);

/// One request to one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    OffsetCommit(OffsetCommitRequest),
    /// TxnOffsetCommit: answered as OffsetCommit, once the offsets are in the log; visible once the transaction is committed.
    TxnOffsetCommit(TxnOffsetCommitRequest),
    /// WriteTxnMarkers: the end of a producer's transaction on this partition.
    EndTransaction(EndTransactionRequest),
    OffsetFetch(OffsetFetchRequest),
    OffsetDelete(OffsetDeleteRequest),
    /// DeleteGroups: the ids of those groups that live on this shard.
    DeleteGroups(Vec<String>),
    DescribeGroups(DescribeGroupsRequest),
    ConsumerGroupHeartbeat(Box<ConsumerGroupHeartbeatRequest>),
    /// ConsumerGroupDescribe: the ids of those groups that live on this shard.
    ConsumerGroupDescribe(Vec<String>),
    ListGroups(ListGroupsRequest),
    ShareGroupHeartbeat(Box<ShareGroupHeartbeatRequest>),
    /// ShareGroupDescribe: the ids of those groups that live on this shard.
    ShareGroupDescribe(Vec<String>),
    /// The partitions of a share group that have a state at the share coordinator.
    ViewShareOffsets(String),
    ShareOffsets(ShareOffsetsRequest),
    StreamsGroupHeartbeat(Box<StreamsGroupHeartbeatRequest>),
    /// StreamsGroupDescribe: the ids of those groups that live on this shard.
    StreamsGroupDescribe(Vec<String>),
}

/// JoinGroup, versions 0 to 9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupRequest {
    /// Decides whether a new member is sent back for an id (4 and later) and whether a leader may be told to
    /// skip the assignment (9).
    pub api_version: i16,
    pub group_id: String,
    pub session_timeout_ms: i32,
    /// Version 0 has none: the shell passes the session timeout, as Kafka does.
    pub rebalance_timeout_ms: i32,
    /// Empty for a new member.
    pub member_id: String,
    /// KIP-345.
    pub group_instance_id: Option<String>,
    pub protocol_type: String,
    /// In the member's order of preference.
    pub protocols: Vec<JoinGroupProtocol>,
    pub reason: Option<String>,
    /// From the request's header; empty where it had none.
    pub client_id: String,
    /// The peer's address as Kafka shows it, for example `/127.0.0.1`.
    pub client_host: String,
    /// Random; the tail of the member's id if this request makes one.
    pub new_member_uuid: Uuid,
}

/// One protocol (assignor) that a member supports, with what it wants its leader to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupProtocol {
    pub name: String,
    pub metadata: Bytes,
}

/// SyncGroup, versions 0 to 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupRequest {
    /// From version 5 protocol type and name must be there (KIP-559).
    pub api_version: i16,
    pub group_id: String,
    pub generation_id: GenerationId,
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// Version 5.
    pub protocol_type: Option<String>,
    /// Version 5.
    pub protocol_name: Option<String>,
    /// From the leader only.
    pub assignments: Vec<SyncGroupAssignment>,
}

/// What the leader gives to one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupAssignment {
    pub member_id: String,
    pub assignment: Bytes,
}

/// Heartbeat, versions 0 to 4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    pub group_id: String,
    pub generation_id: GenerationId,
    pub member_id: String,
    pub group_instance_id: Option<String>,
}

/// LeaveGroup, versions 0 to 5. Versions 0 to 2 name one member: the shell makes a list of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupRequest {
    pub group_id: String,
    pub members: Vec<LeavingMember>,
}

/// A member that leaves, by its id or, from version 3, by its instance id alone (KIP-345).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// Empty if the instance id tells.
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub reason: Option<String>,
}

/// OffsetCommit, versions 2 to 10. That topics and partitions exist is the shell's to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// A member of an unknown group gets GROUP_ID_NOT_FOUND from version 9 on, ILLEGAL_GENERATION below.
    pub api_version: i16,
    pub group_id: String,
    /// `-1` from who is no member.
    pub generation_id: GenerationId,
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// Versions 2 to 4; `None` for `-1` and later versions.
    pub retention_time_ms: Option<i64>,
    pub topics: Vec<OffsetCommitTopic>,
}

/// TxnOffsetCommit, versions 0 to 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOffsetCommitRequest {
    pub transaction: InTransaction,
    /// Versions 0 to 2 name no member. There is no retention time.
    pub commit: OffsetCommitRequest,
}

/// The transaction that records belong to, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InTransaction {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// Whether the log takes the transaction's first records only with a guard.
    pub needs_verification: bool,
    /// What the log gave before the transaction's coordinator was asked; `None` where the transaction is open there.
    pub verification: Option<VerificationGuard>,
}

/// The end of a transaction, as WriteTxnMarkers, versions 1 and 2, has it for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransactionRequest {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// Of the transaction's coordinator.
    pub coordinator_epoch: i32,
    pub is_commit: bool,
    /// How the coordinator ends transactions: from 2 on with an epoch of the marker's own.
    pub transaction_version: i8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitTopic {
    pub name: String,
    /// The topic's id, whichever version the request had (Kafka keeps it with the offset); echoed.
    pub topic_id: TopicId,
    pub partitions: Vec<OffsetCommitPartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitPartition {
    pub partition: PartitionIndex,
    pub committed_offset: Offset,
    /// `-1` where the client did not say.
    pub committed_leader_epoch: LeaderEpoch,
    pub metadata: Option<String>,
}

/// OffsetFetch, versions 1 to 10, for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    pub group_id: String,
    /// Version 9 (KIP-848); classic groups do not look at it.
    pub member_id: Option<String>,
    /// Version 9; `-1` otherwise.
    pub member_epoch: i32,
    /// `None` asks for every offset of the group.
    pub topics: Option<Vec<OffsetFetchTopic>>,
    pub require_stable: bool,
    /// Whether this coordinator may have a successor that it has not heard of, with which transactions go on.
    pub may_be_replaced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchTopic {
    pub name: String,
    /// Zero below version 10; echoed. An offset that was committed for another topic of this name is not given out.
    pub topic_id: TopicId,
    pub partitions: Vec<PartitionIndex>,
}

/// OffsetDelete, version 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteRequest {
    pub group_id: String,
    pub topics: Vec<OffsetDeleteTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteTopic {
    pub name: String,
    pub partitions: Vec<PartitionIndex>,
}

/// DescribeGroups, versions 0 to 6, for the groups of one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsRequest {
    /// From version 6 an unknown group is GROUP_ID_NOT_FOUND, below it is a Dead one.
    pub api_version: i16,
    pub groups: Vec<String>,
}

/// ListGroups, versions 0 to 5. Filters are compared without regard to case; an empty one lets all pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListGroupsRequest {
    pub states_filter: Vec<String>,
    pub types_filter: Vec<String>,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    pub topic_id: TopicId,
    pub partitions: Vec<PartitionIndex>,
}

/// ConsumerGroupHeartbeat, versions 0 and 1. What has not changed since the last heartbeat may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeatRequest {
    /// From version 1 on a member makes its id (KIP-1082).
    pub api_version: i16,
    pub group_id: String,
    pub member_id: String,
    /// 0 joins, -1 leaves, -2 leaves for a while (static members).
    pub member_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    /// -1 if left out.
    pub rebalance_timeout_ms: i32,
    pub subscribed_topic_names: Option<Vec<String>>,
    /// Version 1.
    pub subscribed_topic_regex: Option<String>,
    pub server_assignor: Option<String>,
    /// What the member has.
    pub topic_partitions: Option<Vec<TopicPartitions>>,
    /// From the request's header; empty where it had none.
    pub client_id: String,
    /// The peer's address as Kafka shows it, for example `/127.0.0.1`.
    pub client_host: String,
    /// Random; the member's id if the request has none.
    pub new_member_uuid: Uuid,
    /// What a regular expression may find.
    pub visible_topics: TopicFilter,
}

/// ShareGroupHeartbeat, version 1. What has not changed since the last heartbeat may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGroupHeartbeatRequest {
    pub group_id: String,
    pub member_id: String,
    /// 0 joins, -1 leaves.
    pub member_epoch: i32,
    pub rack_id: Option<String>,
    pub subscribed_topic_names: Option<Vec<String>>,
    /// From the request's header; empty where it had none.
    pub client_id: String,
    /// The peer's address as Kafka shows it, for example `/127.0.0.1`.
    pub client_host: String,
}

/// A change of which partitions of a share group have a state at the share coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareOffsetsRequest {
    pub group_id: String,
    pub change: ShareOffsetsChange,
}

/// Steps around what the share coordinator is told: one before, one after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShareOffsetsChange {
    /// AlterShareGroupOffsets begins: these partitions are to be initialized anew. The group has to be empty.
    Alter(Vec<TopicPartitions>),
    /// The share coordinator knows of these partitions.
    Initialized(Vec<TopicPartitions>),
    /// DeleteShareGroupOffsets begins. The group has to be empty.
    Delete(Vec<TopicId>),
    /// The group is to be deleted, which has to be empty.
    DeleteAll,
    /// The share coordinator knows nothing of these topics any more.
    Deleted(Vec<TopicId>),
}
