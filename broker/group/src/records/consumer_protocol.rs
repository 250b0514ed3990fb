//! The consumers' own protocol inside of the classic one: what members subscribe to, and what they are assigned.
//!
//! Coordinators read it only where a group changes between the protocols (KIP-848). Later versions append to earlier ones.
//! Source: ConsumerProtocolSubscription and ConsumerProtocolAssignment, versions 0 to 3.

use bytes::Bytes;
use moldau_model::PartitionIndex;

use super::RecordError;
use super::wire::{Reader, Writer};

const VERSION_MAX: i16 = 3;
const VERSION_WITH_OWNED_PARTITIONS: i16 = 1;
const VERSION_WITH_GENERATION: i16 = 2;
const VERSION_WITH_RACK: i16 = 3;

/// Partitions by their topics' names.
pub(crate) type NamedPartitions<'a> = Vec<(&'a str, Vec<PartitionIndex>)>;

/// What a member said when it joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription<'a> {
    pub(crate) topics: Vec<&'a str>,
    /// What it has not given up.
    pub(crate) owned: NamedPartitions<'a>,
    pub(crate) rack_id: Option<&'a str>,
}

impl<'a> Subscription<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = version(&mut reader)?;
        let topics = topics(&mut reader)?;
        let owned =
            if version >= VERSION_WITH_OWNED_PARTITIONS { partitions(&mut reader)? } else { Vec::new() };
        if version >= VERSION_WITH_GENERATION {
            reader.i32("generation")?;
        }
        let rack_id = if version >= VERSION_WITH_RACK { reader.nullable_string("rack")? } else { None };
        Ok(Self { topics, owned, rack_id })
    }
}

/// The topics of a subscription, read as version 0: what later versions append is not looked at.
pub(crate) fn subscribed_topics(bytes: &[u8]) -> Result<Vec<&str>, RecordError> {
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    topics(&mut reader)
}

/// What version 0 has: topics and user data.
fn topics<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a str>, RecordError> {
    let count = reader.count("topics")?;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(reader.string("topic")?);
    }
    reader.nullable_bytes("user data")?;
    Ok(topics)
}

/// The version of a subscription, in which its member's assignment is to be written.
pub(crate) fn subscription_version(bytes: &[u8]) -> Result<i16, RecordError> {
    version(&mut Reader::new(bytes))
}

/// What a member was assigned; nothing where there are no bytes.
pub(crate) fn decode_assignment(bytes: &[u8]) -> Result<NamedPartitions<'_>, RecordError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    partitions(&mut reader)
}

pub(crate) fn encode_assignment<'a>(
    version: i16,
    topics: impl ExactSizeIterator<Item = (&'a str, Vec<PartitionIndex>)>,
) -> Bytes {
    let mut writer = Writer::default();
    writer.i16(version.min(VERSION_MAX));
    writer.i32(topics.len() as i32);
    for (topic, partitions) in topics {
        writer.string(topic);
        writer.i32(partitions.len() as i32);
        partitions.iter().for_each(|partition| writer.i32(partition.0));
    }
    const NULL: i32 = -1;
    writer.i32(NULL);
    writer.finish()
}

/// A later one is read as the latest that is known.
fn version(reader: &mut Reader<'_>) -> Result<i16, RecordError> {
    match reader.i16("protocol version")? {
        version @ 0.. => Ok(version.min(VERSION_MAX)),
        _ => Err(RecordError::Invalid { field: "protocol version" }),
    }
}

fn partitions<'a>(reader: &mut Reader<'a>) -> Result<NamedPartitions<'a>, RecordError> {
    let count = reader.count("topics")?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let topic = reader.string("topic")?;
        let count = reader.count("partitions")?;
        let mut partitions = Vec::new();
        for _ in 0..count {
            partitions.push(PartitionIndex(reader.i32("partition")?));
        }
        topics.push((topic, partitions));
    }
    Ok(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V3: &[u8] = b"\0\x03\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\0\0\0\0\x05\0\0\0\x07\0\x02r1";

    #[test]
    fn each_version_of_a_subscription_tells_what_it_has() {
        let v3 = Subscription::decode(V3).unwrap();
        let owned = vec![("t", vec![PartitionIndex(0), PartitionIndex(5)])];
        assert_eq!(v3, Subscription { topics: vec!["t"], owned: owned.clone(), rack_id: Some("r1") });
        let v0 = Subscription::decode(b"\0\0\0\0\0\x01\0\x01t\0\0\0\x01x").unwrap();
        assert_eq!(v0, Subscription { topics: vec!["t"], owned: Vec::new(), rack_id: None });
        let v1 = [&[0, 1], &V3[2..V3.len() - 8]].concat();
        assert_eq!(
            Subscription::decode(&v1).unwrap(),
            Subscription { topics: vec!["t"], owned, rack_id: None }
        );
        let later = [&[0, 9], &V3[2..], &[1, 2, 3]].concat();
        assert_eq!(Subscription::decode(&later).unwrap(), v3, "later versions append");
        assert_eq!(subscription_version(&later), Ok(3));
    }

    #[test]
    fn what_is_cut_or_lies_is_no_subscription() {
        for length in 0..V3.len() {
            assert!(Subscription::decode(&V3[..length]).is_err(), "{length} bytes");
        }
        assert!(Subscription::decode(b"\xff\xff\0\0\0\0\xff\xff\xff\xff").is_err());
        assert!(Subscription::decode(b"\0\0\x7f\xff\xff\xff").is_err());
    }

    #[test]
    fn an_assignment_is_read_as_it_was_written() {
        let topics = [("a", vec![PartitionIndex(1)]), ("b", vec![PartitionIndex(0), PartitionIndex(2)])];
        let bytes = encode_assignment(1, topics.clone().into_iter());
        assert_eq!(bytes[..10], [0, 1, 0, 0, 0, 2, 0, 1, b'a', 0]);
        assert_eq!(decode_assignment(&bytes).unwrap(), topics);
        assert_eq!(decode_assignment(b"").unwrap(), []);
        assert!(decode_assignment(&bytes[..bytes.len() - 8]).is_err());
    }

    #[test]
    fn a_subscription_names_its_topics_whatever_follows() {
        let v0 = b"\0\0\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        assert_eq!(subscribed_topics(v0), Ok(vec!["a", "bc"]));
        // Version 1 appends the partitions that are owned.
        let v1 = b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(subscribed_topics(v1), Ok(vec!["t"]));
        let with_user_data = b"\0\0\0\0\0\0\0\0\0\x01x";
        assert_eq!(subscribed_topics(with_user_data), Ok(vec![]));
    }

    #[test]
    fn what_is_no_subscription_names_none() {
        for bytes in [
            &b""[..],
            b"\0",
            b"\xff\xff\0\0\0\0\xff\xff\xff\xff",
            b"\0\0\x7f\xff\xff\xff",
            b"\0\0\xff\xff\xff\xff",
            b"\0\0\0\0\0\x01\0\x05a",
            b"\0\0\0\0\0\x01\0\x01\xff\xff\xff\xff\xff",
            b"\0\0\0\0\0\0\0\0\0\x02x",
            b"\0\0\0\0\0\0",
        ] {
            assert!(subscribed_topics(bytes).is_err(), "{bytes:?}");
        }
    }
}
