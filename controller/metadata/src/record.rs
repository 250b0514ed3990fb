//! The records as prost makes them of `proto/schema/metadata_records.proto`, and what makes them short to write.

use moldau_model::{BrokerId, Uuid};

/// The generated messages, one per kind of record. `proto/schema/metadata_records.proto` documents their fields.
#[expect(clippy::allow_attributes, reason = "generated code")]
#[allow(unreachable_pub, reason = "generated code")]
pub mod records {
    include!(concat!(env!("OUT_DIR"), "/moldau.metadata.rs"));
}

pub use records::metadata_record::Kind as RecordKind;
pub use records::{LeaderRecoveryState, MetadataBatch, MetadataRecord};

macro_rules! kinds {
    ($($message:ident),*) => {
        $(impl From<records::$message> for MetadataRecord {
            fn from(message: records::$message) -> Self {
                Self { kind: Some(RecordKind::$message(message)) }
            }
        })*

        impl MetadataRecord {
            /// The kind's name, for logs; `unknown` for a kind that this version does not have.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self.kind {
                    $(Some(RecordKind::$message(_)) => stringify!($message),)*
                    None => "unknown",
                }
            }
        }
    };
}

kinds!(
    RegisterBroker,
    UnregisterBroker,
    BrokerRegistrationChange,
    Topic,
    RemoveTopic,
    Partition,
    PartitionChange,
    Config,
    ProducerIds,
    FeatureLevel,
    ClientQuota,
    UserScramCredential,
    AccessControlEntry,
    RemoveAccessControlEntry,
    DelegationToken,
    RemoveDelegationToken,
    NoOp,
    Cluster
);

impl MetadataRecord {
    /// The level of the feature `moldau.records.version` from which on the log may hold records of this kind. A node that does not know a kind stops
    /// when it reads one, so that none is written before every broker has said that it does. A new kind is given the level of the
    /// version that brings it; the match has no other arm, so that none is forgotten.
    #[must_use]
    pub const fn records_level(&self) -> i16 {
        match &self.kind {
            None
            | Some(
                RecordKind::RegisterBroker(_)
                | RecordKind::UnregisterBroker(_)
                | RecordKind::BrokerRegistrationChange(_)
                | RecordKind::Topic(_)
                | RecordKind::RemoveTopic(_)
                | RecordKind::Partition(_)
                | RecordKind::PartitionChange(_)
                | RecordKind::Config(_)
                | RecordKind::ProducerIds(_)
                | RecordKind::FeatureLevel(_)
                | RecordKind::NoOp(_)
                | RecordKind::Cluster(_)
                | RecordKind::ClientQuota(_),
            ) => 0,
            Some(
                RecordKind::AccessControlEntry(_)
                | RecordKind::RemoveAccessControlEntry(_)
                | RecordKind::UserScramCredential(_),
            ) => 1,
            Some(RecordKind::DelegationToken(_) | RecordKind::RemoveDelegationToken(_)) => 2,
        }
    }
}

/// Its keys are not shown.
impl std::fmt::Debug for records::ScramCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramCredential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl From<Vec<MetadataRecord>> for MetadataBatch {
    fn from(records: Vec<MetadataRecord>) -> Self {
        Self { records }
    }
}

impl From<&[BrokerId]> for records::BrokerIds {
    fn from(ids: &[BrokerId]) -> Self {
        Self { ids: ids.iter().map(|id| id.0).collect() }
    }
}

impl From<&[Uuid]> for records::LogDirectories {
    fn from(ids: &[Uuid]) -> Self {
        Self { ids: ids.iter().map(|id| id.as_bytes().to_vec()).collect() }
    }
}
