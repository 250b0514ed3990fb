//! OffsetCommit (8) and OffsetFetch (9), version 10: topics have ids in place of names (KIP-848), which kafka-protocol 0.18 does
//! not know. All else is as in version 9.
//!
//! The library's types stand for the messages, their topics without names; the ids lie beside them, one for each topic in the
//! order of the message (an OffsetFetch request's by group).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;
use moldau_model::TopicId;

use crate::api_key::ApiKey;
use crate::check::check_request;
use crate::error::WireError;
use crate::frame::{SIZE_PREFIX_BYTES, seal};
use crate::header::encode_response_header;
use crate::wire::{Reader, put_length, put_nullable_string, put_string};

/// From here on OffsetCommit and OffsetFetch have topic ids.
pub const OFFSETS_BY_TOPIC_ID_SINCE: i16 = 10;

/// Decodes the body of an OffsetCommit request, version 10.
///
/// # Errors
/// Bytes that are none of this version.
pub fn decode_offset_commit_by_id(body: &Bytes) -> Result<(OffsetCommitRequest, Vec<TopicId>), WireError> {
    // Every count has its elements behind it.
    check_request(ApiKey::OffsetCommit, OFFSETS_BY_TOPIC_ID_SINCE, body)?;
    let reader = &mut Reader::new(body);
    let mut topic_ids = Vec::new();
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(string(reader)?))
        .with_generation_id_or_member_epoch(reader.i32()?)
        .with_member_id(string(reader)?)
        .with_group_instance_id(nullable_string(reader)?)
        .with_topics(reader.array(|reader| {
            topic_ids.push(TopicId::from_bytes(reader.uuid()?));
            let partitions = reader.array(|reader| {
                let partition = OffsetCommitRequestPartition::default()
                    .with_partition_index(reader.i32()?)
                    .with_committed_offset(reader.i64()?)
                    .with_committed_leader_epoch(reader.i32()?)
                    .with_committed_metadata(nullable_string(reader)?);
                reader.skip_tagged_fields()?;
                Ok(partition)
            })?;
            reader.skip_tagged_fields()?;
            Ok(OffsetCommitRequestTopic::default().with_partitions(partitions))
        })?);
    Ok((request, topic_ids))
}

/// The frame of an OffsetCommit response, version 10.
///
/// # Errors
/// Not an id for each topic.
pub fn encode_offset_commit_by_id(
    correlation_id: i32,
    response: &OffsetCommitResponse,
    topic_ids: &[TopicId],
) -> Result<BytesMut, WireError> {
    let mut topic_ids = topic_ids.iter();
    let mut out = head(ApiKey::OffsetCommit, correlation_id);
    out.put_i32(response.throttle_time_ms);
    put_length(&mut out, response.topics.len())?;
    for topic in &response.topics {
        put_id(&mut out, topic_ids.next())?;
        put_length(&mut out, topic.partitions.len())?;
        for partition in &topic.partitions {
            out.put_i32(partition.partition_index);
            out.put_i16(partition.error_code);
            out.put_u8(0);
        }
        out.put_u8(0);
    }
    out.put_u8(0);
    seal(out)
}

/// Decodes the body of an OffsetFetch request, version 10.
///
/// # Errors
/// Bytes that are none of this version.
pub fn decode_offset_fetch_by_id(body: &Bytes) -> Result<(OffsetFetchRequest, Vec<Vec<TopicId>>), WireError> {
    // Every count has its elements behind it.
    check_request(ApiKey::OffsetFetch, OFFSETS_BY_TOPIC_ID_SINCE, body)?;
    let reader = &mut Reader::new(body);
    let mut topic_ids = Vec::new();
    let groups = reader.array(|reader| {
        let mut ids_of_group = Vec::new();
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(string(reader)?))
            .with_member_id(nullable_string(reader)?)
            .with_member_epoch(reader.i32()?);
        let count = reader.length(true)?;
        let topics = count.map(|count| {
            let topic = |_| {
                ids_of_group.push(TopicId::from_bytes(reader.uuid()?));
                let partitions = reader.array(Reader::i32)?;
                reader.skip_tagged_fields()?;
                Ok(OffsetFetchRequestTopics::default().with_partition_indexes(partitions))
            };
            (0..count).map(topic).collect::<Result<Vec<_>, WireError>>()
        });
        let topics = topics.transpose()?;
        reader.skip_tagged_fields()?;
        topic_ids.push(ids_of_group);
        Ok(group.with_topics(topics))
    })?;
    let require_stable = reader.i8()? != 0;
    Ok((OffsetFetchRequest::default().with_groups(groups).with_require_stable(require_stable), topic_ids))
}

/// The frame of an OffsetFetch response, version 10.
///
/// # Errors
/// Not an id for each topic.
pub fn encode_offset_fetch_by_id(
    correlation_id: i32,
    response: &OffsetFetchResponse,
    topic_ids: &[TopicId],
) -> Result<BytesMut, WireError> {
    let mut topic_ids = topic_ids.iter();
    let mut out = head(ApiKey::OffsetFetch, correlation_id);
    out.put_i32(response.throttle_time_ms);
    put_length(&mut out, response.groups.len())?;
    for group in &response.groups {
        put_string(&mut out, &group.group_id)?;
        put_length(&mut out, group.topics.len())?;
        for topic in &group.topics {
            put_id(&mut out, topic_ids.next())?;
            put_length(&mut out, topic.partitions.len())?;
            for partition in &topic.partitions {
                out.put_i32(partition.partition_index);
                out.put_i64(partition.committed_offset);
                out.put_i32(partition.committed_leader_epoch);
                put_nullable_string(&mut out, partition.metadata.as_deref())?;
                out.put_i16(partition.error_code);
                out.put_u8(0);
            }
            out.put_u8(0);
        }
        out.put_i16(group.error_code);
        out.put_u8(0);
    }
    out.put_u8(0);
    seal(out)
}

fn head(api_key: ApiKey, correlation_id: i32) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_bytes(0, SIZE_PREFIX_BYTES);
    encode_response_header(api_key, OFFSETS_BY_TOPIC_ID_SINCE, correlation_id, &mut out);
    out
}

fn put_id(out: &mut BytesMut, topic_id: Option<&TopicId>) -> Result<(), WireError> {
    out.put_slice(topic_id.ok_or(WireError::UnexpectedNull)?.as_bytes());
    Ok(())
}

fn string(reader: &mut Reader<'_>) -> Result<StrBytes, WireError> {
    nullable_string(reader)?.ok_or(WireError::UnexpectedNull)
}

fn nullable_string(reader: &mut Reader<'_>) -> Result<Option<StrBytes>, WireError> {
    Ok(reader.string(true)?.map(|text| StrBytes::from_string(text.to_owned())))
}
