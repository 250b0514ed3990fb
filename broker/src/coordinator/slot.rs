//! One shard with the clients that wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::shard::{Effect, Shard};
use super::store::{AppendOutcome, LoadError, Loaded};
use super::{Answer, Coordinator, UNANSWERED_MAX};

/// One partition of the coordinator's topic that this broker leads.
pub(super) struct Slot<S: Shard> {
    partition: PartitionIndex,
    state: Mutex<SlotState<S>>,
}

struct SlotState<S: Shard> {
    shard: S,
    /// Of the load or the activity under way.
    leader_epoch: LeaderEpoch,
    unanswered: HashMap<u64, oneshot::Sender<S::Response>>,
    next_token: u64,
}

impl<S: Shard> Slot<S> {
    pub(super) fn new(coordinator: &Coordinator<S>, partition: PartitionIndex) -> Self {
        let state = SlotState {
            shard: S::new(&coordinator.settings),
            leader_epoch: LeaderEpoch::NONE,
            unanswered: HashMap::new(),
            next_token: 0,
        };
        Self { partition, state: Mutex::new(state) }
    }

    pub(super) fn partition(&self) -> PartitionIndex {
        self.partition
    }

    pub(super) fn is_active(&self) -> bool {
        self.state.lock().shard.is_active()
    }

    /// Looks at the shard, under its lock.
    pub(super) fn look<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.state.lock().shard)
    }

    pub(super) fn leader_epoch(&self) -> LeaderEpoch {
        self.state.lock().leader_epoch
    }

    pub(super) fn request(
        self: &Arc<Self>,
        coordinator: &Arc<Coordinator<S>>,
        request: S::Request,
    ) -> Result<Answer<S>, ErrorCode> {
        let mut state = self.state.lock();
        if state.unanswered.len() >= UNANSWERED_MAX {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let token = state.next_token;
        state.next_token += 1;
        let (sender, answer) = oneshot::channel();
        state.unanswered.insert(token, sender);
        self.handle_locked(coordinator, &mut state, S::request(token, request));
        Ok(answer)
    }

    pub(super) fn handle(self: &Arc<Self>, coordinator: &Arc<Coordinator<S>>, input: S::Input) {
        let mut state = self.state.lock();
        self.handle_locked(coordinator, &mut state, input);
    }

    /// The same, if the leadership is still this one.
    pub(super) fn handle_in(
        self: &Arc<Self>,
        coordinator: &Arc<Coordinator<S>>,
        leader_epoch: LeaderEpoch,
        input: S::Input,
    ) {
        let mut state = self.state.lock();
        if state.leader_epoch == leader_epoch {
            self.handle_locked(coordinator, &mut state, input);
        }
    }

    /// Lets time pass if it is time, and says when to come again.
    pub(super) fn tick(self: &Arc<Self>, coordinator: &Arc<Coordinator<S>>, now_ms: i64) -> Option<i64> {
        let mut state = self.state.lock();
        if state.shard.next_deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            let outputs = state.shard.handle(S::tick(), now_ms);
            self.carry_out(coordinator, &mut state, outputs);
        }
        state.shard.next_deadline_ms()
    }

    fn handle_locked(
        self: &Arc<Self>,
        coordinator: &Arc<Coordinator<S>>,
        state: &mut SlotState<S>,
        input: S::Input,
    ) {
        let outputs = state.shard.handle(input, coordinator.clock.now_ms());
        self.carry_out(coordinator, state, outputs);
        if let Some(deadline_ms) = state.shard.next_deadline_ms() {
            coordinator.tick_at(deadline_ms);
        }
    }

    fn carry_out(
        self: &Arc<Self>,
        coordinator: &Arc<Coordinator<S>>,
        state: &mut SlotState<S>,
        outputs: Vec<S::Output>,
    ) {
        for output in outputs {
            match S::effect(output) {
                Effect::Reply { token, response } => {
                    if let Some(sender) = state.unanswered.remove(&token) {
                        // A client that has gone does not want its answer any more.
                        let _ = sender.send(response);
                    }
                }
                Effect::Append { append_id, leader_epoch, kind, records } => {
                    let outcome = coordinator.store.append(self.partition, leader_epoch, kind, &records);
                    let (slot, coordinator) = (Arc::clone(self), Arc::clone(coordinator));
                    tokio::spawn(async move {
                        let outcome = outcome.await;
                        slot.appended(&coordinator, append_id, leader_epoch, outcome);
                    });
                }
                Effect::Wish(wish) => {
                    (coordinator.wishes)(coordinator, self.partition, state.leader_epoch, wish);
                }
            }
        }
    }

    fn appended(
        self: &Arc<Self>,
        coordinator: &Arc<Coordinator<S>>,
        append_id: u64,
        leader_epoch: LeaderEpoch,
        outcome: AppendOutcome,
    ) {
        let result = match outcome {
            AppendOutcome::Committed(base_offset) => Ok(base_offset),
            AppendOutcome::Refused(code) => Err(code),
            // The shard answers its clients itself in time; the log tells the truth at the next load.
            AppendOutcome::Unknown => return,
        };
        // The outcome of another leadership's append says nothing about what was loaded since.
        self.handle_in(coordinator, leader_epoch, S::appended(append_id, result));
    }

    /// Forgets everything and starts to load as the leader of `leader_epoch`.
    pub(super) fn begin_load(self: &Arc<Self>, coordinator: &Arc<Coordinator<S>>, leader_epoch: LeaderEpoch) {
        let mut state = self.state.lock();
        state.leader_epoch = leader_epoch;
        let outputs = state.shard.begin_load(leader_epoch);
        self.carry_out(coordinator, &mut state, outputs);
    }

    /// Takes in one record, or marker, of a load.
    pub(super) fn replay(
        &self,
        leader_epoch: LeaderEpoch,
        offset: i64,
        loaded: Loaded<'_>,
    ) -> Result<(), LoadError> {
        let mut state = self.state.lock();
        if state.leader_epoch != leader_epoch {
            return Err(LoadError::NotLeader);
        }
        let replayed = state.shard.replay(Offset(offset), loaded);
        replayed.map_err(|source| LoadError::Record { offset, source })
    }

    /// All records of a load are in: the shard answers from now on. False if another leadership came in between.
    pub(super) fn finish_load(
        self: &Arc<Self>,
        coordinator: &Arc<Coordinator<S>>,
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
    pub(super) fn unload(self: &Arc<Self>, coordinator: &Arc<Coordinator<S>>) {
        let mut state = self.state.lock();
        state.leader_epoch = LeaderEpoch::NONE;
        let outputs = state.shard.unload();
        self.carry_out(coordinator, &mut state, outputs);
        // A request the shard did not know would wait for ever; a dropped sender is an answer too.
        state.unanswered.clear();
    }
}
