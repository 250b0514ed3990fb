//! ExpireDelegationToken, versions 1 and 2: whoever shows a token and may renew it sets its end, or removes it (KIP-48).

use kafka_protocol::messages::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse};
use moldau_cluster::ControllerError;
use moldau_model::{ErrorCode, Offset};

use super::super::wall_clock;
use super::Service;
use crate::manage::{Asker, TOKENS_RECORDS_LEVEL, check_tokens_enabled, expire_delegation_token};

pub(super) async fn handle(
    service: &Service,
    asker: Asker,
    request: ExpireDelegationTokenRequest,
) -> Result<(ExpireDelegationTokenResponse, Offset), ControllerError> {
    let id = service.find_token(&request.hmac);
    let token = id.clone();
    let (result, offset) = service
        .decide(move |deciding| {
            check_tokens_enabled(deciding.inputs.settings)?;
            deciding.check_records_level(TOKENS_RECORDS_LEVEL, "delegation tokens")?;
            let (principal, period_ms) = (&asker.principal, request.expiry_time_period_ms);
            expire_delegation_token(deciding.image, id.as_deref(), principal, period_ms, wall_clock())
        })
        .await?;
    let response = match result {
        Ok(end) => {
            tracing::info!(
                token = token.as_deref(),
                expires_at_ms = end.0,
                "set the end of a delegation token"
            );
            ExpireDelegationTokenResponse::default().with_expiry_timestamp_ms(end.0)
        }
        Err(error) => ExpireDelegationTokenResponse::default().with_error_code(error.code.code()),
    };
    Ok((response, offset))
}

/// What a tool is told that may not ask for tokens.
pub(super) fn not_allowed() -> ExpireDelegationTokenResponse {
    ExpireDelegationTokenResponse::default()
        .with_error_code(ErrorCode::DelegationTokenRequestNotAllowed.code())
        .with_expiry_timestamp_ms(-1)
}
