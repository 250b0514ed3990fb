//! Produce's answer without texts and leaders, written at once as it goes over the wire: all there is to say where nothing went
//! wrong. Answers that tell more of errors are rare, and kafka-protocol's.
//!
//! Versions 3 to 13. v5 has the log's start, v8 room for errors of single records, v9 is flexible, v13 has topic ids in place
//! of names (KIP-516).

use bytes::{BufMut, BytesMut};
use moldau_model::{ErrorCode, Offset, PartitionIndex, TimestampMs, TopicId};

use crate::api_key::ApiKey;
use crate::error::WireError;
use crate::frame::{SIZE_PREFIX_BYTES, seal};
use crate::header::encode_response_header;
use crate::wire::put_length;

/// The most that one partition takes: index, error code, three numbers of eight bytes, no errors, no message, no tags.
const PARTITION_BYTES_MAX: usize = 36;

/// One topic and what became of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedTopic<'a, P> {
    /// Up to version 12.
    pub name: &'a str,
    /// From version 13.
    pub topic_id: TopicId,
    pub partitions: P,
}

/// Where one partition's records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducedPartition {
    pub index: PartitionIndex,
    pub error_code: ErrorCode,
    pub base_offset: Offset,
    /// -1 unless the broker gave the records their time.
    pub log_append_time: TimestampMs,
    /// From version 5.
    pub log_start_offset: Offset,
}

/// The whole frame.
///
/// # Errors
/// A version that is not served; what does not fit a frame.
pub fn encode_produced<'a, P>(
    version: i16,
    correlation_id: i32,
    topics: impl ExactSizeIterator<Item = ProducedTopic<'a, P>>,
    throttle_ms: i32,
) -> Result<BytesMut, WireError>
where
    P: ExactSizeIterator<Item = ProducedPartition>,
{
    let api_key = ApiKey::Produce;
    if !api_key.kafka_versions().contains(version) {
        return Err(WireError::UnsupportedVersion { api_key, version });
    }
    let flexible = api_key.is_flexible(version);
    let mut out = BytesMut::with_capacity(128);
    out.put_bytes(0, SIZE_PREFIX_BYTES);
    encode_response_header(api_key, version, correlation_id, &mut out);
    put_count(&mut out, topics.len(), flexible)?;
    for topic in topics {
        match (version >= 13, flexible) {
            (true, _) => out.put_slice(topic.topic_id.as_bytes()),
            (false, true) => {
                put_length(&mut out, topic.name.len())?;
                out.put_slice(topic.name.as_bytes());
            }
            (false, false) => {
                let size = topic.name.len();
                out.put_i16(i16::try_from(size).map_err(|_| WireError::MessageTooLarge { size })?);
                out.put_slice(topic.name.as_bytes());
            }
        }
        put_count(&mut out, topic.partitions.len(), flexible)?;
        out.reserve(topic.partitions.len() * PARTITION_BYTES_MAX);
        for partition in topic.partitions {
            put_partition(&mut out, version, flexible, &partition);
        }
        put_no_tags(&mut out, flexible);
    }
    out.put_i32(throttle_ms);
    put_no_tags(&mut out, flexible);
    seal(out)
}

fn put_partition(out: &mut BytesMut, version: i16, flexible: bool, partition: &ProducedPartition) {
    out.put_i32(partition.index.0);
    out.put_i16(partition.error_code.code());
    out.put_i64(partition.base_offset.0);
    out.put_i64(partition.log_append_time.0);
    if version >= 5 {
        out.put_i64(partition.log_start_offset.0);
    }
    // No errors of single records, and no message.
    if flexible {
        out.put_slice(&[1, 0]);
    } else if version >= 8 {
        out.put_i32(0);
        out.put_i16(-1);
    }
    put_no_tags(out, flexible);
}

fn put_no_tags(out: &mut BytesMut, flexible: bool) {
    if flexible {
        out.put_u8(0);
    }
}

fn put_count(out: &mut BytesMut, count: usize, flexible: bool) -> Result<(), WireError> {
    if flexible {
        return put_length(out, count);
    }
    out.put_i32(i32::try_from(count).map_err(|_| WireError::MessageTooLarge { size: count })?);
    Ok(())
}
