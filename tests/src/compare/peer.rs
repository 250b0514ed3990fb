//! One of the two systems: a connection, and the words for what it made up.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, DescribeConfigsResponse, RequestHeader, RequestKind, ResponseHeader, ResponseKind,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

const ANSWER_BYTES_MAX: usize = 64 << 20;
const ANSWER_WAIT: Duration = Duration::from_secs(20);

use super::deviations;
use super::log_dirs::without_volumes;

/// Why there was no answer.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A system under comparison. `words` maps what it made up to what stands for it in the printed answer.
pub struct Peer {
    address: String,
    stream: Option<TcpStream>,
    correlation_id: i32,
    words: BTreeMap<String, String>,
    pub topic_ids: BTreeMap<String, uuid::Uuid>,
    pub member_id: String,
    pub generation_id: i32,
    pub producer_id: i64,
    /// Of the last fetch session.
    pub session_id: i32,
}

impl Peer {
    #[must_use]
    pub fn new(address: &str) -> Self {
        let mut peer = Self {
            address: address.to_string(),
            stream: None,
            correlation_id: 0,
            words: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            member_id: String::new(),
            generation_id: -1,
            producer_id: -1,
            session_id: 0,
        };
        if let Some(port) = address.rsplit(':').next() {
            peer.call_it(port, "<port>");
        }
        peer
    }

    /// Has `word` printed wherever `text` stands.
    pub fn call_it(&mut self, text: &str, word: &str) {
        if !text.is_empty() {
            self.words.insert(text.to_string(), word.to_string());
        }
    }

