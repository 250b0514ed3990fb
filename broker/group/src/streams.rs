//! Streams groups (KIP-1071): the coordinator knows an application's topology, and says which of its members has which task.
//!
//! The first member brings the topology. From it and the topics that there are follow the tasks, and the topics that the
//! application needs for itself, which the shell creates. As in consumer groups there are epochs of the group, of its target
//! assignment and of its members, and all changes are records. A member gives up first, and gets a task only once nobody else has
//! it; members of one process never have the same task in any role, for they share the folder of its state.

mod assignor;
mod configure;
mod describe;
mod draft;
mod endpoints;
mod group;
mod heartbeat;
mod member;
mod message;
mod offsets;
mod reconcile;
mod tasks;
mod topology;

pub use message::{
    DescribedStreamsGroup, DescribedStreamsMember, StreamsEndpoint, StreamsEndpointPartitions,
    StreamsGroupHeartbeatRequest, StreamsGroupHeartbeatResponse, StreamsStatus, StreamsStatusCode,
};
pub use tasks::{StreamsAssignment, StreamsTasks};
pub use topology::{StreamsCopartitionGroup, StreamsSubtopology, StreamsTopicInfo, StreamsTopology};

#[cfg(test)]
pub(crate) use assignor::{AssignmentMember, SubtopologyTasks, assign};
#[cfg(test)]
pub(crate) use configure::configure;
pub(crate) use describe::{described, unknown as unknown_group};
pub(crate) use draft::{StreamsDraft, StreamsMemory};
pub(crate) use group::{NO_TOPOLOGY_EPOCH, StreamsGroup};
pub(crate) use heartbeat::{check, fence_member, heartbeat, initial_delay_ends, leave};
pub(crate) use member::{CurrentTasks, StreamsMemberMetadata, StreamsMemberState};
pub(crate) use offsets::{validate_commit, validate_fetch};
pub(crate) use tasks::{ActiveTasks, HeldTasks};
