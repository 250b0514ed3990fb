//! What this node has applied of the metadata log: the newest image, and the last batches for those who watch.

use std::collections::VecDeque;

use bytes::Bytes;
use moldau_cluster::{MetadataEvent, MetadataPosition};
use moldau_metadata::{DecodeError, MetadataBatch, MetadataImage, ReplayError, decode_batch, encode_batch};
use moldau_model::{LeaderEpoch, Offset};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;

/// How many batches, and how many of their bytes, are kept for watchers to resume from.
const KEPT_LENGTH_MAX: usize = 4096;
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Why a committed entry could not be applied. The node must stop: its metadata would no longer be the cluster's.
#[derive(Debug, Error)]
pub(crate) enum ApplyError {
    #[error("the entry at offset {offset} does not decode: {source}")]
    Decode { offset: Offset, source: DecodeError },
    #[error("{0}")]
    Replay(#[from] ReplayError),
}

struct Kept {
    position: MetadataPosition,
    records: Bytes,
}

struct State {
    image: MetadataImage,
    position: Option<MetadataPosition>,
    /// The position of the batch before the first that is kept.
    kept_after: Option<MetadataPosition>,
    kept: VecDeque<Kept>,
    kept_bytes: usize,
}

/// See the module. Written by the Raft state machine alone, read by everybody.
pub(crate) struct Applied {
    state: Mutex<State>,
    /// The last applied offset, -1 before the first.
    offset: watch::Sender<Offset>,
}

/// What a watcher gets next.
pub(crate) enum Next {
    Event(MetadataEvent),
    /// Nothing is there yet.
    Wait,
    /// The batches after the watcher's position are no longer kept, or it has a position that the log does not.
    Lost,
}

impl Default for Applied {
    fn default() -> Self {
        let state = State {
            image: MetadataImage::empty(),
            position: None,
            kept_after: None,
            kept: VecDeque::new(),
            kept_bytes: 0,
        };
        Self { state: Mutex::new(state), offset: watch::channel(Offset::NONE).0 }
    }
}

impl Applied {
    /// The newest image.
    pub(crate) fn image(&self) -> MetadataImage {
        self.state.lock().image.clone()
    }

    /// The position of the last applied entry.
    pub(crate) fn position(&self) -> Option<MetadataPosition> {
        self.state.lock().position
    }

    /// Tells of every change of the last applied offset.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Offset> {
        self.offset.subscribe()
    }

    /// Applies the entry at `offset`; `records` is `None` where Raft wrote an entry of its own.
    pub(crate) fn apply(
        &self,
        offset: Offset,
        epoch: LeaderEpoch,
        records: Option<Bytes>,
    ) -> Result<(), ApplyError> {
        let batch = match &records {
            Some(records) => decode_batch(records).map_err(|source| ApplyError::Decode { offset, source })?,
            None => MetadataBatch::default(),
        };
        // Nobody else writes the image, so it may be replayed without the lock.
        let image = self.image().replay_image(&batch, offset, epoch)?;
        let position = MetadataPosition { offset, epoch };
        {
            let mut state = self.state.lock();
            state.image = image;
            state.position = Some(position);
            state.keep(Kept { position, records: records.unwrap_or_default() });
        }
        self.offset.send_replace(offset);
        Ok(())
    }

    /// Replaces everything by a snapshot's contents.
    pub(crate) fn install(
        &self,
        position: Option<MetadataPosition>,
        records: &[u8],
    ) -> Result<(), ApplyError> {
        let MetadataPosition { offset, epoch } =
            position.unwrap_or(MetadataPosition { offset: Offset::NONE, epoch: LeaderEpoch::ZERO });
        let batch = decode_batch(records).map_err(|source| ApplyError::Decode { offset, source })?;
        let image = MetadataImage::from_snapshot([&batch], offset, epoch)?;
        {
            let mut state = self.state.lock();
            state.image = image;
            state.position = position;
            state.kept_after = position;
            state.kept.clear();
            state.kept_bytes = 0;
        }
        self.offset.send_replace(offset);
        Ok(())
    }

