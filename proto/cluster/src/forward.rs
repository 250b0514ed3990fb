//! A Kafka admin request that a broker passes on, as its client sent it (idea of KIP-590).

use bytes::Bytes;
use moldau_model::{BrokerId, Offset};

/// One Kafka request, undecoded, and who sent it. The controller authorises it again.
#[derive(Clone, Debug)]
pub struct Forward {
    /// The broker that passes it on; `BrokerId::NONE` for what came to the controller itself.
    pub broker_id: BrokerId,
    /// Kafka's number of the API.
    pub api_key: i16,
    /// The version in which `body` is written, and in which the reply will be.
    pub api_version: i16,
    /// The request without its header.
    pub body: Bytes,
    /// The authenticated principal, for example `User:ANONYMOUS`.
    pub principal: String,
    /// The client's address, without the port.
    pub client_host: String,
    /// The client's `client.id`, if it sent one.
    pub client_id: Option<String>,
    /// The name of the listener the request came in by.
    pub listener: String,
}

/// The controller's answer to a [`Forward`]. Errors inside Kafka's protocol are in `body`.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The response without its header, in the request's version.
    pub body: Bytes,
    /// The first metadata offset at which what the request did is visible. A broker that answers its client only after
    /// it applied this offset lets the client read its own writes.
    pub metadata_offset: Offset,
}
