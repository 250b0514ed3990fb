//! `KAFKA_CREATE_TOPICS`: topics that are there once the node is, as the images of wurstmeister's line have it:
//! `name:partitions:replicas[:cleanup.policy]`, separated by commas. What exists already stays as it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moldau_broker::BrokerHandle;
use moldau_model::ErrorCode;

use crate::client::topics::NewTopic;
use crate::client::{Backoff, Client, ClientError, ClientOptions, HostPort, WhenUnreachable};

/// How long a topic may wait for enough brokers to hold its replicas: as long as a cluster takes to start.
const CREATING_MAX: Duration = Duration::from_secs(120);

/// Reads the variable. What cannot be read is a sentence for the user.
pub(super) fn parse(text: &str, separator: &str) -> (Vec<NewTopic>, Vec<String>) {
    let separator = if separator.is_empty() { "," } else { separator };
    let mut topics = Vec::new();
    let mut warnings = Vec::new();
    for entry in text.split(separator).map(str::trim).filter(|entry| !entry.is_empty()) {
        match topic(entry) {
            Some(topic) => topics.push(topic),
            None => warnings.push(format!(
                "KAFKA_CREATE_TOPICS: {entry} is not NAME:PARTITIONS:REPLICAS[:CLEANUP.POLICY] and is not created"
            )),
        }
    }
    (topics, warnings)
}

fn topic(entry: &str) -> Option<NewTopic> {
    let mut parts = entry.split(':').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
    // Without a number the cluster's default holds.
    let number = |part: Option<&str>| match part {
        None | Some("") => Some(None),
        Some(text) => text.parse::<i16>().ok().filter(|number| *number > 0).map(Some),
    };
    let partitions = number(parts.next())?.map(i32::from);
    let replication_factor = number(parts.next())?;
    let policy = parts.next().filter(|policy| !policy.is_empty());
    if parts.next().is_some() {
        return None;
    }
    let configs = policy.map(|policy| ("cleanup.policy".to_owned(), policy.to_owned())).into_iter().collect();
    Some(NewTopic { name, partitions, replication_factor, assignments: None, configs })
}

/// Creates topics on a thread of its own, by the node's own listener, while the node serves.
pub(super) fn start(topics: Vec<NewTopic>, broker: &BrokerHandle) {
    let addresses = broker.addresses();
    let between_brokers = &broker.broker().options.config.inter_broker_listener_name;
    let bound = addresses.iter().find(|bound| bound.name == *between_brokers).or(addresses.first());
    let Some(bound) = bound.filter(|_| !topics.is_empty()) else { return };
    let dialer = Arc::clone(&broker.broker().dialer);
    // A certificate names the host that is told, and not the loopback.
    let address = if dialer.is_plain() {
        let address = reachable(bound.address);
        HostPort { host: address.ip().to_string(), port: address.port() }
    } else {
        HostPort { host: bound.advertised_host.clone(), port: bound.advertised_port }
    };
    let create = move || {
        let client = Client::new(ClientOptions {
            bootstrap: vec![address],
            client_id: "moldau-create-topics".to_owned(),
            api_timeout: CREATING_MAX,
            when_unreachable: WhenUnreachable::Retry,
        });
        let mut client = client.dialing(dialer);
        for topic in topics {
            match create(&mut client, &topic) {
                Ok(true) => tracing::info!(topic = topic.name, "created a topic of KAFKA_CREATE_TOPICS"),
                Ok(false) => {
                    tracing::info!(topic = topic.name, "a topic of KAFKA_CREATE_TOPICS exists already")
                }
                Err(error) => {
                    tracing::warn!(topic = topic.name, %error, "cannot create a topic of KAFKA_CREATE_TOPICS");
                }
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("create-topics".to_owned()).spawn(create) {
        tracing::warn!(%error, "cannot create the topics of KAFKA_CREATE_TOPICS");
    }
}

/// Creates one topic; `false` where it exists. Brokers that would hold its replicas may still be on their way.
fn create(client: &mut Client, topic: &NewTopic) -> Result<bool, ClientError> {
    let deadline = Instant::now() + CREATING_MAX;
    let mut backoff = Backoff::new();
    loop {
        let error = match client.create_topic(topic, false) {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        match error.code() {
            Some(ErrorCode::TopicAlreadyExists) => return Ok(false),
            Some(ErrorCode::InvalidReplicationFactor) if backoff.wait(deadline) => {}
            _ => return Err(error),
        }
    }
}

/// A listener on every interface is reached by the loopback's.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_with_partitions_replicas_and_policy() {
        let (topics, warnings) = parse("Topic1:1:3, Topic2:4:1:compact,plain,", ",");
        assert_eq!(warnings, Vec::<String>::new());
        let read: Vec<_> =
            topics.iter().map(|t| (t.name.as_str(), t.partitions, t.replication_factor)).collect();
        assert_eq!(read, [("Topic1", Some(1), Some(3)), ("Topic2", Some(4), Some(1)), ("plain", None, None)]);
        assert_eq!(topics[1].configs, [("cleanup.policy".to_owned(), "compact".to_owned())]);
    }

    #[test]
    fn another_separator_may_stand_between_them() {
        let (topics, _) = parse("a:1:1\n  b:1:1\n", "\n");
        assert_eq!(topics.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn what_is_no_topic_is_named_and_the_others_are_taken() {
        let (topics, warnings) = parse("a:x:1,b:1:1,:1:1,c:0:1,d:1:1:compact:more", ",");
        assert_eq!(topics.len(), 1);
        assert_eq!(warnings.len(), 4);
        assert!(warnings[0].contains("a:x:1 is not NAME:PARTITIONS"), "{warnings:?}");
    }
}
