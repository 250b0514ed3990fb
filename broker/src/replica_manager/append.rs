//! Appending: to the page cache under the lock, to stable storage soon after, without it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use moldau_log::{AppendError, AppendInfo, AppendOrigin, AppendTerms, RecordError, SyncTicket};
use moldau_metadata::config::FlushPolicy;
use moldau_model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, VerificationGuard};
use moldau_replica::{MinIsr, Role};

use super::partition::{Partition, State, Waiting};
use super::wake::Wake;
use crate::clock;
use crate::log_dirs::LogDir;
use crate::purgatory::DelayedOperation;

/// From here on the queue of waiting produces is cleared of those that have timed out, at each doubling.
const PRUNE_FROM: usize = 1024;

/// Why nothing was appended.
#[derive(Debug)]
pub struct AppendRefused {
    pub code: ErrorCode,
    /// For the client; none where the code says it all.
    pub message: Option<String>,
    pub record_errors: Vec<RecordError>,
    /// Where the log begins that refused; [`Offset::NONE`] where it did not come to the log.
    pub log_start_offset: Offset,
}

/// A sync that failed, and in which directory.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(crate) struct SyncFailed {
    pub(crate) dir: Arc<LogDir>,
    source: io::Error,
}

impl From<ErrorCode> for AppendRefused {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None, record_errors: Vec::new(), log_start_offset: Offset::NONE }
    }
}

impl AppendRefused {
    /// A log's refusal as Kafka puts it: a text where single records are to blame; the log's start except where the
    /// broker expects such failures.
    fn by_log(error: &AppendError, log_start_offset: Offset) -> Self {
        tracing::debug!(%error, "records are refused");
        let record_errors = error.record_errors().to_vec();
        let is_expected = matches!(
            error,
            AppendError::Corrupt(_)
                | AppendError::MessageTooLarge { .. }
                | AppendError::RecordListTooLarge { .. }
                | AppendError::FencedLeaderEpoch { .. }
                | AppendError::Offline { .. }
                | AppendError::Io(_)
        );
        Self {
            code: error.error_code(),
            message: (!record_errors.is_empty()).then(|| error.to_string()),
            record_errors,
            log_start_offset: if is_expected { Offset::NONE } else { log_start_offset },
        }
    }
}

impl Partition {
    /// Appends a leader's batches, patching offsets into them; a client's batch in the topic's codec. With `delayed` this is
    /// an acks=all append: it needs enough members in the ISR, and the slot waits until the high watermark has passed the
    /// records.
    pub fn append(
        self: &Arc<Self>,
        batches: &mut [u8],
        terms: impl Into<AppendTerms>,
        delayed: Option<(&Arc<DelayedOperation>, usize)>,
    ) -> Result<AppendInfo, AppendRefused> {
        let terms = terms.into();
        if terms.origin == AppendOrigin::Client
            && let Some(mut converted) = self.prepare_client_batch(batches)?
        {
            return self.append_in_epoch(None, &mut converted, terms, delayed);
        }
        self.append_in_epoch(None, batches, terms, delayed)
    }

    /// A producer wants to write the first batch of a transaction: the guard for that append, with which the coordinator
    /// is to be asked, or `None` if its transaction is open here. `bumps_epoch` is for transactions of version 2.
    pub fn begin_verification(
        &self,
        producer_id: ProducerId,
        producer_epoch: ProducerEpoch,
        sequence: i32,
        bumps_epoch: bool,
    ) -> Result<Option<VerificationGuard>, ErrorCode> {
        let mut state = self.lock();
        if !matches!(state.replica.role(), Role::Leader { .. }) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let log = state.log.as_mut().ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok(log.begin_verification(producer_id, producer_epoch, sequence, bumps_epoch, clock::now()))
    }

