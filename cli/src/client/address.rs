//! `host:port` as users write it, IPv6 in brackets, and lists of them.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// Where a broker listens, by a name that is resolved when it is dialled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A bootstrap server that is not `host:port`. The text is Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid url in bootstrap.servers: {0}")]
pub(crate) struct InvalidAddress(pub(crate) String);

impl HostPort {
    /// Parses `host:port`, `[v6]:port`, and either with a `SCHEME://` before it, which says nothing here.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(invalid)?;
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']').ok_or_else(invalid)?,
            None if host.contains(':') => return Err(invalid()),
            None => host,
        };
        if host.is_empty() {
            return Err(invalid());
        }
        let port = port.parse().map_err(|_| invalid())?;
        Ok(Self { host: host.to_owned(), port })
    }

    /// Parses a comma-separated list; blanks and empty items are skipped, as in Kafka.
    pub(crate) fn parse_list(text: &str) -> Result<Vec<Self>, InvalidAddress> {
        let list = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(Self::parse)
            .collect::<Result<Vec<_>, _>>()?;
        if list.is_empty() { Err(InvalidAddress(text.to_owned())) } else { Ok(list) }
    }

    /// As Kafka's clients take `bootstrap.servers`, at their start: of these, one at least must have an address. `missed`
    /// hears of those that have none.
    pub(crate) fn any_resolves(servers: &[Self], missed: &mut dyn FnMut(&Self)) -> bool {
        let mut any = false;
        for server in servers {
            match server.resolve() {
                Ok(addresses) if !addresses.is_empty() => any = true,
                _ => missed(server),
            }
        }
        any
    }

    /// Every address the name stands for, IPv4 first: `localhost` often has both, and brokers mostly the first.
    pub(crate) fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        Ok(addresses)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_that_has_an_address_is_enough() {
        // No name server is asked for a name that cannot be one.
        for (servers, any, missed) in [
            ("127.0.0.1:1", true, 0),
            ("no..such:1,127.0.0.1:1", true, 1),
            ("no..such:1,no..one:2", false, 2),
        ] {
            let servers = HostPort::parse_list(servers).unwrap();
            let mut count = 0;
            assert_eq!(
                (HostPort::any_resolves(&servers, &mut |_| count += 1), count),
                (any, missed),
                "{servers:?}"
            );
        }
    }

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (text, host, port) in [
            ("localhost:9092", "localhost", 9092),
            ("[::1]:9092", "::1", 9092),
            ("PLAINTEXT://kafka-1:19092", "kafka-1", 19092),
        ] {
            let parsed = HostPort::parse(text).unwrap();
            assert_eq!((parsed.host.as_str(), parsed.port), (host, port));
            assert!(text.ends_with(&parsed.to_string()));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_by_name() {
        for text in ["localhost", ":9092", "a:b", "a:70000", "::1:9092", "[::1:9092", ""] {
            assert_eq!(HostPort::parse_list(text), Err(InvalidAddress(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn lists_skip_blanks() {
        let list = HostPort::parse_list("a:1, b:2,").unwrap();
        assert_eq!(list.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:1", "b:2"]);
    }
}
