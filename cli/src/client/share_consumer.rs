//! A member of a share group (KIP-932): heartbeats, share sessions with the leaders of what it is given, acknowledgements.
//!
//! What is said of records goes with the next fetch from their leader, and with the end of the session at the latest. Where a
//! session is lost, with it what was not sent, the records come again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::messages::share_acknowledge_request::{
    AcknowledgePartition, AcknowledgeTopic, AcknowledgementBatch as AcknowledgedBatch,
};
use kafka_protocol::messages::share_fetch_request::{
    AcknowledgementBatch, FetchPartition, FetchTopic, ForgottenTopic,
};
use kafka_protocol::messages::share_fetch_response::PartitionData;
use kafka_protocol::messages::{
    GroupId, ShareAcknowledgeRequest, ShareFetchRequest, ShareFetchResponse, ShareGroupHeartbeatRequest,
};
use moldau_model::ErrorCode;
use moldau_record::Batches;
use uuid::Uuid;

use super::consumer::{DECOMPRESS_BYTES_MAX, IncomingRecord, read_batch};
use super::metadata::{string, topic_name};
use super::{Client, ClientError, request_deadline};

const FETCH_BYTES_MAX: i32 = 50 << 20;
/// `max.poll.records` of Java's consumer.
const RECORDS_MAX: i32 = 500;
/// Before a leader, or a session, is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// The epochs of who joins, and of who leaves.
const JOINING: i32 = 0;
const LEAVING: i32 = -1;
/// The epochs that open a session, and close it.
const SESSION_BEGIN: i32 = 0;
const SESSION_END: i32 = -1;

/// What a member says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledge {
    Accept = 1,
    Release = 2,
    Reject = 3,
}

/// A partition by its topic's id.
type At = (Uuid, i32);
/// Offsets in a row, both ends included, of which the same is said.
type Said = (i64, i64, Acknowledge);

#[derive(Debug, Default)]
struct Session {
    epoch: i32,
    partitions: BTreeSet<At>,
}

/// See the module.
pub(crate) struct ShareConsumer {
    group: String,
    topic: String,
    member_id: String,
    member_epoch: i32,
    heartbeat_at: Instant,
    assignment: BTreeSet<At>,
    /// Empty where they have to be looked for.
    leaders: BTreeMap<At, i32>,
    sessions: BTreeMap<i32, Session>,
    said: BTreeMap<At, Vec<Said>>,
    topic_id: Uuid,
}

impl ShareConsumer {
    pub(crate) fn new(group: &str, topic: &str, member_id: String) -> Self {
        Self {
            group: group.to_owned(),
            topic: topic.to_owned(),
            member_id,
            member_epoch: JOINING,
            heartbeat_at: Instant::now(),
            assignment: BTreeSet::new(),
            leaders: BTreeMap::new(),
            sessions: BTreeMap::new(),
            said: BTreeMap::new(),
            topic_id: Uuid::nil(),
        }
    }

    /// Whether the member was given something to read.
    pub(crate) fn is_assigned(&self) -> bool {
        !self.assignment.is_empty()
    }

