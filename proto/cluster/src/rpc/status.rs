//! A [`ControllerError`] as a gRPC status, and back.

use moldau_model::{BrokerId, ErrorCode};
use prost::Message;
use tonic::{Code, Status};

use super::controller::controller_error::Kind;
use super::controller::{ControllerError as Wire, LeaderHint as WireHint};
use crate::{ControllerError, LeaderHint};

/// The status that carries an error.
#[must_use]
pub fn status_of_error(error: &ControllerError) -> Status {
    let (code, kind) = match error {
        ControllerError::NotController { .. } => (Code::FailedPrecondition, Kind::NotController),
        ControllerError::Timeout => (Code::DeadlineExceeded, Kind::Timeout),
        ControllerError::Stopping => (Code::Unavailable, Kind::Stopping),
        ControllerError::Kafka(ErrorCode::ClusterAuthorizationFailed) => (Code::Unauthenticated, Kind::Kafka),
        ControllerError::Kafka(_) => (Code::FailedPrecondition, Kind::Kafka),
        ControllerError::BrokerLives { .. } => (Code::AlreadyExists, Kind::BrokerLives),
    };
    let leader = match error {
        ControllerError::NotController { leader: Some(hint) } => {
            Some(WireHint { node_id: hint.node_id.0, address: hint.address.clone() })
        }
        _ => None,
    };
    let kafka_code = match error {
        ControllerError::Kafka(code) => i32::from(code.code()),
        _ => 0,
    };
    let address = match error {
        ControllerError::BrokerLives { address } => address.clone(),
        _ => String::new(),
    };
    let details = Wire { kind: kind.into(), leader, code: kafka_code, address }.encode_to_vec();
    Status::with_details(code, error.to_string(), details.into())
}

/// The error that a status carries. What the transport says of itself leaves the outcome unknown, as the loss of the
/// leadership does: the caller asks elsewhere, or again.
#[must_use]
pub fn error_of_status(status: &Status) -> ControllerError {
    let unknown = ControllerError::NotController { leader: None };
    if status.details().is_empty() {
        tracing::debug!(code = ?status.code(), message = status.message(), "a call to a controller failed");
        return match status.code() {
            Code::DeadlineExceeded | Code::Cancelled => ControllerError::Timeout,
            _ => unknown,
        };
    }
    let Ok(wire) = Wire::decode(status.details()) else { return unknown };
    match wire.kind() {
        Kind::NotController => {
            let hint = |hint: WireHint| LeaderHint { node_id: BrokerId(hint.node_id), address: hint.address };
            ControllerError::NotController { leader: wire.leader.map(hint) }
        }
        Kind::Timeout => ControllerError::Timeout,
        Kind::Stopping => ControllerError::Stopping,
        Kind::Kafka => {
            let code = i16::try_from(wire.code).map_or(ErrorCode::UnknownServerError, ErrorCode::from_code);
            ControllerError::Kafka(code)
        }
        Kind::BrokerLives => ControllerError::BrokerLives { address: wire.address },
        Kind::Unspecified => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_same_on_the_other_side() {
        let hint = LeaderHint { node_id: BrokerId(3), address: "c:1".to_owned() };
        for error in [
            ControllerError::NotController { leader: None },
            ControllerError::NotController { leader: Some(hint) },
            ControllerError::Timeout,
            ControllerError::Stopping,
            ControllerError::Kafka(ErrorCode::StaleBrokerEpoch),
            ControllerError::BrokerLives { address: "PLAINTEXT://b:9092".to_owned() },
            ControllerError::Kafka(ErrorCode::ClusterAuthorizationFailed),
        ] {
            assert_eq!(error_of_status(&status_of_error(&error)), error);
        }
        let transport = error_of_status(&Status::unavailable("connection refused"));
        assert_eq!(transport, ControllerError::NotController { leader: None });
        assert_eq!(error_of_status(&Status::deadline_exceeded("late")), ControllerError::Timeout);
    }
}
