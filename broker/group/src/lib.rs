//! The group coordinator's decisions, and its records; sans-IO.
//!
//! One [`GroupShard`] coordinates the groups of one partition of `__consumer_offsets`. It takes [`Input`]s with
//! the time they came at and gives [`Output`]s: replies, and records to append. Nothing is answered before the
//! records that it rests on are committed.

mod config;
mod consumer;
mod group;
mod offsets;
mod open_transactions;
mod partitioner;
mod rebalance;
mod records;
mod request;
mod response;
mod shard;
mod share;
mod streams;
mod timers;
mod topic_filter;

#[cfg(test)]
mod tests;

pub use config::{ConsumerGroupConfig, GroupConfig, MigrationPolicy, ShareGroupConfig, StreamsGroupConfig};
pub use consumer::{Assignor, CoordinatorMetadata, GroupOverrides, MetadataSource, NoMetadata, TopicSummary};
pub use partitioner::partition_for_group;
pub use records::{RecordError, Replayed};
pub use request::{
    ConsumerGroupHeartbeatRequest, DescribeGroupsRequest, EndTransactionRequest, HeartbeatRequest,
    InTransaction, JoinGroupProtocol, JoinGroupRequest, LeaveGroupRequest, LeavingMember, ListGroupsRequest,
    OffsetCommitPartition, OffsetCommitRequest, OffsetCommitTopic, OffsetDeleteRequest, OffsetDeleteTopic,
    OffsetFetchRequest, OffsetFetchTopic, Request, RequestToken, ShareGroupHeartbeatRequest,
    ShareOffsetsChange, ShareOffsetsRequest, SyncGroupAssignment, SyncGroupRequest, TopicPartitions,
    TxnOffsetCommitRequest,
};
pub use response::{
    CommittedTopic, ConsumerGroupHeartbeatResponse, DeletedGroup, DeletedTopic, DescribedConsumerGroup,
    DescribedConsumerMember, DescribedGroup, DescribedMember, DescribedPartitions, DescribedShareGroup,
    DescribedShareMember, FetchedOffset, FetchedTopic, JoinGroupMember, JoinGroupResponse,
    LeaveGroupResponse, LeftMember, ListGroupsResponse, ListedGroup, OffsetCommitResponse,
    OffsetDeleteResponse, OffsetFetchResponse, PartitionResult, Response, ShareGroupHeartbeatResponse,
    ShareOffsetsAnswer, ShareStateToInitialize, SyncGroupResponse,
};
pub use shard::{
    AppendId, AppendKind, CoordinatorRecord, GroupShard, GroupSummary, Input, Output, ShardState,
};
pub use streams::{
    DescribedStreamsGroup, DescribedStreamsMember, StreamsAssignment, StreamsCopartitionGroup,
    StreamsEndpoint, StreamsEndpointPartitions, StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse,
    StreamsStatus, StreamsStatusCode, StreamsSubtopology, StreamsTasks, StreamsTopicInfo, StreamsTopology,
};
pub use topic_filter::TopicFilter;
