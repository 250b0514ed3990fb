//! SaslAuthenticate (36), versions 0 to 2: a message of a SASL mechanism.
//!
//! Where a listener asks for SASL, `net/authentication` takes it before it comes here. What does come here is one too many.
//!
//! - 1: how long the session lives (KIP-368). 2: flexible.

use std::sync::Arc;

use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use moldau_model::ErrorCode;

use super::message::text;
use super::{ApiSupport, Reply, Request};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(36, "SaslAuthenticate", 0, 2, handle);

const TOO_LATE: &str = "SaslAuthenticate request received after successful authentication";

fn handle(_broker: &Arc<Broker>, request: Request) -> Reply {
    match request.decode::<SaslAuthenticateRequest>() {
        Ok((context, _)) => {
            let response = SaslAuthenticateResponse::default()
                .with_error_code(ErrorCode::IllegalSaslState.code())
                .with_error_message(Some(text(TOO_LATE)));
            context.ready(&response)
        }
        Err(reply) => reply,
    }
}
