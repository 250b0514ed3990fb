//! What kafka-protocol 0.18 does not know at all: StreamsGroupHeartbeat (88) and StreamsGroupDescribe (89), version 0 (KIP-1071),
//! both ways.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::api_key::ApiKey;
use crate::check::{check_request, check_response};
use crate::error::WireError;
use crate::frame::{SIZE_PREFIX_BYTES, seal};
use crate::header::{RequestHeader, encode_response_header, parse_response_header};
use crate::wire::{Reader, put_length, put_nullable_string, put_string};

/// The one version.
const VERSION: i16 = 0;
/// What stands before a structure that is there; a number below zero is before one that is not.
const PRESENT: i8 = 1;
const ABSENT: i8 = -1;

/// The partitions of a subtopology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsTaskIds {
    pub subtopology_id: String,
    pub partitions: Vec<i32>,
}

/// How far a task's state is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsTaskOffset {
    pub subtopology_id: String,
    pub partition: i32,
    pub offset: i64,
}

/// Where an instance answers interactive queries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsHostAndPort {
    pub host: String,
    pub port: u16,
}

/// A topic that an application needs for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsInternalTopic {
    pub name: String,
    pub partitions: i32,
    pub replication_factor: i16,
    pub configs: Vec<(String, String)>,
}

/// Topics that have to have equally many partitions, as places in their subtopology's lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsCopartitionedTopics {
    pub source_topics: Vec<i16>,
    pub source_topic_regexes: Vec<i16>,
    pub repartition_source_topics: Vec<i16>,
}

/// A part of a topology. Expressions and copartition groups are in requests only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsTopologyPart {
    pub subtopology_id: String,
    pub source_topics: Vec<String>,
    pub source_topic_regexes: Vec<String>,
    pub changelog_topics: Vec<StreamsInternalTopic>,
    pub repartition_sink_topics: Vec<String>,
    pub repartition_source_topics: Vec<StreamsInternalTopic>,
    pub copartition_groups: Vec<StreamsCopartitionedTopics>,
}

/// StreamsGroupHeartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsHeartbeatRequest {
    pub group_id: String,
    pub member_id: String,
    pub member_epoch: i32,
    pub endpoint_information_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub rebalance_timeout_ms: i32,
    /// The topology's epoch and its parts.
    pub topology: Option<(i32, Vec<StreamsTopologyPart>)>,
    pub active_tasks: Option<Vec<StreamsTaskIds>>,
    pub standby_tasks: Option<Vec<StreamsTaskIds>>,
    pub warmup_tasks: Option<Vec<StreamsTaskIds>>,
    pub process_id: Option<String>,
    pub user_endpoint: Option<StreamsHostAndPort>,
    pub client_tags: Option<Vec<(String, String)>>,
    pub task_offsets: Option<Vec<StreamsTaskOffset>>,
    pub task_end_offsets: Option<Vec<StreamsTaskOffset>>,
    pub shutdown_application: bool,
}

impl StreamsHeartbeatRequest {
    /// Decodes the body of a request.
    ///
    /// # Errors
    /// Bytes that are no request.
    pub fn decode(body: &Bytes) -> Result<Self, WireError> {
        // Every count has its elements behind it.
        check_request(ApiKey::StreamsGroupHeartbeat, VERSION, body)?;
        let reader = &mut Reader::new(body);
        let request = Self {
            group_id: string(reader)?,
            member_id: string(reader)?,
            member_epoch: reader.i32()?,
            endpoint_information_epoch: reader.i32()?,
            instance_id: nullable_string(reader)?,
            rack_id: nullable_string(reader)?,
            rebalance_timeout_ms: reader.i32()?,
            topology: nullable(reader, |reader| {
                let topology = (reader.i32()?, reader.array(topology_part)?);
                reader.skip_tagged_fields()?;
                Ok(topology)
            })?,
            active_tasks: nullable_array(reader, task_ids)?,
            standby_tasks: nullable_array(reader, task_ids)?,
            warmup_tasks: nullable_array(reader, task_ids)?,
            process_id: nullable_string(reader)?,
            user_endpoint: nullable(reader, host_and_port)?,
            client_tags: nullable_array(reader, pair)?,
            task_offsets: nullable_array(reader, task_offset)?,
            task_end_offsets: nullable_array(reader, task_offset)?,
            shutdown_application: reader.i8()? != 0,
        };
        reader.skip_tagged_fields()?;
        Ok(request)
    }

