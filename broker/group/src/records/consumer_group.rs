//! A consumer group's records (KIP-848), as Kafka 4.3 writes them: seven kinds, all of value version 0, which is flexible.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{PartitionIndex, TopicId};

use super::RecordError;
use super::key::{ConsumerRecordKind, consumer_group_key};
use super::wire::{Reader, Writer};
use crate::consumer::{
    Assignment, ClassicMember, ConsumerMemberMetadata, CurrentAssignment, MemberState, OwnedPartitions,
};
use crate::request::JoinGroupProtocol;
use crate::shard::CoordinatorRecord;

const VALUE_VERSION: i16 = 0;

/// The one tagged field that these values and their structures have, each its own.
const TAG: u32 = 0;

/// One record of a consumer group; no value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConsumerRecord {
    Epoch(Option<GroupEpoch>),
    /// What Kafka before 4.1 kept the topics' metadata in. Only its being there matters: it is to be removed.
    SubscriptionMetadata {
        is_present: bool,
    },
    Member {
        member_id: Arc<str>,
        metadata: Option<ConsumerMemberMetadata>,
    },
    TargetEpoch(Option<TargetEpoch>),
    TargetMember {
        member_id: Arc<str>,
        target: Option<Assignment>,
    },
    CurrentAssignment {
        member_id: Arc<str>,
        current: Option<CurrentAssignment>,
    },
    Regex {
        regex: Arc<str>,
        resolved: Option<ResolvedRegex>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupEpoch {
    pub(crate) epoch: i32,
    /// Of the topics that the group subscribes to (KIP-1101).
    pub(crate) metadata_hash: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TargetEpoch {
    pub(crate) epoch: i32,
    /// When it was computed; zero where that was not written (KIP-1263).
    pub(crate) timestamp_ms: i64,
}

/// The topics that a regular expression matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedRegex {
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// Of the metadata that it was resolved with.
    pub(crate) version: i64,
    pub(crate) timestamp_ms: i64,
}

impl ConsumerRecord {
    pub(crate) fn decode(
        kind: ConsumerRecordKind,
        name: &str,
        value: Option<&[u8]>,
    ) -> Result<Self, RecordError> {
        let reader = value.map(|value| value_reader(kind, value)).transpose()?;
        Ok(match kind {
            ConsumerRecordKind::Epoch => Self::Epoch(reader.map(read_epoch).transpose()?),
            ConsumerRecordKind::SubscriptionMetadata => {
                Self::SubscriptionMetadata { is_present: reader.is_some() }
            }
            ConsumerRecordKind::Member => {
                Self::Member { member_id: name.into(), metadata: reader.map(read_member).transpose()? }
            }
            ConsumerRecordKind::TargetEpoch => Self::TargetEpoch(reader.map(read_target_epoch).transpose()?),
            ConsumerRecordKind::TargetMember => {
                Self::TargetMember { member_id: name.into(), target: reader.map(read_target).transpose()? }
            }
            ConsumerRecordKind::CurrentAssignment => Self::CurrentAssignment {
                member_id: name.into(),
                current: reader.map(read_current).transpose()?,
            },
            ConsumerRecordKind::Regex => {
                Self::Regex { regex: name.into(), resolved: reader.map(read_regex).transpose()? }
            }
        })
    }

    /// The bytes that Kafka 4.3 would write.
    pub(crate) fn encode(&self, group_id: &str) -> CoordinatorRecord {
        let (kind, name, value) = match self {
            Self::Epoch(epoch) => (ConsumerRecordKind::Epoch, "", epoch.as_ref().map(write_epoch)),
            Self::SubscriptionMetadata { .. } => (ConsumerRecordKind::SubscriptionMetadata, "", None),
            Self::Member { member_id, metadata } => {
                (ConsumerRecordKind::Member, &**member_id, metadata.as_ref().map(write_member))
            }
            Self::TargetEpoch(target) => {
                (ConsumerRecordKind::TargetEpoch, "", target.as_ref().map(write_target_epoch))
            }
            Self::TargetMember { member_id, target } => {
                (ConsumerRecordKind::TargetMember, &**member_id, target.as_ref().map(write_target))
            }
            Self::CurrentAssignment { member_id, current } => {
                (ConsumerRecordKind::CurrentAssignment, &**member_id, current.as_ref().map(write_current))
            }
            Self::Regex { regex, resolved } => {
                (ConsumerRecordKind::Regex, &**regex, resolved.as_ref().map(write_regex))
            }
        };
        CoordinatorRecord { key: consumer_group_key(kind, group_id, name), value }
    }
}

fn value_reader(kind: ConsumerRecordKind, value: &[u8]) -> Result<Reader<'_>, RecordError> {
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

/// A number from a tagged field.
fn tagged_i64(bytes: &[u8]) -> Result<i64, RecordError> {
    bytes.try_into().map(i64::from_be_bytes).map_err(|_| RecordError::Invalid { field: "tagged field" })
}

/// Ends a value whose tagged field is left out where it is zero.
fn finish_with(mut writer: Writer, tagged: i64) -> Bytes {
    match tagged {
        0 => writer.no_tagged_fields(),
        tagged => writer.tagged_field(TAG, &tagged.to_be_bytes()),
    }
    writer.finish()
}

fn read_epoch(mut reader: Reader<'_>) -> Result<GroupEpoch, RecordError> {
    let mut epoch = GroupEpoch { epoch: reader.i32("group epoch")?, metadata_hash: 0 };
    reader.tagged_fields(|tag, bytes| {
        if tag == TAG {
            epoch.metadata_hash = tagged_i64(bytes)?;
        }
        Ok(())
    })?;
    Ok(epoch)
}

fn write_epoch(epoch: &GroupEpoch) -> Bytes {
    let mut writer = value_writer();
    writer.i32(epoch.epoch);
    finish_with(writer, epoch.metadata_hash)
}

pub(super) fn read_target_epoch(mut reader: Reader<'_>) -> Result<TargetEpoch, RecordError> {
    let mut target = TargetEpoch { epoch: reader.i32("assignment epoch")?, timestamp_ms: 0 };
    reader.tagged_fields(|tag, bytes| {
        if tag == TAG {
            target.timestamp_ms = tagged_i64(bytes)?;
        }
        Ok(())
    })?;
    Ok(target)
}

pub(super) fn write_target_epoch(target: &TargetEpoch) -> Bytes {
    let mut writer = value_writer();
    writer.i32(target.epoch);
    finish_with(writer, target.timestamp_ms)
}

fn read_member(mut reader: Reader<'_>) -> Result<ConsumerMemberMetadata, RecordError> {
    let mut metadata = ConsumerMemberMetadata {
        instance_id: reader.nullable_string("instance id")?.map(Arc::from),
        rack_id: reader.nullable_string("rack id")?.map(Arc::from),
        client_id: reader.string("client id")?.into(),
        client_host: reader.string("client host")?.into(),
        topic_names: read_names(&mut reader)?,
        topic_regex: reader.nullable_string("topic expression")?.unwrap_or_default().into(),
        rebalance_timeout_ms: reader.i32("rebalance timeout")?,
        server_assignor: reader.nullable_string("assignor")?.map(Arc::from),
        classic: None,
    };
    reader.tagged_fields(|tag, bytes| {
        if tag == TAG {
            metadata.classic = read_classic(bytes)?;
        }
        Ok(())
    })?;
    Ok(metadata)
}

/// A structure that may be null has a number before it: 0 for null, 1 otherwise.
fn read_classic(bytes: &[u8]) -> Result<Option<ClassicMember>, RecordError> {
    let mut reader = Reader::new(bytes);
    reader.flexible = true;
    if reader.u8("classic member")? == 0 {
        return Ok(None);
    }
    let session_timeout_ms = reader.i32("session timeout")?;
    let mut protocols = Vec::new();
    for _ in 0..reader.count("protocols")? {
        let name = reader.string("protocol")?.to_owned();
        let metadata = Bytes::copy_from_slice(reader.bytes("protocol metadata")?);
        reader.tagged_fields(|_, _| Ok(()))?;
        protocols.push(JoinGroupProtocol { name, metadata });
    }
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(Some(ClassicMember { session_timeout_ms, protocols }))
}

fn write_classic(classic: &ClassicMember) -> Bytes {
    let mut writer = Writer::with_capacity(64);
    writer.u8(1);
    writer.i32(classic.session_timeout_ms);
    writer.compact_count(classic.protocols.len());
    for protocol in &classic.protocols {
        writer.compact_string(&protocol.name);
        writer.compact_bytes(&protocol.metadata);
        writer.no_tagged_fields();
    }
    writer.no_tagged_fields();
    writer.finish()
}

fn write_member(metadata: &ConsumerMemberMetadata) -> Bytes {
    let mut writer = value_writer();
    writer.nullable_compact_string(metadata.instance_id.as_deref());
    writer.nullable_compact_string(metadata.rack_id.as_deref());
    writer.compact_string(&metadata.client_id);
    writer.compact_string(&metadata.client_host);
    write_names(&mut writer, &metadata.topic_names);
    writer.compact_string(&metadata.topic_regex);
    writer.i32(metadata.rebalance_timeout_ms);
    writer.nullable_compact_string(metadata.server_assignor.as_deref());
    match &metadata.classic {
        Some(classic) => writer.tagged_field(TAG, &write_classic(classic)),
        // To leave it out would not be null for Kafka but a member that speaks the classic protocol.
        None => writer.tagged_field(TAG, &[0]),
    }
    writer.finish()
}

pub(super) fn read_names(reader: &mut Reader<'_>) -> Result<BTreeSet<Arc<str>>, RecordError> {
    let mut names = BTreeSet::new();
    for _ in 0..reader.count("topics")? {
        names.insert(reader.string("topic")?.into());
    }
    Ok(names)
}

pub(super) fn write_names(writer: &mut Writer, names: &BTreeSet<Arc<str>>) {
    writer.compact_count(names.len());
    for name in names {
        writer.compact_string(name);
    }
}

fn read_indexes(reader: &mut Reader<'_>) -> Result<Vec<i32>, RecordError> {
    let count = reader.count("partitions")?;
    (0..count).map(|_| reader.i32("partition")).collect()
}

pub(super) fn read_target(mut reader: Reader<'_>) -> Result<Assignment, RecordError> {
    let mut target = Assignment::new();
    for _ in 0..reader.count("topics")? {
        let topic_id = reader.topic_id("topic id")?;
        let partitions = read_indexes(&mut reader)?.into_iter().map(PartitionIndex);
        target.insert(topic_id, partitions.collect());
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(target)
}

pub(super) fn write_target(target: &Assignment) -> Bytes {
    let mut writer = value_writer();
    writer.compact_count(target.len());
    for (topic_id, partitions) in target {
        writer.raw(topic_id.as_bytes());
        writer.compact_count(partitions.len());
        for partition in partitions {
            writer.i32(partition.0);
        }
        writer.no_tagged_fields();
    }
    writer.no_tagged_fields();
    writer.finish()
}

fn read_current(mut reader: Reader<'_>) -> Result<CurrentAssignment, RecordError> {
    let member_epoch = reader.i32("member epoch")?;
    let current = CurrentAssignment {
        member_epoch,
        previous_member_epoch: reader.i32("previous member epoch")?,
        state: MemberState::from_code(reader.u8("member state")?),
        assigned: read_owned(&mut reader, member_epoch)?,
        pending_revocation: read_owned(&mut reader, member_epoch)?,
    };
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(current)
}

/// Where the epochs were not written, the partitions count as assigned at the member's.
fn read_owned(reader: &mut Reader<'_>, member_epoch: i32) -> Result<OwnedPartitions, RecordError> {
    let mut owned = OwnedPartitions::new();
    for _ in 0..reader.count("topics")? {
        let topic_id = reader.topic_id("topic id")?;
        let partitions = read_indexes(reader)?;
        let mut epochs = Vec::new();
        reader.tagged_fields(|tag, bytes| {
            // A null is one zero.
            if tag == TAG && bytes != [0] {
                let mut reader = Reader::new(bytes);
                reader.flexible = true;
                epochs = read_indexes(&mut reader)?;
            }
            Ok(())
        })?;
        if epochs.len() != partitions.len() {
            epochs = vec![member_epoch.max(0); partitions.len()];
        }
        let partitions: BTreeMap<_, _> = partitions.into_iter().map(PartitionIndex).zip(epochs).collect();
        owned.insert(topic_id, partitions);
    }
    Ok(owned)
}

fn write_current(current: &CurrentAssignment) -> Bytes {
    let mut writer = value_writer();
    writer.i32(current.member_epoch);
    writer.i32(current.previous_member_epoch);
    writer.u8(current.state.code());
    write_owned(&mut writer, &current.assigned);
    write_owned(&mut writer, &current.pending_revocation);
    writer.no_tagged_fields();
    writer.finish()
}

fn write_owned(writer: &mut Writer, owned: &OwnedPartitions) {
    writer.compact_count(owned.len());
    for (topic_id, partitions) in owned {
        write_owned_topic(writer, *topic_id, partitions);
    }
}

fn write_owned_topic(writer: &mut Writer, topic_id: TopicId, partitions: &BTreeMap<PartitionIndex, i32>) {
    writer.raw(topic_id.as_bytes());
    writer.compact_count(partitions.len());
    for partition in partitions.keys() {
        writer.i32(partition.0);
    }
    let mut epochs = Writer::with_capacity(4 + 4 * partitions.len());
    epochs.compact_count(partitions.len());
    for epoch in partitions.values() {
        epochs.i32(*epoch);
    }
    writer.tagged_field(TAG, &epochs.finish());
}

fn read_regex(mut reader: Reader<'_>) -> Result<ResolvedRegex, RecordError> {
    let resolved = ResolvedRegex {
        topics: read_names(&mut reader)?,
        version: reader.i64("version")?,
        timestamp_ms: reader.i64("timestamp")?,
    };
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(resolved)
}

fn write_regex(resolved: &ResolvedRegex) -> Bytes {
    let mut writer = value_writer();
    write_names(&mut writer, &resolved.topics);
    writer.i64(resolved.version);
    writer.i64(resolved.timestamp_ms);
    writer.no_tagged_fields();
    writer.finish()
}
