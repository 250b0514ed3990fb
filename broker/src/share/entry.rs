//! One share partition with those who wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use moldau_model::{ErrorCode, LeaderEpoch, TimestampMs};
use moldau_share::{
    AckOutcome, AckToken, Acknowledgement, ReadState, Request, Response, START_OFFSET_UNKNOWN,
    SharePartition, SharePartitionKey, StateWrite,
};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, oneshot};

use super::ShareService;
use super::settings::OffsetReset;
use crate::purgatory::FetchWaiter;
use crate::replica_manager::{Isolation, OffsetQuery, Partition};

/// A share partition of a partition that this broker leads in `leader_epoch`.
pub(crate) struct ShareEntry {
    pub(crate) key: SharePartitionKey,
    pub(crate) partition: Arc<Partition>,
    pub(super) leader_epoch: LeaderEpoch,
    loaded: OnceCell<()>,
    state: Mutex<EntryState>,
}

#[derive(Default)]
struct EntryState {
    /// `None` until it is read, and once it is another's.
    share: Option<SharePartition>,
    is_fenced: bool,
    /// Nobody reads for its group: it goes once it is written.
    is_retired: bool,
    acks: HashMap<AckToken, oneshot::Sender<ErrorCode>>,
    /// Fetches that wait for records to come back. Each takes itself out.
    fetches: Vec<Arc<FetchWaiter>>,
}

impl ShareEntry {
    pub(super) fn new(key: SharePartitionKey, partition: Arc<Partition>, leader_epoch: LeaderEpoch) -> Self {
        Self { key, partition, leader_epoch, loaded: OnceCell::new(), state: Mutex::default() }
    }

    /// The leadership that it belongs to.
    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Reads the state if nobody has yet.
    pub(super) async fn loaded(&self, service: &Arc<ShareService>) -> Result<(), ErrorCode> {
        self.loaded.get_or_try_init(|| self.load(service)).await.map(|_| ())
    }

    async fn load(&self, service: &Arc<ShareService>) -> Result<(), ErrorCode> {
        let request = Request::Read { key: self.key.clone(), leader_epoch: self.leader_epoch.0 };
        let state = match service.persister.ask(request).await {
            Response::Read(Ok(state)) => state,
            Response::Read(Err(refusal)) => return Err(code_for_client(refusal.error)),
            Response::Changed(_) | Response::Summary(_) => return Err(ErrorCode::UnknownServerError),
        };
        let settings = service.settings(&service.control.image(), &self.key.group_id);
        let first_start_offset =
            self.first_start_offset(&state, settings.offset_reset, settings.isolation)?;
        let share = SharePartition::new(settings.limits, self.leader_epoch.0, &state, first_start_offset);
        let mut entry = self.state.lock();
        if entry.is_fenced {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        entry.share = Some(share);
        Ok(())
    }

    /// Where a group starts that has not read the partition yet.
    fn first_start_offset(
        &self,
        state: &ReadState,
        reset: OffsetReset,
        isolation: Isolation,
    ) -> Result<i64, ErrorCode> {
        if state.start_offset != START_OFFSET_UNKNOWN {
            return Ok(state.start_offset);
        }
        let find = |query| self.partition.find_offset(query, isolation, self.leader_epoch);
        let found = match reset {
            OffsetReset::Earliest => find(OffsetQuery::Earliest)?,
            OffsetReset::Latest => find(OffsetQuery::Latest)?,
            OffsetReset::ByDuration { back_ms } => {
                let since = crate::clock::now().0.saturating_sub(back_ms);
                let found = find(OffsetQuery::Timestamp(TimestampMs(since)))?;
                // Nothing is that young.
                if found.offset.0 < 0 { find(OffsetQuery::Latest)? } else { found }
            }
        };
        Ok(found.offset.0)
    }

    /// Looks at the share partition, or changes it so that nothing has to be written and nobody to be told.
    ///
    /// # Errors
    /// It is another leader's.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut SharePartition) -> T) -> Result<T, ErrorCode> {
        let mut state = self.state.lock();
        state.share.as_mut().map(look).ok_or(ErrorCode::NotLeaderOrFollower)
    }

    /// Changes the share partition; `change` says whether members can get something now. What has to be written is.
    pub(super) fn change(
        self: &Arc<Self>,
        service: &Arc<ShareService>,
        change: impl FnOnce(&mut SharePartition) -> bool,
    ) {
        let mut state = self.state.lock();
        let Some(share) = &mut state.share else { return };
        if change(share) {
            state.wake_fetches();
        }
        self.write(service, &mut state);
    }

    /// Nobody reads for the group any more: what is to be written is, and then it is forgotten.
    pub(super) fn retire(self: &Arc<Self>, service: &Arc<ShareService>) {
        let mut state = self.state.lock();
        state.is_retired = true;
        let is_idle = state.share.as_ref().is_some_and(|share| !share.is_writing());
        drop(state);
        if is_idle {
            service.forget(self);
        }
    }

    /// Somebody reads again.
    pub(super) fn note_used(&self) {
        self.state.lock().is_retired = false;
    }