    /// The whole frame.
    ///
    /// # Errors
    /// Texts and lists that have no room in a frame.
    pub fn encode(&self, correlation_id: i32, client_id: Option<&StrBytes>) -> Result<BytesMut, WireError> {
        let mut out = request_frame(ApiKey::StreamsGroupHeartbeat, correlation_id, client_id)?;
        let frame = &mut out;
        put_string(frame, &self.group_id)?;
        put_string(frame, &self.member_id)?;
        frame.put_i32(self.member_epoch);
        frame.put_i32(self.endpoint_information_epoch);
        put_nullable_string(frame, self.instance_id.as_deref())?;
        put_nullable_string(frame, self.rack_id.as_deref())?;
        frame.put_i32(self.rebalance_timeout_ms);
        put_nullable(frame, self.topology.as_ref(), |frame, (epoch, parts)| {
            frame.put_i32(*epoch);
            put_array(frame, parts, put_topology_part)?;
            frame.put_u8(0);
            Ok(())
        })?;
        for tasks in [&self.active_tasks, &self.standby_tasks, &self.warmup_tasks] {
            put_nullable_array(frame, tasks.as_deref(), put_task_ids)?;
        }
        put_nullable_string(frame, self.process_id.as_deref())?;
        put_nullable(frame, self.user_endpoint.as_ref(), put_host_and_port)?;
        put_nullable_array(frame, self.client_tags.as_deref(), put_pair)?;
        put_nullable_array(frame, self.task_offsets.as_deref(), put_task_offset)?;
        put_nullable_array(frame, self.task_end_offsets.as_deref(), put_task_offset)?;
        frame.put_u8(u8::from(self.shutdown_application));
        frame.put_u8(0);
        seal(out)
    }
}

/// The partitions of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsTopicPartitions {
    pub topic: String,
    pub partitions: Vec<i32>,
}

/// What the instance behind an endpoint has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsEndpointToPartitions {
    pub user_endpoint: StreamsHostAndPort,
    pub active_partitions: Vec<StreamsTopicPartitions>,
    pub standby_partitions: Vec<StreamsTopicPartitions>,
}

/// StreamsGroupHeartbeat's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsHeartbeatResponse {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub error_message: Option<String>,
    pub member_id: String,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    pub acceptable_recovery_lag: i32,
    pub task_offset_interval_ms: i32,
    /// Codes, each with a detail.
    pub status: Option<Vec<(i8, String)>>,
    pub active_tasks: Option<Vec<StreamsTaskIds>>,
    pub standby_tasks: Option<Vec<StreamsTaskIds>>,
    pub warmup_tasks: Option<Vec<StreamsTaskIds>>,
    pub endpoint_information_epoch: i32,
    pub partitions_by_user_endpoint: Option<Vec<StreamsEndpointToPartitions>>,
}

