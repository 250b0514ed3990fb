//! A follower's log: what it asks its leader for, and what it does with the answer.
//!
//! Every step names the leader epoch it belongs to, and does nothing once metadata has moved on. An answer that was
//! overtaken, because the log has grown or was cut since it was asked for, does nothing either.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use moldau_kafka::FetchedPartition;
use moldau_log::{AppendError, LogError};
use moldau_model::{ErrorCode, LeaderEpoch, Offset};
use moldau_record::BatchView;
use moldau_replica::{EpochEndOffset, Role, truncation_offset};

use super::partition::{Partition, State, log_ends};
use super::wake::Wake;
use crate::clock;
use crate::replication::Inbox;

/// Where a follower's log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchPosition {
    /// The log's end.
    pub(crate) fetch_offset: Offset,
    pub(crate) last_fetched_epoch: LeaderEpoch,
    pub(crate) log_start: Offset,
    pub(crate) durable_end: Offset,
}

/// What an answer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Nothing but, perhaps, the high watermark moved.
    Nothing,
    /// The log grew: the leader is to hear of it.
    Grown,
    /// Its start moved, and perhaps its end. The leader is to hear of it once it is written down.
    StartMoved,
    /// Cut, or started anew.
    Truncated,
    /// It is an answer to a question of before.
    Outdated,
}

/// Why an answer could not be followed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// Metadata has made something else of this replica.
    #[error("not a follower in this epoch any more")]
    NotFollower,
    #[error("the leader refused: {0}")]
    Refused(ErrorCode),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("cut to offset {log_end}, and still not where the leader's log parted")]
    NoProgress { log_end: Offset },
}

impl State {
    fn follows_in(&self, leader_epoch: LeaderEpoch) -> bool {
        matches!(self.replica.role(), Role::Follower { leader_epoch: ours, .. } if ours == leader_epoch)
    }
}

impl Partition {
    /// What to ask the leader for, and the high watermark known here; `None` unless this replica follows in this epoch.
    pub(crate) fn fetch_position(&self, leader_epoch: LeaderEpoch) -> Option<(FetchPosition, Offset)> {
        let state = self.lock();
        if !state.follows_in(leader_epoch) || !self.is_dir_online() {
            return None;
        }
        let ends = state.replica.log_ends();
        let position = FetchPosition {
            fetch_offset: ends.log_end,
            last_fetched_epoch: state.log.as_ref()?.latest_epoch().unwrap_or(LeaderEpoch::NONE),
            log_start: ends.log_start,
            durable_end: ends.durable_end,
        };
        Some((position, state.replica.high_watermark()))
    }

    /// Who is told when a sync has made more durable; nobody while this replica follows nobody.
    pub(crate) fn set_fetcher(&self, fetcher: Option<Arc<Inbox>>) {
        self.lock().fetcher = fetcher;
    }

    /// Takes a leader's answer in. `asked_at` is the offset that was asked for, where that is still known. Blocks on the
    /// disk where the log is cut.
    pub(crate) fn follow(
        self: &Arc<Self>,
        leader_epoch: LeaderEpoch,
        asked_at: Option<Offset>,
        fetched: &FetchedPartition,
    ) -> Result<Followed, FollowError> {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        if !state.follows_in(leader_epoch) || state.log.is_none() {
            return Err(FollowError::NotFollower);
        }
        let followed = match (fetched.error_code, fetched.diverging_epoch) {
            (ErrorCode::OffsetOutOfRange, _) => self.restart(state, asked_at, fetched, &mut wake),
            (ErrorCode::None, Some(end)) => {
                let end = EpochEndOffset { leader_epoch: end.epoch, end_offset: end.end_offset };
                self.cut(state, end, &mut wake)
            }
            (ErrorCode::None, None) => self.append_fetched(state, fetched, &mut wake),
            (code, _) => Err(FollowError::Refused(code)),
        };
        let is_sync_due = match &state.log {
            // The next round finds out what failed, and takes the directory offline.
            Some(log) if log.failure().is_some() => true,
            _ => matches!(followed, Ok(Followed::Grown | Followed::StartMoved)) && self.note_dirty(state),
        };
        drop(guard);
        if is_sync_due {
            self.schedule_sync();
        }
        wake.fire();
        followed
    }

    fn append_fetched(
        self: &Arc<Self>,
        state: &mut State,
        fetched: &FetchedPartition,
        wake: &mut Wake,
    ) -> Result<Followed, FollowError> {
        let mut followed = Followed::Nothing;
        if !fetched.records.is_empty() {
            if self.is_outdated(state, &fetched.records, wake)? {
                return Ok(Followed::Outdated);
            }
            let Some(log) = &mut state.log else { return Err(FollowError::NotFollower) };
            let before = log.log_end_offset();
            let appended = log.append_as_follower(&fetched.records, clock::now());
            let end = log.log_end_offset();
            // Batches before a bad one are in the log all the same.
            if end > before {
                state.note_append(end, fetched.records.len());
                self.traffic.replication_bytes_in.fetch_add(fetched.records.len() as u64, Ordering::Relaxed);
                self.after_log_change(state, wake);
                followed = Followed::Grown;
            }
            if appended.as_ref().is_err_and(AppendError::is_disk_full) {
                self.dir().note_full();
            }
            appended?;
        }
        if fetched.high_watermark >= Offset::ZERO
            && state.replica.handle_leader_high_watermark(fetched.high_watermark).is_some()
        {
            self.publish_high_watermark(state, wake);
        }
        if self.follow_log_start(state, fetched.log_start_offset, wake)? {
            followed = Followed::StartMoved;
        }
        Ok(followed)
    }

