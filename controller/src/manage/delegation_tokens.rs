//! CreateDelegationToken, RenewDelegationToken, ExpireDelegationToken, and the end of tokens that nobody renewed (KIP-48,
//! KIP-373). The time is an argument. What a holder shows is none of this: tokens come here by their ids.

use std::sync::Arc;

use moldau_metadata::{
    DELEGATION_TOKENS_MAX, DELEGATION_TOKENS_PER_OWNER_MAX, DelegationToken, MetadataImage, MetadataRecord,
    Resource, TOKEN_RENEWERS_MAX, TOKEN_TEXT_BYTES_MAX,
};
use moldau_model::{ErrorCode, Operation, Principal, TimestampMs};

use super::{Access, ApiError, Decision, Inputs, Settings};

/// The level of `moldau.records.version` that tokens need.
pub const TOKENS_RECORDS_LEVEL: i16 = 2;

/// A token that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelegationToken {
    pub owner: Principal,
    pub requester: Principal,
    pub renewers: Vec<Principal>,
    /// 0 or less: as long as the settings allow.
    pub max_lifetime_ms: i64,
}

impl NewDelegationToken {
    /// Whether this may be asked for. Everybody may have tokens of its own.
    ///
    /// # Errors
    /// `DELEGATION_TOKEN_AUTHORIZATION_FAILED`, `INVALID_PRINCIPAL_TYPE`. An owner of another kind than `User` is refused too, where
    /// Kafka takes it: its holder would log in as the user of the same name.
    pub fn check(&self, access: &Access<'_>) -> Result<(), ApiError> {
        let owner = self.owner.to_string();
        if self.owner != self.requester && !access.may(Operation::CreateTokens, Resource::user(&owner)) {
            return Err(ApiError::standard(ErrorCode::DelegationTokenAuthorizationFailed));
        }
        if self.renewers.iter().chain([&self.owner]).any(|principal| !principal.is_user()) {
            return Err(ApiError::standard(ErrorCode::InvalidPrincipalType));
        }
        Ok(())
    }
}

/// Whether there are tokens at all.
///
/// # Errors
/// `DELEGATION_TOKEN_AUTH_DISABLED`.
pub fn check_tokens_enabled(settings: &Settings) -> Result<(), ApiError> {
    if settings.token_secret().is_some() {
        return Ok(());
    }
    Err(ApiError::standard(ErrorCode::DelegationTokenAuthDisabled))
}

/// Makes a token.
///
/// # Errors
/// `POLICY_VIOLATION` where there are too many, or one that is too large.
pub fn create_delegation_token(
    image: &MetadataImage,
    wanted: &NewDelegationToken,
    now: TimestampMs,
    inputs: &mut Inputs<'_>,
) -> Result<Decision<Arc<DelegationToken>>, ApiError> {
    check_bounds(image, wanted)?;
    let settings = inputs.settings;
    let lifetime_ms = shorter(settings.token_max_lifetime_ms(), wanted.max_lifetime_ms);
    let max_timestamp = later(now, lifetime_ms);
    let token = DelegationToken {
        id: new_id(image, inputs),
        owner: wanted.owner.clone(),
        requester: wanted.requester.clone(),
        renewers: wanted.renewers.clone(),
        issued_at: now,
        max_timestamp,
        expires_at: max_timestamp.min(later(now, settings.token_expiry_ms())),
    };
    Ok(Decision { records: vec![token.to_record().into()], response: Arc::new(token) })
}

fn check_bounds(image: &MetadataImage, wanted: &NewDelegationToken) -> Result<(), ApiError> {
    let refused = |text: String| Err(ApiError::new(ErrorCode::PolicyViolation, text));
    let mut principals = wanted.renewers.iter().chain([&wanted.owner, &wanted.requester]);
    if wanted.renewers.len() > TOKEN_RENEWERS_MAX {
        return refused(format!("A delegation token has at most {TOKEN_RENEWERS_MAX} renewers."));
    }
    if principals.any(|principal| principal.kind.len() + principal.name.len() > TOKEN_TEXT_BYTES_MAX) {
        return refused("A principal of a delegation token is too long.".to_owned());
    }
    let tokens = image.delegation_tokens();
    if tokens.len() >= DELEGATION_TOKENS_MAX {
        return refused(format!(
            "There are {DELEGATION_TOKENS_MAX} delegation tokens, which is the most there may be."
        ));
    }
    let of_owner = tokens.iter().filter(|token| token.owner == wanted.owner);
    if of_owner.count() >= DELEGATION_TOKENS_PER_OWNER_MAX {
        return refused(format!(
            "The owner has {DELEGATION_TOKENS_PER_OWNER_MAX} delegation tokens, which is the most it may have."
        ));
    }
    Ok(())
}