    /// Takes records back whose time is over, and says when to come again.
    pub(super) fn expire(self: &Arc<Self>, service: &Arc<ShareService>, now_ms: i64) -> Option<i64> {
        let deadline_ms = self.look(|share| share.next_deadline_ms()).ok().flatten()?;
        if deadline_ms <= now_ms {
            self.change(service, |share| share.expire(now_ms));
        }
        self.look(|share| share.next_deadline_ms()).ok().flatten()
    }

    /// The log begins later than this share partition.
    pub(crate) fn log_start_moved(self: &Arc<Self>, service: &Arc<ShareService>, log_start: i64) {
        self.change(service, |share| share.log_start_moved(log_start));
    }

    /// Takes what a member says. The outcome comes once it is written.
    pub(crate) async fn acknowledge(
        self: &Arc<Self>,
        service: &Arc<ShareService>,
        member_id: &str,
        said: &[Acknowledgement],
    ) -> ErrorCode {
        let now_ms = service.now_ms();
        let outcome = {
            let mut state = self.state.lock();
            let Some(share) = &mut state.share else { return ErrorCode::NotLeaderOrFollower };
            match share.acknowledge(member_id, said, now_ms) {
                Ok(AckOutcome::Done) => return ErrorCode::None,
                Ok(AckOutcome::Waits(token)) => {
                    let (sender, outcome) = oneshot::channel();
                    state.acks.insert(token, sender);
                    self.write(service, &mut state);
                    outcome
                }
                Err(error) => return error,
            }
        };
        // Who renews waits less long, or longer.
        service.note_locked();
        outcome.await.unwrap_or(ErrorCode::NotLeaderOrFollower)
    }

    /// Writes what has to be, unless a write is under way.
    fn write(self: &Arc<Self>, service: &Arc<ShareService>, state: &mut EntryState) {
        let Some(write) = state.share.as_mut().and_then(SharePartition::next_write) else { return };
        let (entry, service) = (Arc::clone(self), Arc::clone(service));
        tokio::spawn(async move {
            let mut next = Some(write);
            while let Some(write) = next {
                let result = entry.persist(&service, write).await;
                next = entry.written(&service, result);
            }
        });
    }

    async fn persist(&self, service: &Arc<ShareService>, write: StateWrite) -> Result<(), ErrorCode> {
        let StateWrite { state_epoch, leader_epoch, start_offset, delivery_complete_count, batches } = write;
        let request = Request::Write {
            key: self.key.clone(),
            state_epoch,
            leader_epoch,
            start_offset,
            delivery_complete_count,
            batches,
        };
        match service.persister.ask(request).await {
            Response::Changed(result) => result.map_err(|refusal| refusal.error),
            Response::Read(_) | Response::Summary(_) => Err(ErrorCode::UnknownServerError),
        }
    }

    /// The outcome of a write is known. Gives the next one.
    fn written(
        self: &Arc<Self>,
        service: &Arc<ShareService>,
        result: Result<(), ErrorCode>,
    ) -> Option<StateWrite> {
        let (told, next, is_over) = {
            let mut state = self.state.lock();
            let share = state.share.as_mut()?;
            let (tokens, is_available) = share.written(result);
            let next = share.next_write();
            let told: Vec<_> = tokens.iter().filter_map(|token| state.acks.remove(token)).collect();
            if is_available {
                state.wake_fetches();
            }
            let is_over = next.is_none() && state.is_retired;
            (told, next, is_over)
        };
        let code = result.map_or_else(code_for_client, |()| ErrorCode::None);
        for sender in told {
            // Who said it may have gone.
            let _ = sender.send(code);
        }
        if is_over {
            service.forget(self);
        }
        if let Err(error) = result {
            tracing::debug!(share_partition = %self.key, %error, "the state of a share partition was not written");
            if is_fatal(error) {
                service.forget(self);
                return None;
            }
            // What failed is still the members', and their time may be over.
            service.note_locked();
        }
        next
    }

    /// It is another leader's, or somebody else has written its state: nothing more is taken.
    pub(super) fn fence(&self) {
        let mut state = self.state.lock();
        state.is_fenced = true;
        state.share = None;
        state.acks.clear();
        state.wake_fetches();
    }

    /// A fetch waits here for records to come back.
    pub(crate) fn park(&self, waiter: &Arc<FetchWaiter>) {
        self.state.lock().fetches.push(Arc::clone(waiter));
    }

    pub(crate) fn unpark(&self, waiter: &Arc<FetchWaiter>) {
        self.state.lock().fetches.retain(|other| !Arc::ptr_eq(other, waiter));
    }
}

impl EntryState {
    fn wake_fetches(&mut self) {
        for fetch in self.fetches.drain(..) {
            fetch.wake();
        }
    }
}

/// Whether somebody else has the share partition's state now.
fn is_fatal(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::FencedStateEpoch
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::GroupIdNotFound
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::InvalidRequest
    )
}

/// What clients are told of what the share coordinator says.
fn code_for_client(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::NotCoordinator
        | ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::NetworkException => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::GroupIdNotFound | ErrorCode::UnknownTopicOrPartition => ErrorCode::UnknownTopicOrPartition,
        ErrorCode::FencedStateEpoch | ErrorCode::FencedLeaderEpoch => ErrorCode::NotLeaderOrFollower,
        // It was never initialized, or not any more.
        ErrorCode::InvalidRequest => ErrorCode::UnknownTopicOrPartition,
        _ => ErrorCode::UnknownServerError,
    }
}
