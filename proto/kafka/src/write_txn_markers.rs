//! WriteTxnMarkers (27), versions 1 and 2: the transaction coordinator ends a transaction in its partitions (KIP-98).
//!
//! Version 2 tells how the coordinator ends transactions (KIP-1228), which kafka-protocol 0.18 does not know. The response
//! is the same in both.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::WriteTxnMarkersResponse;
use kafka_protocol::protocol::StrBytes;
use moldau_model::{PartitionIndex, ProducerEpoch, ProducerId};

use crate::api_key::ApiKey;
use crate::check::{check_request, check_response};
use crate::codec::decode_checked;
use crate::error::WireError;
use crate::frame::{SIZE_PREFIX_BYTES, seal};
use crate::header::{RequestHeader, parse_response_header};
use crate::wire::{Reader, put_length, put_string};

const API_KEY: ApiKey = ApiKey::WriteTxnMarkers;
/// From here on a marker has `transaction_version`.
const VERSION_WITH_TRANSACTION_VERSION: i16 = 2;
/// The one that kafka-protocol knows, in which the response is that of all.
pub(crate) const LIBRARY_VERSION: i16 = 1;

/// The ends of some transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnMarkersRequest {
    pub markers: Vec<TxnMarker>,
}

/// The end of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnMarker {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// It is aborted otherwise.
    pub is_commit: bool,
    pub topics: Vec<TxnMarkerTopic>,
    /// Of the partition of the transaction's state.
    pub coordinator_epoch: i32,
    /// From 2 on the marker's epoch is newer than its records' (KIP-890). Version 1 has none, which is 0.
    pub transaction_version: i8,
}

/// One topic of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnMarkerTopic {
    pub name: String,
    pub partitions: Vec<PartitionIndex>,
}

impl TxnMarkersRequest {
    /// Decodes the body of a request.
    pub fn decode(version: i16, body: &Bytes) -> Result<Self, WireError> {
        // Every count has its elements behind it.
        check_request(API_KEY, version, body)?;
        let mut reader = Reader::new(body);
        let markers = reader.array(|reader| decode_marker(reader, version))?;
        Ok(Self { markers })
    }

    /// The whole frame.
    pub fn encode(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&StrBytes>,
    ) -> Result<BytesMut, WireError> {
        if !API_KEY.kafka_versions().contains(version) {
            return Err(WireError::UnsupportedVersion { api_key: API_KEY, version });
        }
        let mut out = BytesMut::new();
        out.put_bytes(0, SIZE_PREFIX_BYTES);
        let client_id = client_id.cloned();
        RequestHeader { api_key: API_KEY, api_version: version, correlation_id, client_id }
            .encode(&mut out)?;
        put_length(&mut out, self.markers.len())?;
        for marker in &self.markers {
            marker.encode(version, &mut out)?;
        }
        out.put_u8(0);
        seal(out)
    }
}

impl TxnMarker {
    fn encode(&self, version: i16, out: &mut BytesMut) -> Result<(), WireError> {
        out.put_i64(self.producer_id.0);
        out.put_i16(self.producer_epoch.0);
        out.put_u8(u8::from(self.is_commit));
        put_length(out, self.topics.len())?;
        for topic in &self.topics {
            put_string(out, &topic.name)?;
            put_length(out, topic.partitions.len())?;
            for partition in &topic.partitions {
                out.put_i32(partition.0);
            }
            out.put_u8(0);
        }
        out.put_i32(self.coordinator_epoch);
        if version >= VERSION_WITH_TRANSACTION_VERSION {
            out.put_i8(self.transaction_version);
        }
        out.put_u8(0);
        Ok(())
    }
}

/// Decodes the response to a request of any version from a frame without its size prefix. Returns the correlation id.
pub fn decode_txn_markers_response(
    version: i16,
    frame: &mut Bytes,
) -> Result<(i32, WriteTxnMarkersResponse), WireError> {
    let correlation_id = parse_response_header(API_KEY, version, frame)?;
    check_response(API_KEY, version, frame)?;
    Ok((correlation_id, decode_checked(API_KEY, LIBRARY_VERSION, frame)?))
}

fn decode_marker(reader: &mut Reader<'_>, version: i16) -> Result<TxnMarker, WireError> {
    let producer_id = ProducerId(reader.i64()?);
    let producer_epoch = ProducerEpoch(reader.i16()?);
    let is_commit = reader.i8()? != 0;
    let topics = reader.array(decode_topic)?;
    let coordinator_epoch = reader.i32()?;
    let transaction_version = if version >= VERSION_WITH_TRANSACTION_VERSION { reader.i8()? } else { 0 };
    reader.skip_tagged_fields()?;
    Ok(TxnMarker { producer_id, producer_epoch, is_commit, topics, coordinator_epoch, transaction_version })
}

fn decode_topic(reader: &mut Reader<'_>) -> Result<TxnMarkerTopic, WireError> {
    let name = reader.string(true)?.ok_or(WireError::UnexpectedNull)?.to_owned();
    let partitions = reader.array(|reader| Ok(PartitionIndex(reader.i32()?)))?;
    reader.skip_tagged_fields()?;
    Ok(TxnMarkerTopic { name, partitions })
}
