//! The group coordinator: the real shard over the replicated partition of `__consumer_offsets`.

use std::rc::Rc;

use moldau_group::{
    AppendId, FetchedOffset, FetchedTopic, Input, OffsetFetchRequest, OffsetFetchResponse, Output, Request,
    RequestToken, Response, ShardState,
};
use moldau_model::{ErrorCode, LeaderEpoch, Offset, ProducerId};

use super::{Broker, Waiting, Whom};
use crate::bug::Bug;
use crate::core::Core;
use crate::coverage::Happened;
use crate::event::Timer;
use crate::log::{InTransaction, NewBatch};
use crate::message::{Correlation, FromBroker, Node};
use crate::topology::OFFSETS_PART;

/// The longest that a load takes to begin.
const LOAD_MS_MAX: i64 = 80;

impl Broker {
    pub(super) fn elected_coordinator(&mut self, core: &mut Core, epoch: i32) {
        // Other changes of the partition, of its ISR for one, keep the leadership.
        if self.process.shard_epoch == Some(epoch) {
            return;
        }
        self.process.shard_epoch = Some(epoch);
        self.process.loaded_to = None;
        let outputs = self.process.shard.begin_load(LeaderEpoch(epoch));
        self.carry_out(core, outputs);
        let delay = core.random.between(1, LOAD_MS_MAX);
        self.timer(core, delay, Timer::GroupLoad { leader_epoch: epoch });
    }

    pub(super) fn resigned_coordinator(&mut self, core: &mut Core) {
        if self.process.shard_epoch.take().is_some() {
            self.process.loaded_to = None;
            let outputs = self.process.shard.unload();
            self.carry_out(core, outputs);
        }
    }

    /// Reads the partition into the shard.
    pub(super) fn load_groups(&mut self, core: &mut Core, leader_epoch: i32) {
        let is_loading = matches!(self.process.shard.state(), ShardState::Loading { .. });
        if self.process.shard_epoch != Some(leader_epoch)
            || !is_loading
            || self.process.loaded_to.is_some()
            || self.leads(OFFSETS_PART) != Some(leader_epoch)
        {
            return;
        }
        let log = &self.disk.logs[OFFSETS_PART.0];
        let high_watermark =
            self.process.hosted.get(&OFFSETS_PART).map_or(0, |hosted| hosted.replica.high_watermark().0);
        let end = if core.has(Bug::LoadToHighWatermarkOnly) { high_watermark } else { log.end() };
        for batch in log.from(0).iter().take_while(|batch| batch.end() <= end) {
            let producer_id = batch.content.sequenced.map(|by| ProducerId(by.producer_id));
            if let (Some(producer_id), Some(InTransaction::Marker { is_commit, .. })) =
                (producer_id, batch.content.in_transaction)
            {
                self.process.shard.replay_marker(producer_id, is_commit);
            }
            let opens = producer_id.filter(|_| !core.has(Bug::LoadOffsetsOfOpenTransactions));
            for record in batch.content.group.iter().flat_map(|records| records.iter()) {
                let (key, value, shard) = (&record.key, record.value.as_deref(), &mut self.process.shard);
                let replayed = match opens {
                    Some(producer_id) => shard.replay_in_transaction(producer_id, key, value),
                    None => shard.replay(key, value),
                };
                replayed.expect("the coordinator reads what coordinators wrote");
            }
        }
        self.process.loaded_to = Some(end);
        self.loaded_groups_committed(core);
    }

    /// Answers begin once all that was loaded is committed: until then a later leader might not have it.
    pub(super) fn loaded_groups_committed(&mut self, core: &mut Core) {
        let Some(end) = self.process.loaded_to else { return };
        let Some(hosted) = self.process.hosted.get(&OFFSETS_PART) else { return };
        if hosted.replica.high_watermark().0 < end && !core.has(Bug::AnswerUncommittedLoad) {
            return;
        }
        self.process.loaded_to = None;
        core.coverage.note(Happened::GroupLoaded);
        let outputs = self.process.shard.finish_load(core.now);
        self.carry_out(core, outputs);
    }

