//! One look at the partitions of a share session: what can be had is read, and then acquired.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use moldau_log::AbortedTransaction;
use moldau_model::{ErrorCode, LeaderEpoch, Offset, ProducerId, TopicIdPartition};
use moldau_record::Batches;
use moldau_share::{Acquired, FetchedBatch};

use super::Fetch;
use crate::api::share_request::check_readable;
use crate::replica_manager::{Isolation, OffsetQuery, PartitionRead, ReadRequest, Readers};
use crate::share::ShareEntry;

/// What became of one partition.
pub(super) struct Taken {
    pub(super) at: TopicIdPartition,
    pub(super) result: Result<Records, ErrorCode>,
}

/// Records that the member got.
pub(super) struct Records {
    pub(super) bytes: Bytes,
    pub(super) acquired: Vec<Acquired>,
}

/// A partition that had nothing, as it was seen.
pub(super) struct Seen {
    pub(super) entry: Arc<ShareEntry>,
    pub(super) read: Option<PartitionRead>,
    pub(super) next_fetch_offset: Option<i64>,
}

/// What one look gave.
#[derive(Default)]
pub(super) struct Look {
    pub(super) taken: Vec<Taken>,
    pub(super) seen: Vec<Seen>,
    pub(super) has_something: bool,
}

/// A batch in bytes that were read: where it lies in the log, and where it ends in the bytes.
struct Found {
    batch: FetchedBatch,
    begin: usize,
    end: usize,
}

impl Fetch {
    /// Looks at every partition once, until the answer is full.
    pub(super) async fn look(&self) -> Look {
        let mut look = Look::default();
        let mut bytes_left = self.limits.bytes_max;
        let mut records_left = self.limits.records_max;
        for at in &self.partitions {
            if records_left <= 0 || (bytes_left == 0 && look.has_something) {
                break;
            }
            let entry = match check_readable(&self.broker, &self.context, *at) {
                Ok(()) => self.broker.share.entry(&self.key.group_id, *at).await,
                Err(error) => Err(error),
            };
            let result = entry.and_then(|entry| {
                let is_first = !look.has_something;
                self.take_from(&entry, bytes_left, records_left, is_first, &mut look.seen)
            });
            match result {
                Ok(None) => {}
                Ok(Some(records)) => {
                    bytes_left = bytes_left.saturating_sub(records.bytes.len());
                    records_left -= records.acquired.iter().map(|got| got.last + 1 - got.first).sum::<i64>();
                    look.has_something = true;
                    look.taken.push(Taken { at: *at, result: Ok(records) });
                }
                Err(error) => {
                    look.has_something = true;
                    look.taken.push(Taken { at: *at, result: Err(error) });
                }
            }
        }
        if look.taken.iter().any(|taken| taken.result.is_ok()) {
            self.broker.share.note_locked();
        }
        look
    }

    fn take_from(
        &self,
        entry: &Arc<ShareEntry>,
        bytes_left: usize,
        records_left: i64,
        is_first: bool,
        seen: &mut Vec<Seen>,
    ) -> Result<Option<Records>, ErrorCode> {
        let limits = self.settings.limits;
        let next_fetch_offset = entry.look(|share| {
            share.set_limits(limits);
            share.next_fetch_offset()
        })?;
        let Some(offset) = next_fetch_offset else {
            seen.push(Seen { entry: Arc::clone(entry), read: None, next_fetch_offset });
            return Ok(None);
        };
        let Some(read) = self.read(entry, offset, bytes_left, is_first)? else {
            // The log begins later by now: what comes back is looked at again.
            return Ok(None);
        };
        let Some(slice) = &read.records else {
            seen.push(Seen { entry: Arc::clone(entry), read: Some(read), next_fetch_offset });
            return Ok(None);
        };
        let bytes: Bytes = match slice.read_all() {
            Ok(bytes) => bytes.into(),
            Err(error) => {
                tracing::error!(%error, "cannot read a log segment");
                return Err(ErrorCode::KafkaStorageError);
            }
        };
        let found = batches(&bytes, self.settings.isolation, &read.aborted_transactions);
        let batches: Vec<FetchedBatch> = found.iter().map(|found| found.batch).collect();
        let (member_id, now_ms) = (&self.key.member_id, self.broker.share.now_ms());
        let limits = (records_left, self.limits.batch_size);
        let acquired = entry
            .look(|share| share.acquire(member_id, self.limits.mode, limits, offset, &batches, now_ms))?;
        let (Some(first), Some(last)) = (acquired.first(), acquired.last()) else {
            // Others have it, or nobody is to see it: what comes next is looked at when somebody looks again.
            let next_fetch_offset = Some(offset);
            seen.push(Seen { entry: Arc::clone(entry), read: None, next_fetch_offset });
            return Ok(None);
        };
        // Batches of which the member got nothing are not sent.
        let got =
            found.iter().filter(|found| found.batch.last >= first.first && found.batch.first <= last.last);
        let range = got.fold(None, |range: Option<(usize, usize)>, found| {
            Some((range.map_or(found.begin, |(begin, _)| begin), found.end))
        });
        let (begin, end) = range.unwrap_or_default();
        Ok(Some(Records { bytes: bytes.slice(begin..end), acquired }))
    }

    /// Reads from an offset on; `None` if the log begins later, which the share partition knows then.
    fn read(
        &self,
        entry: &Arc<ShareEntry>,
        offset: i64,
        bytes_left: usize,
        is_first: bool,
    ) -> Result<Option<PartitionRead>, ErrorCode> {
        let request = ReadRequest {
            fetch_offset: Offset(offset),
            bytes_max: bytes_left,
            at_least_one_batch: is_first,
            current_leader_epoch: entry.leader_epoch(),
            last_fetched_epoch: LeaderEpoch::NONE,
            isolation: self.settings.isolation,
        };
        match entry.partition.read(&request, Readers::OfTheLeader) {
            Ok(read) => Ok(Some(read)),
            Err(ErrorCode::OffsetOutOfRange) => {
                let query = OffsetQuery::Earliest;
                let start =
                    entry.partition.find_offset(query, self.settings.isolation, entry.leader_epoch())?;
                entry.log_start_moved(&self.broker.share, start.offset.0);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The batches in bytes that were read. Markers hold no records; those of aborted transactions are hidden from who reads
/// committed records.
fn batches(bytes: &[u8], isolation: Isolation, aborted: &[AbortedTransaction]) -> Vec<Found> {
    let mut begun = aborted.iter().peekable();
    let mut open: BTreeSet<ProducerId> = BTreeSet::new();
    let mut found = Vec::new();
    let mut begin = 0;
    for batch in Batches::new(bytes).map_while(Result::ok) {
        let end = begin + batch.size_bytes();
        let (first, last) = (batch.base_offset().0, batch.last_offset().0);
        while let Some(transaction) = begun.next_if(|transaction| transaction.first_offset.0 <= last) {
            open.insert(transaction.producer_id);
        }
        let is_aborted = isolation == Isolation::ReadCommitted
            && batch.is_transactional()
            && open.contains(&batch.producer_id());
        if batch.is_control() {
            open.remove(&batch.producer_id());
        }
        let batch = FetchedBatch { first, last, is_hidden: batch.is_control() || is_aborted };
        found.push(Found { batch, begin, end });
        begin = end;
    }
    found
}
