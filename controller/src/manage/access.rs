//! Who asked, and what they may do: asked by every decision for a client.

use std::net::{IpAddr, Ipv4Addr};

use moldau_metadata::{AclsImage, AuthorizerSettings, Caller, Resource};
use moldau_model::{ErrorCode, Operation, Principal};

use super::ApiError;

/// Who sent a request, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    pub principal: Principal,
    pub host: IpAddr,
}

impl Asker {
    /// The asker in the texts of a forwarded request.
    ///
    /// # Errors
    /// `PRINCIPAL_DESERIALIZATION_FAILURE` for a text that is no principal.
    pub fn of_forwarded(principal: &str, host: &str) -> Result<Self, ErrorCode> {
        let principal = principal.parse().map_err(|_| ErrorCode::PrincipalDeserializationFailure)?;
        // What a node asks for on its own comes from nowhere.
        let host = host.parse::<IpAddr>().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        Ok(Self { principal, host: host.to_canonical() })
    }
}

/// What an asker may do, by the entries of one image.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    authorizer: Option<&'a AuthorizerSettings>,
    acls: &'a AclsImage,
    asker: &'a Asker,
}

impl<'a> Access<'a> {
    /// Without an authorizer everybody may do everything.
    #[must_use]
    pub const fn new(
        authorizer: Option<&'a AuthorizerSettings>,
        acls: &'a AclsImage,
        asker: &'a Asker,
    ) -> Self {
        Self { authorizer, acls, asker }
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.authorizer.is_none()
    }

    /// Whether the asker may do this. A node may do everything: nobody is taken for one who has not shown that it is.
    #[must_use]
    pub fn may(&self, operation: Operation, resource: Resource<'_>) -> bool {
        let Some(authorizer) = self.authorizer else { return true };
        let caller = Caller { principal: &self.asker.principal, host: self.asker.host };
        let is_allowed =
            caller.principal.is_node() || authorizer.authorize(self.acls, &caller, operation, resource);
        if !is_allowed {
            let Asker { principal, host } = self.asker;
            let (kind, name) = (resource.resource_type, resource.name);
            tracing::debug!(%principal, %host, %operation, %kind, name, "denied");
        }
        is_allowed
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
        let allowed = allowed.filter(|operation| self.may(**operation, resource));
        allowed.fold(0, |field, operation| field | 1 << operation.code())
    }
}
