//! The connection to one broker that coordinates share partitions: a request, its answer, the next request.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use moldau_model::BrokerId;
use tokio::sync::{mpsc, oneshot};

use crate::replication::{Endpoint, LeaderConnection};

/// `request.timeout.ms`' default: a coordinator that takes longer is asked anew.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// One share partition's state: 20,000 batches of twenty bytes, and much room.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes the frame of a request with this correlation id and client id.
pub(crate) type Exchange = Box<dyn Fn(i32, &str) -> Result<BytesMut, String> + Send>;

pub(super) struct Asked {
    pub(super) exchange: Exchange,
    pub(super) endpoint: Endpoint,
    /// Dropped where there is no answer.
    pub(super) answer: oneshot::Sender<Bytes>,
}

struct Link {
    connection: LeaderConnection,
    endpoint: Endpoint,
}

/// Asks until nobody can ask any more.
pub(super) async fn run(node_id: BrokerId, coordinator: BrokerId, mut questions: mpsc::Receiver<Asked>) {
    let client_id = format!("broker-{node_id}-share");
    let mut link = None;
    let mut correlation_id = 0;
    while let Some(asked) = questions.recv().await {
        correlation_id += 1;
        let outcome = match (asked.exchange)(correlation_id, &client_id) {
            Ok(frame) => exchange(&mut link, &asked.endpoint, &frame).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(frame) => {
                // Who asked may have gone.
                let _ = asked.answer.send(frame);
            }
            Err(error) => tracing::debug!(%coordinator, error, "a share coordinator cannot be asked"),
        }
    }
}

/// Sends the request and waits for its answer. A connection that was there before may have been closed for want of requests:
/// then it is tried on a new one. That a request may be carried out twice does no harm.
async fn exchange(link: &mut Option<Link>, endpoint: &Endpoint, frame: &BytesMut) -> Result<Bytes, String> {
    let kept = link.take().filter(|link| link.endpoint == *endpoint);
    if let Some(mut kept) = kept
        && let Ok(answer) = send(&mut kept.connection, frame).await
    {
        *link = Some(kept);
        return Ok(answer);
    }
    let connection = LeaderConnection::open(endpoint, FRAME_BYTES_MAX).await;
    let mut connection = connection.map_err(|error| error.to_string())?;
    let answer = send(&mut connection, frame).await?;
    *link = Some(Link { connection, endpoint: endpoint.clone() });
    Ok(answer)
}

async fn send(connection: &mut LeaderConnection, frame: &BytesMut) -> Result<Bytes, String> {
    connection.send(frame).await.map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(ANSWER_LIMIT, connection.receive()).await;
    answer.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
