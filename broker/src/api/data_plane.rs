//! The rows of SUPPORTED that records pass through.

use super::{
    ApiSupport, alter_replica_log_dirs, api_versions, delete_records, describe_log_dirs, describe_producers,
    fetch, get_telemetry_subscriptions, init_producer_id, list_offsets, offset_for_leader_epoch, produce,
    push_telemetry, share_acknowledge, share_fetch, write_txn_markers,
};

pub const ROWS: &[ApiSupport] = &[
    ApiSupport { advertised_min: moldau_kafka::PRODUCE_ADVERTISED_MIN, ..produce::SUPPORT },
    fetch::SUPPORT,
    list_offsets::SUPPORT,
    api_versions::SUPPORT,
    delete_records::SUPPORT,
    alter_replica_log_dirs::SUPPORT,
    init_producer_id::SUPPORT,
    offset_for_leader_epoch::SUPPORT,
    write_txn_markers::SUPPORT,
    describe_log_dirs::SUPPORT,
    describe_producers::SUPPORT,
    get_telemetry_subscriptions::SUPPORT,
    push_telemetry::SUPPORT,
    share_fetch::SUPPORT,
    share_acknowledge::SUPPORT,
];
