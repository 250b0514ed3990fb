//! DeleteAcls, versions 1 to 3.

use kafka_protocol::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsMatchingAcl};
use kafka_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};
use moldau_cluster::ControllerError;
use moldau_metadata::Acl;
use moldau_model::{Offset, Operation};

use super::create_acls::{TOLD_MAX, check_enabled};
use super::{Service, acls, error_fields, text};
use crate::manage::{ApiError, Asker, delete_acls};

pub(super) async fn handle(
    service: &Service,
    asker: Asker,
    request: DeleteAclsRequest,
) -> Result<(DeleteAclsResponse, Offset), ControllerError> {
    let filters: Vec<Result<_, ApiError>> = request.filters.iter().map(acls::filter).collect();
    let count = filters.len();
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.access(&asker).check_cluster(Operation::Alter)?;
            check_enabled(deciding.inputs.settings.authorizer().is_some())?;
            deciding.check_records_level(1, "access control entries")?;
            let decision = delete_acls(deciding.image, &filters)?;
            let (entries, first) = (decision.records.len(), filters.get(..TOLD_MAX).unwrap_or(&filters));
            tracing::info!(principal = %asker.principal, host = %asker.host, entries, ?first, "deletes access control entries");
            Ok(decision)
        })
        .await?;
    let results = result.unwrap_or_else(|error| vec![Err(error); count]);
    let results = results.into_iter().map(|result| {
        let (code, message) = error_fields(&result);
        DeleteAclsFilterResult::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_matching_acls(result.unwrap_or_default().iter().map(matching).collect())
    });
    Ok((DeleteAclsResponse::default().with_filter_results(results.collect()), offset))
}

fn matching(acl: &Acl) -> DeleteAclsMatchingAcl {
    DeleteAclsMatchingAcl::default()
        .with_resource_type(acl.resource_type.code())
        .with_resource_name(text(&*acl.resource_name))
        .with_pattern_type(acl.pattern_type.code())
        .with_principal(text(acl.principal.to_string()))
        .with_host(text(&*acl.host))
        .with_operation(acl.operation.code())
        .with_permission_type(acl.permission.code())
}
