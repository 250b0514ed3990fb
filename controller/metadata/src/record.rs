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
    NoOp,
    Cluster
);

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
