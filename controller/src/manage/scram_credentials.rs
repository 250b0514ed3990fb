//! AlterUserScramCredentials: who may log in by which password (KIP-554). Passwords come stretched, and what is kept of them
//! is made here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use moldau_metadata::{MetadataImage, ScramCredential, ScramMechanism, records};
use moldau_model::ErrorCode;
use moldau_security::scram::credential_of_salted;

use super::{ApiError, Decision};

/// What becomes of a user's credential for one mechanism.
#[derive(Clone, PartialEq, Eq)]
pub enum ScramAlteration {
    Delete { user: String, mechanism: i8 },
    Upsert { user: String, mechanism: i8, iterations: i32, salt: Vec<u8>, salted_password: Vec<u8> },
}

impl ScramAlteration {
    /// Whose it is.
    #[must_use]
    pub fn user(&self) -> &str {
        match self {
            Self::Delete { user, .. } | Self::Upsert { user, .. } => user,
        }
    }
}

/// One user's result.
pub type AlterScramResult = (String, Result<(), ApiError>);

/// Alters each user's credential by itself. Of a user that comes twice nothing is altered, and where its first alteration
/// cannot be, that is what it is told.
///
/// # Errors
/// `POLICY_VIOLATION` for a request that is too large as a whole.
pub fn alter_scram_credentials(
    image: &MetadataImage,
    alterations: &[ScramAlteration],
) -> Result<Decision<Vec<AlterScramResult>>, ApiError> {
    let mut altered: BTreeMap<&str, Result<records::UserScramCredential, ApiError>> = BTreeMap::new();
    for alteration in alterations {
        match altered.entry(alteration.user()) {
            Entry::Vacant(entry) => {
                entry.insert(alter(image, alteration));
            }
            Entry::Occupied(mut entry) if entry.get().is_ok() => {
                let text = "A user credential cannot be altered twice in the same request";
                *entry.get_mut() = Err(ApiError::new(ErrorCode::DuplicateResource, text));
            }
            Entry::Occupied(_) => {}
        }
    }
    let mut records = Vec::new();
    let mut response = Vec::new();
    for (user, altered) in altered {
        response.push((user.to_owned(), altered.map(|record| records.push(record.into()))));
    }
    Decision { records, response }.bounded()
}

fn alter(
    image: &MetadataImage,
    alteration: &ScramAlteration,
) -> Result<records::UserScramCredential, ApiError> {
    match alteration {
        ScramAlteration::Delete { user, mechanism } => {
            let mechanism = check(user, *mechanism)?;
            if image.scram().get(user, mechanism).is_none() {
                let text = "Attempt to delete a user credential that does not exist";
                return Err(ApiError::new(ErrorCode::ResourceNotFound, text));
            }
            Ok(ScramCredential::removal(user, mechanism))
        }
        ScramAlteration::Upsert { user, mechanism, iterations, salt, salted_password } => {
            let mechanism = check(user, *mechanism)?;
            let unacceptable = |text: &str| Err(ApiError::new(ErrorCode::UnacceptableCredential, text));
            if *iterations < ScramMechanism::ITERATIONS_MIN {
                return unacceptable("Too few iterations");
            }
            if *iterations > ScramMechanism::ITERATIONS_MAX {
                return unacceptable("Too many iterations");
            }
            let credential = credential_of_salted(mechanism, salted_password, salt.clone(), *iterations);
            Ok(credential.to_record(user, mechanism))
        }
    }
}

fn check(user: &str, mechanism: i8) -> Result<ScramMechanism, ApiError> {
    if user.is_empty() {
        return Err(ApiError::new(ErrorCode::UnacceptableCredential, "Username must not be empty"));
    }
    let unknown = || ApiError::new(ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism");
    ScramMechanism::from_code(i32::from(mechanism)).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use moldau_security::scram;

    use super::super::testing::Cluster;
    use super::*;

    fn upsert(user: &str, mechanism: i8, iterations: i32) -> ScramAlteration {
        let salted_password = ScramMechanism::from_code(i32::from(mechanism))
            .map(|mechanism| scram::salted_password(mechanism, b"pencil", b"salt", 4096))
            .unwrap_or_default();
        ScramAlteration::Upsert {
            user: user.to_owned(),
            mechanism,
            iterations,
            salt: b"salt".to_vec(),
            salted_password,
        }
    }

    fn delete(user: &str, mechanism: i8) -> ScramAlteration {
        ScramAlteration::Delete { user: user.to_owned(), mechanism }
    }

    fn alter(cluster: &mut Cluster, alterations: &[ScramAlteration]) -> Vec<(String, i16)> {
        let decision = alter_scram_credentials(&cluster.image, alterations).unwrap();
        cluster.commit(decision.records);
        let code = |result: Result<(), ApiError>| result.err().map_or(0, |error| error.code.code());
        decision.response.into_iter().map(|(user, result)| (user, code(result))).collect()
    }

    #[test]
    fn credentials_are_made_changed_and_deleted() {
        let mut cluster = Cluster::new(1);
        assert_eq!(
            alter(&mut cluster, &[upsert("a", 1, 4096), upsert("b", 2, 16384)]),
            [("a".into(), 0), ("b".into(), 0)]
        );
        let expected = scram::credential(ScramMechanism::Sha256, "pencil", b"salt".to_vec(), 4096);
        assert_eq!(**cluster.image.scram().get("a", ScramMechanism::Sha256).unwrap(), expected);
        assert_eq!(
            alter(&mut cluster, &[delete("a", 1), delete("b", 1)]),
            [("a".into(), 0), ("b".into(), 91)]
        );
        assert_eq!(cluster.image.scram().iter().count(), 1);
    }

    #[test]
    fn what_is_not_acceptable_changes_nothing() {
        let mut cluster = Cluster::new(1);
        for (alterations, code) in [
            (vec![upsert("", 1, 4096)], ErrorCode::UnacceptableCredential),
            (vec![upsert("a", 0, 4096)], ErrorCode::UnsupportedSaslMechanism),
            (vec![upsert("a", 3, 4096)], ErrorCode::UnsupportedSaslMechanism),
            (vec![upsert("a", 1, 4095)], ErrorCode::UnacceptableCredential),
            (vec![upsert("a", 1, 16385)], ErrorCode::UnacceptableCredential),
            (vec![upsert("a", 1, 4096), upsert("a", 2, 4096)], ErrorCode::DuplicateResource),
            (vec![delete("a", 1), upsert("a", 1, 4096)], ErrorCode::ResourceNotFound),
            (vec![delete("a", 1)], ErrorCode::ResourceNotFound),
        ] {
            let results = alter(&mut cluster, &alterations);
            assert_eq!(results.iter().map(|(_, code)| *code).collect::<Vec<_>>(), [code.code()]);
            assert_eq!(cluster.image.scram().iter().count(), 0);
        }
    }
}
