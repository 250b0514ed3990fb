//! Produce's hot path: where in the request which partition's records lie. No record is looked at, nothing is copied,
//! and nothing is reserved by a count that the wire claims.
//!
//! Versions 3 to 13. v9 is flexible, v13 has topic ids in place of names (KIP-516).

use std::ops::Range;

use moldau_model::{PartitionIndex, TopicId};

use crate::api_key::ApiKey;
use crate::error::WireError;
use crate::wire::Reader;

/// A parsed Produce request. Every range counts from the start of the body that was parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequestView {
    /// Null for a producer without transactions.
    pub transactional_id: Option<Range<usize>>,
    /// -1, 0 or 1, and whatever else a client writes: the caller refuses it.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopicView>,
}

/// One topic of a Produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopicView {
    pub topic: ProduceTopicRef,
    pub partitions: Vec<ProducePartitionView>,
}

/// A topic by its name up to version 12, by its id from version 13.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProduceTopicRef {
    /// Where the name lies; [`text`] reads it.
    Name(Range<usize>),
    Id(TopicId),
}

/// One partition of a Produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartitionView {
    pub index: PartitionIndex,
    /// Where the record batches lie, unchecked. `None` for null.
    pub records: Option<Range<usize>>,
}

/// The text of a range of strings that the parser returned for this `body`; empty if it is not one.
#[must_use]
pub fn text<'a>(body: &'a [u8], range: &Range<usize>) -> &'a str {
    body.get(range.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
}

/// The smallest topic and partition on the wire, in flexible versions: they bound what is reserved.
const TOPIC_BYTES_MIN: usize = 3;
const PARTITION_BYTES_MIN: usize = 6;
/// More partitions than one request can reasonably name; a parsed one costs many times its bytes on the wire.
const PARTITIONS_MAX: usize = 100_000;

impl ProduceRequestView {
    /// Walks the body of a Produce request to its last byte.
    pub fn parse(version: i16, body: &[u8]) -> Result<Self, WireError> {
        let api_key = ApiKey::Produce;
        if !api_key.kafka_versions().contains(version) {
            return Err(WireError::UnsupportedVersion { api_key, version });
        }
        let flexible = api_key.is_flexible(version);
        let mut reader = Reader::new(body);
        let transactional_id = string_range(&mut reader, flexible)?;
        let acks = reader.i16()?;
        let timeout_ms = reader.i32()?;
        let mut partitions_left = PARTITIONS_MAX;
        let topic_count = count(&mut reader, flexible, TOPIC_BYTES_MIN, &mut partitions_left)?;
        let mut topics = Vec::with_capacity(topic_count);
        for _ in 0..topic_count {
            topics.push(parse_topic(&mut reader, version, flexible, &mut partitions_left)?);
        }
        if flexible {
            reader.skip_tagged_fields()?;
        }
        // What follows the message is passed over, as by `check_request`.
        Ok(Self { transactional_id, acks, timeout_ms, topics })
    }
}

fn parse_topic(
    reader: &mut Reader<'_>,
    version: i16,
    flexible: bool,
    partitions_left: &mut usize,
) -> Result<ProduceTopicView, WireError> {
    let topic = if version >= 13 {
        ProduceTopicRef::Id(TopicId::from_bytes(reader.uuid()?))
    } else {
        ProduceTopicRef::Name(string_range(reader, flexible)?.ok_or(WireError::UnexpectedNull)?)
    };
    let partition_count = count(reader, flexible, PARTITION_BYTES_MIN, partitions_left)?;
    let mut partitions = Vec::with_capacity(partition_count);
    for _ in 0..partition_count {
        let index = PartitionIndex(reader.i32()?);
        let records = match reader.length(flexible)? {
            Some(length) => Some(reader.range(length)?),
            None => None,
        };
        if flexible {
            reader.skip_tagged_fields()?;
        }
        partitions.push(ProducePartitionView { index, records });
    }
    if flexible {
        reader.skip_tagged_fields()?;
    }
    Ok(ProduceTopicView { topic, partitions })
}

/// The length of an array that may not be null, once it is known to fit what is left of the body and of the budget.
fn count(
    reader: &mut Reader<'_>,
    flexible: bool,
    bytes_min: usize,
    left: &mut usize,
) -> Result<usize, WireError> {
    let count = reader.length(flexible)?.ok_or(WireError::UnexpectedNull)?;
    let remaining = reader.remaining();
    if count > remaining / bytes_min {
        return Err(WireError::CountTooLarge { count, remaining });
    }
    *left = left.checked_sub(count).ok_or(WireError::TooManyElements { count_max: PARTITIONS_MAX })?;
    Ok(count)
}

/// Where a string lies, which is UTF-8.
fn string_range(reader: &mut Reader<'_>, flexible: bool) -> Result<Option<Range<usize>>, WireError> {
    let Some(text) = reader.string(flexible)? else { return Ok(None) };
    let end = reader.position();
    Ok(Some(end - text.len()..end))
}
