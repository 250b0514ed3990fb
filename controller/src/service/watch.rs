//! One task for each broker that watches the metadata.

use std::sync::Arc;

use moldau_cluster::{MetadataEvent, MetadataPosition, MetadataWatch};
use tokio::sync::{mpsc, watch};

use crate::applied::{Applied, Next};

/// How many events may wait for the watcher. Beyond, they wait in what is kept for all watchers.
const CHANNEL_LENGTH: usize = 64;

/// Streams what follows on `after`, a snapshot first where needed. The task ends with the receiver, and with `stop`.
pub(crate) fn spawn(
    applied: Arc<Applied>,
    after: Option<MetadataPosition>,
    mut stop: watch::Receiver<bool>,
) -> MetadataWatch {
    let (events, receiver) = mpsc::channel(CHANNEL_LENGTH);
    tokio::spawn(async move {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = stream(&applied, after, &events) => {}
        }
    });
    receiver
}

async fn stream(
    applied: &Applied,
    mut after: Option<MetadataPosition>,
    events: &mpsc::Sender<MetadataEvent>,
) {
    let mut offset = applied.subscribe();
    // Only a watcher that has just come is helped by a snapshot; one that fell behind is dropped, and comes again.
    let mut is_first = true;
    loop {
        // Before looking, so that nothing that is applied in between is missed.
        offset.mark_unchanged();
        let event = match after.map(|after| applied.next(after)) {
            Some(Next::Event(event)) => Some(event),
            Some(Next::Wait) => None,
            Some(Next::Lost) if !is_first => {
                tracing::info!("a watcher of the metadata fell behind and is dropped");
                return;
            }
            Some(Next::Lost) | None => applied.snapshot(),
        };
        match event {
            Some(event) => {
                after = Some(event.position());
                is_first = false;
                if events.send(event).await.is_err() {
                    return;
                }
            }
            None => tokio::select! {
                changed = offset.changed() => if changed.is_err() { return },
                () = events.closed() => return,
            },
        }
    }
}
