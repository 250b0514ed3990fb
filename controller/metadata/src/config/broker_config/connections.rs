//! How many connections there may be, and how fast they may come.

use super::{ConfigProblem, Reader};
use crate::config::value::as_list;

const OVERRIDES: &str = "max.connections.per.ip.overrides";
const PER_IP: &str = "max.connections.per.ip";

/// `max.connection*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// `max.connections`.
    pub connections_max: i32,
    /// `max.connections.per.ip`.
    pub per_ip_max: i32,
    /// `max.connections.per.ip.overrides`: hosts, by name or address, and their bounds.
    pub per_ip_overrides: Vec<(String, i32)>,
    /// `max.connection.creation.rate`: connections a second.
    pub creation_rate_max: i32,
}

impl Reader<'_> {
    pub(super) fn connections(&self, problems: &mut Vec<ConfigProblem>) -> ConnectionSettings {
        let text = self.text(OVERRIDES);
        let per_ip_overrides = overrides(text).unwrap_or_else(|problem| {
            problems.push(ConfigProblem::new(OVERRIDES, problem));
            Vec::new()
        });
        let per_ip_max = self.int(PER_IP);
        if per_ip_max == 0 && text.is_empty() {
            let problem = format!("{PER_IP} can be configured to zero only if {OVERRIDES} property is set.");
            problems.push(ConfigProblem::new(PER_IP, problem));
        }
        ConnectionSettings {
            connections_max: self.int("max.connections"),
            per_ip_max,
            per_ip_overrides,
            creation_rate_max: self.int("max.connection.creation.rate"),
        }
    }
}

fn overrides(text: &str) -> Result<Vec<(String, i32)>, String> {
    let parse = |entry: &str| {
        // The last colon: an IPv6 address has others.
        let (host, count) =
            entry.rsplit_once(':').ok_or_else(|| format!("{entry} is not of the form address:number"))?;
        let host = host.trim().trim_start_matches('[').trim_end_matches(']');
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(is_good) {
            return Err(format!("{OVERRIDES} contains invalid addresses : {host}"));
        }
        match count.trim().parse() {
            Ok(count) if count >= 0 => Ok((host.to_owned(), count)),
            _ => Err(format!("{count} in {entry} is not a number of connections")),
        }
    };
    as_list(text).into_iter().filter(|entry| !entry.is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_certain_addresses_are_read_as_kafka_writes_them() {
        let read = overrides("127.0.0.1:2, ::1:0 ,a-host.example:200").unwrap();
        let expected = [("127.0.0.1", 2), ("::1", 0), ("a-host.example", 200)];
        assert_eq!(read, expected.map(|(host, count)| (host.to_owned(), count)));
        assert_eq!(overrides(""), Ok(Vec::new()));
        for wrong in ["127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", ":5", "a b:5"] {
            assert!(overrides(wrong).is_err(), "{wrong}");
        }
    }
}
