//! AlterUserScramCredentials, version 0: users' passwords (KIP-554).

use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};
use moldau_cluster::ControllerError;
use moldau_model::{Offset, Operation};

use super::{Service, error_fields, text};
use crate::manage::{Asker, ScramAlteration, alter_scram_credentials};

pub(super) async fn handle(
    service: &Service,
    asker: Asker,
    request: AlterUserScramCredentialsRequest,
) -> Result<(AlterUserScramCredentialsResponse, Offset), ControllerError> {
    let deletions = request.deletions.into_iter().map(|deletion| ScramAlteration::Delete {
        user: deletion.name.to_string(),
        mechanism: deletion.mechanism,
    });
    let upsertions = request.upsertions.into_iter().map(|upsertion| ScramAlteration::Upsert {
        user: upsertion.name.to_string(),
        mechanism: upsertion.mechanism,
        iterations: upsertion.iterations,
        salt: upsertion.salt.to_vec(),
        salted_password: upsertion.salted_password.to_vec(),
    });
    let alterations: Vec<ScramAlteration> = deletions.chain(upsertions).collect();
    let users: Vec<String> = alterations.iter().map(|alteration| alteration.user().to_owned()).collect();
    let (result, offset) = service
        .decide(move |deciding| {
            deciding.access(&asker).check_cluster(Operation::Alter)?;
            deciding.check_records_level(1, "users with passwords")?;
            alter_scram_credentials(deciding.image, &alterations)
        })
        .await?;
    let results =
        result.unwrap_or_else(|error| users.into_iter().map(|user| (user, Err(error.clone()))).collect());
    let results = results.into_iter().map(|(user, result)| {
        let (code, message) = error_fields(&result);
        AlterUserScramCredentialsResult::default()
            .with_user(text(user))
            .with_error_code(code)
            .with_error_message(message)
    });
    Ok((AlterUserScramCredentialsResponse::default().with_results(results.collect()), offset))
}