    /// Waits up to `wait` for records. Each is to be acknowledged.
    pub(crate) fn poll(
        &mut self,
        client: &mut Client,
        wait: Duration,
    ) -> Result<Vec<IncomingRecord>, ClientError> {
        if Instant::now() >= self.heartbeat_at {
            self.heartbeat(client)?;
        }
        let deadline = client.deadline();
        if self.leaders.is_empty() && self.is_assigned() {
            self.find_leaders(client, deadline)?;
        }
        let wait = wait.min(self.heartbeat_at.saturating_duration_since(Instant::now()));
        let mut by_leader: BTreeMap<i32, BTreeSet<At>> = BTreeMap::new();
        for (at, leader) in &self.leaders {
            by_leader.entry(*leader).or_default().insert(*at);
        }
        if by_leader.is_empty() {
            std::thread::sleep(wait.min(RETRY_PAUSE));
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        let mut asked = Vec::new();
        for (leader, partitions) in by_leader {
            let request = self.fetch_request(leader, &partitions, wait);
            let sent = client.broker(leader, deadline).and_then(|connection| {
                let version = connection.version_of::<ShareFetchRequest>()?;
                Ok((connection.send_version(&request, version, request_deadline(deadline))?, version))
            });
            match sent {
                Ok(sent) => asked.push((leader, sent)),
                Err(error) => self.lost(client, leader, error)?,
            }
        }
        for (leader, (correlation_id, version)) in asked {
            let answer = client.broker(leader, deadline).and_then(|connection| {
                let deadline = request_deadline(deadline);
                connection.receive_as::<ShareFetchRequest>(correlation_id, version, deadline)
            });
            match answer {
                Ok(response) => self.take(leader, &response, &mut records)?,
                Err(error) => self.lost(client, leader, error)?,
            }
        }
        Ok(records)
    }

    /// Says what became of a record.
    pub(crate) fn acknowledge(&mut self, record: &IncomingRecord, kind: Acknowledge) {
        let said = self.said.entry((self.topic_id, record.partition)).or_default();
        match said.last_mut() {
            Some((_, last, same)) if *last + 1 == record.offset && *same == kind => *last = record.offset,
            _ => said.push((record.offset, record.offset, kind)),
        }
    }

    /// Sends what was said, ends the sessions, which gives back what is left, and leaves the group.
    pub(crate) fn close(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let deadline = client.deadline();
        let mut outcome = Ok(());
        for (leader, session) in std::mem::take(&mut self.sessions) {
            let request = self.acknowledge_request(&session);
            let result = client.call_broker(leader, &request, deadline).and_then(|response| {
                ClientError::check(response.error_code, response.error_message.as_deref())?;
                let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
                partitions.try_for_each(|partition| {
                    ClientError::check(partition.error_code, partition.error_message.as_deref())
                })
            });
            outcome = outcome.and(result);
        }
        if self.member_epoch != JOINING {
            self.member_epoch = LEAVING;
            let request = self.heartbeat_request();
            let left = client.call_coordinator(&self.group, &request, |response| response.error_code);
            outcome = outcome.and(left.map(drop));
        }
        outcome
    }

    fn heartbeat_request(&self) -> ShareGroupHeartbeatRequest {
        let topics = (self.member_epoch == JOINING).then(|| vec![topic_name(&self.topic)]);
        ShareGroupHeartbeatRequest::default()
            .with_group_id(GroupId(string(&self.group)))
            .with_member_id(string(&self.member_id))
            .with_member_epoch(self.member_epoch)
            .with_subscribed_topic_names(topics)
    }

    fn heartbeat(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let request = self.heartbeat_request();
        let response = client.call_coordinator(&self.group, &request, |response| response.error_code)?;
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {}
            // The group goes on without this member, which comes anew.
            ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch => {
                self.member_epoch = JOINING;
                self.assignment.clear();
                self.leaders.clear();
                return Ok(());
            }
            _ => ClientError::check(response.error_code, response.error_message.as_deref())?,
        }
        self.member_epoch = response.member_epoch;
        let pause = Duration::from_millis(u64::try_from(response.heartbeat_interval_ms).unwrap_or(0));
        self.heartbeat_at = Instant::now() + pause;
        if let Some(assignment) = response.assignment {
            let partitions = assignment.topic_partitions.into_iter().flat_map(|topic| {
                topic.partitions.into_iter().map(move |partition| (topic.topic_id, partition))
            });
            self.assignment = partitions.collect();
            self.leaders.clear();
        }
        Ok(())
    }

    fn find_leaders(&mut self, client: &mut Client, deadline: Instant) -> Result<(), ClientError> {
        let topic = self.topic.clone();
        let response = client.metadata(Some(&[topic.as_str()]), deadline)?;
        for topic in &response.topics {
            self.topic_id = topic.topic_id;
            let led = topic.partitions.iter().filter(|partition| partition.leader_id.0 >= 0);
            let led =
                led.map(|partition| ((topic.topic_id, partition.partition_index), partition.leader_id.0));
            self.leaders = led.filter(|(at, _)| self.assignment.contains(at)).collect();
        }
        Ok(())
    }

