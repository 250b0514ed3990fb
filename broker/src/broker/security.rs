//! What protects a broker's listeners, and how it dials others: made at the start, and anew when certificates change.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use moldau_metadata::config::BrokerConfig;
use moldau_security::link::Dialer;
use moldau_security::{Places, Reloaded};
use tokio::sync::watch;

use super::start::StartError;
use crate::net::{self, Protection, ProtectionError};

/// How often files of certificates are looked at. A look is one question of the file system for each.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Security {
    /// By the listener's name; those that ask nothing are not here.
    pub(super) listeners: BTreeMap<String, Arc<Protection>>,
    dialer: Arc<Dialer>,
}

impl Security {
    /// Reads the files of TLS. Also tells how others are dialled.
    pub(super) async fn open(config: &BrokerConfig) -> Result<(Self, Arc<Dialer>), StartError> {
        let security = config.security.clone();
        let inter_broker = config.inter_broker_listener_name.clone();
        let names: Vec<String> = config.listeners.iter().map(|listener| listener.name.clone()).collect();
        let opened = tokio::task::spawn_blocking(move || {
            let bound = |bound: i32| usize::try_from(bound).unwrap_or(1);
            let places = || {
                Places::new(
                    bound(security.unauthenticated_max),
                    bound(security.unauthenticated_per_address_max),
                )
            };
            // Strangers at a listener of clients keep no broker from reaching another.
            let (of_clients, of_brokers) = (places(), places());
            let mut listeners = BTreeMap::new();
            for name in names {
                let listener = security.listeners.get(&name);
                let Some(listener) = listener.filter(|it| it.protocol.has_tls() || it.protocol.has_sasl())
                else {
                    continue;
                };
                let login = security.inter_broker.login.as_ref().filter(|_| name == inter_broker);
                let protection = Protection::new(
                    listener,
                    &security,
                    login,
                    Arc::clone(if name == inter_broker { &of_brokers } else { &of_clients }),
                );
                let refused = |source| StartError::Protection { name: name.clone(), source };
                listeners.insert(name.clone(), Arc::new(protection.map_err(refused)?));
            }
            let dialer = Dialer::new(&security.inter_broker).map_err(|error| StartError::Protection {
                name: "between brokers".to_owned(),
                source: ProtectionError::Tls(error),
            })?;
            let dialer = Arc::new(dialer);
            Ok::<_, StartError>((Self { listeners, dialer: Arc::clone(&dialer) }, dialer))
        });
        opened.await.map_err(|error| StartError::Panicked(error.to_string()))?
    }

    /// Looks at the files of certificates from time to time, until the broker stops.
    pub(super) async fn keep_fresh(self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = net::stopped(&mut stop) => return,
            }
            let (listeners, dialer) = (self.listeners.clone(), Arc::clone(&self.dialer));
            let looked = tokio::task::spawn_blocking(move || {
                for (name, protection) in &listeners {
                    tell(name, "certificates", &protection.look_again());
                    tell(name, "keys of tokens", &protection.look_at_keys_again());
                }
                tell("between brokers", "certificates", &dialer.look_again());
            });
            if let Err(error) = looked.await {
                tracing::error!(%error, "certificates are not looked at any more");
                return;
            }
        }
    }
}

fn tell<E: Display>(listener: &str, what: &str, reloaded: &Reloaded<E>) {
    match reloaded {
        Reloaded::Unchanged => {}
        Reloaded::Changed => tracing::info!(listener, what, "has changed, new connections see it"),
        Reloaded::Refused(error) => {
            tracing::error!(listener, what, %error, "what is there now cannot be used, what was read before stays");
        }
    }
}