impl StreamsHeartbeatResponse {
    /// The whole frame.
    ///
    /// # Errors
    /// None that a broker's own answer can cause.
    pub fn encode(&self, correlation_id: i32) -> Result<BytesMut, WireError> {
        let mut out = response_frame(ApiKey::StreamsGroupHeartbeat, correlation_id);
        let frame = &mut out;
        frame.put_i32(self.throttle_time_ms);
        frame.put_i16(self.error_code);
        put_nullable_string(frame, self.error_message.as_deref())?;
        put_string(frame, &self.member_id)?;
        for number in [
            self.member_epoch,
            self.heartbeat_interval_ms,
            self.acceptable_recovery_lag,
            self.task_offset_interval_ms,
        ] {
            frame.put_i32(number);
        }
        put_nullable_array(frame, self.status.as_deref(), |frame, (code, detail)| {
            frame.put_i8(*code);
            put_string(frame, detail)?;
            frame.put_u8(0);
            Ok(())
        })?;
        for tasks in [&self.active_tasks, &self.standby_tasks, &self.warmup_tasks] {
            put_nullable_array(frame, tasks.as_deref(), put_task_ids)?;
        }
        frame.put_i32(self.endpoint_information_epoch);
        put_nullable_array(frame, self.partitions_by_user_endpoint.as_deref(), |frame, each| {
            put_host_and_port(frame, &each.user_endpoint)?;
            put_array(frame, &each.active_partitions, put_topic_partitions)?;
            put_array(frame, &each.standby_partitions, put_topic_partitions)?;
            frame.put_u8(0);
            Ok(())
        })?;
        frame.put_u8(0);
        seal(out)
    }

    /// Decodes an answer from a frame without its size prefix.
    ///
    /// # Errors
    /// Bytes that are no answer.
    pub fn decode(frame: &mut Bytes) -> Result<Self, WireError> {
        parse_response_header(ApiKey::StreamsGroupHeartbeat, VERSION, frame)?;
        check_response(ApiKey::StreamsGroupHeartbeat, VERSION, frame)?;
        let reader = &mut Reader::new(frame);
        Ok(Self {
            throttle_time_ms: reader.i32()?,
            error_code: reader.i16()?,
            error_message: nullable_string(reader)?,
            member_id: string(reader)?,
            member_epoch: reader.i32()?,
            heartbeat_interval_ms: reader.i32()?,
            acceptable_recovery_lag: reader.i32()?,
            task_offset_interval_ms: reader.i32()?,
            status: nullable_array(reader, |reader| {
                let status = (reader.i8()?, string(reader)?);
                reader.skip_tagged_fields()?;
                Ok(status)
            })?,
            active_tasks: nullable_array(reader, task_ids)?,
            standby_tasks: nullable_array(reader, task_ids)?,
            warmup_tasks: nullable_array(reader, task_ids)?,
            endpoint_information_epoch: reader.i32()?,
            partitions_by_user_endpoint: nullable_array(reader, |reader| {
                let each = StreamsEndpointToPartitions {
                    user_endpoint: host_and_port(reader)?,
                    active_partitions: reader.array(topic_partitions)?,
                    standby_partitions: reader.array(topic_partitions)?,
                };
                reader.skip_tagged_fields()?;
                Ok(each)
            })?,
        })
    }
}

/// StreamsGroupDescribe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsDescribeRequest {
    pub group_ids: Vec<String>,
    pub include_authorized_operations: bool,
}

impl StreamsDescribeRequest {
    /// Decodes the body of a request.
    ///
    /// # Errors
    /// Bytes that are no request.
    pub fn decode(body: &Bytes) -> Result<Self, WireError> {
        check_request(ApiKey::StreamsGroupDescribe, VERSION, body)?;
        let reader = &mut Reader::new(body);
        Ok(Self { group_ids: reader.array(string)?, include_authorized_operations: reader.i8()? != 0 })
    }

    /// The whole frame.
    ///
    /// # Errors
    /// Texts and lists that have no room in a frame.
    pub fn encode(&self, correlation_id: i32, client_id: Option<&StrBytes>) -> Result<BytesMut, WireError> {
        let mut out = request_frame(ApiKey::StreamsGroupDescribe, correlation_id, client_id)?;
        put_array(&mut out, &self.group_ids, |out, group_id| put_string(out, group_id))?;
        out.put_u8(u8::from(self.include_authorized_operations));
        out.put_u8(0);
        seal(out)
    }
}