    fn fetch_request(&mut self, leader: i32, partitions: &BTreeSet<At>, wait: Duration) -> ShareFetchRequest {
        let session = self.sessions.entry(leader).or_default();
        if session.epoch == SESSION_BEGIN {
            // Nothing can be said in a session's first request, and what was got in another is not this one's.
            self.said.retain(|at, _| !partitions.contains(at));
        }
        let added: BTreeSet<At> = partitions.difference(&session.partitions).copied().collect();
        let forgotten: Vec<At> = session.partitions.difference(partitions).copied().collect();
        let mut topics: BTreeMap<Uuid, Vec<FetchPartition>> = BTreeMap::new();
        for at in partitions {
            let said = self.said.remove(at);
            if said.is_some() || added.contains(at) {
                let said = said.unwrap_or_default().into_iter().map(|(first, last, kind)| {
                    AcknowledgementBatch::default()
                        .with_first_offset(first)
                        .with_last_offset(last)
                        .with_acknowledge_types(vec![kind as i8])
                });
                let partition = FetchPartition::default()
                    .with_partition_index(at.1)
                    .with_acknowledgement_batches(said.collect());
                topics.entry(at.0).or_default().push(partition);
            }
        }
        let topics = topics.into_iter().map(|(topic_id, partitions)| {
            FetchTopic::default().with_topic_id(topic_id).with_partitions(partitions)
        });
        let forgotten = forgotten.into_iter().map(|(topic_id, partition)| {
            ForgottenTopic::default().with_topic_id(topic_id).with_partitions(vec![partition])
        });
        let request = ShareFetchRequest::default()
            .with_group_id(Some(GroupId(string(&self.group))))
            .with_member_id(Some(string(&self.member_id)))
            .with_share_session_epoch(session.epoch)
            .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES_MAX)
            .with_max_records(RECORDS_MAX)
            .with_batch_size(RECORDS_MAX)
            .with_topics(topics.collect())
            .with_forgotten_topics_data(forgotten.collect());
        session.epoch = session.epoch.checked_add(1).unwrap_or(SESSION_BEGIN + 1);
        session.partitions.clone_from(partitions);
        request
    }

    fn acknowledge_request(&mut self, session: &Session) -> ShareAcknowledgeRequest {
        let mut topics: BTreeMap<Uuid, Vec<AcknowledgePartition>> = BTreeMap::new();
        for at in &session.partitions {
            let Some(said) = self.said.remove(at) else { continue };
            let batches = said.into_iter().map(|(first, last, kind)| {
                AcknowledgedBatch::default()
                    .with_first_offset(first)
                    .with_last_offset(last)
                    .with_acknowledge_types(vec![kind as i8])
            });
            let partition = AcknowledgePartition::default()
                .with_partition_index(at.1)
                .with_acknowledgement_batches(batches.collect());
            topics.entry(at.0).or_default().push(partition);
        }
        let topics = topics.into_iter().map(|(topic_id, partitions)| {
            AcknowledgeTopic::default().with_topic_id(topic_id).with_partitions(partitions)
        });
        ShareAcknowledgeRequest::default()
            .with_group_id(Some(GroupId(string(&self.group))))
            .with_member_id(Some(string(&self.member_id)))
            .with_share_session_epoch(SESSION_END)
            .with_topics(topics.collect())
    }

    fn take(
        &mut self,
        leader: i32,
        response: &ShareFetchResponse,
        records: &mut Vec<IncomingRecord>,
    ) -> Result<(), ClientError> {
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None => {}
            ErrorCode::ShareSessionNotFound
            | ErrorCode::InvalidShareSessionEpoch
            | ErrorCode::ShareSessionLimitReached => {
                self.sessions.remove(&leader);
                std::thread::sleep(RETRY_PAUSE);
                return Ok(());
            }
            _ => ClientError::check(response.error_code, response.error_message.as_deref())?,
        }
        for topic in &response.responses {
            for data in &topic.partitions {
                match ErrorCode::from_code(data.error_code) {
                    ErrorCode::None => take_records(&self.topic, data, records)?,
                    // It is led elsewhere, or is being made: it is looked for again.
                    code if code.is_retriable() || code == ErrorCode::UnknownTopicId => self.leaders.clear(),
                    _ => ClientError::check(data.error_code, data.error_message.as_deref())?,
                }
            }
        }
        Ok(())
    }

    /// A broker that did not answer: its session is over, and there may be other leaders.
    fn lost(&mut self, client: &mut Client, leader: i32, error: ClientError) -> Result<(), ClientError> {
        client.forget_broker(leader);
        self.sessions.remove(&leader);
        self.leaders.clear();
        if error.is_retriable() || matches!(error, ClientError::Timeout(_)) { Ok(()) } else { Err(error) }
    }
}

/// The records of an answer that the member got: others stand in the same batches.
fn take_records(
    topic: &str,
    data: &PartitionData,
    records: &mut Vec<IncomingRecord>,
) -> Result<(), ClientError> {
    let partition = (topic.to_owned(), data.partition_index);
    let malformed = |reason: String| ClientError::Malformed {
        address: format!("the leader of {topic}-{}", data.partition_index),
        reason,
    };
    let mut read = Vec::new();
    for batch in Batches::new(data.records.as_deref().unwrap_or_default()) {
        // The last batch may be cut: nothing of it was got.
        let Ok(batch) = batch else { break };
        batch.check_crc().map_err(|error| malformed(error.to_string()))?;
        if !batch.is_control() {
            read_batch(&batch, &partition, 0, DECOMPRESS_BYTES_MAX, &mut read).map_err(malformed)?;
        }
    }
    let got = read.into_iter().filter_map(|mut record| {
        let mut acquired = data.acquired_records.iter();
        let acquired = acquired.find(|got| (got.first_offset..=got.last_offset).contains(&record.offset))?;
        record.delivery_count = Some(acquired.delivery_count);
        Some(record)
    });
    records.extend(got);
    Ok(())
}
