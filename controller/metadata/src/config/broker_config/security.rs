//! What the listeners of a node and its links to others are protected by.

use std::fmt;

use super::{BrokerConfig, ConfigProblem, Listening, Reader};
use crate::config::security::{SecurityProblem, SecuritySettings, listener_security, peer_security};

impl From<SecurityProblem> for ConfigProblem {
    fn from(problem: SecurityProblem) -> Self {
        Self { key: problem.key, problem: problem.problem }
    }
}

impl Reader<'_> {
    pub(super) fn security(
        &self,
        listening: &Listening,
        problems: &mut Vec<ConfigProblem>,
    ) -> SecuritySettings {
        let settings = self.settings.statics;
        let mut security = SecuritySettings {
            failed_delay_ms: self.int("connection.failed.authentication.delay.ms"),
            unauthenticated_frame_bytes_max: self.int("sasl.server.max.receive.size"),
            authentication_timeout_ms: self.int("connections.authentication.timeout.ms"),
            unauthenticated_max: self.int("max.unauthenticated.connections"),
            unauthenticated_per_address_max: self.int("max.unauthenticated.connections.per.ip"),
            ..SecuritySettings::default()
        };
        for listener in listening.listeners.iter().chain(&listening.controller) {
            match listener_security(settings, &listener.name, listener.protocol) {
                Ok(of_listener) => {
                    security.listeners.insert(listener.name.clone(), of_listener);
                }
                Err(problem) => problems.push(problem.into()),
            }
        }
        let inter_broker =
            listening.listeners.iter().find(|listener| listener.name == listening.inter_broker);
        if let Some(listener) = inter_broker {
            let mechanism = "sasl.mechanism.inter.broker.protocol";
            match peer_security(settings, &listener.name, listener.protocol, mechanism) {
                Ok(peer) => security.inter_broker = peer,
                Err(problem) => problems.push(problem.into()),
            }
        }
        if let Some(name) = listening.controller_names.first() {
            let mechanism = "sasl.mechanism.controller.protocol";
            match peer_security(settings, name, listening.controller_protocol, mechanism) {
                Ok(peer) => security.controller = peer,
                Err(problem) => problems.push(problem.into()),
            }
        }
        problems.dedup();
        security
    }
}

/// The settings may hold passwords, and are left out.
impl fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerConfig")
            .field("node_id", &self.node_id)
            .field("roles", &self.roles)
            .field("listeners", &self.listeners)
            .field("controller_listeners", &self.controller_listeners)
            .field("security", &self.security)
            .field("log_dirs", &self.log_dirs)
            .finish_non_exhaustive()
    }
}