    /// Whether the records were asked for before the log grew. An empty log may have to begin a little earlier: the
    /// leader's start can lie in the middle of a batch, which it sends whole.
    fn is_outdated(
        self: &Arc<Self>,
        state: &mut State,
        records: &[u8],
        wake: &mut Wake,
    ) -> Result<bool, FollowError> {
        let Ok(first) = BatchView::first(records) else { return Ok(false) };
        let ends = state.replica.log_ends();
        if first.base_offset() >= ends.log_end {
            return Ok(false);
        }
        if ends.log_start == ends.log_end && first.next_offset() > ends.log_end {
            self.start_at(state, first.base_offset(), wake)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// The leader deleted records: they go here, too. Whether any did.
    fn follow_log_start(
        self: &Arc<Self>,
        state: &mut State,
        leader_log_start: Offset,
        wake: &mut Wake,
    ) -> Result<bool, LogError> {
        let high_watermark = state.replica.high_watermark();
        let durable_end = state.replica.log_ends().durable_end;
        let Some(log) = &mut state.log else { return Ok(false) };
        // Not past what is durable here, or a loss of power could leave a log that ends before it starts. The answer to the
        // report of the next sync says it again.
        let log_start = leader_log_start.min(high_watermark).min(durable_end);
        if log_start <= log.log_start_offset() {
            return Ok(false);
        }
        log.delete_records_to(log_start, high_watermark)?;
        self.after_log_change(state, wake);
        Ok(true)
    }

    /// The logs have parted: cuts this one back to where they can still be the same.
    fn cut(
        self: &Arc<Self>,
        state: &mut State,
        leader_end: EpochEndOffset,
        wake: &mut Wake,
    ) -> Result<Followed, FollowError> {
        let Some(log) = &mut state.log else { return Err(FollowError::NotFollower) };
        let own = log
            .end_offset_for_epoch(leader_end.leader_epoch)
            .map(|end| EpochEndOffset { leader_epoch: end.leader_epoch, end_offset: end.end_offset });
        let before = (log.log_end_offset(), log.latest_epoch());
        let to = truncation_offset(leader_end, own, before.0);
        log.truncate_to(to, clock::now())?;
        let after = (log.log_end_offset(), log.latest_epoch());
        if after == before {
            return Err(FollowError::NoProgress { log_end: after.0 });
        }
        tracing::info!(
            partition = %self.topic_partition(), from = %before.0, to = %after.0,
            "cut a log that had parted from its leader's"
        );
        self.note_truncated(state, wake);
        Ok(Followed::Truncated)
    }

    /// The leader has nothing at this log's end. Behind the leader's start everything here is older than all it has;
    /// otherwise the leader could not tell where the histories parted, and its own counts.
    fn restart(
        self: &Arc<Self>,
        state: &mut State,
        asked_at: Option<Offset>,
        fetched: &FetchedPartition,
        wake: &mut Wake,
    ) -> Result<Followed, FollowError> {
        let (log_start, log_end) = (fetched.log_start_offset, state.replica.log_ends().log_end);
        if log_start < Offset::ZERO {
            return Err(FollowError::Refused(ErrorCode::OffsetOutOfRange));
        }
        if asked_at != Some(log_end) {
            return Ok(Followed::Outdated);
        }
        tracing::warn!(
            partition = %self.topic_partition(), from = %log_end, to = %log_start,
            "starting a log anew where its leader's begins"
        );
        self.start_at(state, log_start, wake)?;
        Ok(Followed::Truncated)
    }

    pub(super) fn start_at(
        self: &Arc<Self>,
        state: &mut State,
        offset: Offset,
        wake: &mut Wake,
    ) -> Result<(), FollowError> {
        let Some(log) = &mut state.log else { return Err(FollowError::NotFollower) };
        log.truncate_fully_and_start_at(offset, clock::now())?;
        self.note_truncated(state, wake);
        Ok(())
    }

    fn note_truncated(&self, state: &mut State, wake: &mut Wake) {
        let Some(log) = &state.log else { return };
        if let Some(moving) = &mut state.moving {
            moving.note_cut(log.log_end_offset());
        }
        state.replica.handle_truncated(log_ends(log, self.settings.flush_policy));
        state.sized_appends.clear();
        self.store_high_watermark(state.replica.high_watermark());
        state.wake_fetches(wake);
    }
}
