//! `__consumer_offsets` and `__transaction_state` as their coordinators see them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use moldau_group::InTransaction;
use moldau_log::{AppendOrigin, AppendTerms};
use moldau_model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex};
use moldau_record::{BatchBuilder, Batches, BuildError, ControlRecord, DecompressLimit};

use super::{Isolation, Partition, ReadRequest, Readers, ReplicaManager};
use crate::clock;
use crate::coordinator::{
    AppendKind, AppendOutcome, CoordinatorRecord, LoadError, Loaded, OffsetsStore, ReplayRecord,
};
use crate::metadata_cache::MetadataCache;
use crate::purgatory::DelayedOperation;
use crate::transaction_markers::{NO_SEQUENCE, marker_batch};

/// What one read takes while a partition is loaded: `offsets.load.buffer.size`.
const LOAD_BYTES: usize = 5 * 1024 * 1024;
/// A batch of the coordinator's own cannot hold more than this when it is decompressed.
const BATCH_BYTES_MAX: DecompressLimit = DecompressLimit(64 * 1024 * 1024);
/// A day: the shard answers its clients by a timeout of its own, and what became of the records matters still.
const OUTCOME_WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Pause before records that cannot be committed, for want of replicas, are looked at again.
const COMMIT_RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The replica manager's partitions of one coordinator's topic.
pub struct ReplicaOffsetsStore {
    topic: &'static str,
    replicas: Arc<ReplicaManager>,
    metadata: Arc<MetadataCache>,
}

impl ReplicaOffsetsStore {
    #[must_use]
    pub fn new(topic: &'static str, replicas: Arc<ReplicaManager>, metadata: Arc<MetadataCache>) -> Self {
        Self { topic, replicas, metadata }
    }

    fn partition(&self, partition: PartitionIndex) -> Result<Arc<Partition>, ErrorCode> {
        self.replicas.by_name(&self.metadata.image(), self.topic, partition)
    }
}

impl OffsetsStore for ReplicaOffsetsStore {
    fn load(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        replay: &mut ReplayRecord<'_>,
    ) -> Result<Offset, LoadError> {
        let partition = self.partition(partition).map_err(|_| LoadError::NotLeader)?;
        let (mut offset, end) = partition.log_bounds().map_err(|_| LoadError::NotLeader)?;
        while offset < end {
            offset = load_some(&partition, leader_epoch, offset, end, replay)?;
        }
        Ok(end)
    }

    fn committed(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        end: Offset,
    ) -> BoxFuture<'static, bool> {
        let partition = self.partition(partition);
        Box::pin(async move {
            match partition {
                Ok(partition) => is_committed(&partition, leader_epoch, end).await,
                Err(_) => false,
            }
        })
    }

    fn append(
        &self,
        partition: PartitionIndex,
        leader_epoch: LeaderEpoch,
        kind: AppendKind,
        records: &[CoordinatorRecord],
    ) -> BoxFuture<'static, AppendOutcome> {
        let refused = |code| -> BoxFuture<'static, AppendOutcome> {
            Box::pin(std::future::ready(AppendOutcome::Refused(code)))
        };
        let mut batch = match build(kind, records) {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "a coordinator's records do not fit a batch");
                return refused(ErrorCode::UnknownServerError);
            }
        };
        let partition = match self.partition(partition) {
            Ok(partition) => partition,
            Err(code) => return refused(code),
        };
        let produce = Arc::new(DelayedOperation::new(1));
        let appended =
            partition.append_in_epoch(Some(leader_epoch), &mut batch, terms(kind), Some((&produce, 0)));
        let (base, end) = match appended {
            Ok(info) => (info.first_offset, info.last_offset.plus(1)),
            Err(refusal) => return refused(refusal.code),
        };
        let is_settled = produce.seal();
        Box::pin(async move {
            if !is_settled {
                produce.wait(OUTCOME_WAIT_MAX).await;
            }
            // Too few in the ISR tells a client to try again. These records are in the log, and nobody writes them a second
            // time: as long as this leadership lasts, they will be committed.
            if produce.outcome(0) == ErrorCode::None || is_committed(&partition, leader_epoch, end).await {
                AppendOutcome::Committed(base)
            } else {
                // A later leader may have the records, or not.
                AppendOutcome::Unknown
            }
        })
    }
}

