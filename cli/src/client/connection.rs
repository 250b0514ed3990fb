//! One TCP connection to one broker: frames, correlation ids, and the versions both sides know.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use moldau_model::ErrorCode;

use super::address::HostPort;
use super::error::{ClientError, io_reason};

/// The largest answer a tool accepts. A fetch asks for at most 50 MiB; nothing else comes near.
const RESPONSE_BYTES_MAX: usize = 128 << 20;

/// A connection whose versions are negotiated.
pub(crate) struct Connection {
    stream: TcpStream,
    address: HostPort,
    client_id: StrBytes,
    next_correlation_id: i32,
    /// Per API key, the smallest and largest version the broker serves.
    versions: HashMap<i16, (i16, i16)>,
}

impl Connection {
    /// Dials and asks for the versions. The error is the plain reason, for the caller knows the address.
    pub(crate) fn open(address: &HostPort, client_id: &str, deadline: Instant) -> Result<Self, String> {
        let stream = dial(address, deadline).map_err(|error| io_reason(&error))?;
        let mut connection = Self {
            stream,
            address: address.clone(),
            client_id: StrBytes::from_string(client_id.to_owned()),
            next_correlation_id: 0,
            versions: HashMap::new(),
        };
        connection.negotiate(deadline).map_err(|error| match error {
            ClientError::Connection { source, .. } => io_reason(&source),
            other => other.to_string(),
        })?;
        Ok(connection)
    }

    /// Asks with version 3 and, where the server is older, again with what it says (KIP-511).
    fn negotiate(&mut self, deadline: Instant) -> Result<(), ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("moldau"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        for version in [3, 0] {
            let correlation_id = self.send_version(&request, version, deadline)?;
            let mut body = self.receive(correlation_id, deadline)?;
            if body.remaining() < 2 {
                return Err(self.malformed("answer to ApiVersions is too short"));
            }
            let code = i16::from_be_bytes([body[0], body[1]]);
            if ErrorCode::from_code(code) == ErrorCode::UnsupportedVersion && version > 0 {
                continue;
            }
            ClientError::check(code, None)?;
            // The answer to ApiVersions carries the oldest response header whatever its version.
            let response = ApiVersionsResponse::decode(&mut body, version)
                .map_err(|error| self.malformed(&error.to_string()))?;
            self.versions = response
                .api_keys
                .iter()
                .map(|api| (api.api_key, (api.min_version, api.max_version)))
                .collect();
            return Ok(());
        }
        Err(self.malformed("no version of ApiVersions is understood"))
    }

    /// What the broker serves: (API key, min, max), by key.
    pub(crate) fn api_versions(&self) -> Vec<(i16, i16, i16)> {
        let mut list: Vec<_> = self.versions.iter().map(|(key, (min, max))| (*key, *min, *max)).collect();
        list.sort_unstable();
        list
    }

    /// The largest version of a request that both sides know.
    pub(crate) fn version_of<R: Request>(&self) -> Result<i16, ClientError> {
        let unsupported =
            || ClientError::Unsupported { address: self.address.to_string(), api: api_name(R::KEY) };
        let (min, max) = self.versions.get(&R::KEY).copied().ok_or_else(unsupported)?;
        let version = max.min(R::VERSIONS.max);
        if version < min.max(R::VERSIONS.min) { Err(unsupported()) } else { Ok(version) }
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call<R: Request>(
        &mut self,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, ClientError> {
        let version = self.version_of::<R>()?;
        self.call_version(request, version, deadline)
    }

    /// As `call`, for a caller that must choose the version.
    pub(crate) fn call_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<R::Response, ClientError> {
        let correlation_id = self.send_version(request, version, deadline)?;
        self.receive_as::<R>(correlation_id, version, deadline)
    }

    /// Sends without waiting; returns the correlation id to `receive_as` with. Answers come in order.
    pub(crate) fn send_version<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<i32, ClientError> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation_id)
            .with_client_id(Some(self.client_id.clone()));
        header
            .encode(&mut frame, R::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|error| self.malformed(&format!("request cannot be encoded: {error}")))?;
        let length = i32::try_from(frame.len() - 4).map_err(|_| self.malformed("request is too large"))?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.set_timeouts(deadline)?;
        self.stream.write_all(&frame).map_err(|source| self.broken(source))?;
        Ok(correlation_id)
    }

    /// Waits for the answer to a request that `send_version` sent.
    pub(crate) fn receive_as<R: Request>(
        &mut self,
        correlation_id: i32,
        version: i16,
        deadline: Instant,
    ) -> Result<R::Response, ClientError> {
        let mut body = self.receive(correlation_id, deadline)?;
        if R::Response::header_version(version) > 0 {
            skip_tagged_fields(&mut body).ok_or_else(|| self.malformed("response header is cut short"))?;
        }
        R::Response::decode(&mut body, version).map_err(|error| self.malformed(&error.to_string()))
    }

    /// Reads one frame and takes the correlation id off.
    fn receive(&mut self, correlation_id: i32, deadline: Instant) -> Result<Bytes, ClientError> {
        self.set_timeouts(deadline)?;
        let mut size = [0u8; 4];
        self.stream.read_exact(&mut size).map_err(|source| self.broken(source))?;
        let size = u32::from_be_bytes(size) as usize;
        if !(4..=RESPONSE_BYTES_MAX).contains(&size) {
            return Err(self.malformed(&format!("a frame of {size} bytes: is this a Kafka listener?")));
        }
        // Grown as bytes come, so that a false size costs nothing.
        let mut frame = Vec::with_capacity(size.min(1 << 20));
        let read = (&mut self.stream).take(size as u64).read_to_end(&mut frame);
        read.map_err(|source| self.broken(source))?;
        if frame.len() < size {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut frame = Bytes::from(frame);
        let header =
            ResponseHeader::decode(&mut frame, 0).map_err(|error| self.malformed(&error.to_string()))?;
        if header.correlation_id != correlation_id {
            return Err(self.malformed(&format!(
                "answer to request {} where {correlation_id} was asked",
                header.correlation_id
            )));
        }
        Ok(frame)
    }

    fn set_timeouts(&self, deadline: Instant) -> Result<(), ClientError> {
        // Zero would mean "for ever" to the socket.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream
            .set_read_timeout(Some(left))
            .and_then(|()| self.stream.set_write_timeout(Some(left)))
            .map_err(|source| self.broken(source))
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Connection { address: self.address.to_string(), source }
    }

    fn malformed(&self, reason: &str) -> ClientError {
        ClientError::Malformed { address: self.address.to_string(), reason: reason.to_owned() }
    }
}

/// Tries each address of the name in turn; the last error stands for all.
fn dial(address: &HostPort, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for socket_address in address.resolve()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(&socket_address, left.min(Duration::from_secs(10))) {
            Ok(stream) => {
                // Requests are written whole, so waiting for more to send helps nobody.
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The response header of flexible versions ends with tagged fields, none of which is defined.
fn skip_tagged_fields(body: &mut Bytes) -> Option<()> {
    for _ in 0..unsigned_varint(body)? {
        unsigned_varint(body)?;
        let length = unsigned_varint(body)? as usize;
        if length > body.remaining() {
            return None;
        }
        body.advance(length);
    }
    Some(())
}

fn unsigned_varint(body: &mut Bytes) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let byte = body.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// A request's name for people, for example `CreateTopics`.
pub(crate) fn api_name(key: i16) -> &'static str {
    super::api::name(key)
}
