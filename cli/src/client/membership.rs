//! Being a member of a classic consumer group: join, assign by range, heartbeat, commit, leave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use moldau_model::ErrorCode;

use super::metadata::{string, topic_name};
use super::offsets::Partition;
use super::{Backoff, Client, ClientError};

const SESSION_TIMEOUT_MS: i32 = 45_000;
const REBALANCE_TIMEOUT_MS: i32 = 300_000;
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);
/// Names, not ids, go with every version up to this one.
const OFFSET_COMMIT_VERSION_MAX: i16 = 9;
const PROTOCOL_TYPE: &str = "consumer";
const ASSIGNOR: &str = "range";
/// ConsumerProtocolSubscription's version with owned partitions, generation and rack (KIP-792, KIP-881).
const SUBSCRIPTION_VERSION: i16 = 3;

/// A member of a group.
pub(crate) struct Membership {
    group: String,
    member_id: String,
    generation: i32,
    /// What the member reads, while it is in the group.
    assigned: Option<Vec<Partition>>,
    last_heartbeat: Instant,
}

impl Membership {
    pub(crate) fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            member_id: String::new(),
            generation: -1,
            assigned: None,
            last_heartbeat: Instant::now(),
        }
    }

    /// Whether the member has to join (again) before it may read.
    pub(crate) fn must_join(&self) -> bool {
        self.assigned.is_none()
    }

    /// Joins, and leads the assignment where the coordinator asks for it. Returns what this member is to read.
    pub(crate) fn join(
        &mut self,
        client: &mut Client,
        topics: &[String],
    ) -> Result<Vec<Partition>, ClientError> {
        let deadline = Instant::now() + Duration::from_millis(u64::from(REBALANCE_TIMEOUT_MS.unsigned_abs()));
        let mut backoff = Backoff::new();
        loop {
            match self.join_once(client, topics, deadline) {
                Ok(assigned) => {
                    self.last_heartbeat = Instant::now();
                    self.assigned = Some(assigned.clone());
                    return Ok(assigned);
                }
                Err(error) => match error.code() {
                    // The coordinator gave a name; the next request uses it (KIP-394).
                    Some(ErrorCode::MemberIdRequired) => {}
                    Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => self.reset(),
                    Some(ErrorCode::RebalanceInProgress) => {}
                    _ if error.is_retriable() && backoff.wait(deadline) => {}
                    _ => return Err(error),
                },
            }
        }
    }

    fn reset(&mut self) {
        self.member_id.clear();
        self.generation = -1;
        self.assigned = None;
    }

    fn join_once(
        &mut self,
        client: &mut Client,
        topics: &[String],
        deadline: Instant,
    ) -> Result<Vec<Partition>, ClientError> {
        let coordinator = client.coordinator(&self.group, deadline)?;
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(StrBytes::from_static_str(ASSIGNOR))
            .with_metadata(subscription(topics));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(string(&self.group)))
            .with_session_timeout_ms(SESSION_TIMEOUT_MS)
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_member_id(string(&self.member_id))
            .with_protocol_type(StrBytes::from_static_str(PROTOCOL_TYPE))
            .with_protocols(vec![protocol]);
        // The answer may take as long as the slowest member's work: not a request's usual time.
        let response = client.broker(coordinator, deadline)?.call(&request, deadline);
        if response.is_err() {
            client.forget_broker(coordinator);
        }
        let response = response?;
        if ErrorCode::from_code(response.error_code) == ErrorCode::MemberIdRequired {
            self.member_id = response.member_id.to_string();
        }
        ClientError::check(response.error_code, None)?;
        self.member_id = response.member_id.to_string();
        self.generation = response.generation_id;
        let assignments = if response.leader == response.member_id && !response.skip_assignment {
            assignments(client, &response)?
        } else {
            Vec::new()
        };
        let request = SyncGroupRequest::default()
            .with_group_id(GroupId(string(&self.group)))
            .with_generation_id(self.generation)
            .with_member_id(string(&self.member_id))
            .with_protocol_type(Some(StrBytes::from_static_str(PROTOCOL_TYPE)))
            .with_protocol_name(Some(StrBytes::from_static_str(ASSIGNOR)))
            .with_assignments(assignments);
        let response = client.broker(coordinator, deadline)?.call(&request, deadline);
        if response.is_err() {
            client.forget_broker(coordinator);
        }
        let response = response?;
        ClientError::check(response.error_code, None)?;
        decode_assignment(&response.assignment).ok_or_else(|| {
            ClientError::broker(ErrorCode::UnknownServerError.code(), Some("the assignment is malformed"))
        })
    }

    /// Tells the coordinator, when it is time, that the member is there. `false`: the group rebalances, join again.
    pub(crate) fn heartbeat(&mut self, client: &mut Client) -> Result<bool, ClientError> {
        if self.last_heartbeat.elapsed() < HEARTBEAT_INTERVAL {
            return Ok(true);
        }
        self.last_heartbeat = Instant::now();
        let request = HeartbeatRequest::default()
            .with_group_id(GroupId(string(&self.group)))
            .with_generation_id(self.generation)
            .with_member_id(string(&self.member_id));
        let response = client.call_coordinator(&self.group, &request, |response| response.error_code)?;
        self.still_member(response.error_code)
    }

    fn still_member(&mut self, code: i16) -> Result<bool, ClientError> {
        match ErrorCode::from_code(code) {
            ErrorCode::None => Ok(true),
            ErrorCode::RebalanceInProgress => {
                self.assigned = None;
                Ok(false)
            }
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration => {
                self.reset();
                Ok(false)
            }
            code => Err(ClientError::broker(code.code(), None)),
        }
    }

    /// Makes the member join again, for example because its topics have new partitions.
    pub(crate) fn rejoin(&mut self) {
        self.assigned = None;
    }

    /// Commits positions. A rebalance under way makes the member join again; what it then reads twice is as in
    /// every client.
    pub(crate) fn commit(
        &mut self,
        client: &mut Client,
        positions: &BTreeMap<Partition, i64>,
    ) -> Result<(), ClientError> {
        if positions.is_empty() || self.member_id.is_empty() {
            return Ok(());
        }
        let code = client.commit_offsets(&self.group, &self.member_id, self.generation, positions)?;
        match code {
            Some(code) => self.still_member(code.code()).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Leaves the group, so that others take over at once. Nothing depends on the answer.
    pub(crate) fn leave(&mut self, client: &mut Client) {
        if self.member_id.is_empty() {
            return;
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        let Ok(coordinator) = client.coordinator(&self.group, deadline) else { return };
        let Ok(connection) = client.broker(coordinator, deadline) else { return };
        let Ok(version) = connection.version_of::<LeaveGroupRequest>() else { return };
        let request = LeaveGroupRequest::default().with_group_id(GroupId(string(&self.group)));
        let request = if version >= 3 {
            let member = MemberIdentity::default().with_member_id(string(&self.member_id)).with_reason(
                (version >= 5).then(|| StrBytes::from_static_str("the consumer is being closed")),
            );
            request.with_members(vec![member])
        } else {
            request.with_member_id(string(&self.member_id))
        };
        drop(connection.call_version(&request, version, deadline));
        self.reset();
    }
}

impl Client {
    /// Commits a group's offsets; outside a group's generation with an empty member id and -1. Returns the first
    /// error that has to do with the membership.
    pub(crate) fn commit_offsets(
        &mut self,
        group: &str,
        member_id: &str,
        generation: i32,
        positions: &BTreeMap<Partition, i64>,
    ) -> Result<Option<ErrorCode>, ClientError> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in positions {
            topics.entry(topic).or_default().push(
                OffsetCommitRequestPartition::default()
                    .with_partition_index(*partition)
                    .with_committed_offset(*offset)
                    .with_committed_leader_epoch(-1)
                    .with_committed_metadata(Some(StrBytes::default())),
            );
        }
        let topics = topics.into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(string(group)))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(string(member_id))
            .with_topics(topics.collect());
        let deadline = self.deadline();
        let response = self.retry(deadline, |client| {
            let coordinator = client.coordinator(group, deadline)?;
            let connection = client.broker(coordinator, deadline)?;
            let version = connection.version_of::<OffsetCommitRequest>()?.min(OFFSET_COMMIT_VERSION_MAX);
            let response = connection.call_version(&request, version, super::request_deadline(deadline));
            if response.is_err() {
                client.forget_broker(coordinator);
            }
            let response = response?;
            let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
            let retriable = codes
                .into_iter()
                .map(ErrorCode::from_code)
                .find(|code| code.is_retriable() && *code != ErrorCode::UnknownTopicOrPartition);
            match retriable {
                Some(code) => Err(ClientError::broker(code.code(), None)),
                None => Ok(response),
            }
        })?;
        for p in response.topics.iter().flat_map(|topic| &topic.partitions) {
            match ErrorCode::from_code(p.error_code) {
                ErrorCode::None => {}
                code @ (ErrorCode::RebalanceInProgress
                | ErrorCode::UnknownMemberId
                | ErrorCode::IllegalGeneration) => {
                    return Ok(Some(code));
                }
                code => return Err(ClientError::broker(code.code(), None)),
            }
        }
        Ok(None)
    }
}