/// A member's tasks by their roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsTaskRoles {
    pub active_tasks: Vec<StreamsTaskIds>,
    pub standby_tasks: Vec<StreamsTaskIds>,
    pub warmup_tasks: Vec<StreamsTaskIds>,
}

/// A member as StreamsGroupDescribe shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsDescribedMember {
    pub member_id: String,
    pub member_epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topology_epoch: i32,
    pub process_id: String,
    pub user_endpoint: Option<StreamsHostAndPort>,
    pub client_tags: Vec<(String, String)>,
    pub task_offsets: Vec<StreamsTaskOffset>,
    pub task_end_offsets: Vec<StreamsTaskOffset>,
    pub assignment: StreamsTaskRoles,
    pub target_assignment: StreamsTaskRoles,
    pub is_classic: bool,
}

/// A group as StreamsGroupDescribe shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsDescribedGroup {
    pub error_code: i16,
    pub error_message: Option<String>,
    pub group_id: String,
    pub group_state: String,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    /// The topology's epoch and its parts.
    pub topology: Option<(i32, Option<Vec<StreamsTopologyPart>>)>,
    pub members: Vec<StreamsDescribedMember>,
    pub authorized_operations: i32,
}

/// StreamsGroupDescribe's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamsDescribeResponse {
    pub throttle_time_ms: i32,
    pub groups: Vec<StreamsDescribedGroup>,
}

impl StreamsDescribeResponse {
    /// The whole frame.
    ///
    /// # Errors
    /// None that a broker's own answer can cause.
    pub fn encode(&self, correlation_id: i32) -> Result<BytesMut, WireError> {
        let mut out = response_frame(ApiKey::StreamsGroupDescribe, correlation_id);
        out.put_i32(self.throttle_time_ms);
        put_array(&mut out, &self.groups, put_described_group)?;
        out.put_u8(0);
        seal(out)
    }

    /// Decodes an answer from a frame without its size prefix.
    ///
    /// # Errors
    /// Bytes that are no answer.
    pub fn decode(frame: &mut Bytes) -> Result<Self, WireError> {
        parse_response_header(ApiKey::StreamsGroupDescribe, VERSION, frame)?;
        check_response(ApiKey::StreamsGroupDescribe, VERSION, frame)?;
        let reader = &mut Reader::new(frame);
        Ok(Self { throttle_time_ms: reader.i32()?, groups: reader.array(described_group)? })
    }
}

fn described_group(reader: &mut Reader<'_>) -> Result<StreamsDescribedGroup, WireError> {
    let group = StreamsDescribedGroup {
        error_code: reader.i16()?,
        error_message: nullable_string(reader)?,
        group_id: string(reader)?,
        group_state: string(reader)?,
        group_epoch: reader.i32()?,
        assignment_epoch: reader.i32()?,
        topology: nullable(reader, |reader| {
            let topology = (reader.i32()?, nullable_array(reader, described_part)?);
            reader.skip_tagged_fields()?;
            Ok(topology)
        })?,
        members: reader.array(described_member)?,
        authorized_operations: reader.i32()?,
    };
    reader.skip_tagged_fields()?;
    Ok(group)
}

fn put_described_group(out: &mut BytesMut, group: &StreamsDescribedGroup) -> Result<(), WireError> {
    out.put_i16(group.error_code);
    put_nullable_string(out, group.error_message.as_deref())?;
    put_string(out, &group.group_id)?;
    put_string(out, &group.group_state)?;
    out.put_i32(group.group_epoch);
    out.put_i32(group.assignment_epoch);
    put_nullable(out, group.topology.as_ref(), |out, (epoch, parts)| {
        out.put_i32(*epoch);
        put_nullable_array(out, parts.as_deref(), put_described_part)?;
        out.put_u8(0);
        Ok(())
    })?;
    put_array(out, &group.members, put_described_member)?;
    out.put_i32(group.authorized_operations);
    out.put_u8(0);
    Ok(())
}

