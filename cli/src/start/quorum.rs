//! How a controller comes into its quorum where `controller.quorum.voters` does not say it: as one of the first, or as one
//! that is taken in by those who are there.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, ToSocketAddrs};
use std::path::Path;

use moldau_metadata::config::{BrokerConfig, Listener, QuorumVoter};

use super::storage::{StorageError, read_properties};

/// What `kafka-storage format` leaves beside `meta.properties`. Where it stands, it says who founds the quorum, be it
/// nobody: then this node is taken in.
const FILE_NAME: &str = "initial.voters";
const KEY: &str = "initial.voters";

/// Writes down who founds the quorum.
pub(crate) fn write_initial_voters(directory: &Path, voters: &[QuorumVoter]) -> Result<(), StorageError> {
    let io = |source| StorageError::Io { path: directory.to_owned(), source };
    let named: Vec<String> =
        voters
            .iter()
            .map(|QuorumVoter { id, host, port }| {
                if host.contains(':') {
                    format!("{id}@[{host}]:{port}")
                } else {
                    format!("{id}@{host}:{port}")
                }
            })
            .collect();
    let mut file = File::create(directory.join(FILE_NAME)).map_err(io)?;
    file.write_all(format!("version=1\n{KEY}={}\n", named.join(",")).as_bytes()).map_err(io)?;
    file.sync_all().map_err(io)?;
    File::open(directory).and_then(|handle| handle.sync_all()).map_err(io)
}

/// Who founds the quorum, if that was written down.
fn initial_voters(directory: &Path) -> Result<Option<Vec<QuorumVoter>>, StorageError> {
    let path = directory.join(FILE_NAME);
    let Some(properties) = read_properties(&path)? else { return Ok(None) };
    let unreadable = |reason: String| StorageError::Unreadable { path: path.clone(), reason };
    let Some((_, voters)) = properties.into_iter().find(|(key, _)| key == KEY) else {
        return Err(unreadable(format!("{KEY} is missing")));
    };
    let voters = voters.split(',').filter(|voter| !voter.is_empty());
    voters
        .map(|voter| voter.parse().map_err(|_| unreadable(format!("{voter} is no voter"))))
        .collect::<Result<_, _>>()
        .map(Some)
}

/// Names the voters with which a controller founds its quorum, if there are any to name: those that its storage was
/// formatted with, or itself where it is the only one to ask, as Kafka's own files for one node have it.
pub(super) fn name_initial_voters(config: &mut BrokerConfig) -> Result<(), StorageError> {
    if !config.roles.controller || !config.quorum_voters.is_empty() {
        return Ok(());
    }
    if let Some(voters) = initial_voters(&config.metadata_log_dir)? {
        config.quorum_voters = voters;
    } else if let [(host, port)] = config.quorum_bootstrap_servers.as_slice()
        && is_own(config, host, *port)
    {
        let voter = QuorumVoter { id: config.node_id, host: host.clone(), port: *port };
        config.quorum_voters.push(voter);
    }
    Ok(())
}

/// By what the other controllers reach this one.
pub(crate) fn own_voter(config: &BrokerConfig) -> Option<QuorumVoter> {
    let Listener { host, port, .. } = config.advertised_controller_listener.as_ref()?;
    let host = match host.as_str() {
        "" | "0.0.0.0" | "::" => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        host => host.to_owned(),
    };
    Some(QuorumVoter { id: config.node_id, host, port: *port })
}

/// Whether an address is this node's own, by its name or because this machine has it.
fn is_own(config: &BrokerConfig, host: &str, port: u16) -> bool {
    if config.controller_listeners.first().is_none_or(|listener| listener.port != port) {
        return false;
    }
    let is_named = own_voter(config).is_some_and(|own| own.host.eq_ignore_ascii_case(host));
    let is_here = || {
        // Only addresses of this machine can be bound.
        (host, 0).to_socket_addrs().is_ok_and(|mut all| all.any(|address| TcpListener::bind(address).is_ok()))
    };
    is_named || is_here()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(directory: &Path, servers: &str) -> BrokerConfig {
        let settings = [
            ("process.roles", "controller".to_owned()),
            ("node.id", "2".to_owned()),
            ("log.dirs", directory.display().to_string()),
            ("listeners", "CONTROLLER://127.0.0.1:9093".to_owned()),
            ("controller.quorum.bootstrap.servers", servers.to_owned()),
        ];
        let settings = settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        BrokerConfig::from_settings(settings).unwrap()
    }

    fn named(directory: &Path, servers: &str) -> Vec<String> {
        let mut config = config(directory, servers);
        name_initial_voters(&mut config).unwrap();
        config
            .quorum_voters
            .iter()
            .map(|voter| format!("{}@{}:{}", voter.id, voter.host, voter.port))
            .collect()
    }

    #[test]
    fn the_only_server_founds_a_quorum_of_one_if_it_is_this_node() {
        let directory = tempfile::tempdir().unwrap();
        for (servers, expected) in [
            ("127.0.0.1:9093", &["2@127.0.0.1:9093"][..]),
            ("localhost:9093", &["2@localhost:9093"]),
            ("127.0.0.1:9094", &[]),
            ("192.0.2.1:9093", &[]),
            ("127.0.0.1:9093,127.0.0.1:9193", &[]),
        ] {
            assert_eq!(named(directory.path(), servers), expected, "{servers}");
        }
    }

    #[test]
    fn what_the_storage_was_formatted_with_holds() {
        let directory = tempfile::tempdir().unwrap();
        let voters: Vec<QuorumVoter> =
            ["1@a:9093", "2@[::1]:9093"].map(|voter| voter.parse().unwrap()).into();
        write_initial_voters(directory.path(), &voters).unwrap();
        assert_eq!(named(directory.path(), "a:9093,b:9093"), ["1@a:9093", "2@::1:9093"]);
        write_initial_voters(directory.path(), &[]).unwrap();
        assert!(named(directory.path(), "127.0.0.1:9093").is_empty());
        std::fs::write(directory.path().join(FILE_NAME), "initial.voters=x\n").unwrap();
        let error = name_initial_voters(&mut config(directory.path(), "a:1")).unwrap_err().to_string();
        assert!(error.contains("x is no voter"), "{error}");
    }
}
