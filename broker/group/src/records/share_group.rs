//! A share group's records (KIP-932), as Kafka 4.3 writes them: six kinds, all of value version 0, which is flexible.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{PartitionIndex, TopicId};

use super::RecordError;
use super::consumer_group::{
    GroupEpoch, TargetEpoch, read_names, read_target, read_target_epoch, write_names, write_target,
    write_target_epoch,
};
use super::key::{ShareRecordKind, share_group_key};
use super::wire::{Reader, Writer};
use crate::consumer::Assignment;
use crate::shard::CoordinatorRecord;
use crate::share::{ShareMemberAssignment, ShareMemberMetadata, StatePartitions, StateTopic};

const VALUE_VERSION: i16 = 0;
/// The only state that a member has.
const STABLE: u8 = 0;

/// One record of a share group; no value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ShareRecord {
    Epoch(Option<GroupEpoch>),
    Member { member_id: Arc<str>, metadata: Option<ShareMemberMetadata> },
    TargetEpoch(Option<TargetEpoch>),
    TargetMember { member_id: Arc<str>, target: Option<Assignment> },
    CurrentAssignment { member_id: Arc<str>, current: Option<ShareMemberAssignment> },
    StatePartitions(Option<StatePartitions>),
}

impl ShareRecord {
    pub(crate) fn decode(
        kind: ShareRecordKind,
        member_id: &str,
        value: Option<&[u8]>,
    ) -> Result<Self, RecordError> {
        let reader = value.map(|value| value_reader(kind, value)).transpose()?;
        let member_id = || Arc::from(member_id);
        Ok(match kind {
            ShareRecordKind::Epoch => Self::Epoch(reader.map(read_epoch).transpose()?),
            ShareRecordKind::Member => {
                Self::Member { member_id: member_id(), metadata: reader.map(read_member).transpose()? }
            }
            ShareRecordKind::TargetEpoch => Self::TargetEpoch(reader.map(read_target_epoch).transpose()?),
            ShareRecordKind::TargetMember => {
                Self::TargetMember { member_id: member_id(), target: reader.map(read_target).transpose()? }
            }
            ShareRecordKind::CurrentAssignment => Self::CurrentAssignment {
                member_id: member_id(),
                current: reader.map(read_current).transpose()?,
            },
            ShareRecordKind::StatePartitions => {
                Self::StatePartitions(reader.map(read_state_partitions).transpose()?)
            }
        })
    }

    /// The bytes that Kafka 4.3 would write.
    pub(crate) fn encode(&self, group_id: &str) -> CoordinatorRecord {
        let (kind, member_id, value) = match self {
            Self::Epoch(epoch) => (ShareRecordKind::Epoch, "", epoch.as_ref().map(write_epoch)),
            Self::Member { member_id, metadata } => {
                (ShareRecordKind::Member, &**member_id, metadata.as_ref().map(write_member))
            }
            Self::TargetEpoch(target) => {
                (ShareRecordKind::TargetEpoch, "", target.as_ref().map(write_target_epoch))
            }
            Self::TargetMember { member_id, target } => {
                (ShareRecordKind::TargetMember, &**member_id, target.as_ref().map(write_target))
            }
            Self::CurrentAssignment { member_id, current } => {
                (ShareRecordKind::CurrentAssignment, &**member_id, current.as_ref().map(write_current))
            }
            Self::StatePartitions(partitions) => {
                (ShareRecordKind::StatePartitions, "", partitions.as_ref().map(write_state_partitions))
            }
        };
        CoordinatorRecord { key: share_group_key(kind, group_id, member_id), value }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Self::Epoch(value) => value.is_none(),
            Self::Member { metadata, .. } => metadata.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::TargetMember { target, .. } => target.is_none(),
            Self::CurrentAssignment { current, .. } => current.is_none(),
            Self::StatePartitions(value) => value.is_none(),
        }
    }
}

fn value_reader(kind: ShareRecordKind, value: &[u8]) -> Result<Reader<'_>, RecordError> {
    let mut reader = Reader::new(value);
    match reader.i16("value version")? {
        VALUE_VERSION => {
            reader.flexible = true;
            Ok(reader)
        }
        value_version => {
            Err(RecordError::UnknownValueVersion { key_version: kind.key_version(), value_version })
        }
    }
}

fn value_writer() -> Writer {
    let mut writer = Writer::with_capacity(64);
    writer.i16(VALUE_VERSION);
    writer
}

