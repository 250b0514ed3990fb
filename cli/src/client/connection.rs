//! One TCP connection to one broker: frames, correlation ids, and the versions both sides know.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::protocol::{Request, StrBytes};
use moldau_kafka::{SIZE_PREFIX_BYTES, WireError, api_versions_request, decode_response, encode_request};
use moldau_model::ErrorCode;
use moldau_security::link::{BlockingLink, Dialer};

use super::address::HostPort;
use super::budget::Budget;
use super::error::{ClientError, io_reason};

/// The largest answer a tool accepts. A fetch asks for at most 50 MiB; nothing else comes near.
const RESPONSE_BYTES_MAX: usize = 128 << 20;

/// A connection whose versions are negotiated.
pub(crate) struct Connection {
    link: BlockingLink,
    address: HostPort,
    client_id: StrBytes,
    next_correlation_id: i32,
    /// Per API key, the smallest and largest version the broker serves.
    versions: HashMap<i16, (i16, i16)>,
    budget: Arc<Budget>,
    /// When something was last asked, for what is said where no answer comes.
    asked_at: Instant,
}

impl Connection {
    /// Dials and asks for the versions, within what the operation may take. The error is the plain reason, for the caller knows
    /// the address.
    pub(super) fn open_within(
        address: &HostPort,
        dialer: &Dialer,
        client_id: &str,
        deadline: Instant,
        budget: &Arc<Budget>,
    ) -> Result<Self, String> {
        let deadline = budget.within(deadline);
        let stream = dial(address, deadline).map_err(|error| io_reason(&error))?;
        let link =
            dialer.secure_blocking(stream, &address.host, deadline).map_err(|error| io_reason(&error))?;
        let mut connection = Self {
            link,
            address: address.clone(),
            client_id: StrBytes::from_string(client_id.to_owned()),
            next_correlation_id: 0,
            versions: HashMap::new(),
            budget: Arc::clone(budget),
            asked_at: Instant::now(),
        };
        connection.negotiate(deadline).map_err(|error| match error {
            ClientError::Connection { source, .. } => io_reason(&source),
            other => other.to_string(),
        })?;
        Ok(connection)
    }

    /// Has what is asked from now on belong to another operation.
    pub(super) fn set_budget(&mut self, budget: &Arc<Budget>) {
        self.budget = Arc::clone(budget);
    }

