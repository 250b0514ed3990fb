//! RemoveRaftVoter, version 0: takes a controller's vote, by its id and its disk (KIP-853).

use std::time::Duration;

use kafka_protocol::messages::{RemoveRaftVoterRequest, RemoveRaftVoterResponse};
use moldau_cluster::ControllerError;
use moldau_model::{BrokerId, Offset, Operation, Uuid};

use super::{Service, error_fields, voters_changed};
use crate::manage::{ApiError, Asker, ReplicaKey, check_cluster};

/// The request names no limit. A change before this one, and the commit, get as long as an addition does.
const LIMIT: Duration = Duration::from_secs(25);

pub(super) async fn handle(
    service: &Service,
    asker: &Asker,
    request: RemoveRaftVoterRequest,
) -> Result<(RemoveRaftVoterResponse, Offset), ControllerError> {
    if let Err(error) = service.check_cluster(asker, Operation::Alter) {
        return Ok((response(Err(error)), Offset(0)));
    }
    if let Err(error) = check_cluster(request.cluster_id.as_deref(), &service.cluster_id) {
        return Ok((response(Err(error)), Offset(0)));
    }
    service.check_leads()?;
    let directory_id = Uuid::from_bytes(*request.voter_directory_id.as_bytes());
    let result = match ReplicaKey::named(BrokerId(request.voter_id), directory_id, "Remove") {
        Ok(voter) => voters_changed(service.node.remove_voter(voter, LIMIT).await)?,
        Err(error) => Err(error),
    };
    Ok((response(result), Offset(0)))
}

pub(super) fn response(result: Result<(), ApiError>) -> RemoveRaftVoterResponse {
    let (code, message) = error_fields(&result);
    RemoveRaftVoterResponse::default().with_error_code(code).with_error_message(message)
}
