//! What kafka-protocol 0.18 does not know of the share coordinator's APIs (KIP-932): WriteShareGroupState's request (85),
//! ReadShareGroupStateSummary's response (87) and DescribeShareGroupOffsets' response (90), versions 0 and 1. Version 1 counts
//! deliveries that are done, and tells how many records are left (KIP-1226).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use moldau_model::{PartitionIndex, TopicId};

use crate::api_key::ApiKey;
use crate::check::{check_request, check_response};
use crate::error::WireError;
use crate::frame::{SIZE_PREFIX_BYTES, seal};
use crate::header::{RequestHeader, encode_response_header, parse_response_header};
use crate::wire::{Reader, put_length, put_nullable_string, put_string};

/// From here on deliveries that are done are counted.
const COUNTS_SINCE: i16 = 1;
/// What is not known.
const UNKNOWN: i32 = -1;

/// Offsets that have the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareStateBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    pub delivery_state: i8,
    pub delivery_count: i16,
}

/// What is written of one share partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareStateWrite {
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    /// Version 0 has none, which is -1.
    pub delivery_complete_count: i32,
    pub batches: Vec<ShareStateBatch>,
}

/// WriteShareGroupState.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteShareGroupStateRequest {
    pub group_id: String,
    pub writes: Vec<ShareStateWrite>,
}

impl WriteShareGroupStateRequest {
    /// Decodes the body of a request.
    ///
    /// # Errors
    /// Bytes that are none of this version.
    pub fn decode(version: i16, body: &Bytes) -> Result<Self, WireError> {
        // Every count has its elements behind it.
        check_request(ApiKey::WriteShareGroupState, version, body)?;
        let reader = &mut Reader::new(body);
        let group_id = reader.string(true)?.ok_or(WireError::UnexpectedNull)?.to_owned();
        let writes = topics(reader, |reader, topic_id| {
            let partition = PartitionIndex(reader.i32()?);
            let (state_epoch, leader_epoch, start_offset) = (reader.i32()?, reader.i32()?, reader.i64()?);
            let delivery_complete_count = if version >= COUNTS_SINCE { reader.i32()? } else { UNKNOWN };
            let batches = reader.array(|reader| {
                let batch = ShareStateBatch {
                    first_offset: reader.i64()?,
                    last_offset: reader.i64()?,
                    delivery_state: reader.i8()?,
                    delivery_count: reader.i16()?,
                };
                reader.skip_tagged_fields()?;
                Ok(batch)
            })?;
            Ok(ShareStateWrite {
                topic_id,
                partition,
                state_epoch,
                leader_epoch,
                start_offset,
                delivery_complete_count,
                batches,
            })
        })?;
        Ok(Self { group_id, writes })
    }

    /// The whole frame.
    ///
    /// # Errors
    /// None that a broker's own request can cause.
    pub fn encode(
        &self,
        version: i16,
        correlation_id: i32,
        client_id: Option<&StrBytes>,
    ) -> Result<BytesMut, WireError> {
        let mut out = BytesMut::new();
        out.put_bytes(0, SIZE_PREFIX_BYTES);
        let (api_key, client_id) = (ApiKey::WriteShareGroupState, client_id.cloned());
        RequestHeader { api_key, api_version: version, correlation_id, client_id }.encode(&mut out)?;
        put_string(&mut out, &self.group_id)?;
        put_topics(
            &mut out,
            &self.writes,
            |write| write.topic_id,
            |out, write| {
                out.put_i32(write.partition.0);
                out.put_i32(write.state_epoch);
                out.put_i32(write.leader_epoch);
                out.put_i64(write.start_offset);
                if version >= COUNTS_SINCE {
                    out.put_i32(write.delivery_complete_count);
                }
                put_length(out, write.batches.len())?;
                for batch in &write.batches {
                    out.put_i64(batch.first_offset);
                    out.put_i64(batch.last_offset);
                    out.put_i8(batch.delivery_state);
                    out.put_i16(batch.delivery_count);
                    out.put_u8(0);
                }
                Ok(())
            },
        )?;
        out.put_u8(0);
        seal(out)
    }
}

