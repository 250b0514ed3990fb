//! `controller.quorum.voters` and `controller.quorum.bootstrap.servers`.

use std::str::FromStr;

use moldau_model::BrokerId;

use super::{ConfigProblem, Identity, Listening, Reader};
use crate::config::value::{InvalidValue, as_list};

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

/// Who the controllers are, as far as the settings tell.
pub(super) struct Quorum {
    pub(super) voters: Vec<QuorumVoter>,
    pub(super) bootstrap_servers: Vec<(String, u16)>,
}

impl Reader<'_> {
    pub(super) fn quorum(
        &self,
        identity: &Identity,
        listening: &Listening,
        problems: &mut Vec<ConfigProblem>,
    ) -> Quorum {
        let key = "controller.quorum.voters";
        let mut voters: Vec<QuorumVoter> =
            as_list(self.text(key)).iter().filter_map(|v| v.parse().ok()).collect();
        let bootstrap_servers: Vec<(String, u16)> = as_list(self.text("controller.quorum.bootstrap.servers"))
            .iter()
            .filter_map(|text| parse_host_port(text))
            .collect();
        let own = listening.controller.first();
        if voters.is_empty() && bootstrap_servers.is_empty() && identity.roles.controller {
            // Nobody else is named, so this node is the whole quorum.
            voters.extend(own.map(|listener| QuorumVoter {
                id: identity.node_id,
                host: if listener.host.is_empty() { "localhost".into() } else { listener.host.clone() },
                port: listener.port,
            }));
        }
        let is_voter = voters.iter().any(|voter| voter.id == identity.node_id);
        let ids = || {
            let mut ids: Vec<i32> = voters.iter().map(|voter| voter.id.0).collect();
            ids.sort_unstable();
            ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        if identity.roles.controller && !voters.is_empty() && !is_voter {
            let problem = format!(
                "If process.roles contains the 'controller' role, the node id {} must be included in the set of voters \
                 {key}=Set({})",
                identity.node_id,
                ids()
            );
            problems.push(ConfigProblem::new(key, problem));
        }
        if !identity.roles.controller && is_voter {
            let problem = format!(
                "If process.roles contains just the 'broker' role, the node id {} must not be included in the set of \
                 voters {key}=Set({})",
                identity.node_id,
                ids()
            );
            problems.push(ConfigProblem::new(key, problem));
        }
        if !identity.roles.controller && voters.is_empty() && bootstrap_servers.is_empty() {
            let problem = "a broker has to know the controllers: set controller.quorum.voters or \
                           controller.quorum.bootstrap.servers";
            problems.push(ConfigProblem::new(key, problem));
        }
        Quorum { voters, bootstrap_servers }
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