/// A subscription in the consumers' own protocol, with its version in front.
fn subscription(topics: &[String]) -> Bytes {
    let message = ConsumerProtocolSubscription::default()
        .with_topics(topics.iter().map(|topic| string(topic)).collect())
        .with_user_data(None)
        .with_generation_id(-1)
        .with_rack_id(None);
    versioned(&message, SUBSCRIPTION_VERSION)
}

fn versioned<M: Encodable>(message: &M, version: i16) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    // Writing into memory fails for strings beyond 32 KiB alone, and topics' names are far shorter.
    drop(message.encode(&mut bytes, version));
    bytes.freeze()
}

/// The topics of a member's subscription.
fn subscribed(metadata: &Bytes) -> Option<Vec<String>> {
    let mut bytes = metadata.clone();
    let version = bytes.try_get_i16().ok()?.clamp(0, SUBSCRIPTION_VERSION);
    let message = ConsumerProtocolSubscription::decode(&mut bytes, version).ok()?;
    Some(message.topics.iter().map(ToString::to_string).collect())
}

/// The partitions of an assignment; none for an empty one.
pub(crate) fn decode_assignment(assignment: &Bytes) -> Option<Vec<Partition>> {
    if assignment.is_empty() {
        return Some(Vec::new());
    }
    let mut bytes = assignment.clone();
    let version = bytes.try_get_i16().ok()?.clamp(0, 3);
    let message = ConsumerProtocolAssignment::decode(&mut bytes, version).ok()?;
    let partitions = message
        .assigned_partitions
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic.0.to_string(), *partition)));
    Some(partitions.collect())
}

