//! Access control entries: describe, create and delete.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};
use moldau_metadata::{Acl, AclFilter};
use moldau_model::{Operation, PatternType, Permission, ResourceType};

use super::metadata::string;
use super::{Client, ClientError};

/// Kafka's number of "any".
const ANY: i8 = 1;

impl Client {
    /// The entries that a filter matches.
    pub(crate) fn describe_acls(&mut self, filter: &AclFilter) -> Result<BTreeSet<Acl>, ClientError> {
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(filter.resource_type.map_or(ANY, ResourceType::code))
            .with_resource_name_filter(filter.resource_name.as_deref().map(string))
            .with_pattern_type_filter(filter.pattern.code())
            .with_principal_filter(filter.principal.as_deref().map(string))
            .with_host_filter(filter.host.as_deref().map(string))
            .with_operation(filter.operation.map_or(ANY, Operation::code))
            .with_permission_type(filter.permission.map_or(ANY, Permission::code));
        let response = self.call(&request)?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        let found = response.resources.iter().flat_map(|resource| {
            resource.acls.iter().filter_map(|entry| {
                entry_of(
                    (resource.resource_type, resource.pattern_type, &resource.resource_name),
                    (&entry.principal, &entry.host),
                    (entry.operation, entry.permission_type),
                )
            })
        });
        Ok(found.collect())
    }

    /// Adds entries. The first one that is refused is the error; others may have been added.
    pub(crate) fn create_acls(&mut self, acls: &BTreeSet<Acl>) -> Result<(), ClientError> {
        let creation = |acl: &Acl| {
            AclCreation::default()
                .with_resource_type(acl.resource_type.code())
                .with_resource_name(string(&acl.resource_name))
                .with_resource_pattern_type(acl.pattern_type.code())
                .with_principal(string(&acl.principal.to_string()))
                .with_host(string(&acl.host))
                .with_operation(acl.operation.code())
                .with_permission_type(acl.permission.code())
        };
        let request = CreateAclsRequest::default().with_creations(acls.iter().map(creation).collect());
        let response = self.call(&request)?;
        let mut results = response.results.iter();
        results.try_for_each(|result| ClientError::check(result.error_code, result.error_message.as_deref()))
    }

    /// Removes the entries that any of the filters matches, and tells which they were.
    pub(crate) fn delete_acls(&mut self, filters: &[AclFilter]) -> Result<BTreeSet<Acl>, ClientError> {
        let wire = |filter: &AclFilter| {
            DeleteAclsFilter::default()
                .with_resource_type_filter(filter.resource_type.map_or(ANY, ResourceType::code))
                .with_resource_name_filter(filter.resource_name.as_deref().map(string))
                .with_pattern_type_filter(filter.pattern.code())
                .with_principal_filter(filter.principal.as_deref().map(string))
                .with_host_filter(filter.host.as_deref().map(string))
                .with_operation(filter.operation.map_or(ANY, Operation::code))
                .with_permission_type(filter.permission.map_or(ANY, Permission::code))
        };
        let request = DeleteAclsRequest::default().with_filters(filters.iter().map(wire).collect());
        let response = self.call(&request)?;
        let mut deleted = BTreeSet::new();
        for result in &response.filter_results {
            ClientError::check(result.error_code, result.error_message.as_deref())?;
            for entry in &result.matching_acls {
                ClientError::check(entry.error_code, entry.error_message.as_deref())?;
                deleted.extend(entry_of(
                    (entry.resource_type, entry.pattern_type, &entry.resource_name),
                    (&entry.principal, &entry.host),
                    (entry.operation, entry.permission_type),
                ));
            }
        }
        Ok(deleted)
    }
}

/// An entry in the protocol's numbers; one that this version does not know is none.
fn entry_of(
    (resource_type, pattern_type, name): (i8, i8, &str),
    (principal, host): (&str, &str),
    (operation, permission): (i8, i8),
) -> Option<Acl> {
    Some(Acl {
        resource_type: ResourceType::from_code(resource_type)?,
        pattern_type: PatternType::from_code(pattern_type)?,
        resource_name: name.into(),
        principal: principal.parse().ok()?,
        host: host.into(),
        operation: Operation::from_code(operation)?,
        permission: Permission::from_code(permission)?,
    })
}
