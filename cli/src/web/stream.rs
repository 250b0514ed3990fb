//! Answers that come in pieces, and end when the node stops.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::sync::{mpsc, watch};

/// Pieces that wait for a slow reader: whoever makes them waits then.
pub(super) const PIECES_MAX: usize = 32;
/// A reader that takes nothing for so long, while all these pieces wait for it, has its answer ended: there are few places.
pub(super) const STALL_MAX: Duration = Duration::from_secs(20);

/// Waits until the node stops.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever would say so is gone: that is a stop as well.
    drop(stop.wait_for(|stop| *stop).await);
}

/// A body of the pieces that are sent, up to the node's stop: an answer without an end would keep the node from stopping.
pub(super) fn body(pieces: mpsc::Receiver<Bytes>, stop: watch::Receiver<bool>) -> Body {
    Body::from_stream(futures::stream::unfold((pieces, stop), |(mut pieces, mut stop)| async move {
        let piece = tokio::select! {
            piece = pieces.recv() => piece,
            () = stopped(&mut stop) => None,
        };
        piece.map(|piece| (Ok::<_, Infallible>(piece), (pieces, stop)))
    }))
}
