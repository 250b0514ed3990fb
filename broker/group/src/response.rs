//! What a shard answers. The shell gives it the shape of the request's version.

use crate::request::TopicPartitions;
use crate::streams::{DescribedStreamsGroup, StreamsGroupHeartbeatResponse};
use bytes::Bytes;
use moldau_model::{ErrorCode, GenerationId, LeaderEpoch, Offset, PartitionIndex, TopicId};

/// The answer to one [`Request`](crate::Request), of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(ErrorCode),
    Leave(LeaveGroupResponse),
    /// TxnOffsetCommit's too.
    OffsetCommit(OffsetCommitResponse),
    EndTransaction(ErrorCode),
    OffsetFetch(OffsetFetchResponse),
    OffsetDelete(OffsetDeleteResponse),
    DeleteGroups(Vec<DeletedGroup>),
    DescribeGroups(Vec<DescribedGroup>),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    ConsumerGroupDescribe(Vec<DescribedConsumerGroup>),
    ListGroups(ListGroupsResponse),
    ShareGroupHeartbeat(ShareGroupHeartbeatResponse),
    ShareGroupDescribe(Vec<DescribedShareGroup>),
    /// To a view and to a change; with the words that Kafka says.
    ShareOffsets(Result<ShareOffsetsAnswer, (ErrorCode, String)>),
    StreamsGroupHeartbeat(Box<StreamsGroupHeartbeatResponse>),
    StreamsGroupDescribe(Vec<DescribedStreamsGroup>),
}

/// JoinGroup's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupResponse {
    pub error: ErrorCode,
    /// `-1` with an error.
    pub generation_id: GenerationId,
    /// `None` with an error. Below version 7 it is not sent.
    pub protocol_type: Option<String>,
    /// `None` with an error; below version 7 that is sent as the empty string.
    pub protocol_name: Option<String>,
    /// The leader's member id; empty with an error.
    pub leader: String,
    /// Version 9 (KIP-814): the leader is to keep the group's assignment as it is.
    pub skip_assignment: bool,
    pub member_id: String,
    /// For the leader only; empty for everyone else.
    pub members: Vec<JoinGroupMember>,
}

/// A member as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    /// Of the protocol that was selected.
    pub metadata: Bytes,
}

/// SyncGroup's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupResponse {
    pub error: ErrorCode,
    pub protocol_type: Option<String>,
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}

/// LeaveGroup's answer. Versions 0 to 2 carry one code: [`LeaveGroupResponse::single_error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupResponse {
    pub error: ErrorCode,
    pub members: Vec<LeftMember>,
}

impl LeaveGroupResponse {
    /// The code for versions 0 to 2, which have no list of members.
    #[must_use]
    pub fn single_error(&self) -> ErrorCode {
        match self.members.first() {
            Some(member) if self.error.is_none() => member.error,
            _ => self.error,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub error: ErrorCode,
}

/// OffsetCommit's answer: the request's topics and partitions, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponse {
    pub topics: Vec<CommittedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    pub name: String,
    pub topic_id: TopicId,
    pub partitions: Vec<PartitionResult>,
}

/// A code for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionResult {
    pub partition: PartitionIndex,
    pub error: ErrorCode,
}

/// OffsetFetch's answer for one group. With an error at the top `topics` is empty; below version 2 the shell
/// repeats that error for each partition asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponse {
    pub group_id: String,
    pub error: ErrorCode,
    pub topics: Vec<FetchedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    pub name: String,
    /// As asked for; zero where every topic was asked for (the shell knows the ids).
    pub topic_id: TopicId,
    pub partitions: Vec<FetchedOffset>,
}

/// A committed offset, or `-1`, `-1` and the empty string where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    pub partition: PartitionIndex,
    /// The topic that it was committed for; zero where the commit did not say, or nothing was committed.
    pub topic_id: TopicId,
    pub committed_offset: Offset,
    pub committed_leader_epoch: LeaderEpoch,
    pub metadata: String,
    pub error: ErrorCode,
}

/// OffsetDelete's answer; with an error at the top `topics` is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteResponse {
    pub error: ErrorCode,
    pub topics: Vec<DeletedTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    pub name: String,
    pub partitions: Vec<PartitionResult>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedGroup {
    pub group_id: String,
    pub error: ErrorCode,
}

/// One group of DescribeGroups. Authorized operations are the shell's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    pub group_id: String,
    pub error: ErrorCode,
    /// Version 6.
    pub error_message: Option<String>,
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`, `Dead`; empty with an error.
    pub state: String,
    pub protocol_type: String,
    /// The selected protocol's name; empty unless the group is stable.
    pub protocol_data: String,
    pub members: Vec<DescribedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListGroupsResponse {
    pub error: ErrorCode,
    pub groups: Vec<ListedGroup>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub group_id: String,
    pub protocol_type: String,
    /// Version 4.
    pub state: String,
    /// Version 5; `classic`, `consumer` or `share`.
    pub group_type: String,
}

/// ConsumerGroupHeartbeat's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeatResponse {
    pub error: ErrorCode,
    pub error_message: Option<String>,
    /// `None` with an error.
    pub member_id: Option<String>,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// `None`: as it was.
    pub assignment: Option<Vec<TopicPartitions>>,
}

/// One group of ConsumerGroupDescribe. Authorized operations are the shell's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    pub group_id: String,
    pub error: ErrorCode,
    pub error_message: Option<String>,
    /// `Empty`, `Assigning`, `Reconciling`, `Stable`; empty with an error.
    pub state: String,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor_name: String,
    pub members: Vec<DescribedConsumerMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub member_epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_topic_names: Vec<String>,
    pub subscribed_topic_regex: String,
    /// What it has, or has not said yet that it gave up.
    pub assignment: Vec<DescribedPartitions>,
    pub target_assignment: Vec<DescribedPartitions>,
    /// Version 1.
    pub uses_classic_protocol: bool,
}

/// Partitions of one topic, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedPartitions {
    pub topic_id: TopicId,
    pub topic_name: String,
    pub partitions: Vec<PartitionIndex>,
}

/// ShareGroupHeartbeat's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareGroupHeartbeatResponse {
    pub error: ErrorCode,
    pub error_message: Option<String>,
    /// `None` with an error.
    pub member_id: Option<String>,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    /// `None`: as it was.
    pub assignment: Option<Vec<TopicPartitions>>,
    /// What the shell is to tell the share coordinator, and then the group's by
    /// [`ShareOffsetsChange::Initialized`](crate::ShareOffsetsChange::Initialized).
    pub initialize: Option<ShareStateToInitialize>,
}

/// Partitions that a share group begins to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareStateToInitialize {
    pub state_epoch: i32,
    pub topics: Vec<TopicPartitions>,
}

/// Partitions of a share group: those that have a state, or those that the share coordinator is to be told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareOffsetsAnswer {
    /// What a state is initialized with.
    pub state_epoch: i32,
    /// A topic without partitions: all that it has.
    pub topics: Vec<TopicPartitions>,
}

/// One group of ShareGroupDescribe. Authorized operations are the shell's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedShareGroup {
    pub group_id: String,
    pub error: ErrorCode,
    pub error_message: Option<String>,
    /// `Empty` or `Stable`; empty with an error.
    pub state: String,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor_name: String,
    pub members: Vec<DescribedShareMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedShareMember {
    pub member_id: String,
    pub rack_id: Option<String>,
    pub member_epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_topic_names: Vec<String>,
    pub assignment: Vec<DescribedPartitions>,
}
