//! What requests about delegation tokens are answered that go no further: of those who have come by a token or have not shown
//! who they are, and where the controller cannot be reached.

use bytes::Bytes;
use kafka_protocol::messages::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, ExpireDelegationTokenResponse,
    RenewDelegationTokenResponse,
};
use moldau_kafka::ApiKey;
use moldau_model::ErrorCode;

use super::super::message::text;
use super::super::{Reply, RequestContext};

/// Stands for "none".
const NO_TIMESTAMP: i64 = -1;

pub(super) const fn is_about_tokens(api_key: ApiKey) -> bool {
    matches!(
        api_key,
        ApiKey::CreateDelegationToken | ApiKey::RenewDelegationToken | ApiKey::ExpireDelegationToken
    )
}

pub(super) fn answer(api_key: ApiKey, context: &RequestContext, mut body: Bytes, error: ErrorCode) -> Reply {
    let (version, code) = (context.api_version, error.code());
    match api_key {
        ApiKey::RenewDelegationToken => context.ready(
            &RenewDelegationTokenResponse::default()
                .with_error_code(code)
                .with_expiry_timestamp_ms(NO_TIMESTAMP),
        ),
        ApiKey::ExpireDelegationToken => context.ready(
            &ExpireDelegationTokenResponse::default()
                .with_error_code(code)
                .with_expiry_timestamp_ms(NO_TIMESTAMP),
        ),
        _ => match moldau_kafka::decode::<CreateDelegationTokenRequest>(version, &mut body) {
            Ok(request) => context.ready(&not_created(context, &request, code)),
            Err(_) => Reply::Close("unreadable request"),
        },
    }
}

fn not_created(
    context: &RequestContext,
    request: &CreateDelegationTokenRequest,
    code: i16,
) -> CreateDelegationTokenResponse {
    let principal = &context.principal;
    let requester = (text(&*principal.kind), text(&*principal.name));
    let named = request.owner_principal_name.clone().filter(|name| !name.is_empty());
    let owner = named.map_or_else(
        || requester.clone(),
        |name| (request.owner_principal_type.clone().unwrap_or_default(), name),
    );
    let response = CreateDelegationTokenResponse::default()
        .with_error_code(code)
        .with_principal_type(owner.0)
        .with_principal_name(owner.1)
        .with_issue_timestamp_ms(NO_TIMESTAMP)
        .with_expiry_timestamp_ms(NO_TIMESTAMP)
        .with_max_timestamp_ms(NO_TIMESTAMP);
    if context.api_version < 3 {
        return response;
    }
    response.with_token_requester_principal_type(requester.0).with_token_requester_principal_name(requester.1)
}
