//! A shard, its clock and its log. Every output is checked: a token is answered once, and by its kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use moldau_model::{ErrorCode, GenerationId, LeaderEpoch, Offset, PartitionIndex, TopicId, Uuid};

use super::consumer::ChangingTopics;
use crate::*;

pub(super) const TOPIC: &str = "t";

/// A subscription of version 1 to one topic, owning nothing.
pub(super) fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 1, 0, 0, 0, 1];
    bytes.extend_from_slice(&(topic.len() as i16).to_be_bytes());
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    bytes.into()
}

pub(super) fn protocol(name: &str, metadata: Bytes) -> JoinGroupProtocol {
    JoinGroupProtocol { name: name.into(), metadata }
}

/// A JoinGroup of version 9 from a consumer of topic `t`.
pub(super) fn join(group_id: &str, member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest {
        api_version: 9,
        group_id: group_id.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: member_id.into(),
        group_instance_id: None,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", subscription(TOPIC))],
        reason: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        new_member_uuid: Uuid::ZERO,
    }
}

pub(super) fn static_join(group_id: &str, instance_id: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance_id.into()), ..join(group_id, "") }
}

pub(super) fn sync(
    group_id: &str,
    member_id: &str,
    generation_id: i32,
    assignments: &[(&str, &str)],
) -> SyncGroupRequest {
    SyncGroupRequest {
        api_version: 5,
        group_id: group_id.into(),
        generation_id: GenerationId(generation_id),
        member_id: member_id.into(),
        group_instance_id: None,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: assignments
            .iter()
            .map(|(member_id, assignment)| SyncGroupAssignment {
                member_id: (*member_id).to_owned(),
                assignment: Bytes::copy_from_slice(assignment.as_bytes()),
            })
            .collect(),
    }
}

pub(super) fn offset(partition: i32, offset: i64) -> OffsetCommitPartition {
    OffsetCommitPartition {
        partition: PartitionIndex(partition),
        committed_offset: Offset(offset),
        committed_leader_epoch: LeaderEpoch::NONE,
        metadata: None,
    }
}

/// A commit of partition 0 of topic `t`.
pub(super) fn commit(
    group_id: &str,
    member_id: &str,
    generation_id: i32,
    committed: i64,
) -> OffsetCommitRequest {
    OffsetCommitRequest {
        api_version: 9,
        group_id: group_id.into(),
        generation_id: GenerationId(generation_id),
        member_id: member_id.into(),
        group_instance_id: None,
        retention_time_ms: None,
        topics: vec![OffsetCommitTopic {
            name: TOPIC.into(),
            topic_id: TopicId::ZERO,
            partitions: vec![offset(0, committed)],
        }],
    }
}

pub(super) fn fetch(group_id: &str) -> OffsetFetchRequest {
    OffsetFetchRequest {
        group_id: group_id.into(),
        member_id: None,
        member_epoch: -1,
        topics: Some(vec![OffsetFetchTopic {
            name: TOPIC.into(),
            topic_id: TopicId::ZERO,
            partitions: vec![PartitionIndex(0)],
        }]),
        require_stable: false,
        may_be_replaced: false,
    }
}

pub(super) struct Harness {
    pub(super) shard: GroupShard,
    pub(super) topics: Arc<ChangingTopics>,
    pub(super) now_ms: i64,
    /// Whether appends are committed at once.
    pub(super) auto_commit: bool,
    next_token: u64,
    unanswered: BTreeSet<RequestToken>,
    replies: BTreeMap<RequestToken, Response>,
    /// What was committed, in the log's order, which is that of the appends and not of their outcomes.
    pub(super) log: Vec<CoordinatorRecord>,
    /// Which append each of those came with.
    log_append_ids: Vec<AppendId>,
    /// Those of them that were in transactions, and the transactions' ends.
    log_kinds: BTreeMap<AppendId, AppendKind>,
    pub(super) pending: BTreeMap<AppendId, Vec<CoordinatorRecord>>,
    pending_kinds: BTreeMap<AppendId, AppendKind>,
}

