//! The way to the share coordinators: here or on another broker, again for a while where there is none just now.

use std::sync::Arc;
use std::time::Duration;

use moldau_model::{BrokerId, ErrorCode, PartitionIndex};
use moldau_share::{Request, Response};
use tokio::time::Instant;

use super::link::Links;
use crate::api::share_state_request;
use crate::control::ControlPlane;
use crate::coordinator::SHARE_STATE_TOPIC;

/// How long an answer is looked for: an election takes less, and who waits asks again.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The pauses between two tries, which double.
pub(super) const RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);
pub(super) const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// See the module.
pub struct SharePersister {
    control: Arc<ControlPlane>,
    links: Arc<Links>,
}

impl SharePersister {
    /// One that has asked nobody yet.
    #[must_use]
    pub(super) fn new(control: Arc<ControlPlane>, links: Arc<Links>) -> Self {
        Self { control, links }
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
        match self.links.ask(leader, share_state_request::exchange(request)).await {
            Some(frame) => share_state_request::response(request, frame).unwrap_or_else(unreachable),
            None => unreachable(),
        }
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
