//! Where a response says for how long its client is to wait.

use crate::api_key::ApiKey;

/// How far into the body of a response its `throttle_time_ms` stands, four bytes; `None` where it has none, or where that
/// depends on what comes before it.
#[must_use]
pub fn throttle_time_position(api_key: ApiKey, version: i16) -> Option<usize> {
    let since = match api_key {
        ApiKey::Produce
        | ApiKey::ApiVersions
        | ApiKey::SaslHandshake
        | ApiKey::SaslAuthenticate
        | ApiKey::WriteTxnMarkers
        | ApiKey::DescribeQuorum
        | ApiKey::Vote
        | ApiKey::BeginQuorumEpoch
        | ApiKey::EndQuorumEpoch
        | ApiKey::Envelope
        | ApiKey::CreateDelegationToken
        | ApiKey::RenewDelegationToken
        | ApiKey::ExpireDelegationToken
        | ApiKey::DescribeDelegationToken
        | ApiKey::InitializeShareGroupState
        | ApiKey::ReadShareGroupState
        | ApiKey::WriteShareGroupState
        | ApiKey::DeleteShareGroupState
        | ApiKey::ReadShareGroupStateSummary => return None,
        // Behind the error code.
        ApiKey::OffsetDelete => return Some(2),
        ApiKey::Metadata | ApiKey::OffsetCommit | ApiKey::OffsetFetch => 3,
        ApiKey::ListOffsets | ApiKey::JoinGroup | ApiKey::CreateTopics | ApiKey::OffsetForLeaderEpoch => 2,
        ApiKey::Fetch
        | ApiKey::FindCoordinator
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::SyncGroup
        | ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::DeleteTopics => 1,
        _ => 0,
    };
    (version >= since).then_some(0)
}
