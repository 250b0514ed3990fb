//! A committed offset's record.

use bytes::Bytes;
use moldau_model::{LeaderEpoch, Offset, TimestampMs, TopicId};

use super::RecordError;
use super::wire::{Reader, Writer, topic_id};

/// Version 1 has an expire timestamp, and Kafka still writes it for the clients that set one.
const VERSION_WITH_EXPIRATION: i16 = 1;
/// Version 4 is flexible; its one tagged field is the topic's id (KIP-848's successor of the name).
const VERSION: i16 = 4;
const TOPIC_ID_TAG: u32 = 0;

/// OffsetCommitValue, versions 0 to 4, over its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetCommitValue<'a> {
    pub(crate) offset: Offset,
    /// From version 3; `-1` otherwise.
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) metadata: &'a str,
    pub(crate) commit_timestamp: TimestampMs,
    /// Version 1 only; `None` for its `-1`.
    pub(crate) expire_timestamp: Option<TimestampMs>,
    /// From version 4; zero otherwise.
    pub(crate) topic_id: TopicId,
}

impl<'a> OffsetCommitValue<'a> {
    pub(crate) fn decode(value: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(value);
        let version = reader.i16("value version")?;
        if !(0..=VERSION).contains(&version) {
            return Err(RecordError::UnknownValueVersion { key_version: 1, value_version: version });
        }
        reader.flexible = version >= 4;
        let offset = Offset(reader.i64("offset")?);
        let leader_epoch =
            if version >= 3 { LeaderEpoch(reader.i32("leader epoch")?) } else { LeaderEpoch::NONE };
        let metadata = reader.string("metadata")?;
        let commit_timestamp = TimestampMs(reader.i64("commit timestamp")?);
        let expire_timestamp = match version {
            VERSION_WITH_EXPIRATION => Some(TimestampMs(reader.i64("expire timestamp")?)),
            _ => None,
        };
        let mut id = TopicId::ZERO;
        reader.tagged_fields(|tag, bytes| {
            if tag == TOPIC_ID_TAG {
                id = topic_id(bytes)?;
            }
            Ok(())
        })?;
        Ok(Self {
            offset,
            leader_epoch,
            metadata,
            commit_timestamp,
            expire_timestamp: expire_timestamp.filter(|t| *t != TimestampMs::NONE),
            topic_id: id,
        })
    }

    /// The bytes that Kafka 4.3 would write.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::with_capacity(48 + self.metadata.len());
        if let Some(expire_timestamp) = self.expire_timestamp {
            writer.i16(VERSION_WITH_EXPIRATION);
            writer.i64(self.offset.0);
            writer.string(self.metadata);
            writer.i64(self.commit_timestamp.0);
            writer.i64(expire_timestamp.0);
            return writer.finish();
        }
        writer.i16(VERSION);
        writer.i64(self.offset.0);
        writer.i32(self.leader_epoch.0);
        writer.compact_string(self.metadata);
        writer.i64(self.commit_timestamp.0);
        if self.topic_id.is_zero() {
            writer.u8(0);
        } else {
            // One tagged field: its tag, its size, the id.
            writer.raw(&[1, TOPIC_ID_TAG as u8, 16]);
            writer.raw(self.topic_id.as_bytes());
        }
        writer.finish()
    }
}
