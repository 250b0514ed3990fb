//! Brokers as they have registered.

use std::fmt;
use std::sync::Arc;

use moldau_model::{BrokerEpoch, BrokerId, Uuid};

use crate::records;

/// How a listener protects its connections; Kafka's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecurityProtocol {
    #[default]
    Plaintext = 0,
    Ssl = 1,
    SaslPlaintext = 2,
    SaslSsl = 3,
}

impl SecurityProtocol {
    /// The protocol of this number, or nothing.
    #[must_use]
    pub const fn from_code(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Plaintext),
            1 => Some(Self::Ssl),
            2 => Some(Self::SaslPlaintext),
            3 => Some(Self::SaslSsl),
            _ => None,
        }
    }

    /// Kafka's number of the protocol.
    #[must_use]
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// The protocol of this name (`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT`, `SASL_SSL`), or nothing.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Plaintext, Self::Ssl, Self::SaslPlaintext, Self::SaslSsl]
            .into_iter()
            .find(|p| p.name() == name)
    }

    /// The name in `listener.security.protocol.map`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where clients and brokers are told to connect: an advertised listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listener {
    pub name: Arc<str>,
    pub host: Arc<str>,
    pub port: u16,
    pub security_protocol: SecurityProtocol,
}

/// The levels of one feature that a broker can run at (KIP-584).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupportedFeatureRange {
    pub name: Arc<str>,
    pub min_level: i16,
    pub max_level: i16,
}

/// One registered broker. Fenced: it is not told to clients, leads nothing and joins no ISR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerRegistration {
    pub id: BrokerId,
    pub epoch: BrokerEpoch,
    pub incarnation_id: Uuid,
    pub listeners: Vec<Listener>,
    pub features: Vec<SupportedFeatureRange>,
    pub rack: Option<Arc<str>>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    /// The ids of the log directories that are online.
    pub log_directories: Vec<Uuid>,
    /// Those of them that have no room left.
    pub full_log_directories: Vec<Uuid>,
    /// Those of them that get no new replicas (KIP-1066).
    pub cordoned_log_directories: Vec<Uuid>,
}

impl BrokerRegistration {
    /// The listener of this name.
    #[must_use]
    pub fn listener(&self, name: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| &*listener.name == name)
    }

    /// May lead partitions and be in an ISR: neither fenced nor on its way down (KIP-841).
    #[must_use]
    pub const fn is_active(&self) -> bool {
        !self.fenced && !self.in_controlled_shutdown
    }

    /// Whether a replica in this directory, [`Uuid::ZERO`] where it was not assigned to one, cannot grow.
    #[must_use]
    pub fn is_full(&self, directory: Uuid) -> bool {
        if !directory.is_zero() {
            return self.full_log_directories.contains(&directory);
        }
        !self.full_log_directories.is_empty()
            && self.log_directories.iter().all(|directory| self.full_log_directories.contains(directory))
    }

    /// Whether new replicas may be placed here: some log directory is not cordoned.
    #[must_use]
    pub fn takes_new_replicas(&self) -> bool {
        self.log_directories.is_empty()
            || self.log_directories.iter().any(|directory| !self.cordoned_log_directories.contains(directory))
    }

    /// The registration as the record that replays into it.
    #[must_use]
    pub fn to_record(&self) -> records::RegisterBroker {
        records::RegisterBroker {
            broker_id: self.id.0,
            incarnation_id: self.incarnation_id.as_bytes().to_vec(),
            broker_epoch: self.epoch.0,
            listeners: self
                .listeners
                .iter()
                .map(|listener| records::BrokerListener {
                    name: listener.name.to_string(),
                    host: listener.host.to_string(),
                    port: u32::from(listener.port),
                    security_protocol: listener.security_protocol.code(),
                })
                .collect(),
            features: self
                .features
                .iter()
                .map(|feature| records::SupportedFeature {
                    name: feature.name.to_string(),
                    min_level: i32::from(feature.min_level),
                    max_level: i32::from(feature.max_level),
                })
                .collect(),
            rack: self.rack.as_deref().map(str::to_owned),
            fenced: self.fenced,
            in_controlled_shutdown: self.in_controlled_shutdown,
            log_directories: self.log_directories.iter().map(|id| id.as_bytes().to_vec()).collect(),
            full_log_directories: self.full_log_directories.iter().map(|id| id.as_bytes().to_vec()).collect(),
            cordoned_log_directories: self
                .cordoned_log_directories
                .iter()
                .map(|id| id.as_bytes().to_vec())
                .collect(),
        }
    }
}
