//! `controller.quorum.voters` and `controller.quorum.bootstrap.servers`.

use std::str::FromStr;

use moldau_model::BrokerId;

use crate::config::value::InvalidValue;

/// One voter of the metadata quorum: `id@host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumVoter {
    pub id: BrokerId,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

const FORM: &str = "Each entry should be in the form `{id}@{host}:{port}`.";

/// `host:port`; an IPv6 address stands in brackets.
pub(super) fn parse_host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || !host.chars().all(is_good) {
        return None;
    }
    Some((host.to_owned(), port.parse().ok()?))
}

impl FromStr for QuorumVoter {
    type Err = InvalidValue;

    fn from_str(entry: &str) -> Result<Self, InvalidValue> {
        let Some((id, address)) = entry.split_once('@') else {
            return Err(InvalidValue(format!(
                "Invalid configuration value for controller.quorum.voters. {FORM}"
            )));
        };
        let id = id
            .trim()
            .parse()
            .map_err(|_| InvalidValue(format!("Failed to parse voter ID as an integer from {id}.")))?;
        let (host, port) = parse_host_port(address).ok_or_else(|| {
            InvalidValue(format!(
                "Failed to parse host name from entry {entry} for the configuration controller.quorum.voters. {FORM}"
            ))
        })?;
        Ok(Self { id: BrokerId(id), host, port })
    }
}

/// Checks every element, and that no two have one id.
pub(in crate::config) fn check_quorum_voters(elements: &[&str]) -> Result<(), InvalidValue> {
    let mut ids = Vec::new();
    for element in elements {
        let voter: QuorumVoter = element.parse()?;
        if ids.contains(&voter.id) {
            return Err(InvalidValue(format!("Duplicate voter id {} in controller.quorum.voters", voter.id)));
        }
        ids.push(voter.id);
    }
    Ok(())
}

/// Checks every element.
pub(in crate::config) fn check_bootstrap_servers(elements: &[&str]) -> Result<(), InvalidValue> {
    match elements.iter().find(|element| parse_host_port(element).is_none()) {
        Some(element) => Err(InvalidValue(format!(
            "Failed to parse host name from {element} for the configuration controller.quorum.bootstrap.servers. Each \
             entry should be in the form \"{{host}}:{{port}}\""
        ))),
        None => Ok(()),
    }
}
