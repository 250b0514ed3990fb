//! A streams group's records (KIP-1071), as Kafka 4.3 writes them: six kinds, all of value version 0, which is flexible.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::PartitionIndex;

use super::RecordError;
use super::consumer_group::{TargetEpoch, read_target_epoch, write_target_epoch};
use super::key::{StreamsRecordKind, streams_group_key};
use super::wire::{Reader, Writer};
use crate::shard::CoordinatorRecord;
use crate::streams::{
    ActiveTasks, CurrentTasks, HeldTasks, NO_TOPOLOGY_EPOCH, StreamsAssignment, StreamsCopartitionGroup,
    StreamsEndpoint, StreamsMemberMetadata, StreamsMemberState, StreamsSubtopology, StreamsTasks,
    StreamsTopicInfo, StreamsTopology,
};

const VALUE_VERSION: i16 = 0;
const VALIDATED_TOPOLOGY_EPOCH_TAG: u32 = 0;
const ASSIGNMENT_CONFIGS_TAG: u32 = 1;
const ASSIGNMENT_EPOCHS_TAG: u32 = 0;

/// One record of a streams group; no value is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StreamsRecord {
    Epoch(Option<StreamsEpoch>),
    Member { member_id: Arc<str>, metadata: Option<StreamsMemberMetadata> },
    TargetEpoch(Option<TargetEpoch>),
    TargetMember { member_id: Arc<str>, target: Option<StreamsAssignment> },
    CurrentAssignment { member_id: Arc<str>, current: Option<CurrentTasks> },
    Topology(Option<Arc<StreamsTopology>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamsEpoch {
    pub(crate) epoch: i32,
    /// Of the topics that the topology needs (KIP-1101).
    pub(crate) metadata_hash: i64,
    /// Of the topology whose topics are as it needs them; -1 if they are not.
    pub(crate) validated_topology_epoch: i32,
    /// The settings that assignments follow.
    pub(crate) assignment_configs: BTreeMap<String, String>,
}

impl StreamsRecord {
    pub(crate) fn decode(
        kind: StreamsRecordKind,
        member_id: &str,
        value: Option<&[u8]>,
    ) -> Result<Self, RecordError> {
        let reader = value.map(|value| value_reader(kind, value)).transpose()?;
        let member_id = || Arc::from(member_id);
        Ok(match kind {
            StreamsRecordKind::Epoch => Self::Epoch(reader.map(read_epoch).transpose()?),
            StreamsRecordKind::Member => {
                Self::Member { member_id: member_id(), metadata: reader.map(read_member).transpose()? }
            }
            StreamsRecordKind::TargetEpoch => Self::TargetEpoch(reader.map(read_target_epoch).transpose()?),
            StreamsRecordKind::TargetMember => {
                Self::TargetMember { member_id: member_id(), target: reader.map(read_target).transpose()? }
            }
            StreamsRecordKind::CurrentAssignment => Self::CurrentAssignment {
                member_id: member_id(),
                current: reader.map(read_current).transpose()?,
            },
            StreamsRecordKind::Topology => {
                Self::Topology(reader.map(read_topology).transpose()?.map(Arc::new))
            }
        })
    }

    /// The bytes that Kafka 4.3 would write.
    pub(crate) fn encode(&self, group_id: &str) -> CoordinatorRecord {
        let (kind, member_id, value) = match self {
            Self::Epoch(epoch) => (StreamsRecordKind::Epoch, "", epoch.as_ref().map(write_epoch)),
            Self::Member { member_id, metadata } => {
                (StreamsRecordKind::Member, &**member_id, metadata.as_ref().map(write_member))
            }
            Self::TargetEpoch(target) => {
                (StreamsRecordKind::TargetEpoch, "", target.as_ref().map(write_target_epoch))
            }
            Self::TargetMember { member_id, target } => {
                (StreamsRecordKind::TargetMember, &**member_id, target.as_ref().map(write_target))
            }
            Self::CurrentAssignment { member_id, current } => {
                (StreamsRecordKind::CurrentAssignment, &**member_id, current.as_ref().map(write_current))
            }
            Self::Topology(topology) => {
                (StreamsRecordKind::Topology, "", topology.as_deref().map(write_topology))
            }
        };
        CoordinatorRecord { key: streams_group_key(kind, group_id, member_id), value }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Self::Epoch(value) => value.is_none(),
            Self::Member { metadata, .. } => metadata.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::TargetMember { target, .. } => target.is_none(),
            Self::CurrentAssignment { current, .. } => current.is_none(),
            Self::Topology(value) => value.is_none(),
        }
    }
}

