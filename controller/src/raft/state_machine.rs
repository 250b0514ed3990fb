//! Raft's state machine: replays committed batches into [`Applied`], in memory; snapshots are what it is rebuilt from.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use moldau_cluster::MetadataPosition;
use moldau_metadata::{MetadataBatch, MetadataImage, encode_batch};
use moldau_model::{LeaderEpoch, Offset};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use super::snapshot::SnapshotFiles;
use super::types::{LogId, RaftSnapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::applied::{Applied, ApplyError};

pub(super) struct StateMachine {
    applied: Arc<Applied>,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: SnapshotFiles,
}

impl StateMachine {
    pub(super) fn new(applied: Arc<Applied>, snapshots: SnapshotFiles) -> Self {
        Self { applied, last_applied: None, membership: StoredMembership::default(), snapshots }
    }
}

impl From<ApplyError> for io::Error {
    fn from(error: ApplyError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Raft's index is the metadata offset, its term the epoch.
pub(super) fn position(id: &LogId) -> MetadataPosition {
    MetadataPosition { offset: Offset(id.index as i64), epoch: epoch(id.leader_id.term) }
}

/// Kafka counts epochs in 32 bits. A cluster does not elect two thousand million times.
pub(super) fn epoch(term: u64) -> LeaderEpoch {
    LeaderEpoch(i32::try_from(term).unwrap_or(i32::MAX))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            let MetadataPosition { offset, epoch } = position(&entry.log_id);
            let records = match entry.payload {
                EntryPayload::Normal(batch) => Some(batch.0),
                EntryPayload::Blank => None,
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
            };
            self.applied.apply(offset, epoch, records)?;
            self.last_applied = Some(entry.log_id);
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            image: self.applied.image(),
            meta: SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() },
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, records: Bytes) -> Result<(), io::Error> {
        let (files, meta_to_write, to_write) = (self.snapshots.clone(), meta.clone(), records.clone());
        blocking(move || match files.newest() {
            // A restart installs the snapshot that it has just read.
            Ok(Some((newest, _))) if newest == meta_to_write => Ok(()),
            _ => files.write(&meta_to_write, &to_write),
        })
        .await?;
        self.applied.install(meta.last_log_id.as_ref().map(position), &records)?;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        let files = self.snapshots.clone();
        let newest = blocking(move || files.newest()).await?;
        Ok(newest.map(|(meta, snapshot)| RaftSnapshot { meta, snapshot }))
    }
}

/// Writes the image as it was when the builder was made.
pub(super) struct SnapshotBuilder {
    image: MetadataImage,
    meta: SnapshotMeta,
    snapshots: SnapshotFiles,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let (image, meta, files) = (self.image.clone(), self.meta.clone(), self.snapshots.clone());
        blocking(move || {
            let snapshot = encode_batch(&MetadataBatch::from(image.to_snapshot_records()));
            files.write(&meta, &snapshot)?;
            tracing::info!(
                offset = meta.last_log_id.as_ref().map(|id| id.index),
                bytes = snapshot.len(),
                "wrote a metadata snapshot"
            );
            Ok(RaftSnapshot { meta, snapshot })
        })
        .await
    }
}
