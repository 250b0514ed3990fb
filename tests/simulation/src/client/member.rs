//! A member of a classic group, or somebody who commits for a group without members. Offsets are committed in ascending
//! order; what is fetched is held against what was acknowledged before.

use bytes::Bytes;
use moldau_group::{
    HeartbeatRequest, JoinGroupProtocol, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeavingMember, OffsetCommitPartition, OffsetCommitRequest, OffsetCommitTopic, OffsetFetchRequest,
    OffsetFetchResponse, OffsetFetchTopic, Request, Response, SyncGroupAssignment, SyncGroupRequest,
};
use moldau_model::{ErrorCode, GenerationId, LeaderEpoch, Offset, PartitionIndex, TopicId, Uuid};

use super::send;
use crate::core::Core;
use crate::coverage::Happened;
use crate::invariants::Required;
use crate::message::{Correlation, FromBroker, ToBroker};
use crate::topology::{BROKERS, DATA_PARTS, DATA_TOPIC};

const REQUEST_MS: i64 = 600;
/// A join waits for the others.
const JOIN_MS: i64 = 2_500;
const SESSION_MS: i32 = 900;
const REBALANCE_MS: i32 = 1_200;
const RETRY_MS: i64 = 30;
/// Commits after the faults are over.
const LAST_COMMITS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Join,
    Sync,
    Stable,
}

#[derive(Clone, Debug)]
enum Asked {
    Join,
    Sync,
    Heartbeat,
    Leave,
    Commit { partition: i32, offset: i64 },
    Fetch { partition: i32, required: Required },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Member {
    client: usize,
    group: &'static str,
    /// Commits without being a member.
    is_simple: bool,
    coordinator: i32,
    connection: u64,
    outstanding: Option<(Correlation, i64, Asked)>,
    phase: Phase,
    member_id: String,
    generation: GenerationId,
    /// If it leads: all members.
    members: Vec<String>,
    assigned: Vec<i32>,
    next_at: i64,
    remaining: Option<u32>,
}

impl Member {
    pub(crate) fn new(client: usize, group: &'static str, is_simple: bool) -> Self {
        let assigned =
            if is_simple { DATA_PARTS.iter().map(|part| part.index().0).collect() } else { Vec::new() };
        Self {
            client,
            group,
            is_simple,
            coordinator: 1,
            connection: 0,
            outstanding: None,
            phase: if is_simple { Phase::Stable } else { Phase::Join },
            member_id: String::new(),
            generation: GenerationId(-1),
            members: Vec::new(),
            assigned,
            next_at: 0,
            remaining: None,
        }
    }

    pub(super) fn connection(&self) -> u64 {
        self.connection
    }

    pub(super) fn tick(&mut self, core: &mut Core) {
        if self.outstanding.as_ref().is_some_and(|(_, deadline, _)| core.now > *deadline) {
            // The connection is closed: what still lies in it is not read any more.
            self.connection += 1;
            self.outstanding = None;
            self.look_elsewhere(core);
        }
        if self.outstanding.is_some() || core.now < self.next_at {
            return;
        }
        self.next_at = core.now + core.random.between(20, 120);
        let (asked, request) = match self.phase {
            Phase::Join => (Asked::Join, Request::Join(self.join(core))),
            Phase::Sync => (Asked::Sync, Request::Sync(self.sync())),
            Phase::Stable => self.stable(core),
        };
        let wait = if matches!(asked, Asked::Join) { JOIN_MS } else { REQUEST_MS };
        let request = ToBroker::Group { request, connection: self.connection };
        let correlation = send(core, self.client, self.coordinator, request);
        self.outstanding = Some((correlation, core.now + wait, asked));
    }

    fn look_elsewhere(&mut self, core: &mut Core) {
        self.coordinator = core.random.between(1, i64::from(BROKERS)) as i32;
        self.next_at = core.now + RETRY_MS;
    }

