//! AddRaftVoter, versions 0 and 1: makes a controller that reads along a voter (KIP-853).
//!
//! - 1: whether the answer waits for the commit (KIP-1186). It always does: that is more than is asked for, and takes a round
//!   trip more.

use std::time::Duration;

use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};
use moldau_cluster::ControllerError;
use moldau_kafka::VersionRange;
use moldau_model::{BrokerId, ErrorCode, Offset, Operation, Uuid};

use super::{Service, error_fields, voters_changed};
use crate::manage::{ApiError, Asker, ReplicaKey, check_cluster};

/// kafka-protocol knows the first; of the response both are the same.
pub(super) const VERSIONS: VersionRange = VersionRange::new(0, 1);

/// A controller gets the log within this time, whatever the client says: a broker that passes the request on waits a
/// little longer.
const LIMIT: Duration = Duration::from_secs(25);

pub(super) async fn handle(
    service: &Service,
    asker: &Asker,
    request: AddRaftVoterRequest,
) -> Result<(AddRaftVoterResponse, Offset), ControllerError> {
    if let Err(error) = service.check_cluster(asker, Operation::Alter) {
        return Ok((response(Err(error)), Offset(0)));
    }
    if let Err(error) = check_cluster(request.cluster_id.as_deref(), &service.cluster_id) {
        return Ok((response(Err(error)), Offset(0)));
    }
    service.check_leads()?;
    let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let result = match voter(&request, &service.listener_name) {
        Ok((voter, address)) => {
            voters_changed(service.node.add_voter(voter, address, asked.min(LIMIT)).await)?
        }
        Err(error) => Err(error),
    };
    Ok((response(result), Offset(0)))
}

pub(super) fn response(result: Result<(), ApiError>) -> AddRaftVoterResponse {
    let (code, message) = error_fields(&result);
    AddRaftVoterResponse::default().with_error_code(code).with_error_message(message)
}

/// Who is to vote, and where it listens.
fn voter(request: &AddRaftVoterRequest, listener_name: &str) -> Result<(ReplicaKey, String), ApiError> {
    let directory_id = Uuid::from_bytes(*request.voter_directory_id.as_bytes());
    let voter = ReplicaKey::named(BrokerId(request.voter_id), directory_id, "Add")?;
    let is_default = |listener: &&Listener| listener.name.eq_ignore_ascii_case(listener_name);
    match request.listeners.iter().find(is_default) {
        Some(Listener { host, port, .. }) if host.contains(':') => Ok((voter, format!("[{host}]:{port}"))),
        Some(Listener { host, port, .. }) => Ok((voter, format!("{host}:{port}"))),
        None => Err(ApiError::new(
            ErrorCode::InvalidRequest,
            format!(
                "Add voter request didn't include the endpoint ({}) for the default listener \
                 ListenerName({listener_name})",
                endpoints(&request.listeners)
            ),
        )),
    }
}

/// Listeners as Kafka writes them.
fn endpoints(listeners: &[Listener]) -> String {
    let listeners: Vec<String> = listeners
        .iter()
        .map(|listener| {
            let name = listener.name.to_ascii_uppercase();
            format!("ListenerName({name})={}/<unresolved>:{}", listener.host.as_str(), listener.port)
        })
        .collect();
    format!("Endpoints(endpoints={{{}}})", listeners.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    #[test]
    fn a_voter_has_to_listen_where_the_others_do() {
        let request = |listeners: &[(&str, &str)]| {
            let listener = |(name, host): &(&str, &str)| {
                Listener::default().with_name(text(*name)).with_host(text(*host)).with_port(9093)
            };
            AddRaftVoterRequest::default()
                .with_voter_id(2)
                .with_voter_directory_id(uuid::Uuid::from_bytes([2; 16]))
                .with_listeners(listeners.iter().map(listener).collect())
        };
        for (host, address) in [("h", "h:9093"), ("::1", "[::1]:9093")] {
            let (voter, found) = voter(&request(&[("X", "x"), ("controller", host)]), "CONTROLLER").unwrap();
            assert_eq!((voter.node_id, found.as_str()), (BrokerId(2), address));
        }
        // To the byte what Apache Kafka 4.3 answers.
        for (listeners, text) in [
            (
                &[][..],
                "Add voter request didn't include the endpoint (Endpoints(endpoints={})) for the default listener \
                 ListenerName(CONTROLLER)",
            ),
            (
                &[("X", "h")],
                "Add voter request didn't include the endpoint \
                 (Endpoints(endpoints={ListenerName(X)=h/<unresolved>:9093})) for the default listener \
                 ListenerName(CONTROLLER)",
            ),
        ] {
            let error = voter(&request(listeners), "CONTROLLER").unwrap_err();
            assert_eq!((error.code, error.message.unwrap().as_str()), (ErrorCode::InvalidRequest, text));
        }
    }
}