impl Harness {
    /// An active shard whose first rebalances wait a millisecond.
    pub(super) fn new() -> Self {
        Self::with_config(GroupConfig { initial_rebalance_delay_ms: 1, ..GroupConfig::default() })
    }

    pub(super) fn with_config(config: GroupConfig) -> Self {
        let mut harness = Self::inactive(config);
        harness.load(&[]);
        harness
    }

    pub(super) fn inactive(config: GroupConfig) -> Self {
        let topics = Arc::<ChangingTopics>::default();
        let source: Arc<dyn MetadataSource> = Arc::<ChangingTopics>::clone(&topics);
        Self {
            shard: GroupShard::with_metadata(Arc::new(config), source),
            topics,
            now_ms: 1_000_000,
            auto_commit: true,
            next_token: 0,
            unanswered: BTreeSet::new(),
            replies: BTreeMap::new(),
            log: Vec::new(),
            log_append_ids: Vec::new(),
            log_kinds: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_kinds: BTreeMap::new(),
        }
    }

    /// Becomes the coordinator by reading these records.
    pub(super) fn load(&mut self, records: &[CoordinatorRecord]) {
        let outputs = self.shard.begin_load(LeaderEpoch(1));
        self.take(outputs);
        self.pending.clear();
        for record in records {
            self.shard.replay(&record.key, record.value.as_deref()).unwrap();
        }
        let outputs = self.shard.finish_load(self.now_ms);
        self.take(outputs);
    }

    /// Puts a record into the log that another coordinator wrote.
    pub(super) fn write_foreign(&mut self, record: CoordinatorRecord) {
        let last = self.log_append_ids.last().copied().unwrap_or(AppendId(0));
        self.write(AppendId(last.0 + 1), vec![record]);
    }

    /// Another coordinator takes over and reads what was committed; of the appends under way the first `kept`
    /// have come to be committed, though nobody was told.
    pub(super) fn fail_over_keeping(&mut self, kept: usize) {
        let pending = std::mem::take(&mut self.pending);
        for (append_id, records) in pending.into_iter().take(kept) {
            self.write(append_id, records);
        }
        self.fail_over();
    }

    /// Another coordinator takes over and reads what was committed.
    pub(super) fn fail_over(&mut self) {
        let outputs = self.shard.begin_load(LeaderEpoch(1));
        self.take(outputs);
        self.pending.clear();
        let records = self.log_append_ids.iter().copied().zip(&self.log);
        let mut entries: Vec<(AppendId, Option<&CoordinatorRecord>)> =
            records.map(|(id, record)| (id, Some(record))).collect();
        let is_marker = |kind: &AppendKind| matches!(kind, AppendKind::Marker(_));
        entries.extend(self.log_kinds.iter().filter(|(_, kind)| is_marker(kind)).map(|(id, _)| (*id, None)));
        entries.sort_by_key(|(id, _)| *id);
        for (append_id, record) in entries {
            let kind = self.log_kinds.get(&append_id).copied().unwrap_or_default();
            match (kind, record) {
                (AppendKind::Marker(marker), _) => {
                    self.shard.replay_marker(marker.producer_id, marker.is_commit);
                }
                (AppendKind::InTransaction(transaction), Some(record)) => {
                    let (producer_id, value) = (transaction.producer_id, record.value.as_deref());
                    self.shard.replay_in_transaction(producer_id, &record.key, value).unwrap();
                }
                (_, Some(record)) => {
                    self.shard.replay(&record.key, record.value.as_deref()).unwrap();
                }
                (_, None) => {}
            }
        }
        let outputs = self.shard.finish_load(self.now_ms);
        self.take(outputs);
    }

    pub(super) fn handle(&mut self, input: Input) {
        let outputs = self.shard.handle(input, self.now_ms);
        self.take(outputs);
    }

