//! ShareFetch (78) and ShareAcknowledge (79), versions 1 and 2: members of share groups get records and say what became of them
//! (KIP-932).
//!
//! Version 2 has how strictly records are counted (KIP-1206) and renewals (KIP-1222), which kafka-protocol 0.18 does not know. Of
//! the responses only ShareAcknowledge's differs: it says how long a renewal lasts.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ShareAcknowledgeResponse;
use moldau_model::{PartitionIndex, TopicId, TopicIdPartition};

use crate::api_key::ApiKey;
use crate::check::check_request;
use crate::codec::encode_body;
use crate::error::WireError;
use crate::frame::{SIZE_PREFIX_BYTES, seal};
use crate::header::encode_response_header;
use crate::wire::{Reader, put_nullable_string};

/// From here on there are renewals and strict limits.
const RENEWALS_SINCE: i16 = 2;
/// The one that kafka-protocol knows.
pub(crate) const LIBRARY_VERSION: i16 = 1;

/// What a member says of offsets: one type for all of them, or one for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcknowledgementBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    pub acknowledge_types: Vec<i8>,
}

/// A partition of a request, with what is said of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharePartitionRequest {
    pub at: TopicIdPartition,
    pub acknowledgements: Vec<AcknowledgementBatch>,
}

/// A member's request for records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareFetchRequest {
    pub group_id: Option<String>,
    pub member_id: Option<String>,
    pub session_epoch: i32,
    pub wait_max_ms: i32,
    pub bytes_min: i32,
    pub bytes_max: i32,
    pub records_max: i32,
    pub batch_size: i32,
    /// 1: not one record more than `records_max`. Version 1 has none, which is 0.
    pub acquire_mode: i8,
    /// Nothing is fetched: the request renews. Version 1 has none.
    pub is_renewal: bool,
    pub partitions: Vec<SharePartitionRequest>,
    pub forgotten: Vec<TopicIdPartition>,
}

/// What a member says of records it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareAcknowledgeRequest {
    pub group_id: Option<String>,
    pub member_id: Option<String>,
    pub session_epoch: i32,
    pub is_renewal: bool,
    pub partitions: Vec<SharePartitionRequest>,
}

impl ShareFetchRequest {
    /// Decodes the body of a request.
    ///
    /// # Errors
    /// Bytes that are none of this version.
    pub fn decode(version: i16, body: &Bytes) -> Result<Self, WireError> {
        // Every count has its elements behind it.
        check_request(ApiKey::ShareFetch, version, body)?;
        let reader = &mut Reader::new(body);
        let has_renewals = version >= RENEWALS_SINCE;
        let mut request = Self {
            group_id: nullable_string(reader)?,
            member_id: nullable_string(reader)?,
            session_epoch: reader.i32()?,
            wait_max_ms: reader.i32()?,
            bytes_min: reader.i32()?,
            bytes_max: reader.i32()?,
            records_max: reader.i32()?,
            batch_size: reader.i32()?,
            acquire_mode: if has_renewals { reader.i8()? } else { 0 },
            is_renewal: has_renewals && reader.i8()? != 0,
            partitions: decode_partitions(reader)?,
            forgotten: Vec::new(),
        };
        for (topic_id, partitions) in reader.array(decode_forgotten)? {
            let at = |partition| TopicIdPartition { topic_id, partition };
            request.forgotten.extend(partitions.into_iter().map(at));
        }
        Ok(request)
    }
}

impl ShareAcknowledgeRequest {
    /// Decodes the body of a request.
    ///
    /// # Errors
    /// Bytes that are none of this version.
    pub fn decode(version: i16, body: &Bytes) -> Result<Self, WireError> {
        check_request(ApiKey::ShareAcknowledge, version, body)?;
        let reader = &mut Reader::new(body);
        Ok(Self {
            group_id: nullable_string(reader)?,
            member_id: nullable_string(reader)?,
            session_epoch: reader.i32()?,
            is_renewal: version >= RENEWALS_SINCE && reader.i8()? != 0,
            partitions: decode_partitions(reader)?,
        })
    }
}

/// The whole frame of an answer to ShareAcknowledge; `lock_timeout_ms` is told from version 2 on.
///
/// # Errors
/// None that a broker's own answer can cause.
pub fn encode_share_acknowledge_response(
    version: i16,
    correlation_id: i32,
    body: &ShareAcknowledgeResponse,
    lock_timeout_ms: i32,
) -> Result<BytesMut, WireError> {
    let mut out = BytesMut::new();
    out.put_bytes(0, SIZE_PREFIX_BYTES);
    encode_response_header(ApiKey::ShareAcknowledge, version, correlation_id, &mut out);
    let mut of_library = BytesMut::new();
    encode_body(ApiKey::ShareAcknowledge, LIBRARY_VERSION, body, &mut of_library)?;
    // The new field comes behind throttle time, code and message.
    let mut head = BytesMut::new();
    head.put_i32(body.throttle_time_ms);
    head.put_i16(body.error_code);
    put_nullable_string(&mut head, body.error_message.as_deref())?;
    let tail = of_library.split_off(head.len());
    out.extend_from_slice(&head);
    if version >= RENEWALS_SINCE {
        out.put_i32(lock_timeout_ms);
    }
    out.extend_from_slice(&tail);
    seal(out)
}

fn decode_partitions(reader: &mut Reader<'_>) -> Result<Vec<SharePartitionRequest>, WireError> {
    let topics = reader.array(|reader| {
        let topic_id = TopicId::from_bytes(reader.uuid()?);
        let partitions = reader.array(|reader| {
            let partition = PartitionIndex(reader.i32()?);
            let acknowledgements = reader.array(decode_acknowledgement)?;
            reader.skip_tagged_fields()?;
            Ok(SharePartitionRequest { at: TopicIdPartition { topic_id, partition }, acknowledgements })
        })?;
        reader.skip_tagged_fields()?;
        Ok(partitions)
    })?;
    Ok(topics.into_iter().flatten().collect())
}

fn decode_acknowledgement(reader: &mut Reader<'_>) -> Result<AcknowledgementBatch, WireError> {
    let (first_offset, last_offset) = (reader.i64()?, reader.i64()?);
    let acknowledge_types = reader.array(|reader| reader.i8())?;
    reader.skip_tagged_fields()?;
    Ok(AcknowledgementBatch { first_offset, last_offset, acknowledge_types })
}

fn decode_forgotten(reader: &mut Reader<'_>) -> Result<(TopicId, Vec<PartitionIndex>), WireError> {
    let topic_id = TopicId::from_bytes(reader.uuid()?);
    let partitions = reader.array(|reader| Ok(PartitionIndex(reader.i32()?)))?;
    reader.skip_tagged_fields()?;
    Ok((topic_id, partitions))
}

fn nullable_string(reader: &mut Reader<'_>) -> Result<Option<String>, WireError> {
    Ok(reader.string(true)?.map(str::to_owned))
}
