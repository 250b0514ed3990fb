//! One token: three parts in base64, of which the last one signs the others. The signature is looked at before anything
//! that the token claims. Pure: the time is an argument.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moldau_metadata::config::security::TokenSettings;
use serde_json::{Map, Value};

use super::keys::{Algorithm, KeySet};

/// A longer token is none: its claims would be read by everybody who logs in with it.
const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// A longer name is nobody's.
const NAME_BYTES_MAX: usize = 1024;

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedToken {
    pub user: String,
    /// How long it is good for; nothing left where clocks differ.
    pub expires_in: Duration,
}

/// Why a token is not taken; for the log, never for the client. Nothing of a token is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    #[error("the listener takes no tokens")]
    NotEnabled,
    #[error("the token is no signed JWT")]
    Malformed,
    #[error("the token's algorithm is none that is taken")]
    Algorithm,
    #[error("the token has critical headers that are not known")]
    Critical,
    #[error("the token is signed by none of the provider's keys")]
    Signature,
    #[error("the token's claims cannot be read")]
    Claims,
    #[error("the token has no claim {0}, or it is not of its type")]
    NoClaim(&'static str),
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token's times contradict one another")]
    Times,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is of another issuer")]
    Issuer,
}

/// Whose `token` is, at `now` in milliseconds since 1970. `missing` is told of a key that the token names and that is not there:
/// the provider may have a new one, or a stranger has made it up.
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    settings: &TokenSettings,
    now_ms: i64,
    missing: impl FnOnce(&str),
) -> Result<VerifiedToken, TokenRefusal> {
    let claims = signed_claims(token, keys, missing)?;
    check_addressees(&claims, settings)?;
    let expires_in = check_times(&claims, settings, now_ms)?;
    let scope = claims.get(&settings.scope_claim);
    if !scope.is_none_or(is_scope) {
        return Err(TokenRefusal::NoClaim("for the scope"));
    }
    let user = claims.get(&settings.subject_claim).and_then(Value::as_str).map(str::trim);
    let user = user.filter(|user| !user.is_empty() && user.len() <= NAME_BYTES_MAX);
    let user = user.ok_or(TokenRefusal::NoClaim("for the subject"))?.to_owned();
    Ok(VerifiedToken { user, expires_in })
}

fn decoded(part: &str) -> Result<Vec<u8>, TokenRefusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)
}

fn signed_claims(
    token: &str,
    keys: &KeySet,
    missing: impl FnOnce(&str),
) -> Result<Map<String, Value>, TokenRefusal> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenRefusal::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(TokenRefusal::Malformed)?;
    if claims.contains('.') {
        return Err(TokenRefusal::Malformed);
    }
    let header: Map<String, Value> =
        serde_json::from_slice(&decoded(header)?).map_err(|_| TokenRefusal::Malformed)?;
    if header.contains_key("crit") {
        return Err(TokenRefusal::Critical);
    }
    let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
    let algorithm = algorithm.ok_or(TokenRefusal::Algorithm)?;
    let key_id = match header.get("kid") {
        None => None,
        Some(id) => Some(id.as_str().ok_or(TokenRefusal::Malformed)?),
    };
    if let Some(key_id) = key_id.filter(|key_id| !keys.has_id(key_id)) {
        missing(key_id);
        return Err(TokenRefusal::Signature);
    }
    if !keys.have_signed(algorithm, key_id, message.as_bytes(), &decoded(signature)?) {
        return Err(TokenRefusal::Signature);
    }
    serde_json::from_slice(&decoded(claims)?).map_err(|_| TokenRefusal::Claims)
}

fn check_addressees(claims: &Map<String, Value>, settings: &TokenSettings) -> Result<(), TokenRefusal> {
    if !settings.audiences.is_empty() {
        let is_expected = |audience: &Value| {
            audience.as_str().is_some_and(|audience| settings.audiences.iter().any(|known| known == audience))
        };
        let is_ours = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_expected),
            Some(audience) => is_expected(audience),
            None => false,
        };
        if !is_ours {
            return Err(TokenRefusal::Audience);
        }
    }
    match &settings.issuer {
        Some(issuer) if claims.get("iss").and_then(Value::as_str) != Some(issuer.as_str()) => {
            Err(TokenRefusal::Issuer)
        }
        _ => Ok(()),
    }
}

/// How long the token is good for.
fn check_times(
    claims: &Map<String, Value>,
    settings: &TokenSettings,
    now_ms: i64,
) -> Result<Duration, TokenRefusal> {
    let skew_ms = i64::from(settings.clock_skew_seconds.max(0)) * 1000;
    let expires = time_ms(claims, "exp")?.ok_or(TokenRefusal::NoClaim("exp"))?;
    let issued = time_ms(claims, "iat")?.ok_or(TokenRefusal::NoClaim("iat"))?;
    let begins = time_ms(claims, "nbf")?;
    if expires < issued || begins.is_some_and(|begins| expires < begins) {
        return Err(TokenRefusal::Times);
    }
    if now_ms.saturating_sub(skew_ms) >= expires {
        return Err(TokenRefusal::Expired);
    }
    if begins.is_some_and(|begins| now_ms.saturating_add(skew_ms) < begins) {
        return Err(TokenRefusal::NotYet);
    }
    let left_ms = expires.saturating_sub(now_ms).max(0);
    Ok(Duration::from_millis(left_ms.unsigned_abs()))
}

/// A time in milliseconds; tokens have seconds, with or without a fraction.
fn time_ms(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, TokenRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let refused = TokenRefusal::NoClaim(name);
    if let Some(seconds) = value.as_i64() {
        return seconds.checked_mul(1000).map(Some).ok_or(refused);
    }
    let ms = value.as_f64().ok_or(refused)? * 1000.0;
    // Whatever is outside is no time of anybody's.
    if ms.abs() < 1e15 { Ok(Some(ms as i64)) } else { Err(refused) }
}

/// A text, or a list of texts.
fn is_scope(scope: &Value) -> bool {
    match scope {
        Value::String(_) => true,
        Value::Array(scopes) => scopes.iter().all(Value::is_string),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