    /// Sends one request and reads its answer. A connection that failed is made anew by the next call.
    ///
    /// # Errors
    /// If the request cannot be encoded, the peer closes the connection, or its answer cannot be decoded.
    pub fn call(&mut self, key: ApiKey, version: i16, request: &RequestKind) -> Result<ResponseKind, Error> {
        let answer = self.exchange(key, version, request);
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    /// Sends a request that has no answer.
    pub fn send(&mut self, key: ApiKey, version: i16, request: &RequestKind) {
        if self.write(key, version, request).is_err() {
            self.stream = None;
        }
    }

    fn write(&mut self, key: ApiKey, version: i16, request: &RequestKind) -> Result<&mut TcpStream, Error> {
        let mut body = BytesMut::new();
        request.encode(&mut body, version)?;
        self.write_body(key, version, &body)
    }

    fn write_body(&mut self, key: ApiKey, version: i16, body: &[u8]) -> Result<&mut TcpStream, Error> {
        self.correlation_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("compare")));
        let mut frame = BytesMut::from(&[0; 4][..]);
        header.encode(&mut frame, key.request_header_version(version))?;
        frame.extend_from_slice(body);
        let size = u32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        self.write_frame(&frame)
    }

    /// Sends a frame with its size before it.
    fn write_frame(&mut self, frame: &[u8]) -> Result<&mut TcpStream, Error> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => TcpStream::connect(&self.address)?,
        };
        let stream = self.stream.insert(stream);
        stream.set_read_timeout(Some(ANSWER_WAIT))?;
        stream.write_all(frame)?;
        Ok(stream)
    }

    fn exchange(&mut self, key: ApiKey, version: i16, request: &RequestKind) -> Result<ResponseKind, Error> {
        self.write(key, version, request)?;
        let mut answer = self.read(key, version)?;
        let response = ResponseKind::decode(key, &mut answer, version)?;
        if answer.has_remaining() {
            return Err(format!("{} bytes behind the answer", answer.remaining()).into());
        }
        Ok(response)
    }

    /// Sends a request whose version kafka-protocol does not know. Gives the answer's bytes, with words for what the system made
    /// up.
    ///
    /// # Errors
    /// If the peer closes the connection.
    pub fn call_bytes(&mut self, key: ApiKey, version: i16, body: &[u8]) -> Result<String, Error> {
        let written = self.write_body(key, version, body).map(|_| ());
        let answer = written.and_then(|()| self.read(key, version));
        if answer.is_err() {
            self.stream = None;
        }
        let mut answer = answer?;
        if key == ApiKey::DescribeLogDirs {
            answer = without_volumes(&answer).into();
        }
        let mut printed: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
        for (name, id) in &self.topic_ids {
            printed = printed.replace(&id.simple().to_string(), &format!("<id of {name}>"));
        }
        Ok(printed)
    }

    /// Sends a request that was encoded for this correlation id, its size before it. Gives the answer's frame, without its size.
    ///
    /// # Errors
    /// If the frame could not be encoded, or the peer closes the connection.
    pub fn call_frame<E: Into<Error>>(
        &mut self,
        encode: impl FnOnce(i32) -> Result<BytesMut, E>,
    ) -> Result<Bytes, Error> {
        self.correlation_id += 1;
        let frame = encode(self.correlation_id).map_err(Into::into)?;
        let written = self.write_frame(&frame).map(|_| ());
        let answer = written.and_then(|()| self.read_frame());
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    /// The same as [`Self::normalise`] for an answer that kafka-protocol does not know.
    #[must_use]
    pub fn normalise_own(&self, response: &impl std::fmt::Debug, ignore: &[&str]) -> String {
        super::answer::normalise(&format!("{response:#?}"), &self.words, &[], ignore)
    }

    /// The next answer's body.
    fn read(&mut self, key: ApiKey, version: i16) -> Result<Bytes, Error> {
        let mut answer = self.read_frame()?;
        let header = ResponseHeader::decode(&mut answer, key.response_header_version(version))?;
        if header.correlation_id != self.correlation_id {
            return Err(format!("answer {} to request {}", header.correlation_id, self.correlation_id).into());
        }
        Ok(answer)
    }

    fn read_frame(&mut self) -> Result<Bytes, Error> {
        let stream = self.stream.as_mut().ok_or("no connection")?;
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let size = usize::try_from(i32::from_be_bytes(size))?;
        if size > ANSWER_BYTES_MAX {
            return Err(format!("an answer of {size} bytes").into());
        }
        let mut answer = vec![0; size];
        stream.read_exact(&mut answer)?;
        Ok(Bytes::from(answer))
    }

    /// Takes down what the system made up, so that it gets a word and can be asked about.
    pub fn remember(&mut self, response: &ResponseKind) {
        match response {
            ResponseKind::Metadata(r) => {
                if let Some(id) = &r.cluster_id {
                    self.call_it(id.as_str(), "<cluster-id>");
                }
                for topic in &r.topics {
                    let name = topic.name.as_ref().map(|n| n.0.to_string()).unwrap_or_default();
                    self.remember_topic(&name, topic.topic_id);
                }
            }
            ResponseKind::CreateTopics(r) => {
                for topic in &r.topics {
                    self.remember_topic(&topic.name.0, topic.topic_id);
                }
            }
            ResponseKind::JoinGroup(r) => {
                if !r.member_id.is_empty() {
                    self.member_id = r.member_id.to_string();
                    let word = format!("<member-{}>", r.member_id.split('-').next().unwrap_or_default());
                    self.call_it(&r.member_id, &word);
                }
                if r.generation_id >= 0 {
                    self.generation_id = r.generation_id;
                }
            }
            ResponseKind::InitProducerId(r) => self.producer_id = r.producer_id.0,
            ResponseKind::Fetch(_) => super::fetches::remember(self, response),
            ResponseKind::DescribeConfigs(r) => self.remember_places(r),
            _ => {}
        }
    }

    /// Where a node keeps its data and listens is its own.
    fn remember_places(&mut self, response: &DescribeConfigsResponse) {
        for config in response.results.iter().flat_map(|result| &result.configs) {
            let Some(value) = &config.value else { continue };
            match config.name.as_str() {
                "log.dirs" => self.call_it(value, "<log.dirs>"),
                "controller.quorum.voters" => {
                    if let Some((_, port)) = value.rsplit_once(':') {
                        self.call_it(port, "<controller-port>");
                    }
                }
                _ => {}
            }
        }
    }

    fn remember_topic(&mut self, name: &str, id: uuid::Uuid) {
        if !id.is_nil() && !name.is_empty() {
            self.topic_ids.insert(name.to_string(), id);
            self.call_it(&id.to_string(), &format!("<id of {name}>"));
        }
    }

    /// The topic's id; a random-looking one that no system has, if it was never seen.
    #[must_use]
    pub fn topic_id(&self, name: &str) -> uuid::Uuid {
        self.topic_ids.get(name).copied().unwrap_or(uuid::Uuid::from_u128(0xdead_beef << 64))
    }

    /// The answer with field names, one field a line, without what is each system's own.
    #[must_use]
    pub fn normalise(&self, key: ApiKey, response: &ResponseKind, ignore: &[&str]) -> String {
        super::answer::normalise(&format!("{response:#?}"), &self.words, &deviations::of(key), ignore)
    }
}