    /// The same, if this replica leads in just this epoch: a coordinator of an older one must not write.
    pub(super) fn append_in_epoch(
        self: &Arc<Self>,
        expected: Option<LeaderEpoch>,
        batches: &mut [u8],
        terms: impl Into<AppendTerms>,
        delayed: Option<(&Arc<DelayedOperation>, usize)>,
    ) -> Result<AppendInfo, AppendRefused> {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let Role::Leader { leader_epoch } = state.replica.role() else {
            return Err(ErrorCode::NotLeaderOrFollower.into());
        };
        if expected.is_some_and(|expected| expected != leader_epoch) {
            return Err(ErrorCode::NotLeaderOrFollower.into());
        }
        if delayed.is_some() && !matches!(state.replica.min_isr(), Some(MinIsr::Enough)) {
            return Err(ErrorCode::NotEnoughReplicas.into());
        }
        let log = state.log.as_mut().ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let log_start_offset = log.log_start_offset();
        let info = match log.append_as_leader(batches, leader_epoch, terms, clock::now()) {
            Ok(info) => info,
            Err(error) => {
                let has_failed = log.failure().is_some();
                drop(guard);
                if error.is_disk_full() {
                    self.dir().note_full();
                }
                if has_failed {
                    // The next round finds it out and takes the directory offline.
                    self.schedule_sync();
                }
                return Err(AppendRefused::by_log(&error, log_start_offset));
            }
        };
        let required = info.last_offset.plus(1);
        if !info.duplicate {
            state.note_append(required, batches.len());
            state.wake_replica_fetches(batches.len(), &mut wake);
            self.traffic.note_written(required.minus(info.first_offset), batches.len());
        }
        self.after_log_change(state, &mut wake);
        if let Some((produce, slot)) = delayed
            && state.replica.high_watermark() < required
        {
            produce.wait_for(slot);
            state.push_produce(Waiting { required, operation: Arc::clone(produce), slot });
        }
        let is_sync_due = self.note_dirty(state);
        drop(guard);
        if is_sync_due {
            self.schedule_sync();
        }
        wake.fire();
        Ok(info)
    }

    /// Whether the high watermark has reached `end`; if not, slot 0 of `delayed` waits for that.
    ///
    /// # Errors
    /// `NOT_LEADER_OR_FOLLOWER` unless this replica leads in just this epoch; `KAFKA_STORAGE_ERROR` once its log takes
    /// nothing any more.
    pub(super) fn wait_for_high_watermark(
        &self,
        leader_epoch: LeaderEpoch,
        end: Offset,
        delayed: &Arc<DelayedOperation>,
    ) -> Result<bool, ErrorCode> {
        let mut state = self.lock();
        if state.replica.role() != (Role::Leader { leader_epoch }) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        if state.replica.high_watermark() >= end {
            return Ok(true);
        }
        if !self.is_dir_online() || state.log.as_ref().is_none_or(|log| log.failure().is_some()) {
            return Err(ErrorCode::KafkaStorageError);
        }
        delayed.wait_for(0);
        state.push_produce(Waiting { required: end, operation: Arc::clone(delayed), slot: 0 });
        Ok(false)
    }

    /// Notes that something was appended; whether it has to be synced now.
    pub(super) fn note_dirty(&self, state: &mut State) -> bool {
        if self.settings.flush_policy == FlushPolicy::Interval {
            state.dirty_since_ms.get_or_insert_with(|| clock::monotonic().0);
        }
        self.is_flush_due(state)
    }

    /// Whether something is not durable that has to be: anything, but under `flush.policy=interval` only as much as
    /// `flush.messages` says. (`flush.ms` is the background's.)
    fn is_flush_due(&self, state: &State) -> bool {
        let limit = match self.settings.flush_policy {
            FlushPolicy::OnAck => 1,
            FlushPolicy::Interval => state.config.flush_messages,
        };
        state.log.as_ref().is_some_and(|log| log.log_end_offset().minus(log.durable_end_offset()) >= limit)
    }

    /// Queues a sync if `flush.ms` has passed since the oldest append that is not synced.
    pub(crate) fn sync_if_flush_due(self: &Arc<Self>) {
        let state = self.lock();
        let flush_ms = state.config.flush_ms;
        let is_due =
            state.dirty_since_ms.is_some_and(|since| clock::monotonic().0.saturating_sub(since) >= flush_ms);
        drop(state);
        if is_due {
            self.schedule_sync();
        }
    }

