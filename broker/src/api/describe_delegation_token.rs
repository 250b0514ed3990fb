//! DescribeDelegationToken (41), versions 1 to 3: the tokens of these owners and renewers, or of all, as far as the asker may see
//! them, with what their holders show (KIP-48). Version 3 tells who asked for them (KIP-373).

use std::sync::Arc;

use kafka_protocol::messages::describe_delegation_token_response::{
    DescribedDelegationToken, DescribedDelegationTokenRenewer,
};
use kafka_protocol::messages::{DescribeDelegationTokenRequest, DescribeDelegationTokenResponse};
use moldau_metadata::DelegationToken;
use moldau_model::{ErrorCode, Principal};
use moldau_security::delegation::TokenKey;

use super::message::text;
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_visible};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(41, "DescribeDelegationToken", 1, 3, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeDelegationTokenRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let refused = |code: ErrorCode| {
        context.ready(&DescribeDelegationTokenResponse::default().with_error_code(code.code()))
    };
    if !context.may_manage_tokens {
        return refused(ErrorCode::DelegationTokenRequestNotAllowed);
    }
    let Some(key) = &broker.control.token_key else {
        return refused(ErrorCode::DelegationTokenAuthDisabled);
    };
    let principal = |kind: &str, name: &str| Principal::new(kind, name);
    let owners: Option<Vec<Principal>> = request.owners.map(|owners| {
        owners.iter().map(|owner| principal(&owner.principal_type, &owner.principal_name)).collect()
    });
    let image = broker.control.image();
    let shown = image.delegation_tokens().iter().filter(|token| {
        let is_asked_for =
            |owners: &Vec<Principal>| owners.iter().any(|owner| token.is_owner_or_renewer(owner));
        owners.as_ref().is_none_or(is_asked_for) && may_see(&context, token)
    });
    let tokens = shown.map(|token| described(&context, key, token)).collect();
    context.ready(&DescribeDelegationTokenResponse::default().with_tokens(tokens))
}

/// Owners and renewers see their tokens; others need a permission, on the token or on its owner.
fn may_see(context: &RequestContext, token: &DelegationToken) -> bool {
    let owner = token.owner.to_string();
    token.is_owner_or_renewer(&context.principal)
        || is_visible(context, Operation::Describe, Resource::delegation_token(&token.id))
        || is_visible(context, Operation::DescribeTokens, Resource::user(&owner))
}

fn described(context: &RequestContext, key: &TokenKey, token: &DelegationToken) -> DescribedDelegationToken {
    let renewer = |renewer: &Principal| {
        DescribedDelegationTokenRenewer::default()
            .with_principal_type(text(&*renewer.kind))
            .with_principal_name(text(&*renewer.name))
    };
    let described = DescribedDelegationToken::default()
        .with_principal_type(text(&*token.owner.kind))
        .with_principal_name(text(&*token.owner.name))
        .with_issue_timestamp(token.issued_at.0)
        .with_expiry_timestamp(token.expires_at.0)
        .with_max_timestamp(token.max_timestamp.0)
        .with_token_id(text(&*token.id))
        .with_hmac(key.hmac(&token.id).into())
        .with_renewers(token.renewers.iter().map(renewer).collect());
    if context.api_version < 3 {
        return described;
    }
    described
        .with_token_requester_principal_type(text(&*token.requester.kind))
        .with_token_requester_principal_name(text(&*token.requester.name))
}
