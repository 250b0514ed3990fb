//! Entries and filters of CreateAcls, DescribeAcls and DeleteAcls, out of Kafka's numbers.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use kafka_protocol::protocol::StrBytes;
use moldau_metadata::{Acl, AclFilter, AclFilterCodes, MetadataImage};
use moldau_model::{ErrorCode, Operation, PatternType, Permission, ResourceType};

use super::text;
use crate::manage::{Access, ApiError};

/// Kafka's number of "any", which only filters may say.
const ANY: i8 = 1;

pub(crate) fn entry(creation: &AclCreation) -> Result<Acl, ApiError> {
    let invalid = |what: &str, code: i8| {
        let name = match code {
            ANY => "ANY",
            2 if what == "patternType" => "MATCH",
            _ => "UNKNOWN",
        };
        ApiError::new(ErrorCode::InvalidRequest, format!("Invalid {what} {name}"))
    };
    let resource_type = ResourceType::from_code(creation.resource_type)
        .ok_or_else(|| invalid("resourceType", creation.resource_type))?;
    let pattern_type = PatternType::from_code(creation.resource_pattern_type)
        .ok_or_else(|| invalid("patternType", creation.resource_pattern_type))?;
    let operation =
        Operation::from_code(creation.operation).ok_or_else(|| invalid("operation", creation.operation))?;
    let permission = Permission::from_code(creation.permission_type)
        .ok_or_else(|| invalid("permissionType", creation.permission_type))?;
    let principal = creation.principal.parse().map_err(|_| {
        let text = format!(
            "Could not parse principal from `{}` (no colon is present separating the principal type from the principal name)",
            creation.principal.as_str()
        );
        ApiError::new(ErrorCode::InvalidRequest, text)
    })?;
    Ok(Acl {
        resource_type,
        pattern_type,
        resource_name: creation.resource_name.as_str().into(),
        principal,
        host: creation.host.as_str().into(),
        operation,
        permission,
    })
}

pub(crate) fn filter(filter: &DeleteAclsFilter) -> Result<AclFilter, ApiError> {
    let codes = AclFilterCodes {
        resource_type: filter.resource_type_filter,
        pattern_type: filter.pattern_type_filter,
        operation: filter.operation,
        permission: filter.permission_type,
    };
    let known =
        AclFilter::from_codes(codes).map_err(|text| ApiError::new(ErrorCode::InvalidRequest, text))?;
    let text = |text: &Option<StrBytes>| text.as_ref().map(|text| text.to_string());
    Ok(AclFilter {
        resource_name: text(&filter.resource_name_filter),
        principal: text(&filter.principal_filter),
        host: text(&filter.host_filter),
        ..known
    })
}

/// What DescribeAcls answers: the entries of a filter, by what they are about.
pub(crate) fn described(
    request: &DescribeAclsRequest,
    image: &MetadataImage,
    access: &Access<'_>,
    has_authorizer: bool,
) -> DescribeAclsResponse {
    let refused = |error: ApiError| {
        DescribeAclsResponse::default()
            .with_error_code(error.code.code())
            .with_error_message(error.message.map(text))
    };
    if let Err(error) = access.check_cluster(Operation::Describe) {
        return refused(error);
    }
    if !has_authorizer {
        let text = "No Authorizer is configured on the broker";
        return refused(ApiError::new(ErrorCode::SecurityDisabled, text));
    }
    let asked = DeleteAclsFilter::default()
        .with_resource_type_filter(request.resource_type_filter)
        .with_resource_name_filter(request.resource_name_filter.clone())
        .with_pattern_type_filter(request.pattern_type_filter)
        .with_principal_filter(request.principal_filter.clone())
        .with_host_filter(request.host_filter.clone())
        .with_operation(request.operation)
        .with_permission_type(request.permission_type);
    let filter = match filter(&asked) {
        Ok(filter) => filter,
        Err(error) => return refused(error),
    };
    let resources = image.acls().matching_by_pattern(&filter).into_iter().filter_map(|entries| {
        let first = entries.first()?;
        let entry = |acl: &&Acl| {
            AclDescription::default()
                .with_principal(text(acl.principal.to_string()))
                .with_host(text(&*acl.host))
                .with_operation(acl.operation.code())
                .with_permission_type(acl.permission.code())
        };
        Some(
            DescribeAclsResource::default()
                .with_resource_type(first.resource_type.code())
                .with_resource_name(text(&*first.resource_name))
                .with_pattern_type(first.pattern_type.code())
                .with_acls(entries.iter().map(entry).collect()),
        )
    });
    DescribeAclsResponse::default().with_resources(resources.collect())
}
