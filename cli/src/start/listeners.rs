//! The sockets of the CONTROLLER listener, bound before anything else starts.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use moldau_metadata::config::{BrokerConfig, Listener};

/// Sockets that listen, each with its listener's name.
#[derive(Debug, Default)]
pub(super) struct Bound(Vec<(String, TcpListener)>);

impl Bound {
    pub(super) fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let address =
            |(name, socket): &(String, TcpListener)| Some((name.clone(), socket.local_addr().ok()?));
        self.0.iter().filter_map(address).collect()
    }

    pub(super) fn sockets(self) -> Vec<TcpListener> {
        self.0.into_iter().map(|(_, socket)| socket).collect()
    }
}

/// Binds all CONTROLLER listeners. A lone node, which no other has to reach, goes on without the default one where its port
/// is taken; tools then cannot ask the controller itself.
pub(super) fn bind(config: &BrokerConfig) -> Result<Bound, String> {
    let bound = bind_for_now(config)?;
    bound.0.iter().for_each(|(_, socket)| warn_if_open(config, socket));
    Ok(bound)
}

/// The same without a word of who may come: who listens for a moment only binds again.
pub(super) fn bind_for_now(config: &BrokerConfig) -> Result<Bound, String> {
    let mut bound = Bound::default();
    for listener in &config.controller_listeners {
        match bind_one(listener) {
            Ok(socket) => bound.0.push((listener.name.clone(), socket)),
            Err(error) if is_dispensable(config) => {
                tracing::info!(%listener, %error, "no CONTROLLER listener: the default address cannot be used");
            }
            Err(error) => return Err(format!("cannot listen on controller listener {listener}: {error}")),
        }
    }
    Ok(bound)
}

fn is_dispensable(config: &BrokerConfig) -> bool {
    let names_it = |text: &String| {
        let text = text.to_ascii_uppercase();
        config.controller_listeners.iter().any(|listener| text.contains(&format!("{}://", listener.name)))
    };
    config.quorum_voters.len() <= 1
        && !config.settings.contains_key("controller.quorum.voters")
        && !config.settings.get("listeners").is_some_and(names_it)
}

fn bind_one(listener: &Listener) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in Listener::in_bind_order((listener.bind_host(), listener.port).to_socket_addrs()?) {
        match TcpListener::bind(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn warn_if_open(config: &BrokerConfig, socket: &TcpListener) {
    let is_beyond = socket.local_addr().is_ok_and(|address| !address.ip().is_loopback());
    let is_guarded = config.controller_listeners.iter().any(|listener| listener.protocol.has_sasl());
    if is_beyond && config.cluster_secret.is_none() && !is_guarded {
        tracing::warn!(
            "the CONTROLLER listener is open beyond this machine to whoever reaches it; set cluster.secret on every node, \
             or ask for SASL"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: &[(&str, String)]) -> BrokerConfig {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        BrokerConfig::from_settings(settings).unwrap()
    }

    #[test]
    fn a_taken_port_matters_only_where_somebody_needs_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let listeners = format!("PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:{port}");
        let error = bind(&config(&[("listeners", listeners.clone())])).unwrap_err();
        assert!(error.starts_with("cannot listen on controller listener CONTROLLER://127.0.0.1:"), "{error}");
        let mut lone = config(&[("listeners", "PLAINTEXT://127.0.0.1:0".to_owned())]);
        lone.controller_listeners[0].port = port;
        assert_eq!(bind(&lone).unwrap().addresses(), []);
        drop(taken);
        let bound = bind(&config(&[("listeners", listeners)])).unwrap();
        assert_eq!(bound.addresses()[0].1.port(), port);
    }
}
