//! One shard with the clients that wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use moldau_group::{AppendId, GroupShard, Input, Output, Request, RequestToken, Response, ShardState};
use moldau_model::{ErrorCode, LeaderEpoch, PartitionIndex};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::store::{AppendOutcome, LoadError};
use super::{Answer, GroupCoordinator, UNANSWERED_MAX};

/// One partition of `__consumer_offsets` that this broker leads.
pub(super) struct Slot {
    partition: PartitionIndex,
    state: Mutex<SlotState>,
}

struct SlotState {
    shard: GroupShard,
    /// Of the load or the activity under way.
    leader_epoch: LeaderEpoch,
    unanswered: HashMap<RequestToken, oneshot::Sender<Response>>,
    next_token: u64,
}

impl Slot {
    pub(super) fn new(coordinator: &GroupCoordinator, partition: PartitionIndex) -> Self {
        let state = SlotState {
            shard: GroupShard::new(Arc::clone(&coordinator.config)),
            leader_epoch: LeaderEpoch::NONE,
            unanswered: HashMap::new(),
            next_token: 0,
        };
        Self { partition, state: Mutex::new(state) }
    }

    pub(super) fn partition(&self) -> PartitionIndex {
        self.partition
    }

    pub(super) fn state(&self) -> ShardState {
        self.state.lock().shard.state()
    }

    pub(super) fn leader_epoch(&self) -> LeaderEpoch {
        self.state.lock().leader_epoch
    }

    pub(super) fn request(
        self: &Arc<Self>,
        coordinator: &Arc<GroupCoordinator>,
        request: Request,
    ) -> Result<Answer, ErrorCode> {
        let mut state = self.state.lock();
        if state.unanswered.len() >= UNANSWERED_MAX {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let token = RequestToken(state.next_token);
        state.next_token += 1;
        let (sender, answer) = oneshot::channel();
        state.unanswered.insert(token, sender);
        self.handle_locked(coordinator, &mut state, Input::Request { token, request: Box::new(request) });
        Ok(answer)
    }

    pub(super) fn handle(self: &Arc<Self>, coordinator: &Arc<GroupCoordinator>, input: Input) {
        let mut state = self.state.lock();
        self.handle_locked(coordinator, &mut state, input);
    }

    /// Lets time pass if it is time, and says when to come again.
    pub(super) fn tick(self: &Arc<Self>, coordinator: &Arc<GroupCoordinator>, now_ms: i64) -> Option<i64> {
        let mut state = self.state.lock();
        if state.shard.next_deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            let outputs = state.shard.handle(Input::Tick, now_ms);
            self.carry_out(coordinator, &mut state, outputs);
        }
        state.shard.next_deadline_ms()
    }

    fn handle_locked(
        self: &Arc<Self>,
        coordinator: &Arc<GroupCoordinator>,
        state: &mut SlotState,
        input: Input,
    ) {
        let outputs = state.shard.handle(input, coordinator.clock.now_ms());
        self.carry_out(coordinator, state, outputs);
        if let Some(deadline_ms) = state.shard.next_deadline_ms() {
            coordinator.tick_at(deadline_ms);
        }
    }

    fn carry_out(
        self: &Arc<Self>,
        coordinator: &Arc<GroupCoordinator>,
        state: &mut SlotState,
        outputs: Vec<Output>,
    ) {
        for output in outputs {
            match output {
                Output::Reply { token, response } => {
                    if let Some(sender) = state.unanswered.remove(&token) {
                        // A client that has gone does not want its answer any more.
                        let _ = sender.send(response);
                    }
                }
                Output::Append { append_id, leader_epoch, records } => {
                    let outcome = coordinator.store.append(self.partition, leader_epoch, &records);
                    let (slot, coordinator) = (Arc::clone(self), Arc::clone(coordinator));
                    tokio::spawn(async move {
                        let outcome = outcome.await;
                        slot.appended(&coordinator, append_id, leader_epoch, outcome);
                    });
                }
            }
        }
    }

    fn appended(
        self: &Arc<Self>,
        coordinator: &Arc<GroupCoordinator>,
        append_id: AppendId,
        leader_epoch: LeaderEpoch,
        outcome: AppendOutcome,
    ) {
        let result = match outcome {
            AppendOutcome::Committed => Ok(()),
            AppendOutcome::Refused(code) => Err(code),
            // The shard answers its clients itself in time; the log tells the truth at the next load.
            AppendOutcome::Unknown => return,
        };
        let mut state = self.state.lock();
        // The outcome of another leadership's append says nothing about what was loaded since.
        if state.leader_epoch == leader_epoch {
            self.handle_locked(coordinator, &mut state, Input::Appended { append_id, result });
        }
    }

    /// Forgets everything and starts to load as the leader of `leader_epoch`.
    pub(super) fn begin_load(
        self: &Arc<Self>,
        coordinator: &Arc<GroupCoordinator>,
        leader_epoch: LeaderEpoch,
    ) {
        let mut state = self.state.lock();
        state.leader_epoch = leader_epoch;
        let outputs = state.shard.begin_load(leader_epoch);
        self.carry_out(coordinator, &mut state, outputs);
    }

    /// Takes in one record of a load.
    pub(super) fn replay(
        &self,
        leader_epoch: LeaderEpoch,
        offset: i64,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), LoadError> {
        let mut state = self.state.lock();
        if state.leader_epoch != leader_epoch {
            return Err(LoadError::NotLeader);
        }
        match state.shard.replay(key, value) {
            Ok(_) => Ok(()),
            Err(source) => Err(LoadError::Record { offset, source }),
        }
    }

    /// All records of a load are in: the shard answers from now on. False if another leadership came in between.
    pub(super) fn finish_load(
        self: &Arc<Self>,
        coordinator: &Arc<GroupCoordinator>,
        leader_epoch: LeaderEpoch,
    ) -> bool {
        let mut state = self.state.lock();
        if state.leader_epoch != leader_epoch {
            return false;
        }
        let outputs = state.shard.finish_load(coordinator.clock.now_ms());
        self.carry_out(coordinator, &mut state, outputs);
        if let Some(deadline_ms) = state.shard.next_deadline_ms() {
            coordinator.tick_at(deadline_ms);
        }
        true
    }

    /// Ends the leadership: who waits is told.
    pub(super) fn unload(self: &Arc<Self>, coordinator: &Arc<GroupCoordinator>) {
        let mut state = self.state.lock();
        state.leader_epoch = LeaderEpoch::NONE;
        let outputs = state.shard.unload();
        self.carry_out(coordinator, &mut state, outputs);
        // A request the shard did not know would wait for ever; a dropped sender is an answer too.
        state.unanswered.clear();
    }
}
