//! A request as a handler gets it: who asks, through which listener, and the frame.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::protocol::{Encodable, Request as KafkaRequest};
use moldau_kafka::{ApiKey, WireError};
use moldau_model::Principal;

use super::Reply;
use crate::authorize::Authorizer;
use crate::request_memory::HeldMemory;
use crate::response::ResponseFrame;

/// What is known of a request besides its body.
#[derive(Clone, Debug)]
pub struct RequestContext {
    pub api_key: i16,
    pub api_version: i16,
    pub correlation_id: i32,
    pub client_id: Option<Arc<str>>,
    /// Name of the listener the connection came in by: Metadata answers with this listener's addresses.
    pub listener: Arc<str>,
    pub client_address: SocketAddr,
    /// Who the connection speaks for.
    pub principal: Principal,
    /// It has shown who it is, and not by a delegation token.
    pub may_manage_tokens: bool,
    /// Who decides what that may do; `None` if everybody may do everything.
    pub authorizer: Option<Arc<Authorizer>>,
    pub received_at: Instant,
    pub peer: Arc<Peer>,
}

/// What a connection's requests have shown of who is at its other end.
#[derive(Debug, Default)]
pub struct Peer {
    /// What it said it is (KIP-511), once it has.
    pub software: OnceLock<ClientSoftware>,
    is_follower: AtomicBool,
}

impl Peer {
    /// It fetches for a replica, and has shown that it may.
    pub fn note_follower(&self) {
        self.is_follower.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_follower(&self) -> bool {
        self.is_follower.load(Ordering::Relaxed)
    }
}

/// What a client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientSoftware {
    pub name: String,
    pub version: String,
}

impl RequestContext {
    /// The frame of a response of kafka-protocol's. One that does not fit its version is our mistake: it is logged, and
    /// the connection ends.
    #[must_use]
    pub fn response<R: Encodable>(&self, body: &R) -> ResponseFrame {
        let Some(api_key) = ApiKey::from_code(self.api_key) else { return ResponseFrame::unanswerable() };
        self.encoded(moldau_kafka::encode_response(api_key, self.api_version, self.correlation_id, body))
    }

    /// The frame that a codec of our own made.
    #[must_use]
    pub fn encoded(&self, frame: Result<BytesMut, WireError>) -> ResponseFrame {
        match frame {
            Ok(frame) => ResponseFrame::new(frame),
            Err(error) => {
                tracing::error!(api_key = self.api_key, version = self.api_version, %error, "cannot encode a response");
                ResponseFrame::unanswerable()
            }
        }
    }

    /// The same as a reply.
    #[must_use]
    pub fn ready<R: Encodable>(&self, body: &R) -> Reply {
        Reply::Ready(self.response(body))
    }
}

/// One request: its context and the frame it came in.
pub struct Request {
    pub context: RequestContext,
    frame: BytesMut,
    body_offset: usize,
    /// The frame's part of the broker-wide request memory; given back when the request is dropped.
    memory: HeldMemory,
}

impl Request {
    /// `frame` is header and body without the size prefix; `body_offset` is where the body starts in it.
    #[must_use]
    pub fn new(context: RequestContext, frame: BytesMut, body_offset: usize, memory: HeldMemory) -> Self {
        debug_assert!(body_offset <= frame.len());
        Self { context, frame, body_offset, memory }
    }

    /// The length of header and body: what counts against a producer's quota.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.frame.len()
    }

    /// The body, to be looked at in place.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.frame.get(self.body_offset..).unwrap_or_default()
    }

    /// The body, to be patched in place.
    pub fn body_mut(&mut self) -> &mut [u8] {
        self.frame.get_mut(self.body_offset..).unwrap_or_default()
    }

    /// The body for a decoder.
    #[must_use]
    pub fn into_body(self) -> (RequestContext, Bytes) {
        let mut frame = self.frame.freeze();
        frame.advance(self.body_offset);
        drop(self.memory);
        (self.context, frame)
    }

    /// The body as kafka-protocol's type, after the structural check. A body that does not decode ends the connection,
    /// as it does in Kafka.
    pub fn decode<T: KafkaRequest>(self) -> Result<(RequestContext, T), Reply> {
        let version = self.context.api_version;
        self.decode_as(version)
    }

    /// The same for a request that is what it was in an earlier version, the last one that kafka-protocol knows.
    pub fn decode_as<T: KafkaRequest>(self, version: i16) -> Result<(RequestContext, T), Reply> {
        self.decode_with(|_, body| moldau_kafka::decode(version, body))
    }

    /// The same by a codec of our own, which is given the version.
    pub fn decode_with<T>(
        self,
        decode: impl FnOnce(i16, &mut Bytes) -> Result<T, WireError>,
    ) -> Result<(RequestContext, T), Reply> {
        let (context, mut body) = self.into_body();
        match decode(context.api_version, &mut body) {
            Ok(request) => Ok((context, request)),
            Err(error) => {
                let (peer, api_key, version) = (context.client_address, context.api_key, context.api_version);
                tracing::debug!(%peer, api_key, version, %error, "unreadable request");
                Err(Reply::Close("unreadable request"))
            }
        }
    }

    /// Header and body as the client sent them, to be forwarded to the controller.
    #[must_use]
    pub fn into_frame(self) -> (RequestContext, Bytes) {
        (self.context, self.frame.freeze())
    }
}
