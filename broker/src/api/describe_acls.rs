//! DescribeAcls (29), versions 1 to 3: the access control entries that a filter matches.
//!
//! A broker tells what its own metadata has: what it decides by.

use std::sync::Arc;

use kafka_protocol::messages::describe_acls_response::{AclDescription, DescribeAclsResource};
use kafka_protocol::messages::{DescribeAclsRequest, DescribeAclsResponse};
use moldau_metadata::{Acl, AclFilter, AclFilterCodes, AclsImage};
use moldau_model::ErrorCode;

use super::message::{owned, text};
use super::{ApiSupport, Reply, Request, RequestContext};
use crate::authorize::{Operation, Resource, is_authorized};
use crate::broker::Broker;

pub(super) const SUPPORT: ApiSupport = ApiSupport::new(29, "DescribeAcls", 1, 3, handle);

fn handle(broker: &Arc<Broker>, request: Request) -> Reply {
    let (context, request) = match request.decode::<DescribeAclsRequest>() {
        Ok(decoded) => decoded,
        Err(reply) => return reply,
    };
    let response = match filter(&context, request) {
        Ok(filter) => {
            let image = broker.control.image();
            DescribeAclsResponse::default().with_resources(resources(image.acls(), &filter))
        }
        Err((code, message)) => DescribeAclsResponse::default()
            .with_error_code(code.code())
            .with_error_message(Some(text(message))),
    };
    context.ready(&response)
}

/// What is asked for, if the asker may ask.
fn filter(
    context: &RequestContext,
    request: DescribeAclsRequest,
) -> Result<AclFilter, (ErrorCode, &'static str)> {
    if !is_authorized(context, Operation::Describe, Resource::CLUSTER) {
        let code = ErrorCode::ClusterAuthorizationFailed;
        return Err((code, code.message()));
    }
    if context.authorizer.is_none() {
        return Err((ErrorCode::SecurityDisabled, "No Authorizer is configured on the broker"));
    }
    let codes = AclFilterCodes {
        resource_type: request.resource_type_filter,
        pattern_type: request.pattern_type_filter,
        operation: request.operation,
        permission: request.permission_type,
    };
    let known = AclFilter::from_codes(codes).map_err(|problem| (ErrorCode::InvalidRequest, problem))?;
    Ok(AclFilter {
        resource_name: owned(request.resource_name_filter),
        principal: owned(request.principal_filter),
        host: owned(request.host_filter),
        ..known
    })
}

/// The entries, by what they are about.
fn resources(acls: &AclsImage, filter: &AclFilter) -> Vec<DescribeAclsResource> {
    let resources = acls.matching_by_pattern(filter).into_iter().filter_map(|entries| {
        let first = entries.first()?;
        let entry = |acl: &&Acl| {
            AclDescription::default()
                .with_principal(text(acl.principal.to_string()))
                .with_host(text(&acl.host))
                .with_operation(acl.operation.code())
                .with_permission_type(acl.permission.code())
        };
        Some(
            DescribeAclsResource::default()
                .with_resource_type(first.resource_type.code())
                .with_resource_name(text(&first.resource_name))
                .with_pattern_type(first.pattern_type.code())
                .with_acls(entries.iter().map(entry).collect()),
        )
    });
    resources.collect()
}
