//! UnregisterBroker, version 0.

use kafka_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use moldau_cluster::ControllerError;
use moldau_model::{BrokerId, Offset};

use super::{Service, error_fields};
use crate::manage::unregister_broker;

pub(super) async fn handle(
    service: &Service,
    request: &UnregisterBrokerRequest,
) -> Result<(UnregisterBrokerResponse, Offset), ControllerError> {
    let id = BrokerId(request.broker_id.0);
    let (result, offset) = service
        .decide(move |deciding| unregister_broker(deciding.image, deciding.inputs.settings, id))
        .await?;
    let (code, message) = error_fields(&result);
    Ok((UnregisterBrokerResponse::default().with_error_code(code).with_error_message(message), offset))
}
