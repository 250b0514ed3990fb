//! Reading: where the bytes are is found under the lock, the bytes themselves are read without it.

use std::sync::Arc;

use moldau_log::{AbortedTransaction, ActiveProducer, EpochEnd, FileSlice, ReadError, TimestampOffset};
use moldau_model::{BrokerId, ErrorCode, LeaderEpoch, Offset, TimestampMs};
use moldau_replica::{Replica, Role};

use super::partition::{Partition, State};
use crate::purgatory::FetchWaiter;

/// How far a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset (KIP-98).
    ReadCommitted,
    /// Up to the log's end: followers, and coordinators that load what they wrote themselves.
    LogEnd,
}

/// One partition's part of a fetch. Epochs are `LeaderEpoch::NONE` where the reader does not say.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    pub fetch_offset: Offset,
    pub bytes_max: usize,
    /// Give the first batch whole, however large (KIP-74).
    pub at_least_one_batch: bool,
    pub current_leader_epoch: LeaderEpoch,
    /// KIP-595: with it the leader can tell that the logs have parted.
    pub last_fetched_epoch: LeaderEpoch,
    pub isolation: Isolation,
}

/// Picks the replica to read from, of those given with their logs' ends; [`BrokerId::NONE`] for the leader.
pub type ChooseReplica<'a> = dyn Fn(&mut dyn Iterator<Item = (BrokerId, Offset)>) -> BrokerId + 'a;

/// Which replica may serve a read.
#[derive(Clone, Copy)]
pub enum Readers<'a> {
    OfTheLeader,
    /// Any, and who is to pick one where the leader is asked.
    OfAnyReplica(Option<&'a ChooseReplica<'a>>),
}

/// What a read found.
#[derive(Debug)]
pub struct PartitionRead {
    pub records: Option<FileSlice>,
    /// Whose records in it a reader of committed records has to pass over.
    pub aborted_transactions: Vec<AbortedTransaction>,
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    pub log_start_offset: Offset,
    pub diverging_epoch: Option<EpochEnd>,
    /// Where the reader had better read, [`BrokerId::NONE`] for here (KIP-392).
    pub preferred_read_replica: BrokerId,
    /// A follower asked for what is not here. Clients get an error alone; a follower needs the log's start as well.
    pub is_out_of_range: bool,
    /// A leader found it.
    pub is_of_leader: bool,
    /// What was known of the follower is older than the partition's role: its next fetch is to look here again.
    pub is_outdated: bool,
    /// How far the reader could see: what a parked fetch compares with.
    pub upper_bound: Offset,
}

/// An offset as ListOffsets answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    pub timestamp: TimestampMs,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

impl FoundOffset {
    pub const NONE: Self =
        Self { timestamp: TimestampMs::NONE, offset: Offset::NONE, leader_epoch: LeaderEpoch::NONE };
}

/// What ListOffsets asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    Earliest,
    Latest,
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record at or after this time.
    Timestamp(TimestampMs),
}