fn value_reader(kind: StreamsRecordKind, value: &[u8]) -> Result<Reader<'_>, RecordError> {
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

fn flexible(bytes: &[u8]) -> Reader<'_> {
    let mut reader = Reader::new(bytes);
    reader.flexible = true;
    reader
}

fn read_epoch(mut reader: Reader<'_>) -> Result<StreamsEpoch, RecordError> {
    let mut epoch = StreamsEpoch {
        epoch: reader.i32("group epoch")?,
        metadata_hash: reader.i64("metadata hash")?,
        validated_topology_epoch: NO_TOPOLOGY_EPOCH,
        assignment_configs: BTreeMap::new(),
    };
    reader.tagged_fields(|tag, bytes| {
        let mut field = flexible(bytes);
        match tag {
            VALIDATED_TOPOLOGY_EPOCH_TAG => {
                epoch.validated_topology_epoch = field.i32("validated topology epoch")?;
            }
            // Null is no configs.
            ASSIGNMENT_CONFIGS_TAG if bytes != [0] => {
                epoch.assignment_configs = read_pairs(&mut field)?.into_iter().collect();
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(epoch)
}

fn write_epoch(epoch: &StreamsEpoch) -> Bytes {
    let mut writer = value_writer();
    writer.i32(epoch.epoch);
    writer.i64(epoch.metadata_hash);
    let mut fields: Vec<(u32, Bytes)> = Vec::new();
    if epoch.validated_topology_epoch != NO_TOPOLOGY_EPOCH {
        let bytes = epoch.validated_topology_epoch.to_be_bytes();
        fields.push((VALIDATED_TOPOLOGY_EPOCH_TAG, Bytes::copy_from_slice(&bytes)));
    }
    let mut configs = Writer::default();
    write_pairs(&mut configs, epoch.assignment_configs.iter());
    fields.push((ASSIGNMENT_CONFIGS_TAG, configs.finish()));
    writer.tagged_fields(&fields);
    writer.finish()
}

fn read_member(mut reader: Reader<'_>) -> Result<StreamsMemberMetadata, RecordError> {
    let metadata = StreamsMemberMetadata {
        instance_id: reader.nullable_string("instance id")?.map(Arc::from),
        rack_id: reader.nullable_string("rack id")?.map(Arc::from),
        client_id: reader.string("client id")?.into(),
        client_host: reader.string("client host")?.into(),
        rebalance_timeout_ms: reader.i32("rebalance timeout")?,
        topology_epoch: reader.i32("topology epoch")?,
        process_id: reader.string("process id")?.into(),
        user_endpoint: read_endpoint(&mut reader)?,
        client_tags: read_pairs(&mut reader)?.into_iter().collect(),
    };
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(metadata)
}

fn write_member(metadata: &StreamsMemberMetadata) -> Bytes {
    let mut writer = value_writer();
    writer.nullable_compact_string(metadata.instance_id.as_deref());
    writer.nullable_compact_string(metadata.rack_id.as_deref());
    writer.compact_string(&metadata.client_id);
    writer.compact_string(&metadata.client_host);
    writer.i32(metadata.rebalance_timeout_ms);
    writer.i32(metadata.topology_epoch);
    writer.compact_string(&metadata.process_id);
    write_endpoint(&mut writer, metadata.user_endpoint.as_ref());
    write_pairs(&mut writer, metadata.client_tags.iter());
    writer.no_tagged_fields();
    writer.finish()
}

/// A structure that may be null has a number before it: -1 for null, 1 otherwise.
fn read_endpoint(reader: &mut Reader<'_>) -> Result<Option<StreamsEndpoint>, RecordError> {
    if reader.u8("endpoint")? == 0xff {
        return Ok(None);
    }
    let host = reader.string("endpoint host")?.to_owned();
    let port = reader.i16("endpoint port")? as u16;
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(Some(StreamsEndpoint { host, port }))
}

fn write_endpoint(writer: &mut Writer, endpoint: Option<&StreamsEndpoint>) {
    let Some(endpoint) = endpoint else { return writer.u8(0xff) };
    writer.u8(1);
    writer.compact_string(&endpoint.host);
    writer.i16(endpoint.port as i16);
    writer.no_tagged_fields();
}

fn read_pairs(reader: &mut Reader<'_>) -> Result<Vec<(String, String)>, RecordError> {
    let mut pairs = Vec::new();
    for _ in 0..reader.count("key-value pairs")? {
        pairs.push((reader.string("key")?.to_owned(), reader.string("value")?.to_owned()));
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    Ok(pairs)
}

fn write_pairs<'a>(writer: &mut Writer, pairs: impl ExactSizeIterator<Item = (&'a String, &'a String)>) {
    writer.compact_count(pairs.len());
    for (key, value) in pairs {
        writer.compact_string(key);
        writer.compact_string(value);
        writer.no_tagged_fields();
    }
}

fn read_target(mut reader: Reader<'_>) -> Result<StreamsAssignment, RecordError> {
    let target = StreamsAssignment {
        active: read_tasks(&mut reader)?,
        standby: read_tasks(&mut reader)?,
        warmup: read_tasks(&mut reader)?,
    };
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(target)
}

fn write_target(target: &StreamsAssignment) -> Bytes {
    let mut writer = value_writer();
    for tasks in [&target.active, &target.standby, &target.warmup] {
        write_tasks(&mut writer, tasks);
    }
    writer.no_tagged_fields();
    writer.finish()
}

fn read_tasks(reader: &mut Reader<'_>) -> Result<StreamsTasks, RecordError> {
    let mut tasks = StreamsTasks::new();
    for _ in 0..reader.count("tasks")? {
        let subtopology = reader.string("subtopology")?.into();
        let partitions = read_indexes(reader)?.into_iter().map(PartitionIndex).collect();
        reader.tagged_fields(|_, _| Ok(()))?;
        tasks.insert(subtopology, partitions);
    }
    Ok(tasks)
}

fn write_tasks(writer: &mut Writer, tasks: &StreamsTasks) {
    writer.compact_count(tasks.len());
    for (subtopology, partitions) in tasks {
        writer.compact_string(subtopology);
        write_indexes(writer, partitions.iter().map(|partition| partition.0));
        writer.no_tagged_fields();
    }
}

fn read_indexes(reader: &mut Reader<'_>) -> Result<Vec<i32>, RecordError> {
    let count = reader.count("partitions")?;
    (0..count).map(|_| reader.i32("partition")).collect()
}

fn write_indexes(writer: &mut Writer, indexes: impl ExactSizeIterator<Item = i32>) {
    writer.compact_count(indexes.len());
    indexes.for_each(|index| writer.i32(index));
}

fn read_current(mut reader: Reader<'_>) -> Result<CurrentTasks, RecordError> {
    let member_epoch = reader.i32("member epoch")?;
    let previous_member_epoch = reader.i32("previous member epoch")?;
    let state = StreamsMemberState::from_code(reader.u8("member state")?);
    let assigned = read_held(&mut reader, member_epoch)?;
    let pending_revocation = read_held(&mut reader, member_epoch)?;
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(CurrentTasks { member_epoch, previous_member_epoch, state, assigned, pending_revocation })
}

fn write_current(current: &CurrentTasks) -> Bytes {
    let mut writer = value_writer();
    writer.i32(current.member_epoch);
    writer.i32(current.previous_member_epoch);
    writer.u8(current.state.code());
    for held in [&current.assigned, &current.pending_revocation] {
        write_active(&mut writer, &held.active);
        write_tasks(&mut writer, &held.standby);
        write_tasks(&mut writer, &held.warmup);
    }
    writer.no_tagged_fields();
    writer.finish()
}

fn read_held(reader: &mut Reader<'_>, member_epoch: i32) -> Result<HeldTasks, RecordError> {
    let active = read_active(reader, member_epoch)?;
    Ok(HeldTasks { active, standby: read_tasks(reader)?, warmup: read_tasks(reader)? })
}

/// Where no epochs are written the tasks count as assigned at the member's.
fn read_active(reader: &mut Reader<'_>, member_epoch: i32) -> Result<ActiveTasks, RecordError> {
    let mut tasks = ActiveTasks::new();
    for _ in 0..reader.count("tasks")? {
        let subtopology: Arc<str> = reader.string("subtopology")?.into();
        let partitions = read_indexes(reader)?;
        let mut epochs = Vec::new();
        reader.tagged_fields(|tag, bytes| {
            if tag == ASSIGNMENT_EPOCHS_TAG && bytes != [0] {
                epochs = read_indexes(&mut flexible(bytes))?;
            }
            Ok(())
        })?;
        let epoch_at = |at: usize| epochs.get(at).copied().unwrap_or(member_epoch);
        let with_epochs =
            partitions.iter().enumerate().map(|(at, partition)| (PartitionIndex(*partition), epoch_at(at)));
        tasks.insert(subtopology, with_epochs.collect());
    }
    Ok(tasks)
}

fn write_active(writer: &mut Writer, tasks: &ActiveTasks) {
    writer.compact_count(tasks.len());
    for (subtopology, partitions) in tasks {
        writer.compact_string(subtopology);
        write_indexes(writer, partitions.keys().map(|partition| partition.0));
        let mut epochs = Writer::default();
        write_indexes(&mut epochs, partitions.values().copied());
        writer.tagged_field(ASSIGNMENT_EPOCHS_TAG, &epochs.finish());
    }
}

fn read_topology(mut reader: Reader<'_>) -> Result<StreamsTopology, RecordError> {
    let epoch = reader.i32("topology epoch")?;
    let count = reader.count("subtopologies")?;
    let subtopologies = (0..count).map(|_| read_subtopology(&mut reader)).collect::<Result<_, _>>()?;
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(StreamsTopology { epoch, subtopologies })
}

fn write_topology(topology: &StreamsTopology) -> Bytes {
    let mut writer = value_writer();
    writer.i32(topology.epoch);
    writer.compact_count(topology.subtopologies.len());
    for subtopology in &topology.subtopologies {
        write_subtopology(&mut writer, subtopology);
    }
    writer.no_tagged_fields();
    writer.finish()
}

fn read_subtopology(reader: &mut Reader<'_>) -> Result<StreamsSubtopology, RecordError> {
    let subtopology = StreamsSubtopology {
        subtopology_id: reader.string("subtopology")?.to_owned(),
        source_topics: read_list(reader)?,
        source_topic_regexes: read_list(reader)?,
        changelog_topics: read_topic_infos(reader)?,
        repartition_sink_topics: read_list(reader)?,
        repartition_source_topics: read_topic_infos(reader)?,
        copartition_groups: read_copartition_groups(reader)?,
    };
    reader.tagged_fields(|_, _| Ok(()))?;
    Ok(subtopology)
}

fn write_subtopology(writer: &mut Writer, subtopology: &StreamsSubtopology) {
    writer.compact_string(&subtopology.subtopology_id);
    write_list(writer, &subtopology.source_topics);
    write_list(writer, &subtopology.source_topic_regexes);
    write_topic_infos(writer, &subtopology.changelog_topics);
    write_list(writer, &subtopology.repartition_sink_topics);
    write_topic_infos(writer, &subtopology.repartition_source_topics);
    writer.compact_count(subtopology.copartition_groups.len());
    for group in &subtopology.copartition_groups {
        for places in [&group.source_topics, &group.source_topic_regexes, &group.repartition_source_topics] {
            writer.compact_count(places.len());
            places.iter().for_each(|place| writer.i16(*place));
        }
        writer.no_tagged_fields();
    }
    writer.no_tagged_fields();
}

fn read_list(reader: &mut Reader<'_>) -> Result<Vec<String>, RecordError> {
    let count = reader.count("topics")?;
    (0..count).map(|_| reader.string("topic").map(str::to_owned)).collect()
}

fn write_list(writer: &mut Writer, list: &[String]) {
    writer.compact_count(list.len());
    list.iter().for_each(|text| writer.compact_string(text));
}

fn read_topic_infos(reader: &mut Reader<'_>) -> Result<Vec<StreamsTopicInfo>, RecordError> {
    let mut infos = Vec::new();
    for _ in 0..reader.count("internal topics")? {
        infos.push(StreamsTopicInfo {
            name: reader.string("topic")?.to_owned(),
            partitions: reader.i32("partition count")?,
            replication_factor: reader.i16("replication factor")?,
            configs: read_pairs(reader)?,
        });
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    Ok(infos)
}

fn write_topic_infos(writer: &mut Writer, infos: &[StreamsTopicInfo]) {
    writer.compact_count(infos.len());
    for info in infos {
        writer.compact_string(&info.name);
        writer.i32(info.partitions);
        writer.i16(info.replication_factor);
        write_pairs(writer, info.configs.iter().map(|(key, value)| (key, value)));
        writer.no_tagged_fields();
    }
}

fn read_copartition_groups(reader: &mut Reader<'_>) -> Result<Vec<StreamsCopartitionGroup>, RecordError> {
    let mut groups = Vec::new();
    for _ in 0..reader.count("copartition groups")? {
        let mut places = || -> Result<Vec<i16>, RecordError> {
            let count = reader.count("copartitioned topics")?;
            (0..count).map(|_| reader.i16("place of a topic")).collect()
        };
        groups.push(StreamsCopartitionGroup {
            source_topics: places()?,
            source_topic_regexes: places()?,
            repartition_source_topics: places()?,
        });
        reader.tagged_fields(|_, _| Ok(()))?;
    }
    Ok(groups)
}
