//! Applies what the controllers committed, in its order, to the broker and then to its image.

use std::sync::Arc;
use std::time::Duration;

use moldau_cluster::{ControllerChannel, MetadataEvent, MetadataPosition, WatchMetadata};
use moldau_metadata::{MetadataDelta, MetadataImage, decode_batch};

use super::MetadataPublisher;
use crate::metadata_cache::MetadataCache;

/// Pause before a watch that ended is asked for again: long enough not to spin, short beside a heartbeat.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Follows the metadata for as long as the task lives.
pub(super) async fn follow(
    cluster_id: String,
    channel: Arc<dyn ControllerChannel>,
    cache: Arc<MetadataCache>,
    publisher: Arc<dyn MetadataPublisher>,
) {
    let mut after: Option<MetadataPosition> = None;
    loop {
        match channel.watch_metadata(WatchMetadata { cluster_id: cluster_id.clone(), after }).await {
            Ok(mut events) => {
                while let Some(event) = events.recv().await {
                    match apply(&event, &cache, publisher.as_ref()).await {
                        Ok(()) => after = Some(event.position()),
                        Err(error) => {
                            // An image that is not the controllers' must not be served: start anew from a snapshot.
                            tracing::error!(%error, position = ?event.position(), "metadata event refused");
                            after = None;
                            break;
                        }
                    }
                }
                tracing::debug!("metadata watch ended, asking again");
            }
            Err(error) => tracing::warn!(%error, "cannot watch the metadata"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// Why an event cannot be applied.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error(transparent)]
    Decode(#[from] moldau_metadata::DecodeError),
    #[error(transparent)]
    Replay(#[from] moldau_metadata::ReplayError),
}

async fn apply(
    event: &MetadataEvent,
    cache: &MetadataCache,
    publisher: &dyn MetadataPublisher,
) -> Result<(), ApplyError> {
    let before = cache.image();
    let position = event.position();
    let (image, delta) = match event {
        MetadataEvent::Snapshot { records, .. } => {
            let batch = decode_batch(records)?;
            let image = MetadataImage::empty().replay_image(&batch, position.offset, position.epoch)?;
            let delta = MetadataDelta::between(&before, &image);
            (image, delta)
        }
        MetadataEvent::Batch { records, .. } => {
            let batch = decode_batch(records)?;
            before.replay(&batch, position.offset, position.epoch)?
        }
    };
    let image = Arc::new(image);
    publisher.before_swap(&delta, &image).await;
    cache.replace(Arc::clone(&image));
    publisher.after_swap(&delta, &image).await;
    Ok(())
}
