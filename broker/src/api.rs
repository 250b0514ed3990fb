//! The dispatch: which API keys are served, in which versions, by whom.
//!
//! One file per API key under `api/`, each opening with its versions and behaviour. `SUPPORTED` is the one table:
//! ApiVersions answers from it, `docs/API_SUPPORT.md` is generated from it, and no other key reaches a handler.

pub mod control_plane;
pub mod data_plane;
pub mod dispatch;
mod request;

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_replica_log_dirs;
mod alter_share_group_offsets;
mod api_versions;
pub(crate) mod auto_create;
mod commit_results;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod delete_groups;
mod delete_records;
mod delete_share_group_offsets;
mod delete_share_group_state;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_delegation_token;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_share_group_offsets;
mod describe_topic_partitions;
mod describe_transactions;
mod describe_user_scram_credentials;
pub(crate) mod end_offset_request;
mod end_txn;
mod fetch;
mod find_coordinator;
mod forwarded;
mod get_telemetry_subscriptions;
mod group_request;
mod heartbeat;
mod init_producer_id;
mod initialize_share_group_state;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_transactions;
pub(crate) mod marker_request;
pub(crate) mod message;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod offsets_by_id;
mod produce;
mod push_telemetry;
mod read_share_group_state;
mod read_share_group_state_summary;
mod sasl_authenticate;
mod sasl_handshake;
mod share_acknowledge;
mod share_fetch;
mod share_group_describe;
mod share_group_heartbeat;
mod share_offsets;
mod share_request;
mod share_state;
pub(crate) mod share_state_request;
mod streams_group_describe;
mod streams_group_heartbeat;
pub(crate) mod streams_topics;
mod sync_group;
mod throttle;
mod topic_view;
mod transaction_request;
mod txn_offset_commit;
pub(crate) mod verification_request;
mod write_share_group_state;
mod write_txn_markers;

use std::sync::{Arc, LazyLock};

use futures::future::BoxFuture;
use tokio::time::Instant;

pub use request::{ClientSoftware, Peer, Request, RequestContext};

use crate::broker::Broker;
use crate::purgatory::DelayedOperation;
use crate::response::ResponseFrame;

/// Serves one request. It runs on a network worker: it may write to the page cache and take a partition's lock for
/// microseconds, and it does everything that waits inside the future it returns.
pub type Handler = fn(&Arc<Broker>, Request) -> Reply;

/// What becomes of a request. Answers leave a connection in the order its requests came.
pub enum Reply {
    /// The answer is there.
    Ready(ResponseFrame),
    /// The request has taken its effect and only its answer waits (for durability, for records, for a deadline).
    /// Later requests of the connection are served meanwhile.
    Pending(BoxFuture<'static, ResponseFrame>),
    /// The same where the answer is made without waiting once the operation is done: by whoever brings that about.
    Acknowledged(Acknowledgement),
    /// The request takes its effect inside the future. Later requests of the connection wait for it, as they do in
    /// Kafka, so that a client's requests take effect in the order it sent them.
    Deferred(BoxFuture<'static, Reply>),
    /// There is no answer: Produce with acks=0. Nothing more is read from the connection for so many milliseconds.
    NoResponse { throttle_ms: i32 },
    /// The connection ends, for the reason given: an unreadable request, or Kafka's way to say no at acks=0.
    Close(&'static str),
}

/// An answer that waits for an operation, and for no longer than its request wants.
pub struct Acknowledgement {
    pub operation: Arc<DelayedOperation>,
    pub deadline: Instant,
    /// Of an operation that is done.
    pub answer: Box<dyn FnOnce(&DelayedOperation) -> ResponseFrame + Send>,
}

impl Acknowledgement {
    /// Waits for it, where nobody else is to answer.
    pub async fn resolve(self) -> ResponseFrame {
        self.operation.wait(self.deadline.saturating_duration_since(Instant::now())).await;
        (self.answer)(&self.operation)
    }
}

/// One row of the table.
#[derive(Clone, Copy)]
pub struct ApiSupport {
    pub key: i16,
    /// As the protocol guide names it.
    pub name: &'static str,
    /// What ApiVersions says. Produce says 0 and serves from 3: librdkafka needs to see the 0 (KAFKA-18659).
    pub advertised_min: i16,
    /// The lowest version that is served.
    pub min: i16,
    pub max: i16,
    pub handler: Handler,
}

impl ApiSupport {
    /// A row whose advertised versions are the served ones.
    #[must_use]
    pub const fn new(key: i16, name: &'static str, min: i16, max: i16, handler: Handler) -> Self {
        Self { key, name, advertised_min: min, min, max, handler }
    }
}

/// All rows, by key.
pub static SUPPORTED: LazyLock<Vec<ApiSupport>> = LazyLock::new(|| {
    let mut rows = [data_plane::ROWS, control_plane::ROWS].concat();
    rows.sort_by_key(|row| row.key);
    rows
});

/// The row of a key, if it is served at all.
#[must_use]
pub fn support(key: i16) -> Option<&'static ApiSupport> {
    let index = SUPPORTED.binary_search_by_key(&key, |row| row.key).ok()?;
    SUPPORTED.get(index)
}
