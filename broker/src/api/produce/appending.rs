//! What a Produce request appends to the partitions of one topic: one behind the other, or, where it is much, on several
//! processors at once. A connection is served by one thread, and most of what an append costs is the kernel's copy into the page cache:
//! a producer of large requests would have one processor, however many there are.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use moldau_kafka::ProducePartitionView;
use moldau_log::{AppendInfo, AppendTerms};
use moldau_metadata::MetadataImage;
use moldau_model::{ErrorCode, TopicId, TopicIdPartition};
use moldau_record::{BatchError, BatchView, Compression, MAGIC_V2};

use super::Outcome;
use super::transactions::Verified;
use crate::broker::Broker;
use crate::purgatory::DelayedOperation;
use crate::purgatory::plug_fetches;
use crate::replica_manager::AppendRefused;
use crate::sync::plug_syncs;

/// Where every record format has its number.
const MAGIC_POSITION: usize = 16;
/// Fewer bytes are appended by the connection's thread alone: they take it a millisecond, and a thread more some 30 µs.
const SHARED_BYTES_MIN: usize = 1024 * 1024;
/// Of one request at the same time.
const THREADS_MAX: usize = 4;

static PROCESSORS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));

/// What the appends to one topic have in common.
pub(super) struct Appending<'a> {
    pub(super) broker: &'a Broker,
    pub(super) image: &'a MetadataImage,
    pub(super) api_version: i16,
    pub(super) topic_id: TopicId,
    pub(super) verified: &'a Verified,
    /// What is to be completed, for acks=all.
    pub(super) delayed: Option<&'a Arc<DelayedOperation>>,
}

/// Part of a request's body.
struct Part<'a> {
    bytes: &'a mut [u8],
    /// Where it begins in the body.
    start: usize,
}

/// Some of the topic's partitions, in the request's order.
#[derive(Clone, Copy)]
struct Partitions<'a> {
    views: &'a [ProducePartitionView],
    /// The first one's place among all partitions of the request.
    slot: usize,
}

impl Appending<'_> {
    /// An outcome for each partition, in the request's order.
    pub(super) fn all(&self, body: &mut [u8], views: &[ProducePartitionView], slot: usize) -> Vec<Outcome> {
        let threads = if may_share(views) { THREADS_MAX.min(*PROCESSORS) } else { 1 };
        self.append_part(Part { bytes: body, start: 0 }, Partitions { views, slot }, threads)
    }

    fn append_part(&self, part: Part<'_>, partitions: Partitions<'_>, threads: usize) -> Vec<Outcome> {
        let Some(at) = (threads > 1).then(|| split_point(partitions.views, threads)).flatten() else {
            return self.append_each(part, partitions);
        };
        let (first, second) = partitions.split_at(at);
        let (part, mut second_part) = part.split_before(second.views);
        let mut outcomes = Vec::new();
        let is_appended = std::thread::scope(|scope| {
            let other = std::thread::Builder::new().name("append".into()).spawn_scoped(scope, || {
                let _syncs = plug_syncs();
                let _fetches = plug_fetches();
                self.append_part(second_part.reborrow(), second, threads / 2)
            });
            outcomes = self.append_part(part, first, threads - threads / 2);
            match other.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(others)) => {
                    outcomes.extend(others);
                    true
                }
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(_) => false,
            }
        });
        if !is_appended {
            // The system has no thread to give.
            outcomes.extend(self.append_each(second_part, second));
        }
        outcomes
    }

    fn append_each(&self, mut part: Part<'_>, partitions: Partitions<'_>) -> Vec<Outcome> {
        let places = partitions.views.iter().zip(partitions.slot..);
        places.map(|(view, slot)| self.append_one(&mut part, view, slot)).collect()
    }

    fn append_one(&self, part: &mut Part<'_>, view: &ProducePartitionView, slot: usize) -> Outcome {
        let id = TopicIdPartition { topic_id: self.topic_id, partition: view.index };
        let result =
            self.verified.terms(id).and_then(|terms| self.append(part.records(view), id, terms, slot));
        Outcome { id, result }
    }

    fn append(
        &self,
        records: Option<&mut [u8]>,
        id: TopicIdPartition,
        terms: AppendTerms,
        slot: usize,
    ) -> Result<AppendInfo, AppendRefused> {
        if self.image.topics().partition(id.topic_id, id.partition).is_none() {
            return Err(ErrorCode::UnknownTopicOrPartition.into());
        }
        let partition = self.broker.replica_manager.get(id)?;
        // Kafka's rule for one batch a partition, and its code without a text, come before it looks into the batch.
        let Some(records) = records else { return Err(ErrorCode::InvalidRecord.into()) };
        let magic = records.get(MAGIC_POSITION).map(|byte| byte.cast_signed());
        if let Some(magic) = magic.filter(|magic| *magic > MAGIC_V2) {
            let message = format!("Invalid magic found in record: {magic}");
            return Err(AppendRefused { message: Some(message), ..ErrorCode::CorruptMessage.into() });
        }
        if magic.is_some_and(|magic| magic < MAGIC_V2) {
            return Err(ErrorCode::InvalidRecord.into());
        }
        match BatchView::first(records) {
            Ok(batch) if batch.size_bytes() != records.len() => return Err(ErrorCode::InvalidRecord.into()),
            Ok(batch) if self.api_version < 7 && batch.compression() == Some(Compression::Zstd) => {
                return Err(ErrorCode::UnsupportedCompressionType.into());
            }
            Err(BatchError::Truncated { .. }) => return Err(ErrorCode::InvalidRecord.into()),
            Ok(_) | Err(_) => {}
        }
        partition.append(records, terms, self.delayed.map(|delayed| (delayed, slot)))
    }
}