fn new_id(image: &MetadataImage, inputs: &mut Inputs<'_>) -> Arc<str> {
    loop {
        let id = inputs.random.uuid().to_string();
        if image.delegation_tokens().get(&id).is_none() {
            return id.into();
        }
    }
}

/// Renews a token, and tells its new end. `id`: what was found by what the asker showed.
///
/// # Errors
/// `DELEGATION_TOKEN_NOT_FOUND`, `DELEGATION_TOKEN_EXPIRED`, `DELEGATION_TOKEN_OWNER_MISMATCH`, in this order.
pub fn renew_delegation_token(
    image: &MetadataImage,
    id: Option<&str>,
    asker: &Principal,
    period_ms: i64,
    now: TimestampMs,
    settings: &Settings,
) -> Result<Decision<TimestampMs>, ApiError> {
    let token = found(image, id)?;
    check_alive(token, now)?;
    check_owner(token, asker)?;
    Ok(ending_at(token, later(now, shorter(settings.token_expiry_ms(), period_ms))))
}

/// Sets the end of a token; at once, if the period is negative. Tells the end.
///
/// # Errors
/// `DELEGATION_TOKEN_NOT_FOUND`, `DELEGATION_TOKEN_OWNER_MISMATCH`, `DELEGATION_TOKEN_EXPIRED`, in this order: one that has
/// expired can still be removed.
pub fn expire_delegation_token(
    image: &MetadataImage,
    id: Option<&str>,
    asker: &Principal,
    period_ms: i64,
    now: TimestampMs,
) -> Result<Decision<TimestampMs>, ApiError> {
    let token = found(image, id)?;
    check_owner(token, asker)?;
    if period_ms < 0 {
        return Ok(Decision { records: vec![token.removal().into()], response: now });
    }
    check_alive(token, now)?;
    Ok(ending_at(token, later(now, period_ms)))
}

/// Removes the tokens that are over.
#[must_use]
pub fn remove_expired_tokens(image: &MetadataImage, now: TimestampMs) -> Vec<MetadataRecord> {
    let expired = image.delegation_tokens().iter().filter(|token| token.is_expired(now));
    expired.map(|token| token.removal().into()).collect()
}

fn found<'a>(image: &'a MetadataImage, id: Option<&str>) -> Result<&'a DelegationToken, ApiError> {
    let token = id.and_then(|id| image.delegation_tokens().get(id));
    token.map(|token| &**token).ok_or_else(|| ApiError::standard(ErrorCode::DelegationTokenNotFound))
}

fn check_alive(token: &DelegationToken, now: TimestampMs) -> Result<(), ApiError> {
    if token.is_expired(now) {
        return Err(ApiError::standard(ErrorCode::DelegationTokenExpired));
    }
    Ok(())
}

fn check_owner(token: &DelegationToken, asker: &Principal) -> Result<(), ApiError> {
    if token.is_owner_or_renewer(asker) {
        return Ok(());
    }
    Err(ApiError::standard(ErrorCode::DelegationTokenOwnerMismatch))
}

fn ending_at(token: &DelegationToken, end: TimestampMs) -> Decision<TimestampMs> {
    let expires_at = end.min(token.max_timestamp);
    let record = DelegationToken { expires_at, ..token.clone() }.to_record();
    Decision { records: vec![record.into()], response: expires_at }
}

/// What was asked for, up to what is allowed.
fn shorter(allowed_ms: i64, asked_ms: i64) -> i64 {
    if asked_ms > 0 { allowed_ms.min(asked_ms) } else { allowed_ms }
}

fn later(now: TimestampMs, period_ms: i64) -> TimestampMs {
    TimestampMs(now.0.saturating_add(period_ms))
}

#[cfg(test)]
mod tests;
