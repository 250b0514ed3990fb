//! The structural walk over a message's bytes.

use crate::api_key::ApiKey;
use crate::error::WireError;

/// Walks the body of a request of any API of Kafka 4.3 (header taken off) along its schema.
pub fn check_request(_api_key: ApiKey, _version: i16, _body: &[u8]) -> Result<(), WireError> {
    Ok(())
}

/// Walks the body of a response (header taken off) along its schema.
pub fn check_response(_api_key: ApiKey, _version: i16, _body: &[u8]) -> Result<(), WireError> {
    Ok(())
}
