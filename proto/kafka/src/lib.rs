//! Kafka's wire: frames, headers, versions, safe decoding.
//!
//! A server reads four bytes and asks [`frame_size`], reads the frame, takes the header off with
//! [`RequestHeader::parse`], and gives the rest to [`decode`] (or, for Produce, to [`ProduceRequestView::parse`]). It
//! answers with [`encode_response`], or on the hot paths with [`FetchResponse::encode`] and [`encode_produced`]. A client goes
//! the other way with [`encode_request`], [`decode_response`] and [`ServedVersions`].

mod api_key;
mod check;
mod codec;
mod describe_log_dirs;
mod error;
mod fetch;
mod frame;
#[cfg(any(test, feature = "test-support"))]
pub mod fuzz;
mod header;
mod produce;
mod produced;
mod raft_voter;
mod replica_fetch;
mod schema;
mod share;
mod share_state;
mod streams_group;
mod throttle;
mod topic_ids;
mod wire;
mod write_txn_markers;

pub use api_key::{ApiKey, ApiScope, PRODUCE_ADVERTISED_MIN, VersionRange};
pub use check::{check_request, check_response};
pub use codec::{
    ServedVersions, api_versions_request, decode, decode_response, encode_request, encode_response,
    unsupported_api_versions,
};
pub use describe_log_dirs::{DESCRIBE_LOG_DIRS_LIBRARY_VERSION, encode_describe_log_dirs_response};
pub use error::WireError;
pub use fetch::{
    AbortedTransaction, Chunk, EncodedFetch, EpochEndOffset, FetchPartition, FetchResponse, FetchTopic,
    LeaderIdAndEpoch, NodeEndpoint, RecordsSource,
};
pub use frame::{
    REQUEST_SIZE_MAX_DEFAULT, SIZE_PREFIX_BYTES, UNAUTHENTICATED_REQUEST_SIZE_MAX, frame_size, size_prefix,
};
pub use header::RequestHeader;
pub use produce::{ProducePartitionView, ProduceRequestView, ProduceTopicRef, ProduceTopicView, text};
pub use produced::{ProducedPartition, ProducedTopic, encode_produced};
pub use raft_voter::decode_add_raft_voter;
pub use replica_fetch::{
    FetchedPartition, REPLICA_FETCH_VERSION, ReplicaFetchPartition, ReplicaFetchRequest,
    ReplicaFetchResponse, durable_end,
};
pub use share::{
    AcknowledgementBatch, ShareAcknowledgeRequest, ShareFetchRequest, SharePartitionRequest,
    encode_share_acknowledge_response,
};
pub use share_state::{
    DescribedShareOffset, DescribedShareOffsets, ReadShareGroupStateSummaryResponse, ShareStateBatch,
    ShareStateSummary, ShareStateWrite, WriteShareGroupStateRequest, decode_described_share_offsets,
    encode_described_share_offsets,
};
pub use streams_group::{
    StreamsCopartitionedTopics, StreamsDescribeRequest, StreamsDescribeResponse, StreamsDescribedGroup,
    StreamsDescribedMember, StreamsEndpointToPartitions, StreamsHeartbeatRequest, StreamsHeartbeatResponse,
    StreamsHostAndPort, StreamsInternalTopic, StreamsTaskIds, StreamsTaskOffset, StreamsTaskRoles,
    StreamsTopicPartitions, StreamsTopologyPart,
};
pub use throttle::throttle_time_position;
pub use topic_ids::{
    OFFSETS_BY_TOPIC_ID_SINCE, decode_offset_commit_by_id, decode_offset_fetch_by_id,
    encode_offset_commit_by_id, encode_offset_fetch_by_id,
};
pub use write_txn_markers::{TxnMarker, TxnMarkerTopic, TxnMarkersRequest, decode_txn_markers_response};
