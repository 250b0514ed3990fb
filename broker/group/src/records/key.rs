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
    /// Versions 3 to 8, and 16: of a consumer group.
    ConsumerGroup { kind: ConsumerRecordKind, group_id: &'a str, name: &'a str },
    /// Versions 10 to 15: of a share group. The member is empty where the record is the group's.
    ShareGroup { kind: ShareRecordKind, group_id: &'a str, member_id: &'a str },
    /// Versions 17 and 19 to 23: of a streams group. The member is empty where the record is the group's.
    StreamsGroup { kind: StreamsRecordKind, group_id: &'a str, member_id: &'a str },
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
            version => match ConsumerRecordKind::from_key_version(version) {
                Some(kind) => Self::ConsumerGroup {
                    kind,
                    group_id: reader.string("group")?,
                    name: if kind.has_name() { reader.string("member or expression")? } else { "" },
                },
                None => match ShareRecordKind::from_key_version(version) {
                    Some(kind) => Self::ShareGroup {
                        kind,
                        group_id: reader.string("group")?,
                        member_id: if kind.has_member() { reader.string("member")? } else { "" },
                    },
                    None => match StreamsRecordKind::from_key_version(version) {
                        Some(kind) => Self::StreamsGroup {
                            kind,
                            group_id: reader.string("group")?,
                            member_id: if kind.has_member() { reader.string("member")? } else { "" },
                        },
                        None => return Ok(Self::Other { version }),
                    },
                },
            },
        };
        reader.finish("key")?;
        Ok(decoded)
    }
}

/// The kinds of a consumer group's records (KIP-848).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerRecordKind {
    Epoch,
    SubscriptionMetadata,
    Member,
    TargetEpoch,
    TargetMember,
    CurrentAssignment,
    Regex,
}

impl ConsumerRecordKind {
    const ALL: [Self; 7] = [
        Self::Epoch,
        Self::SubscriptionMetadata,
        Self::Member,
        Self::TargetEpoch,
        Self::TargetMember,
        Self::CurrentAssignment,
        Self::Regex,
    ];

    pub(super) fn key_version(self) -> i16 {
        match self {
            Self::Epoch => 3,
            Self::SubscriptionMetadata => 4,
            Self::Member => 5,
            Self::TargetEpoch => 6,
            Self::TargetMember => 7,
            Self::CurrentAssignment => 8,
            Self::Regex => 16,
        }
    }

    fn from_key_version(version: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.key_version() == version)
    }

    /// Whether the key names a member, or a regular expression, beside the group.
    pub(super) fn has_name(self) -> bool {
        matches!(self, Self::Member | Self::TargetMember | Self::CurrentAssignment | Self::Regex)
    }
}

/// The key of a consumer group's record.
pub(super) fn consumer_group_key(kind: ConsumerRecordKind, group_id: &str, name: &str) -> Bytes {
    let mut writer = Writer::with_capacity(6 + group_id.len() + name.len());
    writer.i16(kind.key_version());
    writer.string(group_id);
    if kind.has_name() {
        writer.string(name);
    }
    writer.finish()
}

/// The kinds of a share group's records (KIP-932).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareRecordKind {
    Member,
    Epoch,
    TargetEpoch,
    TargetMember,
    CurrentAssignment,
    StatePartitions,
}

impl ShareRecordKind {
    const ALL: [Self; 6] = [
        Self::Member,
        Self::Epoch,
        Self::TargetEpoch,
        Self::TargetMember,
        Self::CurrentAssignment,
        Self::StatePartitions,
    ];

    pub(super) fn key_version(self) -> i16 {
        match self {
            Self::Member => 10,
            Self::Epoch => 11,
            Self::TargetEpoch => 12,
            Self::TargetMember => 13,
            Self::CurrentAssignment => 14,
            Self::StatePartitions => 15,
        }
    }

    fn from_key_version(version: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.key_version() == version)
    }

    /// Whether the key names a member beside the group.
    fn has_member(self) -> bool {
        matches!(self, Self::Member | Self::TargetMember | Self::CurrentAssignment)
    }
}

/// The key of a share group's record.
pub(super) fn share_group_key(kind: ShareRecordKind, group_id: &str, member_id: &str) -> Bytes {
    let mut writer = Writer::with_capacity(6 + group_id.len() + member_id.len());
    writer.i16(kind.key_version());
    writer.string(group_id);
    if kind.has_member() {
        writer.string(member_id);
    }
    writer.finish()
}

/// The kinds of a streams group's records (KIP-1071).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamsRecordKind {
    Epoch,
    Member,
    TargetEpoch,
    TargetMember,
    CurrentAssignment,
    Topology,
}

impl StreamsRecordKind {
    const ALL: [Self; 6] = [
        Self::Epoch,
        Self::Member,
        Self::TargetEpoch,
        Self::TargetMember,
        Self::CurrentAssignment,
        Self::Topology,
    ];

    pub(super) fn key_version(self) -> i16 {
        match self {
            Self::Epoch => 17,
            Self::Member => 19,
            Self::TargetEpoch => 20,
            Self::TargetMember => 21,
            Self::CurrentAssignment => 22,
            Self::Topology => 23,
        }
    }

    fn from_key_version(version: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.key_version() == version)
    }

    /// Whether the key names a member beside the group.
    fn has_member(self) -> bool {
        matches!(self, Self::Member | Self::TargetMember | Self::CurrentAssignment)
    }
}

/// The key of a streams group's record.
pub(super) fn streams_group_key(kind: StreamsRecordKind, group_id: &str, member_id: &str) -> Bytes {
    let mut writer = Writer::with_capacity(6 + group_id.len() + member_id.len());
    writer.i16(kind.key_version());
    writer.string(group_id);
    if kind.has_member() {
        writer.string(member_id);
    }
    writer.finish()
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
