//! Between our types and those of kafka-protocol's messages.

use bytes::Bytes;
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use moldau_model::{BrokerId, TopicId};

/// What authorized-operations fields hold where nobody asked for them.
pub(crate) const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// A string for the wire.
pub(crate) fn text(text: impl AsRef<str>) -> StrBytes {
    StrBytes::from_string(text.as_ref().to_owned())
}

pub(crate) fn topic_name(name: impl AsRef<str>) -> TopicName {
    TopicName(text(name))
}

pub(crate) fn group_id(id: impl AsRef<str>) -> GroupId {
    GroupId(text(id))
}

pub(crate) fn broker_id(id: BrokerId) -> kafka_protocol::messages::BrokerId {
    kafka_protocol::messages::BrokerId(id.0)
}

pub(crate) fn broker_ids(ids: &[BrokerId]) -> Vec<kafka_protocol::messages::BrokerId> {
    ids.iter().copied().map(broker_id).collect()
}

pub(crate) fn wire_uuid(id: moldau_model::Uuid) -> uuid::Uuid {
    uuid::Uuid::from_bytes(*id.as_bytes())
}

pub(crate) fn model_uuid(id: uuid::Uuid) -> TopicId {
    TopicId::from_bytes(*id.as_bytes())
}

pub(crate) fn owned(text: Option<StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

/// Bytes that a client sent, on their own: a slice would keep its whole frame in memory.
pub(crate) fn detached(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
