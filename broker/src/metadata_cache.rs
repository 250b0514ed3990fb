//! The broker's own copy of the metadata: one image, swapped whole, and the offset it has reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use moldau_metadata::MetadataImage;
use moldau_model::{Offset, TimestampMs};
use parking_lot::Mutex;
use tokio::sync::watch;

/// Before any moment of the clock, and far enough from the ends of the number.
const NEVER: i64 = i64::MIN / 2;

/// The newest image this broker has applied. Readers never wait and never see half a change.
pub struct MetadataCache {
    image: ArcSwap<MetadataImage>,
    applied: watch::Sender<Offset>,
    /// See [`Self::note_counted_in`].
    counted_in_at_ms: AtomicI64,
    /// An answer to a heartbeat that tells of metadata that is not here yet.
    answered: Mutex<Option<Answered>>,
}

/// A heartbeat that was answered.
#[derive(Clone, Copy, Debug)]
struct Answered {
    sent_at: TimestampMs,
    /// Where the metadata stood.
    metadata_offset: Offset,
}

impl Default for MetadataCache {
    fn default() -> Self {
        Self::new(MetadataImage::empty())
    }
}

impl MetadataCache {
    /// A cache that starts with this image.
    #[must_use]
    pub fn new(image: MetadataImage) -> Self {
        let applied = watch::Sender::new(image.position().offset);
        Self {
            image: ArcSwap::from_pointee(image),
            applied,
            counted_in_at_ms: AtomicI64::new(NEVER),
            answered: Mutex::default(),
        }
    }

    /// The controller has answered a heartbeat that was sent at this moment of the monotonic clock, and has this broker in service. It
    /// waits for the end of a session from then on before it takes this broker for gone, and gives what it leads to others. What it
    /// gave them before that is in the metadata up to `metadata_offset`: the answer counts when that is here.
    pub fn note_counted_in(&self, sent_at: TimestampMs, metadata_offset: Offset) {
        // A later answer, whose metadata may be further away, does not put off an earlier one.
        self.answered.lock().get_or_insert(Answered { sent_at, metadata_offset });
        self.take_answered();
    }

    fn take_answered(&self) {
        let applied = self.applied_offset();
        let answered = self.answered.lock().take_if(|answered| answered.metadata_offset <= applied);
        if let Some(answered) = answered {
            self.counted_in_at_ms.fetch_max(answered.sent_at.0, Ordering::AcqRel);
        }
    }

    /// Whether the controller may have taken this broker for gone, and the metadata here be what it was before.
    #[must_use]
    pub fn may_be_counted_out(&self, now: TimestampMs, session: Duration) -> bool {
        let session_ms = i64::try_from(session.as_millis()).unwrap_or(i64::MAX);
        now.0.saturating_sub(self.counted_in_at_ms.load(Ordering::Acquire)) >= session_ms
    }

    /// The newest image.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.load_full()
    }

    /// The offset of the newest batch that was applied.
    #[must_use]
    pub fn applied_offset(&self) -> Offset {
        *self.applied.borrow()
    }

    /// Tells of every later change of [`Self::applied_offset`].
    #[must_use]
    pub fn watch_applied(&self) -> watch::Receiver<Offset> {
        self.applied.subscribe()
    }

    /// Puts a newer image in place and wakes who waits for it.
    pub fn replace(&self, image: Arc<MetadataImage>) {
        let offset = image.position().offset;
        self.image.store(image);
        self.applied.send_replace(offset);
        self.take_answered();
    }

    /// Waits until the image has reached `offset`. False if that took longer than `limit`.
    pub async fn wait_for_offset(&self, offset: Offset, limit: Duration) -> bool {
        self.wait_until(limit, |image| image.position().offset >= offset).await
    }

    /// Waits until `condition` holds for the image. False if that took longer than `limit`.
    pub async fn wait_until(&self, limit: Duration, condition: impl Fn(&MetadataImage) -> bool) -> bool {
        let mut applied = self.applied.subscribe();
        let wait = async {
            loop {
                applied.mark_unchanged();
                if condition(&self.image.load()) {
                    return true;
                }
                if applied.changed().await.is_err() {
                    return false;
                }
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_an_offset_is_woken_by_the_image_that_reaches_it() {
        let cache = Arc::new(MetadataCache::default());
        assert!(cache.wait_for_offset(Offset(-1), Duration::ZERO).await);
        assert!(!cache.wait_for_offset(Offset(0), Duration::from_millis(1)).await);
        let waiter = tokio::spawn({
            let cache = Arc::clone(&cache);
            async move { cache.wait_for_offset(Offset(1), Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        let batch = moldau_metadata::MetadataBatch::default();
        let (image, _) = cache.image().replay(&batch, Offset(1), moldau_model::LeaderEpoch(1)).unwrap();
        cache.replace(Arc::new(image));
        assert!(waiter.await.unwrap());
    }

    #[test]
    fn a_broker_may_be_counted_out_a_session_after_the_last_heartbeat_that_was_answered() {
        let cache = MetadataCache::default();
        let may_be_out =
            |cache: &MetadataCache, now| cache.may_be_counted_out(TimestampMs(now), Duration::from_secs(9));
        assert!(may_be_out(&cache, 0), "nobody has counted it in");
        cache.note_counted_in(TimestampMs(1_000), Offset::NONE);
        assert!(!may_be_out(&cache, 9_999));
        assert!(may_be_out(&cache, 10_000));
        cache.note_counted_in(TimestampMs(3_000), Offset::NONE);
        // An answer that comes late tells of the moment at which its question was sent.
        cache.note_counted_in(TimestampMs(2_000), Offset::NONE);
        assert!(!may_be_out(&cache, 11_999));
        assert!(may_be_out(&cache, 12_000));
    }

    #[test]
    fn a_broker_that_comes_back_is_counted_in_when_it_knows_what_happened_meanwhile() {
        let cache = MetadataCache::default();
        let may_be_out = |now| cache.may_be_counted_out(TimestampMs(now), Duration::from_secs(9));
        let apply = |offset| {
            let batch = moldau_metadata::MetadataBatch::default();
            let (image, _) =
                cache.image().replay(&batch, Offset(offset), moldau_model::LeaderEpoch(1)).unwrap();
            cache.replace(Arc::new(image));
        };
        apply(1);
        cache.note_counted_in(TimestampMs(1_000), Offset(1));
        assert!(!may_be_out(9_999));
        // It was gone for a while, and others were given what it led.
        cache.note_counted_in(TimestampMs(30_000), Offset(3));
        assert!(may_be_out(30_001));
        apply(2);
        // Metadata that goes on does not keep it out for ever.
        cache.note_counted_in(TimestampMs(31_000), Offset(9));
        assert!(may_be_out(31_001));
        apply(3);
        assert!(!may_be_out(38_999));
        assert!(may_be_out(39_000));
    }
}
