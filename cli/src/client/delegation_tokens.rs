//! Delegation tokens: create, renew, expire and describe.

use bytes::Bytes;
use kafka_protocol::messages::create_delegation_token_request::CreatableRenewers;
use kafka_protocol::messages::describe_delegation_token_request::DescribeDelegationTokenOwner;
use kafka_protocol::messages::{
    CreateDelegationTokenRequest, DescribeDelegationTokenRequest, ExpireDelegationTokenRequest,
    RenewDelegationTokenRequest,
};
use moldau_model::Principal;

use super::metadata::string;
use super::{Client, ClientError};

/// A token, with what its holder shows.
pub(crate) struct DescribedToken {
    pub(crate) id: String,
    pub(crate) hmac: Bytes,
    pub(crate) owner: Principal,
    pub(crate) requester: Principal,
    pub(crate) renewers: Vec<Principal>,
    pub(crate) issued_at_ms: i64,
    pub(crate) expires_at_ms: i64,
    pub(crate) max_timestamp_ms: i64,
}

impl Client {
    /// Has a token made, of the owner or of whoever asks.
    pub(crate) fn create_token(
        &mut self,
        owner: Option<&Principal>,
        renewers: &[Principal],
        max_lifetime_ms: i64,
    ) -> Result<DescribedToken, ClientError> {
        let renewer = |renewer: &Principal| {
            CreatableRenewers::default()
                .with_principal_type(string(&renewer.kind))
                .with_principal_name(string(&renewer.name))
        };
        let request = CreateDelegationTokenRequest::default()
            .with_owner_principal_type(owner.map(|owner| string(&owner.kind)))
            .with_owner_principal_name(owner.map(|owner| string(&owner.name)))
            .with_renewers(renewers.iter().map(renewer).collect())
            .with_max_lifetime_ms(max_lifetime_ms);
        let token = self.call(&request)?;
        ClientError::check(token.error_code, None)?;
        Ok(DescribedToken {
            id: token.token_id.to_string(),
            hmac: token.hmac,
            owner: principal(&token.principal_type, &token.principal_name),
            requester: principal(
                &token.token_requester_principal_type,
                &token.token_requester_principal_name,
            ),
            renewers: renewers.to_vec(),
            issued_at_ms: token.issue_timestamp_ms,
            expires_at_ms: token.expiry_timestamp_ms,
            max_timestamp_ms: token.max_timestamp_ms,
        })
    }

    /// Has a token live longer, and tells its new end.
    pub(crate) fn renew_token(&mut self, hmac: Bytes, period_ms: i64) -> Result<i64, ClientError> {
        let request = RenewDelegationTokenRequest::default().with_hmac(hmac).with_renew_period_ms(period_ms);
        let response = self.call(&request)?;
        ClientError::check(response.error_code, None)?;
        Ok(response.expiry_timestamp_ms)
    }

    /// Sets the end of a token, and tells it.
    pub(crate) fn expire_token(&mut self, hmac: Bytes, period_ms: i64) -> Result<i64, ClientError> {
        let request =
            ExpireDelegationTokenRequest::default().with_hmac(hmac).with_expiry_time_period_ms(period_ms);
        let response = self.call(&request)?;
        ClientError::check(response.error_code, None)?;
        Ok(response.expiry_timestamp_ms)
    }

    /// The tokens of these owners and renewers; `None`: all that one may see.
    pub(crate) fn describe_tokens(
        &mut self,
        owners: Option<&[Principal]>,
    ) -> Result<Vec<DescribedToken>, ClientError> {
        let owner = |owner: &Principal| {
            DescribeDelegationTokenOwner::default()
                .with_principal_type(string(&owner.kind))
                .with_principal_name(string(&owner.name))
        };
        let owners = owners.map(|owners| owners.iter().map(owner).collect());
        let response = self.call(&DescribeDelegationTokenRequest::default().with_owners(owners))?;
        ClientError::check(response.error_code, None)?;
        let tokens = response.tokens.into_iter().map(|token| DescribedToken {
            id: token.token_id.to_string(),
            hmac: token.hmac,
            owner: principal(&token.principal_type, &token.principal_name),
            requester: principal(
                &token.token_requester_principal_type,
                &token.token_requester_principal_name,
            ),
            renewers: token
                .renewers
                .iter()
                .map(|renewer| principal(&renewer.principal_type, &renewer.principal_name))
                .collect(),
            issued_at_ms: token.issue_timestamp,
            expires_at_ms: token.expiry_timestamp,
            max_timestamp_ms: token.max_timestamp,
        });
        Ok(tokens.collect())
    }
}

fn principal(kind: &str, name: &str) -> Principal {
    Principal::new(kind, name)
}
