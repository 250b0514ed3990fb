//! What the controller decides. Every decision is a pure function of the image, the request and its [`Inputs`]: it
//! gives the records to be committed and the answer to be sent once they are, and changes nothing itself. State changes
//! only when the records are replayed.
//!
//! Errors of a part of a request (one topic of many) are in the response; an [`ApiError`] as the function's own error
//! refuses the request as a whole. Codes and texts are those of Apache Kafka 4.3.

mod access;
mod acls;
mod alter_configs;
mod alter_partition;
mod assignment;
mod bootstrap;
mod broker_state;
mod client_quotas;
mod create_partitions;
mod create_topics;
mod delegation_tokens;
mod delete_topics;
mod elect_leaders;
mod eligible_leaders;
mod heartbeat;
mod mutation_quotas;
mod partition_change;
mod placement;
mod producer_ids;
mod random;
mod reassign_partitions;
mod register_broker;
mod scram_credentials;
mod settings;
mod voters;

pub use access::{Access, Asker, Audit};
pub use acls::{create_acls, delete_acls};
pub use alter_configs::{
    AlterConfigsRequest, AlterConfigsResult, ConfigAlteration, ConfigOperation, ConfigValue,
    IncrementalAlterConfigsRequest, LegacyResourceAlteration, ResourceAlteration, incremental_alter_configs,
    legacy_alter_configs,
};
pub use alter_partition::alter_partition;
pub use bootstrap::bootstrap_records;
pub use broker_state::{
    fence_broker, fence_log_directories, note_cordoned_log_directories, note_full_log_directories,
    place_replicas, start_controlled_shutdown, unfence_broker, unregister_broker,
};
pub use client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResult, NamedEntity, QuotaAlteration, alter_client_quotas,
};
pub use create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResult, MorePartitions, create_partitions,
};
pub use create_topics::{
    CLUSTER_METADATA_TOPIC, CreateTopicsRequest, CreateTopicsResult, CreatedTopic, ManualAssignment,
    NewTopic, create_topics,
};
pub use delegation_tokens::{
    NewDelegationToken, TOKENS_RECORDS_LEVEL, check_tokens_enabled, create_delegation_token,
    expire_delegation_token, remove_expired_tokens, renew_delegation_token,
};
pub use delete_topics::{DeleteTopicsResult, TopicToDelete, delete_topics};
pub use elect_leaders::{
    ElectLeadersRequest, ElectLeadersResult, ElectionKind, balance_leaders, elect_leaders,
};
pub(crate) use eligible_leaders::ELIGIBLE_LEADER_REPLICAS;
pub use eligible_leaders::eligible_leader_records;
pub use heartbeat::{BrokerSessions, ExpiredSession};
pub use mutation_quotas::{MutationQuota, MutationQuotas, Mutator};
pub use producer_ids::{PRODUCER_ID_BLOCK_LENGTH, allocate_producer_ids};
pub use random::Random;
pub use reassign_partitions::{
    OngoingReassignment, ReassignPartitionsRequest, ReassignPartitionsResult, ReassignablePartition,
    ongoing_reassignments, reassign_partitions,
};
pub use register_broker::{SessionState, register_broker};
pub use scram_credentials::{AlterScramResult, ScramAlteration, alter_scram_credentials};
pub use settings::Settings;
pub use voters::{ReplicaKey, check_cluster, check_new_voter, check_old_voter};

use moldau_metadata::{BATCH_BYTES_MAX, MetadataBatch, MetadataRecord, encoded_batch_length};
use moldau_model::{ErrorCode, Offset};

/// How many records one request of a user may make; Kafka's bound.
pub const RECORDS_PER_REQUEST_MAX: usize = 10_000;

/// What a decision needs besides image and request: all that a pure function cannot find out for itself.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// Where the decision's batch will be written. It becomes the epoch of a broker that registers.
    pub next_offset: Offset,
    /// The randomness of this one decision: topic ids, and where placement starts.
    pub random: &'a mut Random,
    /// What the controller was started with.
    pub settings: &'a Settings,
    /// How many partitions the asker may still have created and deleted.
    pub mutation_quota: MutationQuota,
}

/// Records to commit, as one batch, and what to answer once they are committed. Without records there is nothing to
/// commit, and the answer may go out at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<R> {
    pub records: Vec<MetadataRecord>,
    pub response: R,
}

impl<R> Decision<R> {
    /// An answer that changes nothing.
    pub const fn unchanged(response: R) -> Self {
        Self { records: Vec::new(), response }
    }

    /// Refuses what a user may not ask for in one request, be it by number or by size.
    fn bounded(self) -> Result<Self, ApiError> {
        if self.records.len() <= RECORDS_PER_REQUEST_MAX {
            let batch = MetadataBatch { records: self.records };
            if encoded_batch_length(&batch) <= BATCH_BYTES_MAX {
                return Ok(Self { records: batch.records, response: self.response });
            }
        }
        Err(ApiError::new(ErrorCode::PolicyViolation, "Unable to perform excessively large batch operation."))
    }
}

/// A refusal as Kafka sends it: a code, and a text unless the code says it all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {}", .message.as_deref().unwrap_or_default())]
pub struct ApiError {
    pub code: ErrorCode,
    pub message: Option<String>,
}

impl ApiError {
    /// A code with a text of its own.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }

    /// A code that is sent without a text.
    #[must_use]
    pub const fn bare(code: ErrorCode) -> Self {
        Self { code, message: None }
    }

    /// A code that is sent with its default text.
    #[must_use]
    pub fn standard(code: ErrorCode) -> Self {
        Self::new(code, code.message())
    }
}

#[cfg(test)]
mod histories;
#[cfg(test)]
mod testing;