    fn stable(&mut self, core: &mut Core) -> (Asked, Request) {
        let partition = (!self.assigned.is_empty()).then(|| core.random.pick(&self.assigned));
        let dice = core.random.below(100);
        match partition {
            Some(partition) if dice < 50 => self.commit(core, partition),
            Some(partition) if dice < 80 => self.fetch(core, partition),
            _ if dice == 99 && !self.is_simple && self.remaining.is_none() => (Asked::Leave, self.leave()),
            _ if self.is_simple => self.fetch(core, 0),
            _ => (Asked::Heartbeat, self.heartbeat()),
        }
    }

    fn join(&self, core: &mut Core) -> JoinGroupRequest {
        let number = (u128::from(core.random.bits()) << 64) | u128::from(core.random.bits());
        JoinGroupRequest {
            api_version: 9,
            group_id: self.group.to_owned(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: self.member_id.clone(),
            group_instance_id: None,
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupProtocol {
                name: "range".to_owned(),
                metadata: Bytes::from_static(b"s"),
            }],
            reason: None,
            client_id: format!("client-{}", self.client),
            client_host: "/127.0.0.1".to_owned(),
            new_member_uuid: Uuid::from_random_bytes(number.to_be_bytes()),
        }
    }

    fn sync(&self) -> SyncGroupRequest {
        let assignment = |(at, member_id): (usize, &String)| {
            let share = DATA_PARTS.iter().map(|part| part.index().0);
            let share: Vec<u8> = share
                .filter(|index| *index as usize % self.members.len() == at)
                .map(|index| index as u8)
                .collect();
            SyncGroupAssignment { member_id: member_id.clone(), assignment: share.into() }
        };
        SyncGroupRequest {
            api_version: 5,
            group_id: self.group.to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: self.members.iter().enumerate().map(assignment).collect(),
        }
    }

    fn heartbeat(&self) -> Request {
        Request::Heartbeat(HeartbeatRequest {
            group_id: self.group.to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
        })
    }

    fn leave(&self) -> Request {
        let member =
            LeavingMember { member_id: self.member_id.clone(), group_instance_id: None, reason: None };
        Request::Leave(LeaveGroupRequest { group_id: self.group.to_owned(), members: vec![member] })
    }

    fn commit(&self, core: &mut Core, partition: i32) -> (Asked, Request) {
        let offset = core.invariants.offsets.attempt(self.group, partition);
        let committed = OffsetCommitPartition {
            partition: PartitionIndex(partition),
            committed_offset: Offset(offset),
            committed_leader_epoch: LeaderEpoch::NONE,
            metadata: None,
        };
        let topic = OffsetCommitTopic {
            name: DATA_TOPIC.to_owned(),
            topic_id: TopicId::ZERO,
            partitions: vec![committed],
        };
        let request = OffsetCommitRequest {
            api_version: 9,
            group_id: self.group.to_owned(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: None,
            retention_time_ms: None,
            topics: vec![topic],
        };
        (Asked::Commit { partition, offset }, Request::OffsetCommit(request))
    }

    fn fetch(&self, core: &mut Core, partition: i32) -> (Asked, Request) {
        let required = core.invariants.offsets.required(self.group, partition);
        let topic = OffsetFetchTopic {
            name: DATA_TOPIC.to_owned(),
            topic_id: TopicId::ZERO,
            partitions: vec![PartitionIndex(partition)],
        };
        let request = OffsetFetchRequest {
            group_id: self.group.to_owned(),
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![topic]),
            require_stable: core.random.per_mille(500),
            may_be_replaced: false,
        };
        (Asked::Fetch { partition, required }, Request::OffsetFetch(request))
    }

    pub(super) fn handle(&mut self, core: &mut Core, correlation: Correlation, answer: FromBroker) {
        let is_asked = |(asked, _, _): &(Correlation, i64, Asked)| *asked == correlation;
        let Some((_, _, asked)) = self.outstanding.take_if(|outstanding| is_asked(outstanding)) else {
            return;
        };
        match answer {
            FromBroker::Group { response, leader_epoch } => {
                self.answered(core, asked, response, leader_epoch)
            }
            FromBroker::Error { hint, .. } => {
                self.look_elsewhere(core);
                if let Some(leader) = hint.leader {
                    self.coordinator = leader.0;
                }
            }
            answer => unreachable!("a group's request is answered {answer:?}"),
        }
    }

