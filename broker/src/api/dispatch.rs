//! From a frame to a reply: header, version, then the handler.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use moldau_kafka::{ApiKey, RequestHeader, VersionRange, WireError};
use moldau_model::Principal;

use super::{Peer, Reply, Request, RequestContext, support, throttle};
use crate::broker::Broker;
use crate::metrics::RequestTiming;
use crate::request_memory::HeldMemory;
use crate::response::ResponseFrame;

/// A header is read from a copy of this many bytes, because the frame itself stays writable: Produce patches it.
const HEADER_BYTES_USUAL: usize = 256;

/// A frame that is no request the broker serves. Kafka closes the connection on it, and so do we.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("unreadable header: {0}")]
    Header(#[from] WireError),
    #[error("{key} version {version} is not served")]
    NotServed { key: ApiKey, version: i16 },
}

/// One connection's way to the handlers. Keeps what all its requests have in common.
pub struct Dispatcher {
    broker: Arc<Broker>,
    listener: Arc<str>,
    client_address: SocketAddr,
    principal: Principal,
    may_manage_tokens: bool,
    /// The last client id seen: it hardly ever changes, and is not worth an allocation per request.
    client_id: Option<Arc<str>>,
    peer: Arc<Peer>,
}

impl Dispatcher {
    #[must_use]
    pub fn new(
        broker: Arc<Broker>,
        listener: Arc<str>,
        client_address: SocketAddr,
        principal: Principal,
    ) -> Self {
        // By a certificate: whoever authenticates by SASL says so later.
        let may_manage_tokens = principal != Principal::anonymous();
        let (client_id, peer) = (None, Arc::default());
        Self { broker, listener, client_address, principal, may_manage_tokens, client_id, peer }
    }

    /// From now on the connection speaks for this principal. Who came by a delegation token may not manage tokens.
    pub fn set_principal(&mut self, principal: Principal, may_manage_tokens: bool) {
        self.principal = principal;
        self.may_manage_tokens = may_manage_tokens;
    }

    /// Whether it is a follower who asks.
    #[must_use]
    pub fn is_follower(&self) -> bool {
        self.peer.is_follower()
    }

    /// Serves one frame (without its size prefix). Also tells what it took so far.
    pub fn dispatch(
        &mut self,
        frame: BytesMut,
        memory: HeldMemory,
    ) -> Result<(Reply, RequestTiming), Refused> {
        let (header, body_offset) = parse_header(&frame)?;
        let (key, version) = (header.api_key, header.api_version);
        if key == ApiKey::ApiVersions && !header.has_known_version() {
            let served = support(key.code())
                .map_or(VersionRange::new(0, 0), |row| VersionRange::new(row.min, row.max));
            let answer = moldau_kafka::unsupported_api_versions(header.correlation_id, served)?;
            let timing = RequestTiming::begun(key.code(), Instant::now());
            return Ok((Reply::Ready(ResponseFrame::new(answer)), timing));
        }
        let row = support(key.code())
            .filter(|row| (row.min..=row.max).contains(&version))
            .ok_or(Refused::NotServed { key, version })?;
        if self.client_id.as_deref() != header.client_id.as_deref() {
            self.client_id = header.client_id.as_deref().map(Arc::from);
        }
        let context = RequestContext {
            api_key: key.code(),
            api_version: version,
            correlation_id: header.correlation_id,
            client_id: self.client_id.clone(),
            listener: Arc::clone(&self.listener),
            client_address: self.client_address,
            principal: self.principal.clone(),
            may_manage_tokens: self.may_manage_tokens,
            authorizer: self.broker.control.authorizer.clone(),
            received_at: Instant::now(),
            peer: Arc::clone(&self.peer),
        };
        let counted = throttle::counts(&self.broker, key).then(|| context.clone());
        let begun = context.received_at;
        let reply = (row.handler)(&self.broker, Request::new(context, frame, body_offset, memory));
        let timing = RequestTiming { local: begun.elapsed(), ..RequestTiming::begun(key.code(), begun) };
        let Some(context) = counted else { return Ok((reply, timing)) };
        Ok((throttle::counted(&self.broker, context, timing.local, reply), timing))
    }
}

/// The connection has ended, and with it what its client had of share partitions.
impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.broker.share.connection_closed(self.client_address);
    }
}

/// The header, and where the body starts.
fn parse_header(frame: &[u8]) -> Result<(RequestHeader, usize), WireError> {
    let usual = frame.get(..HEADER_BYTES_USUAL).unwrap_or(frame);
    match parse_prefix(usual) {
        // A long client id or many tagged fields; or a frame that really ends early.
        Err(WireError::Truncated { .. }) if usual.len() < frame.len() => parse_prefix(frame),
        result => result,
    }
}

fn parse_prefix(prefix: &[u8]) -> Result<(RequestHeader, usize), WireError> {
    let mut bytes = Bytes::copy_from_slice(prefix);
    let header = RequestHeader::parse(&mut bytes)?;
    Ok((header, prefix.len() - bytes.len()))
}