fn described_member(reader: &mut Reader<'_>) -> Result<StreamsDescribedMember, WireError> {
    let member = StreamsDescribedMember {
        member_id: string(reader)?,
        member_epoch: reader.i32()?,
        instance_id: nullable_string(reader)?,
        rack_id: nullable_string(reader)?,
        client_id: string(reader)?,
        client_host: string(reader)?,
        topology_epoch: reader.i32()?,
        process_id: string(reader)?,
        user_endpoint: nullable(reader, host_and_port)?,
        client_tags: reader.array(pair)?,
        task_offsets: reader.array(task_offset)?,
        task_end_offsets: reader.array(task_offset)?,
        assignment: task_roles(reader)?,
        target_assignment: task_roles(reader)?,
        is_classic: reader.i8()? != 0,
    };
    reader.skip_tagged_fields()?;
    Ok(member)
}

fn put_described_member(out: &mut BytesMut, member: &StreamsDescribedMember) -> Result<(), WireError> {
    put_string(out, &member.member_id)?;
    out.put_i32(member.member_epoch);
    put_nullable_string(out, member.instance_id.as_deref())?;
    put_nullable_string(out, member.rack_id.as_deref())?;
    put_string(out, &member.client_id)?;
    put_string(out, &member.client_host)?;
    out.put_i32(member.topology_epoch);
    put_string(out, &member.process_id)?;
    put_nullable(out, member.user_endpoint.as_ref(), put_host_and_port)?;
    put_array(out, &member.client_tags, put_pair)?;
    put_array(out, &member.task_offsets, put_task_offset)?;
    put_array(out, &member.task_end_offsets, put_task_offset)?;
    for roles in [&member.assignment, &member.target_assignment] {
        for tasks in [&roles.active_tasks, &roles.standby_tasks, &roles.warmup_tasks] {
            put_array(out, tasks, put_task_ids)?;
        }
        out.put_u8(0);
    }
    out.put_u8(u8::from(member.is_classic));
    out.put_u8(0);
    Ok(())
}

fn task_roles(reader: &mut Reader<'_>) -> Result<StreamsTaskRoles, WireError> {
    let roles = StreamsTaskRoles {
        active_tasks: reader.array(task_ids)?,
        standby_tasks: reader.array(task_ids)?,
        warmup_tasks: reader.array(task_ids)?,
    };
    reader.skip_tagged_fields()?;
    Ok(roles)
}

fn topology_part(reader: &mut Reader<'_>) -> Result<StreamsTopologyPart, WireError> {
    let part = StreamsTopologyPart {
        subtopology_id: string(reader)?,
        source_topics: reader.array(string)?,
        source_topic_regexes: reader.array(string)?,
        changelog_topics: reader.array(internal_topic)?,
        repartition_sink_topics: reader.array(string)?,
        repartition_source_topics: reader.array(internal_topic)?,
        copartition_groups: reader.array(|reader| {
            let topics = StreamsCopartitionedTopics {
                source_topics: reader.array(|reader| reader.i16())?,
                source_topic_regexes: reader.array(|reader| reader.i16())?,
                repartition_source_topics: reader.array(|reader| reader.i16())?,
            };
            reader.skip_tagged_fields()?;
            Ok(topics)
        })?,
    };
    reader.skip_tagged_fields()?;
    Ok(part)
}

fn put_topology_part(out: &mut BytesMut, part: &StreamsTopologyPart) -> Result<(), WireError> {
    put_string(out, &part.subtopology_id)?;
    put_array(out, &part.source_topics, |out, topic| put_string(out, topic))?;
    put_array(out, &part.source_topic_regexes, |out, regex| put_string(out, regex))?;
    put_array(out, &part.changelog_topics, put_internal_topic)?;
    put_array(out, &part.repartition_sink_topics, |out, topic| put_string(out, topic))?;
    put_array(out, &part.repartition_source_topics, put_internal_topic)?;
    put_array(out, &part.copartition_groups, |out, group| {
        for places in [&group.source_topics, &group.source_topic_regexes, &group.repartition_source_topics] {
            put_array(out, places, |out, place| {
                out.put_i16(*place);
                Ok(())
            })?;
        }
        out.put_u8(0);
        Ok(())
    })?;
    out.put_u8(0);
    Ok(())
}

