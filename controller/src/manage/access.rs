//! Who asked, and what they may do: asked by every decision for a client.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use moldau_metadata::{AclsImage, AuditLine, AuthorizerSettings, Caller, Resource};
use moldau_model::{ErrorCode, Operation, Principal};

use super::ApiError;

/// Who sent a request, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    pub principal: Principal,
    pub host: IpAddr,
    /// Kafka's name of the request.
    pub request: &'static str,
}

/// Who is told what was denied and what was not.
pub trait Audit: fmt::Debug + Send + Sync {
    fn tell(&self, line: &AuditLine<'_>);
}

impl Asker {
    /// The asker in the texts of a forwarded request.
    ///
    /// # Errors
    /// `PRINCIPAL_DESERIALIZATION_FAILURE` for a text that is no principal.
    pub fn of_forwarded(principal: &str, host: &str, request: &'static str) -> Result<Self, ErrorCode> {
        let principal = principal.parse().map_err(|_| ErrorCode::PrincipalDeserializationFailure)?;
        // What a node asks for on its own comes from nowhere.
        let host = host.parse::<IpAddr>().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Ok(Self { principal, host: host.to_canonical(), request })
    }
}

/// What an asker may do, by the entries of one image.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    authorizer: Option<&'a AuthorizerSettings>,
    acls: &'a AclsImage,
    asker: &'a Asker,
    audit: &'a dyn Audit,
}

impl<'a> Access<'a> {
    /// Without an authorizer everybody may do everything.
    #[must_use]
    pub const fn new(
        authorizer: Option<&'a AuthorizerSettings>,
        acls: &'a AclsImage,
        asker: &'a Asker,
        audit: &'a dyn Audit,
    ) -> Self {
        Self { authorizer, acls, asker, audit }
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.authorizer.is_none()
    }

    /// Whether the asker may do this, which is told to the audit log. A node may do everything: nobody is taken for one who
    /// has not shown that it is.
    #[must_use]
    pub fn may(&self, operation: Operation, resource: Resource<'_>) -> bool {
        let is_allowed = self.would_be_allowed(operation, resource);
        if self.authorizer.is_some() {
            let Asker { principal, host, request } = self.asker;
            let host = *host;
            self.audit.tell(&AuditLine { principal, host, operation, resource, request, is_allowed });
        }
        is_allowed
    }

    /// The same where it decides what somebody is shown, or whether more has to be asked, and nothing was refused yet.
    #[must_use]
    pub fn would_be_allowed(&self, operation: Operation, resource: Resource<'_>) -> bool {
        let Some(authorizer) = self.authorizer else { return true };
        let caller = Caller { principal: &self.asker.principal, host: self.asker.host };
        caller.principal.is_node() || authorizer.authorize(self.acls, &caller, operation, resource)
    }

    /// # Errors
    /// `CLUSTER_AUTHORIZATION_FAILED`.
    pub fn check_cluster(&self, operation: Operation) -> Result<(), ApiError> {
        if self.may(operation, Resource::CLUSTER) {
            return Ok(());
        }
        Err(ApiError::standard(ErrorCode::ClusterAuthorizationFailed))
    }

    /// The operations that the asker may do, as the bit field that describes them (KIP-430).
    #[must_use]
    pub fn operations(&self, resource: Resource<'_>) -> i32 {
        let allowed = resource.resource_type.operations().iter();
        let allowed = allowed.filter(|operation| self.would_be_allowed(**operation, resource));
        allowed.fold(0, |field, operation| field | 1 << operation.code())
    }
}
