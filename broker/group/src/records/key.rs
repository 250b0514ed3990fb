//! The keys of `__consumer_offsets`: what compaction goes by.

use bytes::Bytes;
use moldau_model::PartitionIndex;

use super::RecordError;
use super::wire::{Reader, Writer};

const OFFSET_KEY_VERSION: i16 = 1;
const GROUP_KEY_VERSION: i16 = 2;

/// A key, over its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKey<'a> {
    /// Versions 0 and 1, which look alike.
    Offset { group_id: &'a str, topic: &'a str, partition: PartitionIndex },
    /// Version 2.
    Group { group_id: &'a str },
    /// Any other: kinds of groups that this coordinator does not keep.
    Other { version: i16 },
}

impl<'a> RecordKey<'a> {
    pub(crate) fn decode(key: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(key);
        let decoded = match reader.i16("key version")? {
            0 | OFFSET_KEY_VERSION => Self::Offset {
                group_id: reader.string("group")?,
                topic: reader.string("topic")?,
                partition: PartitionIndex(reader.i32("partition")?),
            },
            GROUP_KEY_VERSION => Self::Group { group_id: reader.string("group")? },
            version => return Ok(Self::Other { version }),
        };
        reader.finish("key")?;
        Ok(decoded)
    }
}

/// The key of a group's offset for one partition.
pub(crate) fn offset_key(group_id: &str, topic: &str, partition: PartitionIndex) -> Bytes {
    let mut writer = Writer::with_capacity(10 + group_id.len() + topic.len());
    writer.i16(OFFSET_KEY_VERSION);
    writer.string(group_id);
    writer.string(topic);
    writer.i32(partition.0);
    writer.finish()
}

/// The key of a classic group's metadata.
pub(crate) fn group_key(group_id: &str) -> Bytes {
    let mut writer = Writer::with_capacity(4 + group_id.len());
    writer.i16(GROUP_KEY_VERSION);
    writer.string(group_id);
    writer.finish()
}
