//! CreateAcls, versions 1 to 3.

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::{CreateAclsRequest, CreateAclsResponse};
use moldau_cluster::ControllerError;
use moldau_model::{ErrorCode, Offset, Operation};

use super::{Service, acls, error_fields};
use crate::manage::{ApiError, Asker, create_acls};

/// How many entries or filters of a request the log names.
pub(super) const TOLD_MAX: usize = 10;

pub(super) async fn handle(
    service: &Service,
    asker: Asker,
    request: CreateAclsRequest,
) -> Result<(CreateAclsResponse, Offset), ControllerError> {
    let wanted: Vec<Result<_, ApiError>> = request.creations.iter().map(acls::entry).collect();
    let count = wanted.len();
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.access(&asker).check_cluster(Operation::Alter)?;
            check_enabled(deciding.inputs.settings.authorizer().is_some())?;
            deciding.check_records_level(1, "access control entries")?;
            let decision = create_acls(deciding.image, &wanted, &mut deciding.inputs)?;
            let (entries, first) = (decision.records.len(), wanted.get(..TOLD_MAX).unwrap_or(&wanted));
            tracing::info!(principal = %asker.principal, host = %asker.host, entries, ?first, "creates access control entries");
            Ok(decision)
        })
        .await?;
    let results = result.unwrap_or_else(|error| vec![Err(error); count]);
    let results = results.into_iter().map(|result| {
        let (code, message) = error_fields(&result);
        AclCreationResult::default().with_error_code(code).with_error_message(message)
    });
    Ok((CreateAclsResponse::default().with_results(results.collect()), offset))
}

/// Without an authorizer, entries would be a promise that nobody keeps.
pub(super) fn check_enabled(has_authorizer: bool) -> Result<(), ApiError> {
    if has_authorizer {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::SecurityDisabled, "No Authorizer is configured."))
}