/// Where one share partition stands, or why that is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareStateSummary {
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
    pub error_code: i16,
    pub error_message: Option<String>,
    pub state_epoch: i32,
    pub leader_epoch: i32,
    pub start_offset: i64,
    /// Version 0 has none, which is -1.
    pub delivery_complete_count: i32,
}

/// ReadShareGroupStateSummary's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadShareGroupStateSummaryResponse {
    pub summaries: Vec<ShareStateSummary>,
}

impl ReadShareGroupStateSummaryResponse {
    /// The whole frame.
    ///
    /// # Errors
    /// None that a broker's own answer can cause.
    pub fn encode(&self, version: i16, correlation_id: i32) -> Result<BytesMut, WireError> {
        let mut out = BytesMut::new();
        out.put_bytes(0, SIZE_PREFIX_BYTES);
        encode_response_header(ApiKey::ReadShareGroupStateSummary, version, correlation_id, &mut out);
        put_topics(
            &mut out,
            &self.summaries,
            |summary| summary.topic_id,
            |out, summary| {
                out.put_i32(summary.partition.0);
                out.put_i16(summary.error_code);
                put_nullable_string(out, summary.error_message.as_deref())?;
                out.put_i32(summary.state_epoch);
                out.put_i32(summary.leader_epoch);
                out.put_i64(summary.start_offset);
                if version >= COUNTS_SINCE {
                    out.put_i32(summary.delivery_complete_count);
                }
                Ok(())
            },
        )?;
        out.put_u8(0);
        seal(out)
    }

    /// Decodes an answer from a frame without its size prefix.
    ///
    /// # Errors
    /// Bytes that are none of this version.
    pub fn decode(version: i16, frame: &mut Bytes) -> Result<Self, WireError> {
        let api_key = ApiKey::ReadShareGroupStateSummary;
        parse_response_header(api_key, version, frame)?;
        check_response(api_key, version, frame)?;
        let reader = &mut Reader::new(frame);
        let summaries = topics(reader, |reader, topic_id| {
            Ok(ShareStateSummary {
                topic_id,
                partition: PartitionIndex(reader.i32()?),
                error_code: reader.i16()?,
                error_message: reader.string(true)?.map(str::to_owned),
                state_epoch: reader.i32()?,
                leader_epoch: reader.i32()?,
                start_offset: reader.i64()?,
                delivery_complete_count: if version >= COUNTS_SINCE { reader.i32()? } else { UNKNOWN },
            })
        })?;
        Ok(Self { summaries })
    }
}

/// Where a share group stands in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedShareOffset {
    pub topic_id: TopicId,
    pub topic_name: String,
    pub partition: PartitionIndex,
    pub start_offset: i64,
    pub leader_epoch: i32,
    /// Version 1.
    pub lag: i64,
    pub error_code: i16,
    pub error_message: Option<String>,
}

/// Where a share group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedShareOffsets {
    pub group_id: String,
    /// Those of one topic follow one another.
    pub offsets: Vec<DescribedShareOffset>,
    pub error_code: i16,
    pub error_message: Option<String>,
}

/// The whole frame of an answer to DescribeShareGroupOffsets.
///
/// # Errors
/// None that a broker's own answer can cause.
pub fn encode_described_share_offsets(
    version: i16,
    correlation_id: i32,
    groups: &[DescribedShareOffsets],
) -> Result<BytesMut, WireError> {
    let mut out = BytesMut::new();
    out.put_bytes(0, SIZE_PREFIX_BYTES);
    encode_response_header(ApiKey::DescribeShareGroupOffsets, version, correlation_id, &mut out);
    out.put_i32(0);
    put_length(&mut out, groups.len())?;
    for group in groups {
        put_string(&mut out, &group.group_id)?;
        let topics: Vec<&[DescribedShareOffset]> =
            group.offsets.chunk_by(|a, b| a.topic_id == b.topic_id && a.topic_name == b.topic_name).collect();
        put_length(&mut out, topics.len())?;
        for topic in topics {
            let (name, id) =
                topic.first().map_or(("", TopicId::ZERO), |first| (&*first.topic_name, first.topic_id));
            put_string(&mut out, name)?;
            out.put_slice(id.as_bytes());
            put_length(&mut out, topic.len())?;
            for offset in topic {
                out.put_i32(offset.partition.0);
                out.put_i64(offset.start_offset);
                out.put_i32(offset.leader_epoch);
                if version >= COUNTS_SINCE {
                    out.put_i64(offset.lag);
                }
                out.put_i16(offset.error_code);
                put_nullable_string(&mut out, offset.error_message.as_deref())?;
                out.put_u8(0);
            }
            out.put_u8(0);
        }
        out.put_i16(group.error_code);
        put_nullable_string(&mut out, group.error_message.as_deref())?;
        out.put_u8(0);
    }
    out.put_u8(0);
    seal(out)
}