fn described_part(reader: &mut Reader<'_>) -> Result<StreamsTopologyPart, WireError> {
    let (subtopology_id, source_topics) = (string(reader)?, reader.array(string)?);
    let repartition_sink_topics = reader.array(string)?;
    let changelog_topics = reader.array(internal_topic)?;
    let repartition_source_topics = reader.array(internal_topic)?;
    reader.skip_tagged_fields()?;
    Ok(StreamsTopologyPart {
        subtopology_id,
        source_topics,
        changelog_topics,
        repartition_sink_topics,
        repartition_source_topics,
        ..StreamsTopologyPart::default()
    })
}

fn put_described_part(out: &mut BytesMut, part: &StreamsTopologyPart) -> Result<(), WireError> {
    put_string(out, &part.subtopology_id)?;
    put_array(out, &part.source_topics, |out, topic| put_string(out, topic))?;
    put_array(out, &part.repartition_sink_topics, |out, topic| put_string(out, topic))?;
    put_array(out, &part.changelog_topics, put_internal_topic)?;
    put_array(out, &part.repartition_source_topics, put_internal_topic)?;
    out.put_u8(0);
    Ok(())
}

fn internal_topic(reader: &mut Reader<'_>) -> Result<StreamsInternalTopic, WireError> {
    let topic = StreamsInternalTopic {
        name: string(reader)?,
        partitions: reader.i32()?,
        replication_factor: reader.i16()?,
        configs: reader.array(pair)?,
    };
    reader.skip_tagged_fields()?;
    Ok(topic)
}

fn put_internal_topic(out: &mut BytesMut, topic: &StreamsInternalTopic) -> Result<(), WireError> {
    put_string(out, &topic.name)?;
    out.put_i32(topic.partitions);
    out.put_i16(topic.replication_factor);
    put_array(out, &topic.configs, put_pair)?;
    out.put_u8(0);
    Ok(())
}

fn task_ids(reader: &mut Reader<'_>) -> Result<StreamsTaskIds, WireError> {
    let tasks =
        StreamsTaskIds { subtopology_id: string(reader)?, partitions: reader.array(|reader| reader.i32())? };
    reader.skip_tagged_fields()?;
    Ok(tasks)
}

fn put_task_ids(out: &mut BytesMut, tasks: &StreamsTaskIds) -> Result<(), WireError> {
    put_named_partitions(out, &tasks.subtopology_id, &tasks.partitions)
}

fn topic_partitions(reader: &mut Reader<'_>) -> Result<StreamsTopicPartitions, WireError> {
    let topic =
        StreamsTopicPartitions { topic: string(reader)?, partitions: reader.array(|reader| reader.i32())? };
    reader.skip_tagged_fields()?;
    Ok(topic)
}

fn put_topic_partitions(out: &mut BytesMut, topic: &StreamsTopicPartitions) -> Result<(), WireError> {
    put_named_partitions(out, &topic.topic, &topic.partitions)
}

fn put_named_partitions(out: &mut BytesMut, name: &str, partitions: &[i32]) -> Result<(), WireError> {
    put_string(out, name)?;
    put_array(out, partitions, |out, partition| {
        out.put_i32(*partition);
        Ok(())
    })?;
    out.put_u8(0);
    Ok(())
}

fn task_offset(reader: &mut Reader<'_>) -> Result<StreamsTaskOffset, WireError> {
    let task = StreamsTaskOffset {
        subtopology_id: string(reader)?,
        partition: reader.i32()?,
        offset: reader.i64()?,
    };
    reader.skip_tagged_fields()?;
    Ok(task)
}

