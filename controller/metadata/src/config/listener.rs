//! `listeners` and `advertised.listeners`: names, addresses and security protocols.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use thiserror::Error;

use super::value::as_list;
use crate::SecurityProtocol;

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// In capitals, as Kafka shows it.
    pub name: String,
    /// Empty: every interface (in `listeners`). Without the brackets of an IPv6 address.
    pub host: String,
    /// 0: a free one.
    pub port: u16,
    pub protocol: SecurityProtocol,
}

impl Listener {
    /// Whose addresses are listened on: every interface where no host is named.
    #[must_use]
    pub fn bind_host(&self) -> &str {
        if self.host.is_empty() { "0.0.0.0" } else { &self.host }
    }

    /// The addresses of a name in the order in which they are tried, until one can be listened on. A Java VM has those of IPv4
    /// first, whatever the system's resolver prefers: `localhost` is 127.0.0.1 for Apache Kafka, and for the clients of a
    /// tutorial.
    #[must_use]
    pub fn in_bind_order(found: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let mut addresses: Vec<SocketAddr> = found.into_iter().collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        addresses
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// Why a list of listeners cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ListenerError {
    #[error("Unable to parse {0} to a broker endpoint: write NAME://host:port")]
    Endpoint(String),
    #[error(
        "No security protocol defined for listener {0}: add {0}:PLAINTEXT to listener.security.protocol.map"
    )]
    NoProtocol(String),
    #[error("Each listener must have a different name, listeners: {0}")]
    RepeatedName(String),
    #[error("Each listener must have a different port, listeners: {0}")]
    RepeatedPort(String),
}

/// Reads a list like `PLAINTEXT://0.0.0.0:9092,EXTERNAL://:9094`. A name that is no key of `protocols` has to be a security
/// protocol's own.
///
/// # Errors
/// The first element that is not a listener, or two that contradict each other.
pub fn parse_listeners(
    text: &str,
    protocols: &BTreeMap<String, SecurityProtocol>,
    ports_must_differ: bool,
) -> Result<Vec<Listener>, ListenerError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for element in as_list(text) {
        let listener = parse_listener(element, protocols)?;
        if listeners.iter().any(|other| other.name == listener.name) {
            return Err(ListenerError::RepeatedName(text.to_owned()));
        }
        let same_port = |other: &Listener| {
            // One port on an IPv4 and on an IPv6 address are two sockets (KIP-797).
            other.port == listener.port
                && listener.port != 0
                && (other.host.contains(':') == listener.host.contains(':') || other.host.is_empty())
        };
        if ports_must_differ && listeners.iter().any(same_port) {
            return Err(ListenerError::RepeatedPort(text.to_owned()));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn parse_listener(
    element: &str,
    protocols: &BTreeMap<String, SecurityProtocol>,
) -> Result<Listener, ListenerError> {
    let malformed = || ListenerError::Endpoint(element.to_owned());
    let (name, address) = element.split_once("://").ok_or_else(malformed)?;
    let name = name.trim().to_ascii_uppercase();
    let (host, port) = address.rsplit_once(':').ok_or_else(malformed)?;
    let port: u16 = port.parse().map_err(|_| malformed())?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let host_is_good =
        host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'%'));
    if name.is_empty() || !host_is_good {
        return Err(malformed());
    }
    let protocol = match protocols.get(&name) {
        Some(protocol) => *protocol,
        None => SecurityProtocol::from_name(&name).ok_or_else(|| ListenerError::NoProtocol(name.clone()))?,
    };
    Ok(Listener { name, host: host.to_owned(), port, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protocols() -> BTreeMap<String, SecurityProtocol> {
        [("CONTROLLER".to_owned(), SecurityProtocol::Plaintext), ("OUT".to_owned(), SecurityProtocol::Ssl)]
            .into()
    }

    #[test]
    fn listeners_are_read_with_their_protocols() {
        let text = "plaintext://:9092, OUT://[::1]:9093,CONTROLLER://localhost:0";
        let listeners = parse_listeners(text, &protocols(), true).unwrap();
        let shown: Vec<String> = listeners.iter().map(|l| format!("{l} {}", l.protocol.name())).collect();
        assert_eq!(
            shown,
            ["PLAINTEXT://:9092 PLAINTEXT", "OUT://[::1]:9093 SSL", "CONTROLLER://localhost:0 PLAINTEXT"]
        );
    }

    #[test]
    fn a_name_is_listened_on_by_its_address_of_ipv4_first_as_with_kafka() {
        let found = ["[::1]:9092", "127.0.0.1:9092", "[fe80::2]:9092", "10.0.0.7:9092"];
        let tried = Listener::in_bind_order(found.map(|address| address.parse().unwrap()));
        let tried: Vec<String> = tried.iter().map(SocketAddr::to_string).collect();
        assert_eq!(tried, ["127.0.0.1:9092", "10.0.0.7:9092", "[::1]:9092", "[fe80::2]:9092"]);
        assert_eq!(Listener::in_bind_order(["[::1]:1".parse().unwrap()]), ["[::1]:1".parse().unwrap()]);
    }

    #[test]
    fn what_is_no_listener_is_named() {
        for (text, message) in [
            ("foo", "Unable to parse foo to a broker endpoint"),
            ("PLAINTEXT://h:99999", "Unable to parse PLAINTEXT://h:99999"),
            ("PLAINTEXT://h", "Unable to parse"),
            ("PLAINTEXT://a b:1", "Unable to parse"),
            ("A://:9092", "No security protocol defined for listener A"),
            ("PLAINTEXT://:1,PLAINTEXT://:2", "Each listener must have a different name"),
            ("PLAINTEXT://:1,OUT://:1", "Each listener must have a different port"),
        ] {
            let error = parse_listeners(text, &protocols(), true).unwrap_err().to_string();
            assert!(error.starts_with(message), "{text}: {error}");
        }
    }
}
