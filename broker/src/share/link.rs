//! The connections to other brokers that coordinate share partitions, or lead what share groups read: a request, its answer, the
//! next request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use moldau_model::{BrokerEpoch, BrokerId};
use moldau_security::link::Dialer;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::control::ControlPlane;
use crate::replication::{Endpoint, LeaderConnection};

/// Questions that one broker has not been asked yet. Beyond them who asks is told to try again.
const QUESTIONS_MAX: usize = 4096;

/// `request.timeout.ms`' default: a coordinator that takes longer is asked anew.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// One share partition's state: 20,000 batches of twenty bytes, and much room.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Writes the frame of a request with this correlation id and client id.
pub(crate) type Exchange = Box<dyn Fn(i32, &str) -> Result<BytesMut, String> + Send>;

struct Asked {
    exchange: Exchange,
    endpoint: Endpoint,
    /// Dropped where there is no answer.
    answer: oneshot::Sender<Bytes>,
}

/// One connection to each broker that was asked something.
pub(super) struct Links {
    control: Arc<ControlPlane>,
    dialer: Arc<Dialer>,
    by_broker: Mutex<HashMap<BrokerId, mpsc::Sender<Asked>>>,
}

impl Links {
    pub(super) fn new(control: Arc<ControlPlane>, dialer: Arc<Dialer>) -> Self {
        Self { control, dialer, by_broker: Mutex::default() }
    }

    /// Asks a broker by its inter-broker listener. `None` where it does not answer.
    pub(super) async fn ask(&self, broker: BrokerId, exchange: Exchange) -> Option<Bytes> {
        let endpoint = self.endpoint(broker)?;
        let (sender, answer) = oneshot::channel();
        self.link(broker).try_send(Asked { exchange, endpoint, answer: sender }).ok()?;
        answer.await.ok()
    }

    fn endpoint(&self, broker: BrokerId) -> Option<Endpoint> {
        let image = self.control.image();
        let broker = image.broker(broker)?;
        let listener = broker.listener(&self.control.config.inter_broker_listener_name)?;
        Some(Endpoint {
            host: Arc::clone(&listener.host),
            port: listener.port,
            broker_epoch: BrokerEpoch(-1),
            dialer: Arc::clone(&self.dialer),
        })
    }

    fn link(&self, broker: BrokerId) -> mpsc::Sender<Asked> {
        let mut links = self.by_broker.lock();
        let sender = links.entry(broker).or_insert_with(|| {
            let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
            tokio::spawn(run(self.control.node_id, broker, questions));
            sender
        });
        sender.clone()
    }
}

struct Link {
    connection: LeaderConnection,
    endpoint: Endpoint,
}

/// Asks until nobody can ask any more.
async fn run(node_id: BrokerId, broker: BrokerId, mut questions: mpsc::Receiver<Asked>) {
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
            Err(error) => tracing::debug!(%broker, error, "a broker does not answer what share groups need"),
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
