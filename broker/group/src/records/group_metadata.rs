//! A classic group's record.

use bytes::Bytes;
use moldau_model::{GenerationId, TimestampMs};

use super::RecordError;
use super::wire::{Reader, Writer};

/// What Kafka 4.3 writes. It reads version 4, which is flexible, but does not write it.
const VERSION: i16 = 3;
const VERSION_MAX: i16 = 4;

/// GroupMetadataValue, versions 0 to 4, over its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupMetadataValue<'a> {
    /// Empty for a group that never had a member.
    pub(crate) protocol_type: &'a str,
    pub(crate) generation_id: GenerationId,
    pub(crate) protocol: Option<&'a str>,
    pub(crate) leader: Option<&'a str>,
    /// From version 2; `-1` otherwise.
    pub(crate) current_state_timestamp: TimestampMs,
    pub(crate) members: Vec<MemberMetadata<'a>>,
}

/// One member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberMetadata<'a> {
    pub(crate) member_id: &'a str,
    /// From version 3.
    pub(crate) group_instance_id: Option<&'a str>,
    pub(crate) client_id: &'a str,
    pub(crate) client_host: &'a str,
    /// From version 1; `-1` otherwise.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) subscription: &'a [u8],
    pub(crate) assignment: &'a [u8],
}

impl<'a> GroupMetadataValue<'a> {
    pub(crate) fn decode(value: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(value);
        let version = reader.i16("value version")?;
        if !(0..=VERSION_MAX).contains(&version) {
            return Err(RecordError::UnknownValueVersion { key_version: 2, value_version: version });
        }
        reader.flexible = version >= 4;
        let protocol_type = reader.string("protocol type")?;
        let generation_id = GenerationId(reader.i32("generation")?);
        let protocol = reader.nullable_string("protocol")?;
        let leader = reader.nullable_string("leader")?;
        let current_state_timestamp = if version >= 2 {
            TimestampMs(reader.i64("current state timestamp")?)
        } else {
            TimestampMs::NONE
        };
        let count = reader.count("members")?;
        let mut members = Vec::new();
        for _ in 0..count {
            members.push(MemberMetadata::decode(&mut reader, version)?);
        }
        reader.tagged_fields(|_, _| Ok(()))?;
        Ok(Self { protocol_type, generation_id, protocol, leader, current_state_timestamp, members })
    }

    /// The bytes that Kafka 4.3 would write.
    pub(crate) fn encode(&self) -> Bytes {
        let members: usize = self.members.iter().map(MemberMetadata::encoded_bytes).sum();
        let mut writer = Writer::with_capacity(64 + members);
        writer.i16(VERSION);
        writer.string(self.protocol_type);
        writer.i32(self.generation_id.0);
        writer.nullable_string(self.protocol);
        writer.nullable_string(self.leader);
        writer.i64(self.current_state_timestamp.0);
        writer.i32(i32::try_from(self.members.len()).expect("a group has less than 2^31 members"));
        for member in &self.members {
            member.encode(&mut writer);
        }
        writer.finish()
    }
}

impl<'a> MemberMetadata<'a> {
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, RecordError> {
        let member = Self {
            member_id: reader.string("member id")?,
            group_instance_id: match version {
                3.. => reader.nullable_string("group instance id")?,
                _ => None,
            },
            client_id: reader.string("client id")?,
            client_host: reader.string("client host")?,
            rebalance_timeout_ms: if version >= 1 { reader.i32("rebalance timeout")? } else { -1 },
            session_timeout_ms: reader.i32("session timeout")?,
            subscription: reader.bytes("subscription")?,
            assignment: reader.bytes("assignment")?,
        };
        reader.tagged_fields(|_, _| Ok(()))?;
        Ok(member)
    }

    fn encode(&self, writer: &mut Writer) {
        writer.string(self.member_id);
        writer.nullable_string(self.group_instance_id);
        writer.string(self.client_id);
        writer.string(self.client_host);
        writer.i32(self.rebalance_timeout_ms);
        writer.i32(self.session_timeout_ms);
        writer.bytes(self.subscription);
        writer.bytes(self.assignment);
    }

    fn encoded_bytes(&self) -> usize {
        24 + self.member_id.len()
            + self.group_instance_id.map_or(0, str::len)
            + self.client_id.len()
            + self.client_host.len()
            + self.subscription.len()
            + self.assignment.len()
    }
}
