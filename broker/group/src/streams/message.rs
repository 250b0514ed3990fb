//! StreamsGroupHeartbeat (88) and StreamsGroupDescribe (89), version 0, as the shard takes and gives them.

use moldau_model::{ErrorCode, PartitionIndex};

use super::tasks::{StreamsAssignment, StreamsTasks};
use super::topology::{StreamsTopicInfo, StreamsTopology};

/// StreamsGroupHeartbeat, version 0. What has not changed since the last heartbeat may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsGroupHeartbeatRequest {
    pub group_id: String,
    pub member_id: String,
    /// 0 joins, -1 leaves.
    pub member_epoch: i32,
    /// Of what the member was last told of other members' endpoints.
    pub endpoint_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    /// -1: as before.
    pub rebalance_timeout_ms: i32,
    /// With the first heartbeat only.
    pub topology: Option<StreamsTopology>,
    pub active_tasks: Option<StreamsTasks>,
    pub standby_tasks: Option<StreamsTasks>,
    pub warmup_tasks: Option<StreamsTasks>,
    pub process_id: Option<String>,
    pub user_endpoint: Option<StreamsEndpoint>,
    pub client_tags: Option<Vec<(String, String)>>,
    /// Whether the request has offsets of tasks, which Kafka 4.3 refuses.
    pub has_task_offsets: bool,
    pub has_task_end_offsets: bool,
    /// All of the application's clients are to shut down.
    pub shutdown_application: bool,
    /// From the request's header; empty where it had none.
    pub client_id: String,
    /// The peer's address as Kafka shows it, for example `/127.0.0.1`.
    pub client_host: String,
}

/// Where an instance answers interactive queries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamsEndpoint {
    pub host: String,
    pub port: u16,
}

/// What a member is told of the group's state besides its tasks, by Kafka's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamsStatusCode {
    StaleTopology = 0,
    MissingSourceTopics = 1,
    IncorrectlyPartitionedTopics = 2,
    MissingInternalTopics = 3,
    ShutdownApplication = 4,
    AssignmentDelayed = 5,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsStatus {
    pub code: StreamsStatusCode,
    pub detail: String,
}

/// StreamsGroupHeartbeat's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsGroupHeartbeatResponse {
    pub error: ErrorCode,
    pub error_message: Option<String>,
    pub member_id: String,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    pub statuses: Vec<StreamsStatus>,
    /// `None` where it is what the member was told before.
    pub assignment: Option<StreamsAssignment>,
    pub endpoint_epoch: i32,
    /// `None` where the member knows it.
    pub endpoints: Option<Vec<StreamsEndpointPartitions>>,
    /// Topics that the application needs and that the shell is to create.
    pub topics_to_create: Vec<StreamsTopicInfo>,
}

/// The input partitions that an instance has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamsEndpointPartitions {
    pub endpoint: StreamsEndpoint,
    pub active: Vec<(String, Vec<PartitionIndex>)>,
    pub standby: Vec<(String, Vec<PartitionIndex>)>,
}

/// One group of StreamsGroupDescribe. Authorized operations are the shell's to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedStreamsGroup {
    pub group_id: String,
    pub error: ErrorCode,
    pub error_message: Option<String>,
    pub state: String,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    /// With the partition counts that were settled, if they were.
    pub topology: Option<StreamsTopology>,
    pub members: Vec<DescribedStreamsMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedStreamsMember {
    pub member_id: String,
    pub member_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topology_epoch: i32,
    pub process_id: String,
    pub user_endpoint: Option<StreamsEndpoint>,
    pub client_tags: Vec<(String, String)>,
    pub assignment: StreamsAssignment,
    pub target_assignment: StreamsAssignment,
}
