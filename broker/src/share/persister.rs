//! The way to the share coordinators: here or on another broker, again for a while where there is none just now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moldau_model::{BrokerEpoch, BrokerId, ErrorCode, PartitionIndex};
use moldau_share::{Request, Response};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::link::{self, Asked};
use crate::api::share_state_request;
use crate::control::ControlPlane;
use crate::coordinator::SHARE_STATE_TOPIC;
use crate::replication::Endpoint;

/// How long an answer is looked for: an election takes less, and who waits asks again.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The pauses between two tries, which double.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// Questions that one broker has not been asked yet. Beyond them who asks is told to try again.
const QUESTIONS_MAX: usize = 4096;

/// See the module.
pub struct SharePersister {
    control: Arc<ControlPlane>,
    links: Mutex<HashMap<BrokerId, mpsc::Sender<Asked>>>,
}

impl SharePersister {
    /// One that has asked nobody yet.
    #[must_use]
    pub fn new(control: Arc<ControlPlane>) -> Self {
        Self { control, links: Mutex::default() }
    }

    /// Asks the share coordinator of the request's share partition.
    pub async fn ask(&self, request: Request) -> Response {
        let deadline = Instant::now() + ANSWER_LIMIT;
        let mut pause = RETRY_PAUSE_MIN;
        loop {
            let response = self.ask_once(&request).await;
            if !is_worth_a_retry(&response) || Instant::now() >= deadline {
                return response;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(RETRY_PAUSE_MAX);
        }
    }

    async fn ask_once(&self, request: &Request) -> Response {
        share_state_request::ensure_state_topic(&self.control).await;
        let id = request.key().to_string();
        let partition = self.control.share_state.partition_for(&id);
        let image = self.control.image();
        let leader = image.partition_by_name(SHARE_STATE_TOPIC, partition).map(|(_, state)| state.leader);
        match leader {
            Some(leader) if leader == self.control.node_id => self.ask_here(partition, request).await,
            Some(leader) if leader != BrokerId::NONE => self.ask_there(leader, request).await,
            Some(_) | None => request.refused(ErrorCode::CoordinatorNotAvailable),
        }
    }

    async fn ask_here(&self, partition: PartitionIndex, request: &Request) -> Response {
        match self.control.share_state.submit_to(partition, request.clone()) {
            Ok(answer) => answer.await.unwrap_or_else(|_| request.refused(ErrorCode::NotCoordinator)),
            Err(error) => request.refused(error),
        }
    }

    async fn ask_there(&self, leader: BrokerId, request: &Request) -> Response {
        let unreachable = || request.refused(ErrorCode::NetworkException);
        let Some(endpoint) = self.endpoint(leader) else { return unreachable() };
        let (sender, answer) = oneshot::channel();
        let asked = Asked { exchange: share_state_request::exchange(request), endpoint, answer: sender };
        let is_taken = self.link(leader).try_send(asked).is_ok();
        if !is_taken {
            return unreachable();
        }
        match answer.await {
            Ok(frame) => share_state_request::response(request, frame).unwrap_or_else(unreachable),
            Err(_) => unreachable(),
        }
    }

    fn endpoint(&self, broker: BrokerId) -> Option<Endpoint> {
        let image = self.control.image();
        let broker = image.broker(broker)?;
        let listener = broker.listener(&self.control.config.inter_broker_listener_name)?;
        Some(Endpoint {
            host: Arc::clone(&listener.host),
            port: listener.port,
            broker_epoch: BrokerEpoch(-1),
        })
    }

    fn link(&self, broker: BrokerId) -> mpsc::Sender<Asked> {
        let mut links = self.links.lock();
        let sender = links.entry(broker).or_insert_with(|| {
            let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
            tokio::spawn(link::run(self.control.node_id, broker, questions));
            sender
        });
        sender.clone()
    }
}

fn is_worth_a_retry(response: &Response) -> bool {
    let refusal = match response {
        Response::Changed(Err(refusal)) | Response::Read(Err(refusal)) | Response::Summary(Err(refusal)) => {
            refusal.error
        }
        Response::Changed(Ok(())) | Response::Read(Ok(_)) | Response::Summary(Ok(_)) => return false,
    };
    matches!(
        refusal,
        ErrorCode::NotCoordinator
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::NetworkException
    )
}