    /// What follows on `after`.
    pub(crate) fn next(&self, after: MetadataPosition) -> Next {
        let state = self.state.lock();
        let Some(last) = state.position else { return Next::Wait };
        // Ahead of this node: it will come to know that position, or it will not; the next event tells.
        if after.offset > last.offset {
            return Next::Wait;
        }
        if after.offset == last.offset {
            return if after == last { Next::Wait } else { Next::Lost };
        }
        let index = state.kept.partition_point(|kept| kept.position.offset <= after.offset);
        let before = match index.checked_sub(1) {
            Some(before) => Some(state.kept[before].position),
            None => state.kept_after,
        };
        match state.kept.get(index) {
            Some(kept) if before == Some(after) => {
                Next::Event(MetadataEvent::Batch { position: kept.position, records: kept.records.clone() })
            }
            _ => Next::Lost,
        }
    }

    /// Everything, as one event; `None` before anything was applied.
    pub(crate) fn snapshot(&self) -> Option<MetadataEvent> {
        let (image, position) = {
            let state = self.state.lock();
            (state.image.clone(), state.position?)
        };
        let records = encode_batch(&MetadataBatch::from(image.to_snapshot_records()));
        Some(MetadataEvent::Snapshot { position, records })
    }
}

impl State {
    fn keep(&mut self, kept: Kept) {
        self.kept_bytes += kept.records.len();
        self.kept.push_back(kept);
        while self.kept.len() > KEPT_LENGTH_MAX || (self.kept_bytes > KEPT_BYTES_MAX && self.kept.len() > 1) {
            if let Some(oldest) = self.kept.pop_front() {
                self.kept_bytes -= oldest.records.len();
                self.kept_after = Some(oldest.position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> MetadataPosition {
        MetadataPosition { offset: Offset(offset), epoch: LeaderEpoch(1) }
    }

    #[test]
    fn a_watcher_gets_what_is_kept_and_learns_what_is_not() {
        let applied = Applied::default();
        assert!(matches!(applied.next(at(0)), Next::Wait));
        let count = KEPT_LENGTH_MAX as i64 + 10;
        for offset in 0..count {
            applied.apply(Offset(offset), LeaderEpoch(1), None).unwrap();
        }
        // The batches 0 to 9 are gone; 9 itself is the last position that can be resumed from.
        assert!(matches!(applied.next(at(8)), Next::Lost));
        for after in [9, 10, count - 2] {
            let Next::Event(event) = applied.next(at(after)) else { panic!("nothing after {after}") };
            assert_eq!(event.position(), at(after + 1));
        }
        for waiting in [count - 1, count, count + 5] {
            assert!(matches!(applied.next(at(waiting)), Next::Wait), "after {waiting}");
        }
        for offset in [9, 20, count - 1] {
            let elsewhere = MetadataPosition { epoch: LeaderEpoch(2), ..at(offset) };
            assert!(matches!(applied.next(elsewhere), Next::Lost), "{elsewhere:?}");
        }
        applied.install(Some(at(count + 90)), &[]).unwrap();
        assert!(matches!(applied.next(at(count - 1)), Next::Lost));
        assert!(matches!(applied.next(at(count + 90)), Next::Wait));
    }

    #[tokio::test]
    async fn a_watcher_that_falls_behind_is_dropped_and_comes_again() {
        let applied = std::sync::Arc::new(Applied::default());
        applied.apply(Offset(0), LeaderEpoch(1), None).unwrap();
        let (_stop, stopped) = watch::channel(false);
        let mut events = crate::service::watch_applied(applied.clone(), Some(at(0)), stopped.clone());
        applied.apply(Offset(1), LeaderEpoch(1), None).unwrap();
        let mut last = events.recv().await.unwrap().position();
        assert_eq!(last, at(1));
        for offset in 2..=3 * KEPT_LENGTH_MAX as i64 {
            applied.apply(Offset(offset), LeaderEpoch(1), None).unwrap();
        }
        while let Some(event) = events.recv().await {
            assert_eq!(event.position().offset, last.offset.plus(1), "a gap was hidden");
            last = event.position();
        }
        assert!(last.offset < Offset(3 * KEPT_LENGTH_MAX as i64), "it was not slow");
        let mut events = crate::service::watch_applied(applied, Some(last), stopped);
        assert!(matches!(events.recv().await, Some(MetadataEvent::Snapshot { .. })));
    }
}
