//! What protects the links between controllers, and from brokers to them.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use moldau_controller::ControllerSecurity;
use moldau_metadata::config::BrokerConfig;
use moldau_metadata::config::security::ClientAuth;
use moldau_security::Reloaded;
use moldau_security::link::{Dialer, Gate, GateLimits};
use tokio::runtime::Runtime;

/// How often files of certificates are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads the files of TLS; the error is one line.
pub(super) fn of_controllers(config: &BrokerConfig) -> Result<ControllerSecurity, String> {
    let security = &config.security;
    let dialer =
        Dialer::new(&security.controller).map_err(|error| format!("towards controllers: {error}"))?;
    let unauthenticated_per_address_max =
        usize::try_from(security.unauthenticated_per_address_max).unwrap_or(1);
    let listeners = config.controller_listeners.iter().filter_map(|at| security.listeners.get(&at.name));
    let mut listeners = listeners.peekable();
    let Some(first) = listeners.peek().copied() else {
        return Ok(ControllerSecurity {
            gate: None,
            dialer: Arc::new(dialer),
            unauthenticated_per_address_max,
        });
    };
    if listeners.any(|other| other != first) {
        return Err(
            "all listeners of controller.listener.names have to be protected in the same way".to_owned()
        );
    }
    let asks_for_certificates = first.tls.as_ref().is_some_and(|tls| tls.client_auth == ClientAuth::Required);
    let users = super_users(config);
    if asks_for_certificates
        && !first.protocol.has_sasl()
        && users.is_empty()
        && config.cluster_secret.is_none()
    {
        return Err("the listener of controllers asks for certificates, and nothing tells whose are those of nodes: name them in \
                    super.users, or set cluster.secret"
            .to_owned());
    }
    let ms = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let limits = GateLimits {
        timeout: ms(security.authentication_timeout_ms),
        failed_delay: ms(security.failed_delay_ms),
        frame_bytes_max: usize::try_from(security.unauthenticated_frame_bytes_max).unwrap_or(0),
    };
    let is_gated = first.protocol.has_tls() || first.protocol.has_sasl();
    let login = security.controller.login.as_ref();
    let gate = is_gated.then(|| Gate::new(first, login, users, limits)).transpose();
    let gate = gate.map_err(|error| format!("listener of controllers: {error}"))?;
    let (gate, dialer) = (gate.map(Arc::new), Arc::new(dialer));
    Ok(ControllerSecurity { gate, dialer, unauthenticated_per_address_max })
}

/// The users among `super.users`, which are separated by semicolons.
fn super_users(config: &BrokerConfig) -> BTreeSet<String> {
    let text = config.settings.get("super.users").map(String::as_str).unwrap_or_default();
    text.split(';').filter_map(|name| name.trim().strip_prefix("User:")).map(str::to_owned).collect()
}

/// Looks at the files of certificates from time to time, as long as the runtime lives.
pub(super) fn keep_fresh(security: &ControllerSecurity, control: &Runtime) {
    let (gate, dialer) = (security.gate.clone(), Arc::clone(&security.dialer));
    if gate.is_none() && dialer.is_plain() {
        return;
    }
    control.spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (gate, dialer) = (gate.clone(), Arc::clone(&dialer));
            let looked = tokio::task::spawn_blocking(move || {
                if let Some(gate) = gate {
                    tell("of controllers", "certificates", &gate.look_again());
                    tell("of controllers", "keys of tokens", &gate.look_at_keys_again());
                }
                tell("towards controllers", "certificates", &dialer.look_again());
            });
            if looked.await.is_err() {
                return;
            }
        }
    });
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