impl Part<'_> {
    fn records(&mut self, view: &ProducePartitionView) -> Option<&mut [u8]> {
        let range = view.records.as_ref()?;
        let start = range.start.checked_sub(self.start)?;
        self.bytes.get_mut(start..range.end.checked_sub(self.start)?)
    }

    fn reborrow(&mut self) -> Part<'_> {
        Part { bytes: self.bytes, start: self.start }
    }
}

impl<'a> Part<'a> {
    /// Cuts where the records of these partitions begin, the last ones of the part.
    fn split_before(self, views: &[ProducePartitionView]) -> (Part<'a>, Part<'a>) {
        let end = self.start + self.bytes.len();
        let start = views.iter().find_map(|view| view.records.as_ref()).map_or(end, |range| range.start);
        let at = start.saturating_sub(self.start).min(self.bytes.len());
        let (first, second) = self.bytes.split_at_mut(at);
        (Part { bytes: first, start: self.start }, Part { bytes: second, start: self.start + at })
    }
}

impl Partitions<'_> {
    fn split_at(self, at: usize) -> (Self, Self) {
        let (first, second) = self.views.split_at(at);
        (Self { views: first, slot: self.slot }, Self { views: second, slot: self.slot + at })
    }
}

fn record_bytes(view: &ProducePartitionView) -> usize {
    view.records.as_ref().map_or(0, ExactSizeIterator::len)
}

/// Whether several threads may append these, and are worth it. What is for one partition twice keeps its order.
fn may_share(views: &[ProducePartitionView]) -> bool {
    let bytes: usize = views.iter().map(record_bytes).sum();
    let is_large = views.len() > 1 && bytes >= SHARED_BYTES_MIN;
    is_large && views.iter().map(|view| view.index).collect::<HashSet<_>>().len() == views.len()
}

/// How many of the partitions have the first threads' share of the bytes; `None` if there is nothing to share.
fn split_point(views: &[ProducePartitionView], threads: usize) -> Option<usize> {
    let bytes: usize = views.iter().map(record_bytes).sum();
    let share = bytes.div_ceil(threads).saturating_mul(threads - threads / 2);
    let mut taken = 0;
    let full = views.iter().position(|view| {
        taken += record_bytes(view);
        taken >= share
    });
    full.map(|at| (at + 1).min(views.len().saturating_sub(1))).filter(|at| *at > 0)
}

#[cfg(test)]
mod tests {
    use moldau_model::PartitionIndex;

    use super::*;

    fn views(sizes: &[usize]) -> Vec<ProducePartitionView> {
        let mut start = 100;
        let mut view = |(index, size): (usize, &usize)| {
            let records = Some(start..start + size);
            start += size + 9;
            ProducePartitionView { index: PartitionIndex(index as i32), records }
        };
        sizes.iter().enumerate().map(&mut view).collect()
    }

    #[test]
    fn much_for_several_partitions_is_shared_and_nothing_else() {
        const MUCH: usize = SHARED_BYTES_MIN;
        let mut twice = views(&[MUCH, MUCH]);
        twice[1].index = twice[0].index;
        let cases = [
            (views(&[]), false),
            (views(&[2 * MUCH]), false),
            (views(&[MUCH / 2, MUCH / 2 - 1]), false),
            (views(&[MUCH / 2, MUCH / 2]), true),
            (twice, false),
        ];
        for (views, is_shared) in cases {
            assert_eq!(may_share(&views), is_shared, "{views:?}");
        }
    }

    #[test]
    fn each_half_has_its_share_and_none_is_empty() {
        let cases: [(&[usize], usize, Option<usize>); 8] = [
            (&[10, 10, 10, 10], 2, Some(2)),
            (&[10, 10, 10, 10], 4, Some(2)),
            (&[10, 10, 10], 3, Some(2)),
            (&[100, 1, 1], 2, Some(1)),
            (&[1, 1, 100], 2, Some(2)),
            (&[1, 100], 2, Some(1)),
            (&[7], 2, None),
            (&[], 2, None),
        ];
        for (sizes, threads, at) in cases {
            assert_eq!(split_point(&views(sizes), threads), at, "{sizes:?} by {threads}");
        }
    }

    #[test]
    fn a_part_has_the_records_of_its_partitions_and_no_others() {
        let views = views(&[3, 4, 5]);
        let mut body: Vec<u8> = (0..=255).collect();
        let whole = Part { bytes: &mut body, start: 0 };
        let (mut first, rest) = whole.split_before(&views[1..]);
        let (mut second, mut third) = rest.split_before(&views[2..]);
        assert_eq!(first.records(&views[0]), Some(&mut [100, 101, 102][..]));
        assert_eq!(second.records(&views[1]), Some(&mut [112, 113, 114, 115][..]));
        assert_eq!(third.records(&views[2]), Some(&mut [125, 126, 127, 128, 129][..]));
        assert_eq!((first.records(&views[1]), third.records(&views[0])), (None, None));
        let nothing = [ProducePartitionView { index: PartitionIndex(9), records: None }];
        let (_, mut behind) = third.reborrow().split_before(&nothing);
        assert!(behind.bytes.is_empty() && behind.records(&nothing[0]).is_none());
    }
}