fn put_task_offset(out: &mut BytesMut, task: &StreamsTaskOffset) -> Result<(), WireError> {
    put_string(out, &task.subtopology_id)?;
    out.put_i32(task.partition);
    out.put_i64(task.offset);
    out.put_u8(0);
    Ok(())
}

fn host_and_port(reader: &mut Reader<'_>) -> Result<StreamsHostAndPort, WireError> {
    let endpoint = StreamsHostAndPort { host: string(reader)?, port: reader.i16()? as u16 };
    reader.skip_tagged_fields()?;
    Ok(endpoint)
}

fn put_host_and_port(out: &mut BytesMut, endpoint: &StreamsHostAndPort) -> Result<(), WireError> {
    put_string(out, &endpoint.host)?;
    out.put_u16(endpoint.port);
    out.put_u8(0);
    Ok(())
}

fn pair(reader: &mut Reader<'_>) -> Result<(String, String), WireError> {
    let pair = (string(reader)?, string(reader)?);
    reader.skip_tagged_fields()?;
    Ok(pair)
}

fn put_pair(out: &mut BytesMut, (key, value): &(String, String)) -> Result<(), WireError> {
    put_string(out, key)?;
    put_string(out, value)?;
    out.put_u8(0);
    Ok(())
}

fn string(reader: &mut Reader<'_>) -> Result<String, WireError> {
    nullable_string(reader)?.ok_or(WireError::UnexpectedNull)
}

fn nullable_string(reader: &mut Reader<'_>) -> Result<Option<String>, WireError> {
    Ok(reader.string(true)?.map(str::to_owned))
}

/// A structure that may be null.
fn nullable<T>(
    reader: &mut Reader<'_>,
    decode: impl FnOnce(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    if reader.i8()? < 0 { Ok(None) } else { decode(reader).map(Some) }
}

fn put_nullable<T>(
    out: &mut BytesMut,
    value: Option<&T>,
    put: impl FnOnce(&mut BytesMut, &T) -> Result<(), WireError>,
) -> Result<(), WireError> {
    match value {
        Some(value) => {
            out.put_i8(PRESENT);
            put(out, value)
        }
        None => {
            out.put_i8(ABSENT);
            Ok(())
        }
    }
}

fn nullable_array<T>(
    reader: &mut Reader<'_>,
    mut decode: impl FnMut(&mut Reader<'_>) -> Result<T, WireError>,
) -> Result<Option<Vec<T>>, WireError> {
    let Some(count) = reader.length(true)? else { return Ok(None) };
    (0..count).map(|_| decode(reader)).collect::<Result<_, _>>().map(Some)
}

fn put_array<T>(
    out: &mut BytesMut,
    all: &[T],
    mut put: impl FnMut(&mut BytesMut, &T) -> Result<(), WireError>,
) -> Result<(), WireError> {
    put_length(out, all.len())?;
    all.iter().try_for_each(|each| put(out, each))
}

fn put_nullable_array<T>(
    out: &mut BytesMut,
    all: Option<&[T]>,
    put: impl FnMut(&mut BytesMut, &T) -> Result<(), WireError>,
) -> Result<(), WireError> {
    match all {
        Some(all) => put_array(out, all, put),
        None => {
            out.put_u8(0);
            Ok(())
        }
    }
}

fn request_frame(
    api_key: ApiKey,
    correlation_id: i32,
    client_id: Option<&StrBytes>,
) -> Result<BytesMut, WireError> {
    let mut out = BytesMut::new();
    out.put_bytes(0, SIZE_PREFIX_BYTES);
    let client_id = client_id.cloned();
    RequestHeader { api_key, api_version: VERSION, correlation_id, client_id }.encode(&mut out)?;
    Ok(out)
}

fn response_frame(api_key: ApiKey, correlation_id: i32) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_bytes(0, SIZE_PREFIX_BYTES);
    encode_response_header(api_key, VERSION, correlation_id, &mut out);
    out
}