/// A fetcher or consumer may name the epoch it believes in (KIP-320); then the replica must lead.
pub(super) fn check_leader(
    replica: &Replica,
    current_leader_epoch: LeaderEpoch,
) -> Result<LeaderEpoch, ErrorCode> {
    let ours = replica.leader_epoch();
    if current_leader_epoch.0 >= 0 && replica.role() != Role::None {
        if current_leader_epoch < ours {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if current_leader_epoch > ours {
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
    }
    match replica.role() {
        Role::Leader { leader_epoch } => Ok(leader_epoch),
        Role::None | Role::Follower { .. } => Err(ErrorCode::NotLeaderOrFollower),
    }
}

pub(super) fn code_of(error: &ReadError, partition: &Partition) -> ErrorCode {
    if !matches!(error, ReadError::OffsetOutOfRange { .. }) {
        tracing::error!(partition = %partition.topic_partition(), %error, "cannot read a log");
    }
    error.error_code()
}

impl State {
    fn follows(&self) -> bool {
        matches!(self.replica.role(), Role::Follower { .. })
    }

    /// What can be said without reading.
    pub(super) fn look(&self, request: &ReadRequest) -> Result<PartitionRead, ErrorCode> {
        let log = self.log.as_ref().ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let high_watermark = self.replica.high_watermark();
        Ok(PartitionRead {
            records: None,
            aborted_transactions: Vec::new(),
            high_watermark,
            last_stable_offset: log.last_stable_offset(high_watermark),
            log_start_offset: log.log_start_offset(),
            diverging_epoch: None,
            preferred_read_replica: BrokerId::NONE,
            is_out_of_range: false,
            is_outdated: false,
            is_of_leader: matches!(self.replica.role(), Role::Leader { .. }),
            upper_bound: self.upper_bound(request.isolation).ok_or(ErrorCode::UnknownTopicOrPartition)?,
        })
    }

    /// Whether the reader's history is another than this log's (KIP-595).
    ///
    /// # Errors
    /// `OFFSET_OUT_OF_RANGE` where that cannot be told.
    pub(super) fn has_parted(&self, request: &ReadRequest) -> Result<bool, ErrorCode> {
        if request.last_fetched_epoch.0 < 0 {
            return Ok(false);
        }
        let log_start = self.log.as_ref().map_or(Offset::ZERO, moldau_log::PartitionLog::log_start_offset);
        let end = self
            .epoch_end(request.last_fetched_epoch)
            .filter(|_| request.fetch_offset >= log_start)
            .ok_or(ErrorCode::OffsetOutOfRange)?;
        Ok(end.leader_epoch < request.last_fetched_epoch || end.end_offset < request.fetch_offset)
    }

    pub(super) fn epoch_end(&self, leader_epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.log.as_ref()?.end_offset_for_epoch(leader_epoch)
    }

    pub(super) fn find_records(
        &self,
        request: &ReadRequest,
        upper_bound: Offset,
    ) -> Result<Option<FileSlice>, ReadError> {
        let Some(log) = &self.log else { return Ok(None) };
        let read =
            log.read(request.fetch_offset, request.bytes_max, upper_bound, request.at_least_one_batch)?;
        Ok(read.slice.filter(|slice| slice.length > 0))
    }

    /// The same for a reader of committed records.
    fn find_committed(
        &self,
        request: &ReadRequest,
        last_stable_offset: Offset,
    ) -> Result<(Option<FileSlice>, Vec<AbortedTransaction>), ReadError> {
        let Some(log) = &self.log else { return Ok((None, Vec::new())) };
        let (read, aborted) = log.read_committed(
            request.fetch_offset,
            request.bytes_max,
            last_stable_offset,
            request.at_least_one_batch,
        )?;
        Ok((read.slice.filter(|slice| slice.length > 0), aborted))
    }

    pub(super) fn upper_bound(&self, isolation: Isolation) -> Option<Offset> {
        let high_watermark = self.replica.high_watermark();
        let log = self.log.as_ref()?;
        Some(match isolation {
            Isolation::ReadUncommitted => high_watermark,
            Isolation::ReadCommitted => log.last_stable_offset(high_watermark),
            Isolation::LogEnd => log.log_end_offset(),
        })
    }
}

impl Partition {
    /// Finds the records at an offset. This replica has to lead, unless the reader takes followers: those show what they
    /// know to be committed.
    pub fn read(&self, request: &ReadRequest, readers: Readers<'_>) -> Result<PartitionRead, ErrorCode> {
        let state = self.lock();
        match (check_leader(&state.replica, request.current_leader_epoch), readers) {
            (Ok(_), _) => {}
            (Err(ErrorCode::NotLeaderOrFollower), Readers::OfAnyReplica(_)) if state.follows() => {}
            (Err(code), _) => return Err(code),
        }
        let mut found = state.look(request)?;
        if let Readers::OfAnyReplica(Some(choose)) = readers {
            let mut followers = state.replica.followers_with(request.fetch_offset);
            found.preferred_read_replica = choose(&mut followers);
            if found.preferred_read_replica != BrokerId::NONE {
                return Ok(found);
            }
        }
        if state.has_parted(request)? {
            found.diverging_epoch = state.epoch_end(request.last_fetched_epoch);
            return Ok(found);
        }
        if request.isolation == Isolation::ReadCommitted {
            let committed = state.find_committed(request, found.upper_bound);
            (found.records, found.aborted_transactions) = committed.map_err(|error| code_of(&error, self))?;
        } else {
            let records = state.find_records(request, found.upper_bound);
            found.records = records.map_err(|error| code_of(&error, self))?;
        }
        Ok(found)
    }

    /// Parks a fetch that saw what is `seen`. `false` if there is more to see by now, or another leader: then it reads
    /// again.
    pub(crate) fn park(&self, waiter: &Arc<FetchWaiter>, isolation: Isolation, seen: &PartitionRead) -> bool {
        let mut state = self.lock();
        let may_wait = match state.replica.role() {
            Role::Leader { .. } => true,
            // Who was served by a follower goes on there; what it followed at the look it may not follow any more.
            Role::Follower { .. } => isolation != Isolation::LogEnd && !seen.is_of_leader,
            Role::None => false,
        };
        let is_quiet =
            may_wait && state.upper_bound(isolation).is_some_and(|bound| bound == seen.upper_bound);
        if !is_quiet {
            return false;
        }
        match isolation {
            Isolation::LogEnd => {}
            Isolation::ReadUncommitted => {
                state.fetches.push(Arc::clone(waiter));
                return true;
            }
            Isolation::ReadCommitted => {
                // Wherever it was when the high watermark moved last: the next step is compared with this.
                state.last_stable_offset = seen.upper_bound;
                state.committed_fetches.push(Arc::clone(waiter));
                return true;
            }
        }
        state.replica_fetches.push(Arc::clone(waiter));
        let ends = state.replica.log_ends();
        if state.replica.high_watermark() != seen.high_watermark || ends.log_start != seen.log_start_offset {
            waiter.note_news();
        }
        true
    }

    /// The fetch is over; forget it.
    pub(crate) fn unpark(&self, waiter: &Arc<FetchWaiter>) {
        let mut state = self.lock();
        state.fetches.retain(|other| !Arc::ptr_eq(other, waiter));
        state.committed_fetches.retain(|other| !Arc::ptr_eq(other, waiter));
        state.replica_fetches.retain(|other| !Arc::ptr_eq(other, waiter));
    }

    /// Answers ListOffsets for one partition.
    pub fn find_offset(
        &self,
        query: OffsetQuery,
        isolation: Isolation,
        current_leader_epoch: LeaderEpoch,
    ) -> Result<FoundOffset, ErrorCode> {
        let state = self.lock();
        let leader_epoch = check_leader(&state.replica, current_leader_epoch)?;
        let log = state.log.as_ref().ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let bound = state.upper_bound(isolation).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        // A fresh leader does not know yet how far its predecessor's high watermark was (KIP-207).
        let is_lagging = isolation != Isolation::LogEnd
            && state.replica.epoch_start_offset().is_some_and(|start| state.replica.high_watermark() < start);
        let found = match query {
            OffsetQuery::Earliest => {
                let offset = log.log_start_offset();
                let epoch = log.epoch_for_offset(offset).unwrap_or(LeaderEpoch::NONE);
                return Ok(FoundOffset { timestamp: TimestampMs::NONE, offset, leader_epoch: epoch });
            }
            OffsetQuery::Latest if is_lagging => return Err(ErrorCode::OffsetNotAvailable),
            OffsetQuery::Latest => {
                return Ok(FoundOffset { timestamp: TimestampMs::NONE, offset: bound, leader_epoch });
            }
            OffsetQuery::MaxTimestamp => log.max_timestamp_offset(bound),
            OffsetQuery::Timestamp(time) => log.offset_for_timestamp(time, bound),
        };
        match found.map_err(|error| code_of(&error, self))? {
            Some(TimestampOffset { timestamp, offset, leader_epoch }) => {
                Ok(FoundOffset { timestamp, offset, leader_epoch })
            }
            None if is_lagging => Err(ErrorCode::OffsetNotAvailable),
            None => Ok(FoundOffset::NONE),
        }
    }

    /// Answers OffsetForLeaderEpoch: the largest epoch not above the asked one, and its end (KIP-101).
    pub fn end_offset_for_epoch(
        &self,
        asked: LeaderEpoch,
        current_leader_epoch: LeaderEpoch,
    ) -> Result<Option<EpochEnd>, ErrorCode> {
        let state = self.lock();
        check_leader(&state.replica, current_leader_epoch)?;
        let log = state.log.as_ref().ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok(log.end_offset_for_epoch(asked))
    }

    /// The producers in the duplicate window.
    pub fn active_producers(&self) -> Result<Vec<ActiveProducer>, ErrorCode> {
        let state = self.lock();
        check_leader(&state.replica, LeaderEpoch::NONE)?;
        state
            .log
            .as_ref()
            .map(moldau_log::PartitionLog::active_producers)
            .ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    /// Log start and log end: what a coordinator loads.
    pub fn log_bounds(&self) -> Result<(Offset, Offset), ErrorCode> {
        let state = self.lock();
        let log = state.log.as_ref().ok_or(ErrorCode::UnknownTopicOrPartition)?;
        Ok((log.log_start_offset(), log.log_end_offset()))
    }
}
