//! Who calls: each call names the caller's cluster and node, and proves that the caller knows the cluster's secret.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moldau_model::{BrokerId, ErrorCode, Uuid};
use moldau_security::link::Dialer;
use parking_lot::Mutex;
use tonic::metadata::{Ascii, Binary, MetadataMap, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::status::status_of_error;
use crate::ControllerError;

const CLUSTER_ID: &str = "moldau-cluster-id-bin";
const NODE_ID: &str = "moldau-node-id";
const DIRECTORY_ID: &str = "moldau-directory-id-bin";
const SECRET: &str = "moldau-secret-bin";

/// What a node says of itself in each call.
#[derive(Clone)]
pub struct Credentials {
    /// The caller's `node.id`.
    pub node_id: BrokerId,
    /// The cluster; `None` for a node that asks which one it is.
    pub cluster_id: Option<String>,
    /// A controller's metadata directory; zero for others.
    pub directory_id: Uuid,
    /// `cluster.secret`.
    pub secret: Option<String>,
    /// How it dials.
    pub dialer: Arc<Dialer>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("node_id", &self.node_id)
            .field("cluster_id", &self.cluster_id)
            .field("directory_id", &self.directory_id)
            .finish_non_exhaustive()
    }
}

/// Puts [`Credentials`] into each call of a client.
#[derive(Clone)]
pub struct SignCalls {
    node_id: MetadataValue<Ascii>,
    cluster_id: Option<MetadataValue<Binary>>,
    directory_id: MetadataValue<Binary>,
    secret: Option<MetadataValue<Binary>>,
}

impl SignCalls {
    /// The values are encoded once, here.
    #[must_use]
    pub fn new(credentials: &Credentials) -> Self {
        let binary = |text: &String| MetadataValue::from_bytes(text.as_bytes());
        let secret = credentials.secret.as_ref().map(|secret| {
            let mut value = binary(secret);
            value.set_sensitive(true);
            value
        });
        Self {
            node_id: MetadataValue::from(credentials.node_id.0),
            cluster_id: credentials.cluster_id.as_ref().map(binary),
            directory_id: MetadataValue::from_bytes(credentials.directory_id.as_bytes()),
            secret,
        }
    }
}

impl Interceptor for SignCalls {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert(NODE_ID, self.node_id.clone());
        metadata.insert_bin(DIRECTORY_ID, self.directory_id.clone());
        if let Some(cluster_id) = &self.cluster_id {
            metadata.insert_bin(CLUSTER_ID, cluster_id.clone());
        }
        if let Some(secret) = &self.secret {
            metadata.insert_bin(SECRET, secret.clone());
        }
        Ok(request)
    }
}

/// Who made a call that the [`Guard`] let pass; in the request's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The caller's `node.id`, as it says.
    pub node_id: BrokerId,
    /// Its metadata directory; zero if it has none.
    pub directory_id: Uuid,
    /// Whether the caller named the cluster, which then was the right one.
    pub knows_cluster: bool,
}

/// Where a call comes from; in the request's extensions, put there by whoever serves the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerAddress(pub IpAddr);

impl Caller {
    /// The caller of a request, which has to belong to this cluster.
    ///
    /// # Errors
    /// `INCONSISTENT_CLUSTER_ID` where it named no cluster.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        match request.extensions().get::<Self>() {
            Some(caller) if caller.knows_cluster => Ok(*caller),
            _ => Err(status_of_error(&ControllerError::Kafka(ErrorCode::InconsistentClusterId))),
        }
    }
}

/// Refuses calls of strangers, before their messages are read.
#[derive(Clone)]
pub struct Guard {
    /// `None`: it is not known yet.
    cluster_id: Option<Arc<str>>,
    secret: Option<Arc<str>>,
    /// When somebody was told of a stranger last.
    told: Arc<Mutex<Option<Instant>>>,
}

/// Strangers call again and again; that is not written down each time.
const TOLD_EVERY: Duration = Duration::from_secs(10);

impl Guard {
    /// Lets nodes of this cluster pass that know its secret, where there is one.
    #[must_use]
    pub fn new(cluster_id: &str, secret: Option<&str>) -> Self {
        Self { cluster_id: Some(cluster_id.into()), ..Self::of_no_cluster(secret) }
    }

    /// Lets nodes of any cluster pass, for this one does not know its own yet.
    #[must_use]
    pub fn of_no_cluster(secret: Option<&str>) -> Self {
        Self { cluster_id: None, secret: secret.map(Into::into), told: Arc::default() }
    }

