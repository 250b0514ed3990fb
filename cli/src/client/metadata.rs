//! Metadata requests, and what the tools read in the answers.

use std::collections::BTreeMap;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::{BrokerNode, HostPort};

/// A request for topics by name (`None`: every topic).
pub(crate) fn request(topics: Option<&[&str]>, create: bool) -> MetadataRequest {
    let topics = topics.map(|names| {
        names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect()
    });
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(create)
}

/// A topic's name as kafka-protocol wraps it.
pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

pub(crate) fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The brokers of an answer.
pub(crate) fn brokers(response: &MetadataResponse) -> BTreeMap<i32, BrokerNode> {
    response
        .brokers
        .iter()
        .filter_map(|broker| {
            let port = u16::try_from(broker.port).ok()?;
            let address = HostPort { host: broker.host.to_string(), port };
            let rack = broker.rack.as_ref().map(ToString::to_string);
            Some((broker.node_id.0, BrokerNode { id: broker.node_id.0, address, rack }))
        })
        .collect()
}