    /// Queues the partition for a sync, unless it is queued or being synced: the end of a sync looks for what came
    /// meanwhile.
    pub(crate) fn schedule_sync(self: &Arc<Self>) {
        if !self.is_sync_pending.swap(true, Ordering::AcqRel) {
            crate::sync::push_or_hold(self);
        }
    }

    pub(crate) fn push_to_sync_queue(self: &Arc<Self>) {
        self.dir().sync.push(Arc::clone(self));
    }

    /// A ticket for all that is not durable, and the directory that it is about; `None` where there is nothing. For a thread
    /// of the directory's own. After an error the directory has to go offline.
    pub(crate) fn begin_sync(&self) -> Result<Option<(Arc<LogDir>, SyncTicket)>, SyncFailed> {
        let mut state = self.lock();
        state.dirty_since_ms = None;
        let ticket = match &mut state.log {
            None => Ok(None),
            Some(log) => match log.failure() {
                Some(reason) => Err(io::Error::other(reason.to_string())),
                None => Ok(log.begin_sync()),
            },
        };
        if !matches!(ticket, Ok(Some(_))) {
            self.is_sync_pending.store(false, Ordering::Release);
        }
        // Under the lock: the log may have moved to another directory by the time the ticket was run.
        let dir = self.dir();
        match ticket {
            Ok(ticket) => Ok(ticket.map(|ticket| (dir, ticket))),
            Err(source) => Err(SyncFailed { dir, source }),
        }
    }

    /// A whole round at once: whether the next one is due.
    #[cfg(test)]
    pub(crate) fn sync(self: &Arc<Self>) -> Result<bool, SyncFailed> {
        let Some((dir, ticket)) = self.begin_sync()? else { return Ok(false) };
        let result = ticket.run();
        self.end_sync(dir, ticket, result)
    }

    /// What a ticket that was run came to: whether the next sync is due at once, for which the caller queues the partition. After
    /// an error its directory has to go offline.
    pub(crate) fn end_sync(
        self: &Arc<Self>,
        dir: Arc<LogDir>,
        ticket: SyncTicket,
        result: io::Result<()>,
    ) -> Result<bool, SyncFailed> {
        let is_of_log = self.lock().log.as_ref().is_some_and(|log| log.issued(&ticket));
        let is_due_again = self.finish_sync(ticket);
        match result {
            // The log was deleted, or has moved, while the ticket was out: its names are gone, and nothing has failed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_of_log => Ok(is_due_again),
            result => result.map(|()| is_due_again).map_err(|source| SyncFailed { dir, source }),
        }
    }

    /// Takes the ticket back once it was run, well or not. Whether the next sync is due at once.
    pub(super) fn finish_sync(self: &Arc<Self>, ticket: SyncTicket) -> bool {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut is_due_again = false;
        let mut fetcher = None;
        if let Some(log) = &mut state.log {
            let had_failed = log.failure().is_some();
            // One of a log that has moved meanwhile says nothing: its copy was made durable as a whole.
            if log.issued(&ticket) {
                log.complete_sync(ticket);
            }
            // Of a failure in this very sync the caller knows.
            let has_failed_now = log.failure().is_some() && !had_failed;
            is_due_again = !has_failed_now && (had_failed || self.is_flush_due(state));
            self.after_log_change(state, &mut wake);
            fetcher.clone_from(&state.fetcher);
        }
        // Under the lock: who appends from here on finds it false, and what was appended before was just looked at.
        self.is_sync_pending.store(is_due_again, Ordering::Release);
        drop(guard);
        wake.fire();
        if let Some(fetcher) = fetcher {
            fetcher.note_synced(self.id());
        }
        is_due_again
    }
}

impl State {
    fn push_produce(&mut self, waiting: Waiting) {
        let count = self.produces.len();
        if count >= PRUNE_FROM && count.is_power_of_two() {
            self.produces.retain(|waiting| !waiting.operation.is_done());
        }
        self.produces.push_back(waiting);
    }
}