/// Everybody's assignment, made by the group's leader.
fn assignments(
    client: &mut Client,
    response: &JoinGroupResponse,
) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
    let members: BTreeMap<String, Vec<String>> = response
        .members
        .iter()
        .map(|member| (member.member_id.to_string(), subscribed(&member.metadata).unwrap_or_default()))
        .collect();
    let topics: BTreeSet<&str> = members.values().flatten().map(String::as_str).collect();
    let mut counts = BTreeMap::new();
    let deadline = client.deadline();
    let names: Vec<&str> = topics.into_iter().collect();
    for topic in client.metadata(Some(&names), deadline)?.topics {
        if let Some(name) = topic.name.filter(|_| topic.error_code == 0) {
            counts.insert(name.0.to_string(), i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX));
        }
    }
    let assigned = range(&members, &counts);
    Ok(assigned
        .into_iter()
        .map(|(member, topics)| {
            let topics = topics.into_iter().map(|(topic, partitions)| {
                AssignedTopic::default().with_topic(topic_name(&topic)).with_partitions(partitions)
            });
            let message = ConsumerProtocolAssignment::default()
                .with_assigned_partitions(topics.collect())
                .with_user_data(None);
            SyncGroupRequestAssignment::default()
                .with_member_id(string(&member))
                .with_assignment(versioned(&message, SUBSCRIPTION_VERSION))
        })
        .collect())
}

/// The range assignor: each topic's partitions in one run a member, in the order of the members' ids, the first
/// ones getting one more where it does not come out even.
fn range(
    members: &BTreeMap<String, Vec<String>>,
    partition_counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, BTreeMap<String, Vec<i32>>> {
    let mut assigned: BTreeMap<String, BTreeMap<String, Vec<i32>>> =
        members.keys().map(|member| (member.clone(), BTreeMap::new())).collect();
    for (topic, count) in partition_counts {
        let takers: Vec<&String> =
            members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        let Some(takers_count) = i32::try_from(takers.len()).ok().filter(|count| *count > 0) else {
            continue;
        };
        let (each, extra) = (count / takers_count, count % takers_count);
        let mut next = 0;
        for (index, member) in takers.into_iter().enumerate() {
            let size = each + i32::from(i32::try_from(index).is_ok_and(|index| index < extra));
            let run: Vec<i32> = (next..next + size).collect();
            next += size;
            if let Some(topics) = assigned.get_mut(member).filter(|_| !run.is_empty()) {
                topics.insert(topic.clone(), run);
            }
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assign(members: &[(&str, &[&str])], counts: &[(&str, i32)]) -> Vec<String> {
        let members = members
            .iter()
            .map(|(id, topics)| ((*id).to_owned(), topics.iter().map(|t| (*t).to_owned()).collect()))
            .collect();
        let counts = counts.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect();
        range(&members, &counts).iter().map(|(id, topics)| format!("{id}:{topics:?}")).collect()
    }

    #[test]
    fn a_range_goes_to_each_member_the_first_ones_getting_more() {
        assert_eq!(
            assign(&[("a", &["t"]), ("b", &["t"])], &[("t", 3)]),
            ["a:{\"t\": [0, 1]}", "b:{\"t\": [2]}"]
        );
        assert_eq!(assign(&[("a", &["t"]), ("b", &["t"])], &[("t", 1)]), ["a:{\"t\": [0]}", "b:{}"]);
        assert_eq!(
            assign(&[("a", &["t"]), ("b", &["t", "u"])], &[("t", 2), ("u", 2)]),
            ["a:{\"t\": [0]}", "b:{\"t\": [1], \"u\": [0, 1]}"]
        );
    }

    #[test]
    fn subscriptions_and_assignments_come_back_as_they_went() {
        let bytes = subscription(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(subscribed(&bytes).unwrap(), ["a", "b"]);
        let message = ConsumerProtocolAssignment::default().with_assigned_partitions(vec![
            AssignedTopic::default().with_topic(topic_name("t")).with_partitions(vec![0, 2]),
        ]);
        let bytes = versioned(&message, 1);
        assert_eq!(decode_assignment(&bytes).unwrap(), [("t".to_owned(), 0), ("t".to_owned(), 2)]);
        assert_eq!(decode_assignment(&Bytes::new()).unwrap(), []);
        assert_eq!(decode_assignment(&Bytes::from_static(&[0, 1, 0xff])), None);
    }
}