    /// Asks with version 3 and, where the server is older, again with what it says (KIP-511).
    fn negotiate(&mut self, deadline: Instant) -> Result<(), ClientError> {
        let request = api_versions_request("moldau", env!("CARGO_PKG_VERSION"));
        for version in [3, 0] {
            let correlation_id = self.send_version(&request, version, deadline)?;
            let response = self.receive_as::<ApiVersionsRequest>(correlation_id, version, deadline)?;
            let code = response.error_code;
            if ErrorCode::from_code(code) == ErrorCode::UnsupportedVersion && version > 0 {
                continue;
            }
            ClientError::check(code, None)?;
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
        let frame = encode_request(version, correlation_id, Some(&self.client_id), request)
            .map_err(|error| self.malformed(&format!("request cannot be encoded: {error}")))?;
        self.write(&frame, deadline)?;
        Ok(correlation_id)
    }

    /// Waits for the answer to a request that `send_version` sent.
    pub(crate) fn receive_as<R: Request>(
        &mut self,
        correlation_id: i32,
        version: i16,
        deadline: Instant,
    ) -> Result<R::Response, ClientError> {
        let mut frame = self.receive(deadline)?;
        // What answers may be no broker at all, so nothing is decoded that was not checked.
        let (answered_id, response) =
            decode_response::<R>(version, &mut frame).map_err(|error| self.malformed(&error.to_string()))?;
        if answered_id != correlation_id {
            return Err(
                self.malformed(&format!("answer to request {answered_id} where {correlation_id} was asked"))
            );
        }
        Ok(response)
    }

    /// As `call` in a version of an answer that kafka-protocol does not know, and whose request is the same in all of them:
    /// `decode` reads it. A broker that serves older versions alone is asked in the newest of those.
    pub(crate) fn call_decoding<R: Request, T>(
        &mut self,
        request: &R,
        version_max: i16,
        deadline: Instant,
        decode: impl FnOnce(i16, &mut Bytes) -> Result<T, WireError>,
    ) -> Result<T, ClientError> {
        let known = self.version_of::<R>()?;
        let version = self.versions.get(&R::KEY).map_or(known, |(_, max)| version_max.min(*max)).max(known);
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let frame = encode_request(known, correlation_id, Some(&self.client_id), request);
        let mut frame =
            frame.map_err(|error| self.malformed(&format!("request cannot be encoded: {error}")))?;
        // Behind the size stands the key, and then the version.
        frame[SIZE_PREFIX_BYTES + 2..SIZE_PREFIX_BYTES + 4].copy_from_slice(&version.to_be_bytes());
        self.write(&frame, deadline)?;
        let mut frame = self.answer_to(correlation_id, deadline)?;
        decode(version, &mut frame).map_err(|error| self.malformed(&error.to_string()))
    }

    /// Sends a request that kafka-protocol does not know, in its one version, and reads its answer.
    pub(super) fn call_encoded<T>(
        &mut self,
        key: i16,
        deadline: Instant,
        encode: impl FnOnce(i32, &StrBytes) -> Result<BytesMut, WireError>,
        decode: impl FnOnce(&mut Bytes) -> Result<T, WireError>,
    ) -> Result<T, ClientError> {
        if !self.versions.contains_key(&key) {
            return Err(ClientError::Unsupported { address: self.address.to_string(), api: api_name(key) });
        }
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let frame = encode(correlation_id, &self.client_id)
            .map_err(|error| self.malformed(&format!("request cannot be encoded: {error}")))?;
        self.write(&frame, deadline)?;
        let mut frame = self.answer_to(correlation_id, deadline)?;
        decode(&mut frame).map_err(|error| self.malformed(&error.to_string()))
    }

    fn answer_to(&mut self, correlation_id: i32, deadline: Instant) -> Result<Bytes, ClientError> {
        let frame = self.receive(deadline)?;
        let answered_id = frame.first_chunk().map(|id| i32::from_be_bytes(*id));
        if answered_id != Some(correlation_id) {
            return Err(self.malformed("an answer to another request"));
        }
        Ok(frame)
    }

    /// Writes one frame.
    fn write(&mut self, frame: &[u8], deadline: Instant) -> Result<(), ClientError> {
        self.budget.spend_request()?;
        self.asked_at = Instant::now();
        let link = self.timed(deadline);
        let written = link.write_all(frame).and_then(|()| link.flush());
        written.map_err(|source| self.broken(source))
    }

    /// Reads one frame.
    fn receive(&mut self, deadline: Instant) -> Result<Bytes, ClientError> {
        let mut size = [0u8; 4];
        let read = self.timed(deadline).read_exact(&mut size);
        read.map_err(|source| self.broken(source))?;
        let size = u32::from_be_bytes(size) as usize;
        if !(4..=RESPONSE_BYTES_MAX).contains(&size) {
            return Err(self.malformed(&format!("a frame of {size} bytes: is this a Kafka listener?")));
        }
        self.budget.spend_bytes(size)?;
        // Grown as bytes come, so that a false size costs nothing.
        let mut frame = Vec::with_capacity(size.min(1 << 20));
        let read = self.timed(deadline).take(size as u64).read_to_end(&mut frame);
        read.map_err(|source| self.broken(source))?;
        if frame.len() < size {
            return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(frame.into())
    }

    /// The link, until then.
    fn timed(&mut self, deadline: Instant) -> &mut BlockingLink {
        // What is there already is taken also at the last moment.
        let deadline = self.budget.within(deadline).max(Instant::now() + Duration::from_millis(1));
        self.link.set_deadline(deadline);
        &mut self.link
    }

    fn broken(&self, source: io::Error) -> ClientError {
        let source = match source.kind() {
            // What the system calls these means nothing to people.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let text = format!("no answer within {} s", self.asked_at.elapsed().as_secs_f64().round());
                io::Error::new(io::ErrorKind::TimedOut, text)
            }
            _ => source,
        };
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

/// A request's name for people, for example `CreateTopics`.
pub(crate) fn api_name(key: i16) -> &'static str {
    super::api::name(key)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What `open` says of a server that answers the first request with this body.
    fn refusal_of(body: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let size = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        // The first request's correlation id is 0.
        let answer = [&size, &[0; 4][..], body].concat();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut size = [0; 4];
            stream.read_exact(&mut size).unwrap();
            let request_bytes = u64::from(u32::from_be_bytes(size));
            io::copy(&mut (&mut stream).take(request_bytes), &mut io::sink()).unwrap();
            stream.write_all(&answer).unwrap();
        });
        let address = HostPort::parse(&format!("127.0.0.1:{port}")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let refusal = Connection::open_within(
            &address,
            &Dialer::plain(),
            "test",
            deadline,
            &Arc::new(Budget::unbounded()),
        )
        .err()
        .unwrap_or_default();
        server.join().unwrap();
        refusal
    }

    #[test]
    fn a_server_that_sends_a_byte_now_and_then_does_not_move_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // An answer of sixteen mebibytes, which begins.
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[1, 0, 0, 0]).unwrap();
            for _ in 0..200 {
                if stream.write_all(&[0]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let address = HostPort::parse(&format!("127.0.0.1:{port}")).unwrap();
        let deadline = Instant::now() + Duration::from_millis(200);
        let refusal = Connection::open_within(
            &address,
            &Dialer::plain(),
            "test",
            deadline,
            &Arc::new(Budget::unbounded()),
        )
        .err();
        assert_eq!(refusal.as_deref(), Some("no answer in time"));
        server.join().unwrap();
    }

    #[test]
    fn a_request_without_an_answer_says_how_long_it_waited() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = HostPort::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let connection = Connection {
            link: Dialer::plain()
                .secure_blocking(
                    TcpStream::connect(listener.local_addr().unwrap()).unwrap(),
                    "127.0.0.1",
                    Instant::now() + Duration::from_secs(30),
                )
                .unwrap(),
            address,
            client_id: StrBytes::from_static_str("test"),
            next_correlation_id: 0,
            versions: HashMap::new(),
            budget: Arc::new(Budget::unbounded()),
            asked_at: Instant::now() - Duration::from_secs(30),
        };
        for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut] {
            let text = connection.broken(kind.into()).to_string();
            assert!(text.ends_with(" failed: no answer within 30 s"), "{text}");
        }
    }

    #[test]
    fn an_answer_larger_than_the_budget_is_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[0, 0, 1, 0]).unwrap();
            // Until the client is gone.
            io::copy(&mut stream, &mut io::sink()).unwrap_or_default();
        });
        let address = HostPort::parse(&format!("127.0.0.1:{port}")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let budget = Arc::new(Budget::new(deadline, 255, 10));
        let refusal = Connection::open_within(&address, &Dialer::plain(), "test", deadline, &budget)
            .err()
            .unwrap_or_default();
        assert!(refusal.contains("larger than"), "{refusal}");
        server.join().unwrap();
    }

    #[test]
    fn an_answer_that_claims_more_than_it_holds_is_refused_before_it_is_decoded() {
        for count in [[0xff, 0xff, 0xff, 0xff, 0x0f], [0xff, 0xff, 0xff, 0xff, 0x07]] {
            let refusal = refusal_of(&[&[0, 0][..], &count].concat());
            assert!(refusal.contains("do not fit"), "{refusal}");
        }
        assert!(refusal_of(&[]).starts_with("malformed answer"));
        assert!(refusal_of(&[0, 35]).starts_with("malformed answer"));
    }
}
