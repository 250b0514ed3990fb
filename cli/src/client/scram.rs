//! Users' passwords for SCRAM. They leave this process stretched.

use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::{AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest};
use kafka_protocol::protocol::StrBytes;
use moldau_metadata::ScramMechanism;
use moldau_model::ErrorCode;
use moldau_security::scram::salted_password;

use super::{Client, ClientError};

/// What becomes of one mechanism of a user.
pub(crate) enum ScramChange {
    Delete(ScramMechanism),
    Set { mechanism: ScramMechanism, iterations: i32, password: String },
}

/// A user's mechanisms, each with its iterations; or why they are not told.
pub(crate) type ScramOfUser = (String, Result<Vec<(ScramMechanism, i32)>, ClientError>);

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

impl Client {
    /// Changes what a user logs in by. `salt` is chance, another one for each password.
    pub(crate) fn alter_scram(
        &mut self,
        user: &str,
        changes: &[ScramChange],
        salt: impl Fn() -> std::io::Result<Vec<u8>>,
    ) -> Result<(), ClientError> {
        let mut request = AlterUserScramCredentialsRequest::default();
        for change in changes {
            match change {
                ScramChange::Delete(mechanism) => request.deletions.push(
                    ScramCredentialDeletion::default()
                        .with_name(string(user))
                        .with_mechanism(mechanism.code()),
                ),
                ScramChange::Set { mechanism, iterations, password } => {
                    let no_salt =
                        |source| ClientError::Connection { address: "this machine".to_owned(), source };
                    let salt = salt().map_err(no_salt)?;
                    let salted = salted_password(*mechanism, password.as_bytes(), &salt, *iterations);
                    request.upsertions.push(
                        ScramCredentialUpsertion::default()
                            .with_name(string(user))
                            .with_mechanism(mechanism.code())
                            .with_iterations(*iterations)
                            .with_salt(salt.into())
                            .with_salted_password(salted.into()),
                    );
                }
            }
        }
        let response = self.call(&request)?;
        let check = |code: i16, message: Option<&str>| ClientError::check(code, message);
        response
            .results
            .iter()
            .try_for_each(|result| check(result.error_code, result.error_message.as_deref()))
    }

    /// What users log in by: of all where none is named. Who has nothing is left out.
    pub(crate) fn describe_scram(&mut self, users: &[String]) -> Result<Vec<ScramOfUser>, ClientError> {
        let users = users.iter().map(|user| UserName::default().with_name(string(user))).collect();
        let response = self.call(&DescribeUserScramCredentialsRequest::default().with_users(Some(users)))?;
        ClientError::check(response.error_code, response.error_message.as_deref())?;
        let found = response
            .results
            .into_iter()
            .filter(|result| result.error_code != ErrorCode::ResourceNotFound.code());
        let of_user = |result: kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult| {
            let checked = ClientError::check(result.error_code, result.error_message.as_deref());
            let infos = result.credential_infos.iter().filter_map(|info| {
                Some((ScramMechanism::from_code(i32::from(info.mechanism))?, info.iterations))
            });
            (result.user.to_string(), checked.map(|()| infos.collect()))
        };
        Ok(found.map(of_user).collect())
    }
}