    fn tell(&self, metadata: &MetadataMap, reason: &str) {
        let mut told = self.told.lock();
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(node = ?metadata.get(NODE_ID), "refused a call: {reason}");
        }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata();
        let bytes = |key: &str| metadata.get_bin(key).and_then(|value| value.to_bytes().ok());
        if let Some(secret) = &self.secret {
            let given: Bytes = bytes(SECRET).unwrap_or_default();
            if !are_equal(&given, secret.as_bytes()) {
                self.tell(metadata, "it does not know the cluster's secret");
                return Err(status_of_error(&ControllerError::Kafka(ErrorCode::ClusterAuthorizationFailed)));
            }
        }
        let cluster_id = bytes(CLUSTER_ID);
        let own = self.cluster_id.as_deref().map(str::as_bytes);
        if own.zip(cluster_id.as_deref()).is_some_and(|(own, given)| own != given) {
            let given = String::from_utf8_lossy(cluster_id.as_deref().unwrap_or_default());
            self.tell(metadata, &format!("it belongs to cluster {given}"));
            return Err(status_of_error(&ControllerError::Kafka(ErrorCode::InconsistentClusterId)));
        }
        let node_id = metadata.get(NODE_ID).and_then(|value| value.to_str().ok()?.parse().ok());
        let directory_id = bytes(DIRECTORY_ID).and_then(|bytes| <[u8; 16]>::try_from(&*bytes).ok());
        let caller = Caller {
            node_id: node_id.map_or(BrokerId::NONE, BrokerId),
            directory_id: directory_id.map_or(Uuid::ZERO, Uuid::from_bytes),
            knows_cluster: cluster_id.is_some(),
        };
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}

/// Compares in a time that tells nothing of the secret but its length.
fn are_equal(given: &[u8], secret: &[u8]) -> bool {
    let differing = given.iter().zip(secret).fold(0, |differing, (a, b)| differing | (a ^ b));
    given.len() == secret.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(credentials: &Credentials, guard: &mut Guard) -> Result<Caller, ErrorCode> {
        let signed = SignCalls::new(credentials).call(Request::new(())).unwrap();
        match guard.call(signed) {
            Ok(request) => Ok(*request.extensions().get().unwrap()),
            Err(status) => match super::super::error_of_status(&status) {
                ControllerError::Kafka(code) => Err(code),
                error => panic!("{error}"),
            },
        }
    }

    #[test]
    fn only_nodes_of_the_cluster_that_know_its_secret_pass() {
        let credentials = |cluster: Option<&str>, secret: Option<&str>| Credentials {
            node_id: BrokerId(7),
            cluster_id: cluster.map(str::to_owned),
            directory_id: Uuid::ONE,
            secret: secret.map(str::to_owned),
            dialer: Arc::new(Dialer::plain()),
        };
        let mut guard = Guard::new("a", Some("hush"));
        let expected = Caller { node_id: BrokerId(7), directory_id: Uuid::ONE, knows_cluster: true };
        assert_eq!(pass(&credentials(Some("a"), Some("hush")), &mut guard), Ok(expected));
        for secret in [None, Some(""), Some("hus"), Some("hushh"), Some("Hush")] {
            let refused = pass(&credentials(Some("a"), secret), &mut guard);
            assert_eq!(refused, Err(ErrorCode::ClusterAuthorizationFailed), "{secret:?}");
        }
        let refused = pass(&credentials(Some("b"), Some("hush")), &mut guard);
        assert_eq!(refused, Err(ErrorCode::InconsistentClusterId));
        let mut open = Guard::new("a", None);
        assert_eq!(pass(&credentials(Some("a"), Some("whatever")), &mut open), Ok(expected));
        assert!(!pass(&credentials(None, None), &mut open).unwrap().knows_cluster);
        let mut nameless = Guard::of_no_cluster(Some("hush"));
        assert_eq!(pass(&credentials(Some("a"), Some("hush")), &mut nameless), Ok(expected));
        let refused = pass(&credentials(Some("a"), None), &mut nameless);
        assert_eq!(refused, Err(ErrorCode::ClusterAuthorizationFailed));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Some("hush".to_owned());
        let dialer = Arc::new(Dialer::plain());
        let credentials =
            Credentials { node_id: BrokerId(1), cluster_id: None, directory_id: Uuid::ZERO, secret, dialer };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
