//! The header before every request, and before every response. Read by ourselves, for the library panics on a header
//! of fewer than four bytes.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::api_key::ApiKey;
use crate::error::WireError;
use crate::wire::Reader;

/// Who asks what, in which version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api_key: ApiKey,
    /// One of [`ApiKey::kafka_versions`]; any number at all for ApiVersions.
    pub api_version: i16,
    /// Comes back in the response. Any number.
    pub correlation_id: i32,
    /// A slice of the frame: copy it where it is to outlive the request, or it keeps the whole frame in memory.
    pub client_id: Option<StrBytes>,
}

impl RequestHeader {
    /// Takes the header off `frame` (without its size prefix), leaving the body.
    ///
    /// Refuses keys and versions that Kafka 4.3 does not know: Kafka closes the connection then. ApiVersions is the
    /// exception (KIP-511): its header is returned whatever its version, for it is answered with
    /// [`unsupported_api_versions`](crate::unsupported_api_versions). The header of an unknown version may be of an
    /// unknown form, so its client id is `None` and its body is empty.
    pub fn parse(frame: &mut Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(frame);
        let code = reader.i16()?;
        let api_key = ApiKey::from_code(code).ok_or(WireError::UnknownApiKey { code })?;
        let api_version = reader.i16()?;
        let correlation_id = reader.i32()?;
        if !api_key.kafka_versions().contains(api_version) {
            if api_key != ApiKey::ApiVersions {
                return Err(WireError::UnsupportedVersion { api_key, version: api_version });
            }
            frame.clear();
            return Ok(Self { api_key, api_version, correlation_id, client_id: None });
        }
        // The client id keeps its 16-bit length in flexible headers too.
        let client_id = match reader.string_length(false)? {
            None => None,
            Some(length) => {
                let range = reader.range(length)?;
                let text = StrBytes::from_utf8(frame.slice(range)).map_err(|_| WireError::NotUtf8)?;
                Some(text)
            }
        };
        if api_key.request_header_version(api_version) >= 2 {
            reader.skip_tagged_fields()?;
        }
        let header_bytes = reader.position();
        frame.advance(header_bytes);
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }

    /// Whether the version is one that Kafka 4.3 knows; `false` for nothing but ApiVersions.
    #[must_use]
    pub fn has_known_version(&self) -> bool {
        self.api_key.kafka_versions().contains(self.api_version)
    }

    /// Appends the header as a client writes it.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        out.extend_from_slice(&self.api_key.code().to_be_bytes());
        out.extend_from_slice(&self.api_version.to_be_bytes());
        out.extend_from_slice(&self.correlation_id.to_be_bytes());
        match &self.client_id {
            None => out.extend_from_slice(&(-1i16).to_be_bytes()),
            Some(client_id) => {
                let size = client_id.len();
                let length = i16::try_from(size).map_err(|_| WireError::MessageTooLarge { size })?;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(client_id.as_bytes());
            }
        }
        if self.api_key.request_header_version(self.api_version) >= 2 {
            out.extend_from_slice(&[0]);
        }
        Ok(())
    }
}

/// Appends a response's header.
pub(crate) fn encode_response_header(api_key: ApiKey, version: i16, correlation_id: i32, out: &mut BytesMut) {
    out.extend_from_slice(&correlation_id.to_be_bytes());
    if api_key.response_header_version(version) >= 1 {
        out.extend_from_slice(&[0]);
    }
}

/// Takes a response's header off `frame` and returns its correlation id.
pub(crate) fn parse_response_header(
    api_key: ApiKey,
    version: i16,
    frame: &mut Bytes,
) -> Result<i32, WireError> {
    let mut reader = Reader::new(frame);
    let correlation_id = reader.i32()?;
    if api_key.response_header_version(version) >= 1 {
        reader.skip_tagged_fields()?;
    }
    let header_bytes = reader.position();
    frame.advance(header_bytes);
    Ok(correlation_id)
}