    pub(super) fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reply { token, response } => {
                    assert!(self.unanswered.remove(&token), "{token:?} is answered once: {response:?}");
                    self.replies.insert(token, response);
                }
                Output::Append { append_id, records, kind, .. } => {
                    assert_eq!(records.is_empty(), matches!(kind, AppendKind::Marker(_)));
                    self.pending_kinds.insert(append_id, kind);
                    assert!(self.pending.insert(append_id, records).is_none(), "an append id is used once");
                }
            }
        }
        for group in self.shard.groups.values() {
            group.check();
        }
        for slot in self.shard.consumer_groups.by_id.values() {
            slot.group.check();
        }
        for slot in self.shard.share_groups.by_id.values() {
            slot.group.check();
        }
        if self.auto_commit {
            self.commit_all();
        }
    }

    pub(super) fn commit_all(&mut self) {
        while let Some(append_id) = self.pending.keys().next().copied() {
            self.settle(append_id, Ok(()));
        }
    }

    pub(super) fn settle(&mut self, append_id: AppendId, result: Result<(), ErrorCode>) {
        let records = self.pending.remove(&append_id).unwrap();
        if result.is_ok() {
            self.write(append_id, records);
        }
        self.handle(Input::Appended { append_id, result });
    }

    fn write(&mut self, append_id: AppendId, records: Vec<CoordinatorRecord>) {
        if let Some(kind) = self.pending_kinds.remove(&append_id) {
            self.log_kinds.insert(append_id, kind);
        }
        let at = self.log_append_ids.partition_point(|other| *other < append_id);
        self.log_append_ids.splice(at..at, records.iter().map(|_| append_id));
        self.log.splice(at..at, records);
    }

    pub(super) fn fail_all(&mut self, error: ErrorCode) {
        for append_id in self.pending.keys().copied().collect::<Vec<_>>() {
            self.settle(append_id, Err(error));
        }
    }

    /// Lets time pass, deadline by deadline.
    pub(super) fn advance(&mut self, duration_ms: i64) {
        let end = self.now_ms + duration_ms;
        while let Some(deadline_ms) = self.shard.next_deadline_ms().filter(|deadline_ms| *deadline_ms <= end)
        {
            self.now_ms = self.now_ms.max(deadline_ms);
            self.handle(Input::Tick);
        }
        self.now_ms = end;
    }

    pub(super) fn send(&mut self, request: Request) -> RequestToken {
        let token = RequestToken(self.next_token);
        self.next_token += 1;
        self.unanswered.insert(token);
        self.handle(Input::Request { token, request: Box::new(request) });
        token
    }

    pub(super) fn is_parked(&self, token: RequestToken) -> bool {
        self.unanswered.contains(&token)
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    pub(super) fn try_answer(&mut self, token: RequestToken) -> Option<Response> {
        self.replies.remove(&token)
    }

    pub(super) fn answer(&mut self, token: RequestToken) -> Response {
        self.replies.remove(&token).unwrap_or_else(|| panic!("{token:?} is not answered"))
    }

    pub(super) fn call(&mut self, request: Request) -> Response {
        let token = self.send(request);
        self.answer(token)
    }

    pub(super) fn send_join(&mut self, request: JoinGroupRequest) -> RequestToken {
        self.send(Request::Join(request))
    }

    /// The answer to a JoinGroup, after a first rebalance's two milliseconds if need be: it waits one, and once
    /// more if somebody came within the first.
    pub(super) fn joined(&mut self, token: RequestToken) -> JoinGroupResponse {
        for _ in 0..2 {
            if self.is_parked(token) {
                self.advance(1);
            }
        }
        match self.answer(token) {
            Response::Join(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn join(&mut self, request: JoinGroupRequest) -> JoinGroupResponse {
        let token = self.send_join(request);
        self.joined(token)
    }

    /// A new member's id, by the way of MEMBER_ID_REQUIRED.
    pub(super) fn new_member_id(&mut self, group_id: &str) -> String {
        let request = JoinGroupRequest { new_member_uuid: self.uuid(), ..join(group_id, "") };
        let response = self.join(request);
        assert_eq!(response.error, ErrorCode::MemberIdRequired);
        response.member_id
    }

    /// Another one for each request, and none is zero, which is the one of [`join`].
    pub(super) fn uuid(&self) -> Uuid {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&(self.next_token + 1).to_be_bytes());
        Uuid::from_bytes(bytes)
    }

    pub(super) fn synced(&mut self, token: RequestToken) -> SyncGroupResponse {
        match self.answer(token) {
            Response::Sync(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn sync(&mut self, request: SyncGroupRequest) -> SyncGroupResponse {
        let token = self.send(Request::Sync(request));
        self.synced(token)
    }

    /// A stable group of `count` members, each assigned its own id; the first is the leader.
    pub(super) fn stable_group(&mut self, group_id: &str, count: usize) -> (Vec<String>, i32) {
        let member_ids: Vec<String> = (0..count).map(|_| self.new_member_id(group_id)).collect();
        self.form_generation(group_id, &member_ids)
    }

    /// Lets these members (all of the group) join and sync.
    pub(super) fn form_generation(&mut self, group_id: &str, member_ids: &[String]) -> (Vec<String>, i32) {
        let tokens: Vec<RequestToken> =
            member_ids.iter().map(|id| self.send_join(join(group_id, id))).collect();
        let mut generation_id = 0;
        let mut leader = String::new();
        for token in tokens {
            let response = self.joined(token);
            assert_eq!(response.error, ErrorCode::None);
            generation_id = response.generation_id.0;
            leader = response.leader;
        }
        let assignments: Vec<(&str, &str)> = member_ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
        let leader_token = self.send(Request::Sync(sync(group_id, &leader, generation_id, &assignments)));
        if self.auto_commit {
            assert_eq!(self.synced(leader_token).assignment, leader.as_bytes());
        }
        let mut ordered = vec![leader.clone()];
        for member_id in member_ids.iter().filter(|id| **id != leader) {
            if self.auto_commit {
                assert_eq!(
                    self.sync(sync(group_id, member_id, generation_id, &[])).assignment,
                    member_id.as_bytes()
                );
            }
            ordered.push(member_id.clone());
        }
        (ordered, generation_id)
    }

    pub(super) fn heartbeat(&mut self, group_id: &str, member_id: &str, generation_id: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: group_id.into(),
            generation_id: GenerationId(generation_id),
            member_id: member_id.into(),
            group_instance_id: None,
        };
        match self.call(Request::Heartbeat(request)) {
            Response::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn leave(&mut self, group_id: &str, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
        let members = members.iter().map(|(member_id, instance_id)| LeavingMember {
            member_id: (*member_id).to_owned(),
            group_instance_id: instance_id.map(str::to_owned),
            reason: None,
        });
        let request = LeaveGroupRequest { group_id: group_id.into(), members: members.collect() };
        match self.call(Request::Leave(request)) {
            Response::Leave(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn committed(&mut self, token: RequestToken) -> ErrorCode {
        match self.answer(token) {
            Response::OffsetCommit(response) => response.topics[0].partitions[0].error,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn commit(&mut self, request: OffsetCommitRequest) -> ErrorCode {
        let token = self.send(Request::OffsetCommit(request));
        self.committed(token)
    }

    pub(super) fn fetched(&mut self, token: RequestToken) -> OffsetFetchResponse {
        match self.answer(token) {
            Response::OffsetFetch(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn fetch(&mut self, request: OffsetFetchRequest) -> OffsetFetchResponse {
        let token = self.send(Request::OffsetFetch(request));
        self.fetched(token)
    }

    /// The committed offset of partition 0 of topic `t`.
    pub(super) fn offset(&mut self, group_id: &str) -> i64 {
        self.fetch(fetch(group_id)).topics[0].partitions[0].committed_offset.0
    }

    pub(super) fn describe(&mut self, group_id: &str) -> DescribedGroup {
        let request = DescribeGroupsRequest { api_version: 6, groups: vec![group_id.into()] };
        match self.call(Request::DescribeGroups(request)) {
            Response::DescribeGroups(mut groups) => groups.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn state(&mut self, group_id: &str) -> String {
        self.describe(group_id).state
    }

    pub(super) fn delete_groups(&mut self, group_ids: &[&str]) -> Vec<(String, ErrorCode)> {
        let group_ids = group_ids.iter().map(|id| (*id).to_owned()).collect();
        match self.call(Request::DeleteGroups(group_ids)) {
            Response::DeleteGroups(groups) => groups.into_iter().map(|g| (g.group_id, g.error)).collect(),
            other => panic!("{other:?}"),
        }
    }
}
