//! The request quota: how much of a thread's time each request takes, and what its client is told (KIP-124).
//!
//! Produce and Fetch count by themselves, for they are limited in bytes as well and a throttled fetch brings nothing.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use moldau_kafka::ApiKey;
use moldau_metadata::QuotaKey;

use super::{Reply, RequestContext};
use crate::broker::Broker;
use crate::response::ResponseFrame;

/// Whether the time of such requests is counted here.
pub(super) fn counts(broker: &Broker, key: ApiKey) -> bool {
    // What brokers say to one another is nobody's quota.
    broker.control.quotas.limits(QuotaKey::RequestPercentage)
        && !matches!(key, ApiKey::Produce | ApiKey::Fetch | ApiKey::WriteTxnMarkers)
}

/// Counts what the handler took so far, and what its future takes from here on; the answer tells of a wait.
pub(super) fn counted(broker: &Arc<Broker>, context: RequestContext, busy: Duration, reply: Reply) -> Reply {
    let broker = Arc::clone(broker);
    match reply {
        Reply::Ready(frame) => Reply::Ready(told(&broker, &context, busy, frame)),
        Reply::Pending(future) => Reply::Pending(Box::pin(async move {
            let (frame, later) = timed(future).await;
            told(&broker, &context, busy + later, frame)
        })),
        Reply::Deferred(future) => Reply::Deferred(Box::pin(async move {
            let (reply, later) = timed(future).await;
            counted(&broker, context, busy + later, reply)
        })),
        // Of Produce alone, which counts by itself.
        Reply::Acknowledged(_) | Reply::NoResponse { .. } | Reply::Close(_) => reply,
    }
}

fn told(broker: &Broker, context: &RequestContext, busy: Duration, frame: ResponseFrame) -> ResponseFrame {
    let throttle_ms = broker.control.quotas.record_time(context, busy);
    // The controller may have said already that the client is to wait, and for longer.
    if throttle_ms <= frame.throttle_ms() { frame } else { frame.throttled(context, throttle_ms) }
}

/// A future's output, and how long it kept its thread.
async fn timed<F: Future + Unpin>(mut future: F) -> (F::Output, Duration) {
    let mut busy = Duration::ZERO;
    std::future::poll_fn(|task| {
        let begun = Instant::now();
        let poll = std::pin::Pin::new(&mut future).poll(task);
        busy += begun.elapsed();
        match poll {
            Poll::Ready(output) => Poll::Ready((output, busy)),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
