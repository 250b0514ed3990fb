//! Messages between bytes and kafka-protocol's structs. Nothing reaches the library's decoder that has not passed
//! [`check_request`] or [`check_response`]: by itself it reserves memory for any count the wire claims, and a body of
//! four bytes ends the process.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use moldau_model::ErrorCode;

use crate::api_key::{ApiKey, VersionRange};
use crate::check::{check_request, check_response};
use crate::error::WireError;
use crate::frame::{SIZE_PREFIX_BYTES, seal};
use crate::header::{RequestHeader, encode_response_header, parse_response_header};
use crate::{share, write_txn_markers};

/// Decodes the body of a request, which is all that is left in `body`. Strings and bytes are slices of it.
pub fn decode<T: Request>(version: i16, body: &mut Bytes) -> Result<T, WireError> {
    let api_key = api_key_of::<T>()?;
    check_library_version(api_key, version)?;
    let message_bytes = check_request(api_key, version, body)?;
    body.truncate(message_bytes);
    decode_checked(api_key, version, body)
}

/// A whole response frame: size prefix, header, body.
pub fn encode_response<R: Encodable>(
    api_key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &R,
) -> Result<BytesMut, WireError> {
    let mut out = BytesMut::new();
    out.put_bytes(0, SIZE_PREFIX_BYTES);
    encode_response_header(api_key, version, correlation_id, &mut out);
    // What is new in the request is not in the response.
    let version = match api_key {
        ApiKey::WriteTxnMarkers => write_txn_markers::LIBRARY_VERSION,
        ApiKey::ShareFetch => share::LIBRARY_VERSION,
        // What its timestamps may be is new in 11, and nothing else.
        ApiKey::ListOffsets => version.min(api_key.library_versions().max),
        // Only the request counts deliveries.
        ApiKey::WriteShareGroupState => 0,
        _ => version,
    };
    encode_body(api_key, version, body, &mut out)?;
    seal(out)
}

/// The answer to an ApiVersions request of a version that we do not know (KIP-511): version 0, UNSUPPORTED_VERSION, and
/// of all APIs only ApiVersions itself, so that the client can ask again.
pub fn unsupported_api_versions(correlation_id: i32, served: VersionRange) -> Result<BytesMut, WireError> {
    let api_versions = ApiVersion::default()
        .with_api_key(ApiKey::ApiVersions.code())
        .with_min_version(served.min)
        .with_max_version(served.max);
    let body = ApiVersionsResponse::default()
        .with_error_code(ErrorCode::UnsupportedVersion as i16)
        .with_api_keys(vec![api_versions]);
    encode_response(ApiKey::ApiVersions, 0, correlation_id, &body)
}

/// A whole request frame, for the tools and for a follower's fetches: size prefix, header, body.
pub fn encode_request<T: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&StrBytes>,
    body: &T,
) -> Result<BytesMut, WireError> {
    let api_key = api_key_of::<T>()?;
    check_library_version(api_key, version)?;
    let mut out = BytesMut::new();
    out.put_bytes(0, SIZE_PREFIX_BYTES);
    RequestHeader { api_key, api_version: version, correlation_id, client_id: client_id.cloned() }
        .encode(&mut out)?;
    encode_body(api_key, version, body, &mut out)?;
    seal(out)
}

/// Decodes the response to a request of this type and version from a frame without its size prefix. Returns the
/// correlation id, which the caller compares with the one it sent.
///
/// An ApiVersions response is read as version 0 where its error is UNSUPPORTED_VERSION, whatever was asked for.
pub fn decode_response<T: Request>(version: i16, frame: &mut Bytes) -> Result<(i32, T::Response), WireError> {
    let api_key = api_key_of::<T>()?;
    check_library_version(api_key, version)?;
    let correlation_id = parse_response_header(api_key, version, frame)?;
    let refused = (ErrorCode::UnsupportedVersion as i16).to_be_bytes();
    let version = if api_key == ApiKey::ApiVersions && frame.starts_with(&refused) { 0 } else { version };
    check_response(api_key, version, frame)?;
    let response = decode_checked(api_key, version, frame)?;
    Ok((correlation_id, response))
}

/// What a server serves, as it said in its ApiVersions response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedVersions {
    ranges: Vec<(i16, VersionRange)>,
}

impl ServedVersions {
    #[must_use]
    pub fn new(response: &ApiVersionsResponse) -> Self {
        let range = |api: &ApiVersion| (api.api_key, VersionRange::new(api.min_version, api.max_version));
        Self { ranges: response.api_keys.iter().map(range).collect() }
    }

    /// All keys with their ranges as the server listed them, keys that we do not know among them.
    #[must_use]
    pub fn ranges(&self) -> &[(i16, VersionRange)] {
        &self.ranges
    }

    /// The highest version of this request that both sides know; `None` where there is none.
    #[must_use]
    pub fn pick<T: Request>(&self) -> Option<i16> {
        let ours = ApiKey::from_code(T::KEY)?.library_versions();
        let (_, theirs) = self.ranges.iter().find(|(code, _)| *code == T::KEY)?;
        let both = ours.intersect(*theirs);
        (!both.is_empty()).then_some(both.max)
    }
}

/// The ApiVersions request that opens a client's connection, in the version that [`ApiKey::library_versions`] ends with.
#[must_use]
pub fn api_versions_request(software_name: &str, software_version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_string(software_name.to_owned()))
        .with_client_software_version(StrBytes::from_string(software_version.to_owned()))
}

fn api_key_of<T: Request>() -> Result<ApiKey, WireError> {
    ApiKey::from_code(T::KEY).ok_or(WireError::UnknownApiKey { code: T::KEY })
}

fn check_library_version(api_key: ApiKey, version: i16) -> Result<(), WireError> {
    if api_key.library_versions().contains(version) {
        Ok(())
    } else {
        Err(WireError::UnsupportedVersion { api_key, version })
    }
}

pub(crate) fn decode_checked<M: Decodable>(
    api_key: ApiKey,
    version: i16,
    body: &mut Bytes,
) -> Result<M, WireError> {
    let refuse = |reason: String| WireError::Codec { api_key, version, reason };
    let message = M::decode(body, version).map_err(|error| refuse(error.to_string()))?;
    if body.is_empty() { Ok(message) } else { Err(WireError::TrailingBytes { bytes: body.len() }) }
}

pub(crate) fn encode_body<M: Encodable>(
    api_key: ApiKey,
    version: i16,
    body: &M,
    out: &mut BytesMut,
) -> Result<(), WireError> {
    body.encode(out, version).map_err(|error| WireError::Codec {
        api_key,
        version,
        reason: error.to_string(),
    })
}