    fn answered(&mut self, core: &mut Core, asked: Asked, response: Response, epoch: i32) {
        match (asked, response) {
            (Asked::Join, Response::Join(response)) => self.joined(core, response),
            (Asked::Sync, Response::Sync(response)) if response.error.is_none() => {
                self.assigned = response.assignment.iter().map(|index| i32::from(*index)).collect();
                self.phase = Phase::Stable;
                core.coverage.note(Happened::GroupRebalanced);
            }
            (Asked::Sync, Response::Sync(response)) => self.refused(core, response.error),
            (Asked::Heartbeat, Response::Heartbeat(error)) => self.refused(core, error),
            (Asked::Leave, Response::Leave(_)) => {
                self.member_id.clear();
                self.phase = Phase::Join;
                self.next_at = core.now + core.random.between(100, 1_500);
            }
            (Asked::Commit { partition, offset }, Response::OffsetCommit(response)) => {
                let error = response.topics[0].partitions[0].error;
                if error.is_none() {
                    core.coverage.note(Happened::OffsetCommitted);
                    core.invariants.offsets.acked(self.group, partition, offset, epoch);
                    self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(1));
                }
                self.refused(core, error);
            }
            (Asked::Fetch { partition, required }, Response::OffsetFetch(response)) => {
                self.fetched(core, (partition, &required), &response, epoch);
            }
            (asked, response) => unreachable!("asked {asked:?}, was answered {response:?}"),
        }
    }

    fn joined(&mut self, core: &mut Core, response: JoinGroupResponse) {
        match response.error {
            ErrorCode::None => {
                self.member_id = response.member_id;
                self.generation = response.generation_id;
                self.members = response.members.into_iter().map(|member| member.member_id).collect();
                self.phase = Phase::Sync;
                self.next_at = core.now;
            }
            ErrorCode::MemberIdRequired => {
                self.member_id = response.member_id;
                self.next_at = core.now;
            }
            error => self.refused(core, error),
        }
    }

    fn refused(&mut self, core: &mut Core, error: ErrorCode) {
        match error {
            ErrorCode::None => {}
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => self.look_elsewhere(core),
            ErrorCode::CoordinatorLoadInProgress => self.next_at = core.now + RETRY_MS,
            _ if self.is_simple => {}
            ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound => {
                self.member_id.clear();
                self.phase = Phase::Join;
            }
            _ => self.phase = Phase::Join,
        }
    }

    fn fetched(
        &mut self,
        core: &mut Core,
        (partition, required): (i32, &Required),
        response: &OffsetFetchResponse,
        epoch: i32,
    ) {
        if !response.error.is_none() {
            return self.refused(core, response.error);
        }
        let found = &response.topics[0].partitions[0];
        if !found.error.is_none() {
            return self.refused(core, found.error);
        }
        core.coverage.note(Happened::OffsetFetched);
        let answer = (found.committed_offset.0, epoch);
        let verdict = core.invariants.offsets.fetched(self.group, partition, answer, required);
        core.invariants.judge("committed_offset_never_regresses", verdict);
    }

    pub(super) fn finish(&mut self) {
        self.remaining = Some(LAST_COMMITS);
    }

    pub(super) fn unfinished(&self) -> Option<String> {
        let has_share = self.remaining.is_some_and(|remaining| remaining == 0);
        // A member that got no partition has nothing to commit.
        let is_done = has_share || (self.phase == Phase::Stable && self.assigned.is_empty());
        (!is_done)
            .then(|| format!("a member of {} is in {:?} with {:?}", self.group, self.phase, self.outstanding))
    }
}
