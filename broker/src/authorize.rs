//! The one question whether somebody may do something. Without an authorizer everybody may do everything, as in Kafka
//! without `authorizer.class.name`; every handler asks all the same, so that there is one place to answer differently.

mod audit;

use std::sync::Arc;

use moldau_metadata::config::BrokerConfig;
use moldau_metadata::{AuthorizerSettings, Caller, SecurityProtocol};
use moldau_model::Principal;

pub use moldau_metadata::Resource;
pub use moldau_model::{Operation, ResourceType};

use crate::api::RequestContext;
use crate::api::message::OPERATIONS_NOT_ASKED;
use crate::metadata_cache::MetadataCache;
use audit::AuditLog;

/// Decides by the settings of this node and the entries that its metadata has.
pub struct Authorizer {
    settings: AuthorizerSettings,
    metadata: Arc<MetadataCache>,
    /// A listener that the cluster's nodes have to themselves, without any authentication.
    nodes_listener: Option<String>,
    audit: AuditLog,
}

impl std::fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorizer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Authorizer {
    /// The one that the settings ask for, if they ask for one.
    #[must_use]
    pub fn new(config: &BrokerConfig, metadata: Arc<MetadataCache>) -> Option<Self> {
        let settings = config.authorizer.clone()?;
        let nodes_listener = nodes_listener(config);
        let is_anonymous_super = settings.super_users.contains(&Principal::anonymous());
        match &nodes_listener {
            Some(listener) => tracing::warn!(
                listener,
                "whoever reaches this listener is taken for a node of the cluster, for it asks nobody who they are"
            ),
            None if inter_broker_is_plaintext(config) && !is_anonymous_super => tracing::warn!(
                listener = config.inter_broker_listener_name,
                "brokers are ANONYMOUS to one another here: give them a listener of their own by \
                 inter.broker.listener.name, or name User:ANONYMOUS in super.users"
            ),
            None => {}
        }
        Some(Self { settings, metadata, nodes_listener, audit: AuditLog::default() })
    }

    fn allows(&self, context: &RequestContext, operation: Operation, resource: Resource<'_>) -> bool {
        // What nodes ask of one another, where they cannot say who they are. Everything else needs an entry there, too.
        if operation == Operation::ClusterAction
            && context.principal == Principal::anonymous()
            && self.nodes_listener.as_deref() == Some(&*context.listener)
        {
            return true;
        }
        self.settings.authorize(self.metadata.image().acls(), &caller(context), operation, resource)
    }
}

fn caller(context: &RequestContext) -> Caller<'_> {
    Caller { principal: &context.principal, host: context.client_address.ip().to_canonical() }
}

fn inter_broker_is_plaintext(config: &BrokerConfig) -> bool {
    let is_inter_broker = |name: &str| name == config.inter_broker_listener_name;
    let protocol = |listener: &moldau_metadata::config::Listener| listener.protocol;
    let listener = config.listeners.iter().find(|listener| is_inter_broker(&listener.name));
    listener.map(protocol) == Some(SecurityProtocol::Plaintext)
}

/// The listener that the user has set apart for nodes, where that is one without authentication.
fn nodes_listener(config: &BrokerConfig) -> Option<String> {
    let is_chosen = config.settings.contains_key("inter.broker.listener.name");
    let is_apart = config.listeners.len() > 1;
    (is_chosen && is_apart && inter_broker_is_plaintext(config))
        .then(|| config.inter_broker_listener_name.clone())
}

/// Whether the request's principal may do `operation` on `resource`. The audit log is told.
#[must_use]
pub fn is_authorized(context: &RequestContext, operation: Operation, resource: Resource<'_>) -> bool {
    let Some(authorizer) = &context.authorizer else { return true };
    let is_allowed = authorizer.allows(context, operation, resource);
    authorizer.audit.tell(context, operation, resource, is_allowed);
    is_allowed
}

/// The same where it decides what somebody gets to see, and nobody asked for the resource itself.
#[must_use]
pub fn is_visible(context: &RequestContext, operation: Operation, resource: Resource<'_>) -> bool {
    context.authorizer.as_ref().is_none_or(|authorizer| authorizer.allows(context, operation, resource))
}

/// Whether the request's principal may do `operation` on some resource of the type.
#[must_use]
pub fn is_authorized_for_some(
    context: &RequestContext,
    operation: Operation,
    resource_type: ResourceType,
) -> bool {
    let Some(authorizer) = &context.authorizer else { return true };
    let image = authorizer.metadata.image();
    authorizer.settings.authorize_by_resource_type(image.acls(), &caller(context), operation, resource_type)
}

/// What the request's principal may do with a resource, as a bit field (KIP-430), if it asked for that.
#[must_use]
pub(crate) fn authorized_operations(context: &RequestContext, asked: bool, resource: Resource<'_>) -> i32 {
    if !asked {
        return OPERATIONS_NOT_ASKED;
    }
    let operations = resource.resource_type.operations().iter();
    let allowed = operations.filter(|operation| is_visible(context, **operation, resource));
    allowed.fold(0, |field, operation| field | 1 << operation.code())
}

/// The same of the cluster: nothing at all, if it may not be described.
#[must_use]
pub(crate) fn cluster_operations(context: &RequestContext, asked: bool) -> i32 {
    if asked && !is_visible(context, Operation::Describe, Resource::CLUSTER) {
        return 0;
    }
    authorized_operations(context, asked, Resource::CLUSTER)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const CLASS: (&str, &str) =
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer");
    const TWO_LISTENERS: [(&str, &str); 2] = [
        ("listeners", "CLIENTS://:9092,NODES://:9091,CONTROLLER://:9093"),
        ("listener.security.protocol.map", "CLIENTS:PLAINTEXT,NODES:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    ];

    fn trusted(settings: &[(&str, &str)]) -> Option<String> {
        let settings: BTreeMap<String, String> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let config = BrokerConfig::from_settings(settings).unwrap();
        Authorizer::new(&config, Arc::new(MetadataCache::default())).unwrap().nodes_listener
    }

    #[test]
    fn a_listener_is_the_nodes_own_only_where_the_user_has_set_it_apart() {
        let [listeners, protocols] = TWO_LISTENERS;
        let apart = ("inter.broker.listener.name", "NODES");
        assert_eq!(trusted(&[CLASS, listeners, protocols, apart]).as_deref(), Some("NODES"));
        let shared = [CLASS, ("listeners", "NODES://:9091,CONTROLLER://:9093"), protocols, apart];
        assert_eq!(trusted(&shared), None, "clients come by it, too");
        assert_eq!(trusted(&[CLASS]), None);
    }

    #[test]
    fn without_the_setting_there_is_no_authorizer() {
        let config = BrokerConfig::from_settings(BTreeMap::new()).unwrap();
        assert!(Authorizer::new(&config, Arc::new(MetadataCache::default())).is_none());
    }
}
