//! Consumer groups (KIP-848): the coordinator assigns the partitions, and each member moves to its share on its own.
//!
//! A group has three epochs. The group epoch grows whenever who reads what may have to change; the target assignment is
//! computed for a group epoch; a member's epoch is that of the target it has reached. A member gives up first, and gets
//! new partitions only once nobody else has them (`reconcile`). All state changes are records: what a request leads to is
//! worked out on a draft, and the draft becomes the group when its records are committed.

pub(crate) mod assignor;
pub(crate) mod classic;
mod describe;
mod draft;
mod fence;
mod group;
mod heartbeat;
mod member;
mod metadata;
pub(crate) mod migration;
mod offsets;
mod reconcile;
mod regex;

pub use assignor::Assignor;
#[cfg(test)]
pub(crate) use assignor::{GroupSubscriptions, MemberSubscription};
pub(crate) use metadata::metadata_hash;
pub use metadata::{CoordinatorMetadata, GroupOverrides, MetadataSource, NoMetadata, TopicSummary};

pub(crate) use describe::{described, named, unknown as unknown_group};
pub(crate) use draft::{Context, Draft, Refused, TimerChange};
pub(crate) use fence::{fence_member, leave};
pub(crate) use group::ConsumerGroup;
pub(crate) use heartbeat::{check, heartbeat};
pub(crate) use member::{
    Assignment, ClassicMember, ConsumerMember, ConsumerMemberMetadata, CurrentAssignment, MemberState,
    OwnedPartitions,
};
pub(crate) use offsets::{validate_commit, validate_fetch};
#[cfg(test)]
pub(crate) use reconcile::Reconciliation;