fn read_epoch(mut reader: Reader<'_>) -> Result<GroupEpoch, RecordError> {
    let epoch = GroupEpoch { epoch: reader.i32("group epoch")?, metadata_hash: reader.i64("metadata hash")? };
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(epoch)
}

fn write_epoch(epoch: &GroupEpoch) -> Bytes {
    let mut writer = value_writer();
    writer.i32(epoch.epoch);
    writer.i64(epoch.metadata_hash);
    writer.no_tagged_fields();
    writer.finish()
}

fn read_member(mut reader: Reader<'_>) -> Result<ShareMemberMetadata, RecordError> {
    let metadata = ShareMemberMetadata {
        rack_id: reader.nullable_string("rack id")?.map(Arc::from),
        client_id: reader.string("client id")?.into(),
        client_host: reader.string("client host")?.into(),
        topic_names: read_names(&mut reader)?,
    };
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(metadata)
}

fn write_member(metadata: &ShareMemberMetadata) -> Bytes {
    let mut writer = value_writer();
    writer.nullable_compact_string(metadata.rack_id.as_deref());
    writer.compact_string(&metadata.client_id);
    writer.compact_string(&metadata.client_host);
    write_names(&mut writer, &metadata.topic_names);
    writer.no_tagged_fields();
    writer.finish()
}

fn read_current(mut reader: Reader<'_>) -> Result<ShareMemberAssignment, RecordError> {
    let member_epoch = reader.i32("member epoch")?;
    let previous_member_epoch = reader.i32("previous member epoch")?;
    reader.u8("member state")?;
    // From here on it looks like a target.
    let assigned = read_target(reader)?;
    Ok(ShareMemberAssignment { member_epoch, previous_member_epoch, assigned })
}

fn write_current(current: &ShareMemberAssignment) -> Bytes {
    let mut writer = value_writer();
    writer.i32(current.member_epoch);
    writer.i32(current.previous_member_epoch);
    writer.u8(STABLE);
    writer.compact_count(current.assigned.len());
    for (topic_id, partitions) in &current.assigned {
        writer.raw(topic_id.as_bytes());
        write_indexes(&mut writer, partitions);
        writer.no_tagged_fields();
    }
    writer.no_tagged_fields();
    writer.finish()
}

fn read_state_partitions(mut reader: Reader<'_>) -> Result<StatePartitions, RecordError> {
    let mut partitions = StatePartitions {
        initializing: read_state_topics(&mut reader)?,
        initialized: read_state_topics(&mut reader)?,
        deleting: BTreeMap::new(),
    };
    for _ in 0..reader.count("topics")? {
        let topic_id = reader.topic_id("topic id")?;
        partitions.deleting.insert(topic_id, reader.string("topic")?.into());
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(partitions)
}

fn read_state_topics(reader: &mut Reader<'_>) -> Result<BTreeMap<TopicId, StateTopic>, RecordError> {
    let mut topics = BTreeMap::new();
    for _ in 0..reader.count("topics")? {
        let topic_id = reader.topic_id("topic id")?;
        let name = reader.string("topic")?.into();
        let mut partitions = BTreeSet::new();
        for _ in 0..reader.count("partitions")? {
            partitions.insert(PartitionIndex(reader.i32("partition")?));
        }
        reader.tagged_fields(|_, _| Ok(()))?;
        topics.insert(topic_id, StateTopic { name, partitions });
    }
    Ok(topics)
}

fn write_state_partitions(partitions: &StatePartitions) -> Bytes {
    let mut writer = value_writer();
    for topics in [&partitions.initializing, &partitions.initialized] {
        writer.compact_count(topics.len());
        for (topic_id, topic) in topics {
            writer.raw(topic_id.as_bytes());
            writer.compact_string(&topic.name);
            write_indexes(&mut writer, &topic.partitions);
            writer.no_tagged_fields();
        }
    }
    writer.compact_count(partitions.deleting.len());
    for (topic_id, name) in &partitions.deleting {
        writer.raw(topic_id.as_bytes());
        writer.compact_string(name);
        writer.no_tagged_fields();
    }
    writer.no_tagged_fields();
    writer.finish()
}

fn write_indexes(writer: &mut Writer, partitions: &BTreeSet<PartitionIndex>) {
    writer.compact_count(partitions.len());
    for partition in partitions {
        writer.i32(partition.0);
    }
}
