//! SCRAM credentials of users (KIP-554): what a broker needs to tell whether somebody knows a password, and not the
//! password.

use std::fmt;
use std::sync::Arc;

use crate::{SortedMap, records};

/// A hash that SCRAM is spoken with; Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScramMechanism {
    Sha256 = 1,
    Sha512 = 2,
}

impl ScramMechanism {
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];
    /// Below this a password is guessed too easily. Kafka's bound.
    pub const ITERATIONS_MIN: i32 = 4096;
    /// Above this clients take too long. Kafka's bound.
    pub const ITERATIONS_MAX: i32 = 16384;

    /// Kafka's number.
    #[must_use]
    pub const fn code(self) -> i8 {
        self as i8
    }

    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| i32::from(mechanism.code()) == code)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// How many bytes its keys have.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// What is kept of a user's password.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    pub salt: Vec<u8>,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    pub iterations: i32,
}

/// Whoever has the keys can try passwords, or play the server.
impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramCredential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl ScramCredential {
    /// The record that gives it to a user.
    #[must_use]
    pub fn to_record(&self, user: &str, mechanism: ScramMechanism) -> records::UserScramCredential {
        records::UserScramCredential {
            user: user.to_owned(),
            mechanism: i32::from(mechanism.code()),
            credential: Some(records::ScramCredential {
                salt: self.salt.clone(),
                stored_key: self.stored_key.clone(),
                server_key: self.server_key.clone(),
                iterations: self.iterations,
            }),
        }
    }

    /// The record that takes what a user has.
    #[must_use]
    pub fn removal(user: &str, mechanism: ScramMechanism) -> records::UserScramCredential {
        records::UserScramCredential {
            user: user.to_owned(),
            mechanism: i32::from(mechanism.code()),
            credential: None,
        }
    }
}

/// The credentials of all users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScramImage {
    users: SortedMap<(Arc<str>, ScramMechanism), Arc<ScramCredential>>,
}

impl ScramImage {
    #[must_use]
    pub fn get(&self, user: &str, mechanism: ScramMechanism) -> Option<&Arc<ScramCredential>> {
        self.users.get(&(Arc::from(user), mechanism))
    }

    /// Each user's, by user and mechanism.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ScramMechanism, &ScramCredential)> {
        self.users.iter().map(|((user, mechanism), credential)| (&**user, *mechanism, &**credential))
    }

    pub(crate) fn replay(&mut self, record: &records::UserScramCredential) -> Result<(), String> {
        let mechanism = ScramMechanism::from_code(record.mechanism)
            .ok_or_else(|| format!("SCRAM mechanism {} is unknown", record.mechanism))?;
        let key = (Arc::from(record.user.as_str()), mechanism);
        match &record.credential {
            None => drop(self.users.remove(&key)),
            Some(credential) => {
                let keys = [&credential.stored_key, &credential.server_key];
                if keys.iter().any(|key| key.len() != mechanism.key_bytes()) {
                    return Err(format!("a key of {} has the wrong length", mechanism.name()));
                }
                let credential = ScramCredential {
                    salt: credential.salt.clone(),
                    stored_key: credential.stored_key.clone(),
                    server_key: credential.server_key.clone(),
                    iterations: credential.iterations,
                };
                self.users.insert(key, Arc::new(credential));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use moldau_model::{LeaderEpoch, Offset};

    use super::*;
    use crate::{MetadataBatch, MetadataImage, MetadataRecord};

    fn credential(byte: u8) -> ScramCredential {
        ScramCredential {
            salt: vec![byte; 8],
            stored_key: vec![byte; 32],
            server_key: vec![byte; 32],
            iterations: 4096,
        }
    }

    fn replayed(
        image: &MetadataImage,
        record: records::UserScramCredential,
    ) -> Result<MetadataImage, String> {
        let batch = MetadataBatch::from(vec![MetadataRecord::from(record)]);
        let offset = Offset(image.position().offset.0 + 1);
        image.replay_image(&batch, offset, LeaderEpoch(1)).map_err(|error| error.to_string())
    }

    #[test]
    fn credentials_come_change_and_go_and_a_snapshot_holds_them() {
        let mechanism = ScramMechanism::Sha256;
        let image = MetadataImage::empty();
        let image = replayed(&image, credential(1).to_record("a", mechanism)).unwrap();
        let image = replayed(&image, credential(2).to_record("b", mechanism)).unwrap();
        let image = replayed(&image, credential(3).to_record("a", mechanism)).unwrap();
        assert_eq!(**image.scram().get("a", mechanism).unwrap(), credential(3));
        assert_eq!(image.scram().get("a", ScramMechanism::Sha512), None);
        let snapshot = MetadataBatch::from(image.to_snapshot_records());
        let position = image.position();
        let again = MetadataImage::from_snapshot([&snapshot], position.offset, position.epoch).unwrap();
        assert_eq!(again, image);
        let image = replayed(&image, ScramCredential::removal("a", mechanism)).unwrap();
        let left: Vec<&str> = image.scram().iter().map(|(user, _, _)| user).collect();
        assert_eq!(left, ["b"]);
        assert!(again != image);
    }

    #[test]
    fn a_key_of_another_mechanism_is_not_replayed() {
        let record = credential(1).to_record("a", ScramMechanism::Sha512);
        assert!(replayed(&MetadataImage::empty(), record).unwrap_err().contains("wrong length"));
    }
}
