//! The small table a start prints: where to connect, and where the data is.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use moldau_broker::BoundAddress;

/// What the table says.
pub(super) struct Banner<'a> {
    pub(super) node_id: i32,
    pub(super) cluster_id: &'a str,
    pub(super) addresses: &'a [BoundAddress],
    /// Where other nodes reach this controller; none where it is alone.
    pub(super) controllers: &'a [(String, SocketAddr)],
    pub(super) http: Option<SocketAddr>,
    pub(super) directories: &'a [PathBuf],
    pub(super) new_directories: &'a [PathBuf],
    pub(super) took: Duration,
}

impl Banner<'_> {
    pub(super) fn text(&self) -> String {
        let mut text = format!("moldau {}: node {} is ready\n", env!("CARGO_PKG_VERSION"), self.node_id);
        let mut row = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<14}{value}");
        };
        for address in self.addresses {
            row("listens on", &format!("{} ({})", address.address, address.name));
        }
        for (name, address) in self.controllers {
            row("listens on", &format!("{address} ({name})"));
        }
        for address in self.addresses {
            let told = format!("{}:{}", address.advertised_host, address.advertised_port);
            row("clients told", &format!("{told} ({})", address.name));
        }
        if let Some(http) = self.http {
            row("health", &format!("http://{http}/readyz"));
            row("console", &format!("http://{http}/ui/"));
        }
        for directory in self.directories {
            let new = if self.new_directories.contains(directory) { " (new)" } else { "" };
            row("data", &format!("{}{new}", directory.display()));
        }
        row("cluster", self.cluster_id);
        row("started in", &format!("{} ms", self.took.as_millis()));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_where_to_connect_and_where_the_data_is() {
        let addresses = [BoundAddress {
            name: "PLAINTEXT".into(),
            address: "127.0.0.1:9092".parse().unwrap(),
            advertised_host: "localhost".into(),
            advertised_port: 9092,
        }];
        let directories = [PathBuf::from("/var/lib/a")];
        let banner = Banner {
            node_id: 1,
            cluster_id: "5L6g3nShT-eMCtK--X86sw",
            addresses: &addresses,
            controllers: &[("CONTROLLER".to_owned(), "127.0.0.1:9093".parse().unwrap())],
            http: Some("127.0.0.1:9644".parse().unwrap()),
            directories: &directories,
            new_directories: &directories,
            took: Duration::from_millis(12),
        };
        let expected = format!(
            "moldau {}: node 1 is ready
  listens on    127.0.0.1:9092 (PLAINTEXT)
  listens on    127.0.0.1:9093 (CONTROLLER)
  clients told  localhost:9092 (PLAINTEXT)
  health        http://127.0.0.1:9644/readyz
  console       http://127.0.0.1:9644/ui/
  data          /var/lib/a (new)
  cluster       5L6g3nShT-eMCtK--X86sw
  started in    12 ms
",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(banner.text(), expected);
    }
}