/// Decodes an answer to DescribeShareGroupOffsets from a frame without its size prefix.
///
/// # Errors
/// Bytes that are none of this version.
pub fn decode_described_share_offsets(
    version: i16,
    frame: &mut Bytes,
) -> Result<Vec<DescribedShareOffsets>, WireError> {
    let api_key = ApiKey::DescribeShareGroupOffsets;
    parse_response_header(api_key, version, frame)?;
    check_response(api_key, version, frame)?;
    let reader = &mut Reader::new(frame);
    reader.i32()?;
    reader.array(|reader| {
        let group_id = reader.string(true)?.ok_or(WireError::UnexpectedNull)?.to_owned();
        let topics = reader.array(|reader| {
            let topic_name = reader.string(true)?.ok_or(WireError::UnexpectedNull)?.to_owned();
            let topic_id = TopicId::from_bytes(reader.uuid()?);
            let offsets = reader.array(|reader| {
                let offset = DescribedShareOffset {
                    topic_id,
                    topic_name: topic_name.clone(),
                    partition: PartitionIndex(reader.i32()?),
                    start_offset: reader.i64()?,
                    leader_epoch: reader.i32()?,
                    lag: if version >= COUNTS_SINCE { reader.i64()? } else { i64::from(UNKNOWN) },
                    error_code: reader.i16()?,
                    error_message: reader.string(true)?.map(str::to_owned),
                };
                reader.skip_tagged_fields()?;
                Ok(offset)
            })?;
            reader.skip_tagged_fields()?;
            Ok(offsets)
        })?;
        let group = DescribedShareOffsets {
            group_id,
            offsets: topics.into_iter().flatten().collect(),
            error_code: reader.i16()?,
            error_message: reader.string(true)?.map(str::to_owned),
        };
        reader.skip_tagged_fields()?;
        Ok(group)
    })
}

/// Reads topics, each with partitions of one kind, as one list.
fn topics<T>(
    reader: &mut Reader<'_>,
    mut decode: impl FnMut(&mut Reader<'_>, TopicId) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let topics = reader.array(|reader| {
        let topic_id = TopicId::from_bytes(reader.uuid()?);
        let partitions = reader.array(|reader| {
            let decoded = decode(reader, topic_id)?;
            reader.skip_tagged_fields()?;
            Ok(decoded)
        })?;
        reader.skip_tagged_fields()?;
        Ok(partitions)
    })?;
    Ok(topics.into_iter().flatten().collect())
}

/// Writes a list as topics: elements of one topic that follow one another are its partitions.
fn put_topics<T>(
    out: &mut BytesMut,
    all: &[T],
    topic_id: impl Fn(&T) -> TopicId,
    mut put: impl FnMut(&mut BytesMut, &T) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let topics: Vec<&[T]> = all.chunk_by(|a, b| topic_id(a) == topic_id(b)).collect();
    put_length(out, topics.len())?;
    for topic in topics {
        out.put_slice(topic.first().map_or(TopicId::ZERO, &topic_id).as_bytes());
        put_length(out, topic.len())?;
        for element in topic {
            put(out, element)?;
            out.put_u8(0);
        }
        out.put_u8(0);
    }
    Ok(())
}
