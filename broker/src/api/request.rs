//! A request as a handler gets it: who asks, through which listener, and the frame.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::OwnedSemaphorePermit;

/// Who a connection speaks for. Authorization asks for it; until there is authentication it is `User:ANONYMOUS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub kind: Arc<str>,
    pub name: Arc<str>,
}

impl Principal {
    #[must_use]
    pub fn anonymous() -> Self {
        Self { kind: "User".into(), name: "ANONYMOUS".into() }
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.kind, self.name)
    }
}

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
    pub principal: Principal,
    pub received_at: Instant,
}

/// One request: its context and the frame it came in.
pub struct Request {
    pub context: RequestContext,
    frame: BytesMut,
    body_offset: usize,
    /// The frame's part of the broker-wide request memory; given back when the request is dropped.
    memory: Option<OwnedSemaphorePermit>,
}

impl Request {
    /// `frame` is header and body without the size prefix; `body_offset` is where the body starts in it.
    #[must_use]
    pub fn new(
        context: RequestContext,
        frame: BytesMut,
        body_offset: usize,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Self {
        debug_assert!(body_offset <= frame.len());
        Self { context, frame, body_offset, memory }
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

    /// Header and body as the client sent them, to be forwarded to the controller.
    #[must_use]
    pub fn into_frame(self) -> (RequestContext, Bytes) {
        (self.context, self.frame.freeze())
    }
}