    pub(super) fn group_request(
        &mut self,
        core: &mut Core,
        from: Node,
        correlation: Correlation,
        mut request: Request,
    ) {
        let is_active = matches!(self.process.shard.state(), ShardState::Active { .. });
        if !is_active
            && core.has(Bug::ZeroForMissingOffset)
            && let Request::OffsetFetch(request) = &request
        {
            let leader_epoch =
                OFFSETS_PART.find(&self.process.image).map_or(-1, |(_, partition)| partition.leader_epoch.0);
            let answer = FromBroker::Group { response: zeros(request), leader_epoch };
            return self.answer(core, from, correlation, answer);
        }
        if self.process.shard_epoch.is_none() {
            return self.answer_error(core, from, correlation, OFFSETS_PART, ErrorCode::NotCoordinator);
        }
        if let Request::OffsetFetch(request) = &mut request {
            let is_out_of_touch = self.may_be_replaced(core.now);
            if is_out_of_touch {
                core.coverage.note(Happened::AskedWhileOutOfTouch);
            }
            request.may_be_replaced = is_out_of_touch && !core.has(Bug::TellOffsetsWhenReplaced);
        }
        self.process.next_token += 1;
        let token = RequestToken(self.process.next_token);
        self.process.group_tokens.insert(token, (from, correlation));
        self.handle_group_input(core, Input::Request { token, request: Box::new(request) });
    }

    fn handle_group_input(&mut self, core: &mut Core, input: Input) {
        let outputs = self.process.shard.handle(input, core.now);
        self.carry_out(core, outputs);
    }

    fn carry_out(&mut self, core: &mut Core, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Reply { token, response } => {
                    if let Some((to, correlation)) = self.process.group_tokens.remove(&token) {
                        let leader_epoch = self.process.shard_epoch.unwrap_or(-1);
                        let answer = FromBroker::Group { response, leader_epoch };
                        self.answer(core, to, correlation, answer);
                    }
                }
                Output::Append { append_id, leader_epoch, kind, records } => {
                    let Some((sequenced, in_transaction)) = self.in_transaction(kind) else {
                        self.group_appended(append_id, Err(ErrorCode::InvalidTxnState));
                        continue;
                    };
                    let id = core.unique();
                    // A marker is one record of its own.
                    let count = (records.len() as i32).max(1);
                    let group = Some(Rc::new(records));
                    let batch =
                        NewBatch { id, count, sequenced, group, in_transaction, ..NewBatch::default() };
                    match self.append(core, OFFSETS_PART, Some(leader_epoch.0), batch, true) {
                        Ok(_) if core.has(Bug::AckOffsetsBeforeCommit) => {
                            self.group_appended(append_id, Ok(()));
                        }
                        Ok(appended) => {
                            let whom = Whom::Coordinator { append_id };
                            self.wait(core, OFFSETS_PART, Waiting { required: appended.end, whom });
                        }
                        Err(code) => self.group_appended(append_id, Err(code)),
                    }
                }
            }
        }
        self.schedule_group_tick(core);
    }

    /// The fate of an append is known; the shard is told when the step's other work is done.
    pub(super) fn group_appended(&mut self, append_id: AppendId, result: Result<(), ErrorCode>) {
        self.process.group_inputs.push_back(Input::Appended { append_id, result });
    }

    pub(super) fn drain_group_inputs(&mut self, core: &mut Core) {
        while let Some(input) = self.process.group_inputs.pop_front() {
            self.handle_group_input(core, input);
        }
    }

    fn schedule_group_tick(&mut self, core: &mut Core) {
        let Some(deadline) = self.process.shard.next_deadline_ms() else { return };
        if deadline < self.process.group_tick_at {
            self.process.group_tick_at = deadline;
            self.timer(core, (deadline - core.now).max(0), Timer::GroupTick);
        }
    }

    pub(super) fn group_tick(&mut self, core: &mut Core) {
        self.process.group_tick_at = i64::MAX;
        self.handle_group_input(core, Input::Tick);
    }
}

/// For the seeded fault: what a coordinator says that takes "not loaded" for "nothing committed".
fn zeros(request: &OffsetFetchRequest) -> Response {
    let topics = request.topics.iter().flatten().map(|topic| FetchedTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| FetchedOffset {
                partition: *partition,
                topic_id: topic.topic_id,
                committed_offset: Offset(0),
                committed_leader_epoch: LeaderEpoch::NONE,
                metadata: String::new(),
                error: ErrorCode::None,
            })
            .collect(),
    });
    Response::OffsetFetch(OffsetFetchResponse {
        group_id: request.group_id.clone(),
        error: ErrorCode::None,
        topics: topics.collect(),
    })
}
