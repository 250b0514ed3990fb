//! Server-sent events: a page that is open learns at once that what it shows has changed.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::Shared;
use super::answer::{Failure, Query};
use super::groups;
use super::stream::{PIECES_MAX, STALL_MAX, body};

/// Changes of metadata within this time are one event.
const TOGETHER: Duration = Duration::from_millis(100);
/// How often a watched group is looked at.
const GROUP_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing may be sent: proxies end connections that are silent, and a reader that is gone is noticed by this.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long one stream goes on. A browser opens the next one by itself, where somebody still looks.
const STREAM_MAX: Duration = Duration::from_secs(3600);

pub(super) async fn events(State(web): State<Shared>, query: Query) -> Result<Response, Failure> {
    let place = std::sync::Arc::clone(&web.event_streams).try_acquire_owned().map_err(|_| {
        let message = "as many pages are open as this node serves events to";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "BUSY", message)
    })?;
    let group = query.text("group").map(ToOwned::to_owned);
    let (pieces, receiver) = mpsc::channel(PIECES_MAX);
    let stop = web.stop.clone();
    tokio::spawn(async move {
        let _place = place;
        // Nobody reads any more: that is how a stream of events ends.
        let _ = tokio::time::timeout(STREAM_MAX, tell(&web, group, &pieces)).await;
    });
    let kind = [(header::CONTENT_TYPE, "text/event-stream")];
    Ok((kind, body(receiver, stop)).into_response())
}

type Sent = Result<(), mpsc::error::SendTimeoutError<Bytes>>;

async fn tell(web: &Shared, group: Option<String>, pieces: &mpsc::Sender<Bytes>) -> Sent {
    let mut stop = web.stop.clone();
    let mut applied = web.node.watch_applied();
    let mut samples = web.history.watch();
    let mut looks = interval(GROUP_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = Value::Null;
    let mut last = Instant::now();
    let node_id = web.node.config().node_id.0;
    send(pieces, "hello", &json!({"node_id": node_id, "version": env!("CARGO_PKG_VERSION")})).await?;
    loop {
        tokio::select! {
            changed = applied.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                sleep(TOGETHER).await;
                let offset = applied.borrow_and_update().0;
                send(pieces, "metadata", &json!({"offset": offset})).await?;
            }
            taken = samples.changed() => {
                if taken.is_err() {
                    return Ok(());
                }
                send(pieces, "sample", &web.history.newest()).await?;
            }
            _ = looks.tick(), if group.is_some() => {
                let name = group.clone().unwrap_or_default();
                let image = web.node.image();
                let seen = match web.clients() {
                    Ok(clients) => clients.ask(move |client| groups::described(client, &image, &name)).await,
                    Err(failure) => Err(failure),
                };
                let seen = seen.unwrap_or_else(|failure| failure.body());
                if seen == shown {
                    continue;
                }
                send(pieces, "group", &seen).await?;
                shown = seen;
            }
            () = tokio::time::sleep_until(last + SILENCE_MAX) => {
                pieces.send_timeout(Bytes::from_static(b": still here\n\n"), STALL_MAX).await?;
            }
            () = super::stream::stopped(&mut stop) => return Ok(()),
        }
        last = Instant::now();
    }
}

async fn send(pieces: &mpsc::Sender<Bytes>, event: &str, data: &Value) -> Sent {
    // JSON has no line ends of its own, so that one line of data is enough.
    let piece = Bytes::from(format!("event: {event}\ndata: {data}\n\n"));
    // A reader that does not read is as good as gone.
    pieces.send_timeout(piece, STALL_MAX).await
}
