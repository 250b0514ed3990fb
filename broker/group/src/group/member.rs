//! A member of a classic group.

use std::sync::Arc;

use bytes::Bytes;

use crate::records::MemberMetadata;
use crate::request::{JoinGroupProtocol, RequestToken};

/// One member. At most one JoinGroup and one SyncGroup of it are parked; a newer one answers the older.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) member_id: Arc<str>,
    pub(crate) group_instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// In its order of preference, each name once.
    pub(crate) protocols: Vec<JoinGroupProtocol>,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<RequestToken>,
    pub(crate) awaiting_sync: Option<RequestToken>,
    /// It has not got its first generation yet: it expires even while its JoinGroup is parked.
    pub(crate) is_new: bool,
}

impl Member {
    /// A member as it was written, knowing only the protocol that was selected.
    pub(crate) fn from_record(record: &MemberMetadata<'_>, protocol: &str) -> Self {
        Self {
            member_id: record.member_id.into(),
            group_instance_id: record.group_instance_id.map(Arc::from),
            client_id: record.client_id.into(),
            client_host: record.client_host.into(),
            rebalance_timeout_ms: match record.rebalance_timeout_ms {
                -1 => record.session_timeout_ms,
                rebalance_timeout_ms => rebalance_timeout_ms,
            },
            session_timeout_ms: record.session_timeout_ms,
            protocols: vec![JoinGroupProtocol {
                name: protocol.to_owned(),
                metadata: Bytes::copy_from_slice(record.subscription),
            }],
            assignment: Bytes::copy_from_slice(record.assignment),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }

    /// What it said of one protocol.
    pub(crate) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols.iter().find(|p| p.name == protocol).map(|p| &p.metadata)
    }

    pub(crate) fn metadata_bytes(&self) -> usize {
        metadata_bytes(&self.protocols)
    }

    /// Whether a session that ends now is excused: the member waits for the coordinator, not the other way.
    pub(crate) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// The bytes that a member's protocols keep in memory.
pub(crate) fn metadata_bytes(protocols: &[JoinGroupProtocol]) -> usize {
    protocols.iter().map(|p| p.name.len() + p.metadata.len()).sum()
}

/// Protocols as a member keeps them: each name once, and bytes of their own, for a slice would keep the whole
/// request in memory.
pub(crate) fn own_protocols(protocols: Vec<JoinGroupProtocol>) -> Vec<JoinGroupProtocol> {
    let mut own: Vec<JoinGroupProtocol> = Vec::with_capacity(protocols.len());
    for protocol in protocols {
        if own.iter().all(|p| p.name != protocol.name) {
            own.push(JoinGroupProtocol {
                name: protocol.name,
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            });
        }
    }
    own
}
