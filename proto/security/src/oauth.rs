//! Tokens of OAUTHBEARER (RFC 7628): signed JWTs (RFC 7519) of an identity provider whose keys (RFC 7517) are in a file or
//! fetched by HTTPS. A token that is not signed, or signed by anything but one of those keys, is nobody's.

mod endpoint;
mod jwt;
mod keys;
mod message;
mod schedule;
mod verifier;

pub use endpoint::FetchError;
pub use jwt::{TokenRefusal, VerifiedToken};
pub use keys::{KeySet, KeysError};
pub(crate) use message::{BearerMessage, bearer_message};
pub use verifier::TokenVerifier;

/// What the client is told of a token that is not taken, and by which it says that it has read that.
pub(crate) const INVALID_TOKEN: &str = r#"{"status":"invalid_token"}"#;
pub(crate) const READ_THE_ERROR: &[u8] = &[1];
