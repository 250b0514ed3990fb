//! SaslHandshake (17), versions 0 and 1: which SASL mechanism the client means to use.
//!
//! Where a listener asks for SASL, `net/authentication` takes it before it comes here. What does come here is one too many:
//! on a listener that asks for none, or again within a second.

use std::sync::Arc;

use kafka_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use moldau_model::ErrorCode;

use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(17, "SaslHandshake", 0, 1, handle);

fn handle(_broker: &Arc<Broker>, request: Request) -> Reply {
    match request.decode::<SaslHandshakeRequest>() {
        Ok((context, _)) => {
            let code = ErrorCode::IllegalSaslState.code();
            context.ready(&SaslHandshakeResponse::default().with_error_code(code))
        }
        Err(reply) => reply,
    }
}
