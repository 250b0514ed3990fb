//! The rows of SUPPORTED that concern metadata, administration and groups.

use super::{
    ApiSupport, delete_groups, describe_cluster, describe_configs, describe_groups, describe_quorum,
    describe_topic_partitions, find_coordinator, forwarded, heartbeat, join_group, leave_group,
    list_config_resources, list_groups, metadata, offset_commit, offset_delete, offset_fetch, sync_group,
};

pub const ROWS: &[ApiSupport] = &[
    metadata::SUPPORT,
    offset_commit::SUPPORT,
    offset_fetch::SUPPORT,
    find_coordinator::SUPPORT,
    join_group::SUPPORT,
    heartbeat::SUPPORT,
    leave_group::SUPPORT,
    sync_group::SUPPORT,
    describe_groups::SUPPORT,
    list_groups::SUPPORT,
    forwarded::CREATE_TOPICS,
    forwarded::DELETE_TOPICS,
    describe_configs::SUPPORT,
    forwarded::ALTER_CONFIGS,
    forwarded::CREATE_PARTITIONS,
    delete_groups::SUPPORT,
    forwarded::ELECT_LEADERS,
    forwarded::INCREMENTAL_ALTER_CONFIGS,
    forwarded::ALTER_PARTITION_REASSIGNMENTS,
    forwarded::LIST_PARTITION_REASSIGNMENTS,
    forwarded::UNREGISTER_BROKER,
    offset_delete::SUPPORT,
    describe_quorum::SUPPORT,
    describe_cluster::SUPPORT,
    list_config_resources::SUPPORT,
    describe_topic_partitions::SUPPORT,
    forwarded::ADD_RAFT_VOTER,
    forwarded::REMOVE_RAFT_VOTER,
];
