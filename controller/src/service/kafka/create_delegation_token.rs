//! CreateDelegationToken, versions 1 to 3: a token by which somebody else may act for its owner (KIP-48, KIP-373). The version
//! 3 adds an owner that is not the one who asks.

use kafka_protocol::messages::{CreateDelegationTokenRequest, CreateDelegationTokenResponse};
use moldau_cluster::ControllerError;
use moldau_model::{ErrorCode, Offset, Principal};

use super::super::wall_clock;
use super::{Service, text};
use crate::manage::{
    Asker, NewDelegationToken, TOKENS_RECORDS_LEVEL, check_tokens_enabled, create_delegation_token,
};

pub(super) async fn handle(
    service: &Service,
    version: i16,
    asker: Asker,
    request: CreateDelegationTokenRequest,
) -> Result<(CreateDelegationTokenResponse, Offset), ControllerError> {
    let wanted = wanted(&asker.principal, &request);
    let answer = response(version, &wanted);
    let (result, offset) = service
        .decide(move |deciding| {
            wanted.check(&deciding.access(&asker))?;
            check_tokens_enabled(deciding.inputs.settings)?;
            deciding.check_records_level(TOKENS_RECORDS_LEVEL, "delegation tokens")?;
            create_delegation_token(deciding.image, &wanted, wall_clock(), &mut deciding.inputs)
        })
        .await?;
    let token = match result {
        Ok(token) => token,
        Err(error) => {
            // The answer has no place for what is to be done about it.
            if error.code == ErrorCode::UnsupportedVersion {
                tracing::info!(%error, "refused a delegation token");
            }
            return Ok((refused(answer, error.code), offset));
        }
    };
    tracing::info!(
        token = &*token.id, owner = %token.owner, requester = %token.requester, "made a delegation token"
    );
    let hmac = service.tokens.as_ref().map(|tokens| tokens.key().hmac(&token.id));
    let answer = answer
        .with_issue_timestamp_ms(token.issued_at.0)
        .with_expiry_timestamp_ms(token.expires_at.0)
        .with_max_timestamp_ms(token.max_timestamp.0)
        .with_token_id(text(&*token.id))
        .with_hmac(hmac.unwrap_or_default().into());
    Ok((answer, offset))
}

fn wanted(requester: &Principal, request: &CreateDelegationTokenRequest) -> NewDelegationToken {
    let name = request.owner_principal_name.as_ref().filter(|name| !name.is_empty());
    let kind = request.owner_principal_type.as_deref().unwrap_or_default();
    let owner = name.map_or_else(|| requester.clone(), |name| Principal::new(kind, name.as_str()));
    let renewers = request.renewers.iter();
    let renewers = renewers.map(|it| Principal::new(it.principal_type.as_str(), it.principal_name.as_str()));
    NewDelegationToken {
        owner,
        requester: requester.clone(),
        renewers: renewers.collect(),
        max_lifetime_ms: request.max_lifetime_ms,
    }
}

/// An answer that says whose token it is, or would have been.
fn response(version: i16, wanted: &NewDelegationToken) -> CreateDelegationTokenResponse {
    let NewDelegationToken { owner, requester, .. } = wanted;
    let response = CreateDelegationTokenResponse::default()
        .with_principal_type(text(&*owner.kind))
        .with_principal_name(text(&*owner.name));
    if version < 3 {
        return response;
    }
    response
        .with_token_requester_principal_type(text(&*requester.kind))
        .with_token_requester_principal_name(text(&*requester.name))
}

/// What Kafka's broker refuses has no timestamps; what its controller does has those of 1970.
fn refused(response: CreateDelegationTokenResponse, code: ErrorCode) -> CreateDelegationTokenResponse {
    let response = response.with_error_code(code.code());
    let is_of_broker =
        matches!(code, ErrorCode::DelegationTokenAuthorizationFailed | ErrorCode::InvalidPrincipalType);
    if !is_of_broker {
        return response;
    }
    response.with_issue_timestamp_ms(-1).with_expiry_timestamp_ms(-1).with_max_timestamp_ms(-1)
}

/// What a tool is told that may not ask for tokens.
pub(super) fn not_allowed(
    version: i16,
    requester: &Principal,
    request: &CreateDelegationTokenRequest,
) -> CreateDelegationTokenResponse {
    response(version, &wanted(requester, request))
        .with_error_code(ErrorCode::DelegationTokenRequestNotAllowed.code())
        .with_issue_timestamp_ms(-1)
        .with_expiry_timestamp_ms(-1)
        .with_max_timestamp_ms(-1)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
    use kafka_protocol::protocol::Encodable;

    use super::*;

    #[test]
    fn the_owner_is_who_asks_unless_another_one_is_named() {
        let requester = Principal::user("service");
        let of = |kind: Option<&'static str>, name: Option<&'static str>| {
            let request = CreateDelegationTokenRequest::default()
                .with_owner_principal_type(kind.map(text))
                .with_owner_principal_name(name.map(text));
            wanted(&requester, &request).owner.to_string()
        };
        assert_eq!(of(None, None), "User:service");
        assert_eq!(of(Some("User"), Some("")), "User:service");
        assert_eq!(of(Some("User"), Some("alice")), "User:alice");
        assert_eq!(of(Some("Group"), Some("g")), "Group:g");
        assert_eq!(of(None, Some("alice")), ":alice");
    }

    #[test]
    fn every_version_has_an_answer() {
        let requester = Principal::user("service");
        let renewer =
            CreatableRenewers::default().with_principal_type(text("User")).with_principal_name(text("r"));
        let request = CreateDelegationTokenRequest::default().with_renewers(vec![renewer]);
        for version in 1..=3 {
            let answer = not_allowed(version, &requester, &request);
            assert_eq!((answer.error_code, answer.issue_timestamp_ms), (64, -1));
            answer.encode(&mut BytesMut::new(), version).unwrap();
            let answer =
                refused(response(version, &wanted(&requester, &request)), ErrorCode::PolicyViolation);
            assert_eq!((answer.error_code, answer.issue_timestamp_ms), (44, 0));
        }
    }
}