fn build(kind: AppendKind, records: &[CoordinatorRecord]) -> Result<Vec<u8>, BuildError> {
    let mut builder = match kind {
        AppendKind::Records => BatchBuilder::new(),
        AppendKind::InTransaction(InTransaction { producer_id, producer_epoch, .. }) => {
            BatchBuilder::new().producer(producer_id, producer_epoch, NO_SEQUENCE).transactional(true)
        }
        AppendKind::Marker(marker) => return marker_batch(&marker),
    };
    let now = clock::now();
    for record in records {
        builder.append(now, Some(&record.key), record.value.as_deref(), &[])?;
    }
    builder.build()
}

fn terms(kind: AppendKind) -> AppendTerms {
    let terms = AppendTerms::from(AppendOrigin::Coordinator);
    match kind {
        AppendKind::Records => terms,
        AppendKind::InTransaction(InTransaction { needs_verification, verification, .. }) => {
            AppendTerms { needs_verification, verification, ..terms }
        }
        AppendKind::Marker(marker) => {
            AppendTerms { transaction_version: marker.transaction_version, ..terms }
        }
    }
}

/// What the record of a control batch says of its transaction; `None` where it ends none.
fn ends_by_commit(key: &[u8], value: Option<&[u8]>) -> Option<bool> {
    match ControlRecord::parse(Some(key), value) {
        Ok(ControlRecord::Commit { .. }) => Some(true),
        Ok(ControlRecord::Abort { .. }) => Some(false),
        Ok(ControlRecord::Other { .. }) | Err(_) => None,
    }
}

/// Waits until the high watermark has reached `end`: `true`; or this replica does not lead in that epoch any more.
pub(super) async fn is_committed(partition: &Partition, leader_epoch: LeaderEpoch, end: Offset) -> bool {
    loop {
        let committed = Arc::new(DelayedOperation::new(1));
        match partition.wait_for_high_watermark(leader_epoch, end, &committed) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(_) => return false,
        }
        if !committed.seal() {
            committed.wait(OUTCOME_WAIT_MAX).await;
        }
        // Too few in the ISR ends a wait as well; then it begins anew.
        if committed.outcome(0) != ErrorCode::None {
            tokio::time::sleep(COMMIT_RETRY_PAUSE).await;
        }
    }
}

/// Replays one read's worth of batches. Returns where to go on.
fn load_some(
    partition: &Partition,
    leader_epoch: LeaderEpoch,
    offset: Offset,
    end: Offset,
    replay: &mut ReplayRecord<'_>,
) -> Result<Offset, LoadError> {
    let request = ReadRequest {
        fetch_offset: offset,
        bytes_max: LOAD_BYTES,
        at_least_one_batch: true,
        current_leader_epoch: leader_epoch,
        last_fetched_epoch: LeaderEpoch::NONE,
        isolation: Isolation::LogEnd,
    };
    let read = match partition.read(&request, Readers::OfTheLeader) {
        Ok(read) => read,
        Err(
            ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch | ErrorCode::UnknownLeaderEpoch,
        ) => {
            return Err(LoadError::NotLeader);
        }
        Err(code) => return Err(LoadError::Read(code.to_string())),
    };
    // Nothing there although the log goes on: compaction left a hole up to its end.
    let Some(slice) = read.records else { return Ok(end) };
    let bytes = slice.read_all().map_err(|error| LoadError::Read(error.to_string()))?;
    let mut next = offset;
    for batch in Batches::new(&bytes) {
        // The last one may be cut by the size of the read.
        let Ok(batch) = batch else { break };
        batch.check_crc().map_err(|error| LoadError::Read(error.to_string()))?;
        next = batch.next_offset();
        let producer_id = batch.producer_id();
        let records = batch
            .records(BATCH_BYTES_MAX)
            .map_err(|error| LoadError::Read(format!("offset {next}: {error}")))?;
        for record in records.iter() {
            let record = record.map_err(|error| LoadError::Read(format!("offset {next}: {error}")))?;
            let Some(key) = record.key else { continue };
            let offset = record.offset.0;
            if !batch.is_control() {
                let in_transaction_of = batch.is_transactional().then_some(producer_id);
                replay(offset, Loaded::Record { key, value: record.value, in_transaction_of })?;
            } else if let Some(is_commit) = ends_by_commit(key, record.value) {
                replay(offset, Loaded::Marker { producer_id, is_commit })?;
            }
        }
    }
    if next == offset {
        return Err(LoadError::Read(format!("no whole batch at offset {offset}")));
    }
    Ok(next)
}
