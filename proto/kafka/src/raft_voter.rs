//! AddRaftVoter (80), version 1: whether the answer waits for the commit (KIP-1186), which kafka-protocol 0.18 does not know.

use bytes::Bytes;
use kafka_protocol::messages::AddRaftVoterRequest;
use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::protocol::StrBytes;

use crate::api_key::ApiKey;
use crate::check::check_request;
use crate::error::WireError;
use crate::wire::Reader;

/// From here on there is `ack_when_committed`.
const ACKNOWLEDGEMENT_SINCE: i16 = 1;

/// Decodes the body of a request, and whether its answer is to wait until the new voters are committed.
///
/// # Errors
/// Bytes that are none of this version.
pub fn decode_add_raft_voter(version: i16, body: &Bytes) -> Result<(AddRaftVoterRequest, bool), WireError> {
    // Every count has its elements behind it.
    check_request(ApiKey::AddRaftVoter, version, body)?;
    let reader = &mut Reader::new(body);
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let request = AddRaftVoterRequest::default()
        .with_cluster_id(reader.string(true)?.map(text))
        .with_timeout_ms(reader.i32()?)
        .with_voter_id(reader.i32()?)
        .with_voter_directory_id(uuid::Uuid::from_bytes(reader.uuid()?))
        .with_listeners(reader.array(|reader| {
            let listener = Listener::default()
                .with_name(reader.string(true)?.map(text).ok_or(WireError::UnexpectedNull)?)
                .with_host(reader.string(true)?.map(text).ok_or(WireError::UnexpectedNull)?)
                .with_port(u16::from_be_bytes(reader.i16()?.to_be_bytes()));
            reader.skip_tagged_fields()?;
            Ok(listener)
        })?);
    let waits_for_commit = version < ACKNOWLEDGEMENT_SINCE || reader.i8()? != 0;
    Ok((request, waits_for_commit))
}
