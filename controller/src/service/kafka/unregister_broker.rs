//! UnregisterBroker, version 0.

use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use moldau_cluster::ControllerError;
use moldau_model::{BrokerId, Offset, Operation};

use super::{Service, error_fields};
use crate::manage::{Asker, unregister_broker};

pub(super) async fn handle(
    service: &Service,
    asker: Asker,
    request: &UnregisterBrokerRequest,
) -> Result<(UnregisterBrokerResponse, Offset), ControllerError> {
    let id = BrokerId(request.broker_id.0);
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.access(&asker).check_cluster(Operation::Alter)?;
            unregister_broker(deciding.image, deciding.inputs.settings, id)
        })
        .await?;
    let (code, message) = error_fields(&result);
    Ok((UnregisterBrokerResponse::default().with_error_code(code).with_error_message(message), offset))
}
