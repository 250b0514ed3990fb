//! `--add-scram 'SCRAM-SHA-256=[name=alice,password=alice-secret]'`: users that a cluster has from its first record on. Kafka's
//! messages, but for those that repeat what may be a secret.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use moldau_metadata::{MetadataRecord, ScramMechanism};
use moldau_security::scram::{credential_of_salted, salted_password};

const SALT_BYTES: usize = 20;

/// The records of the users; `salt` gives chance.
pub(super) fn records(
    arguments: &[String],
    mut salt: impl FnMut(usize) -> std::io::Result<Vec<u8>>,
) -> Result<Vec<MetadataRecord>, String> {
    let mut records = Vec::new();
    let mut seen = BTreeSet::new();
    for argument in arguments {
        let (mechanism, config) = parse_mechanism(argument)?;
        let user = User::parse(config)?;
        if !seen.insert((user.name.clone(), mechanism)) {
            return Err(format!("A user appears twice with {} in add-scram", mechanism.name()));
        }
        let name = mechanism.name();
        if user.iterations < ScramMechanism::ITERATIONS_MIN {
            let least = ScramMechanism::ITERATIONS_MIN;
            return Err(format!("The 'iterations' value must be >= {least} for add-scram using {name}"));
        }
        if user.iterations > ScramMechanism::ITERATIONS_MAX {
            let most = ScramMechanism::ITERATIONS_MAX;
            return Err(format!("The 'iterations' value must be <= {most} for add-scram using {name}"));
        }
        let salt = match user.salt {
            Some(salt) => salt,
            None => salt(SALT_BYTES).map_err(|error| error.to_string())?,
        };
        let salted = match user.password {
            Password::Plain(password) => {
                salted_password(mechanism, password.as_bytes(), &salt, user.iterations)
            }
            Password::Salted(salted) => salted,
        };
        let credential = credential_of_salted(mechanism, &salted, salt, user.iterations);
        records.push(credential.to_record(&user.name, mechanism).into());
    }
    Ok(records)
}

fn parse_mechanism(argument: &str) -> Result<(ScramMechanism, &str), String> {
    let (name, config) =
        argument.trim().split_once('=').ok_or("Failed to find equals sign in SCRAM argument")?;
    let mechanism = ScramMechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name);
    let mechanism = mechanism.ok_or_else(|| format!("The add-scram mechanism {name} is not supported."))?;
    let config = config.strip_prefix('[').ok_or("Expected configuration string to start with [")?;
    let config = config.strip_suffix(']').ok_or("Expected configuration string to end with ]")?;
    Ok((mechanism, config))
}

enum Password {
    Plain(String),
    Salted(Vec<u8>),
}

struct User {
    name: String,
    salt: Option<Vec<u8>>,
    iterations: i32,
    password: Password,
}

impl User {
    fn parse(config: &str) -> Result<Self, String> {
        let mut parts = BTreeMap::new();
        for part in config.split(',') {
            let (key, value) =
                part.split_once('=').ok_or("Failed to find equals sign in a part of a SCRAM argument")?;
            let value = value.trim();
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            parts.insert(key.trim(), unquoted.unwrap_or(value));
        }
        let name = parts.remove("name").ok_or("You must supply 'name' to add-scram")?;
        if name.is_empty() {
            return Err("You must supply 'name' to add-scram".to_owned());
        }
        let decoded = |text: &str, what: &str| {
            STANDARD.decode(text).map_err(|_| format!("Failed to decode given {what}"))
        };
        let salt = parts.remove("salt").map(|text| decoded(text, "salt")).transpose()?;
        let iterations = match parts.remove("iterations") {
            None => ScramMechanism::ITERATIONS_MIN,
            Some(text) => text.parse().map_err(|_| format!("Failed to parse iterations count: {text}"))?,
        };
        let password = match (parts.remove("password"), parts.remove("saltedpassword")) {
            (Some(password), _) if !password.is_empty() => Password::Plain(password.to_owned()),
            (None, Some(_)) if salt.is_none() => {
                return Err("You must supply 'salt' with 'saltedpassword' to add-scram".to_owned());
            }
            (None, Some(salted)) => Password::Salted(decoded(salted, "saltedPassword")?),
            _ => return Err("You must supply one of 'password' or 'saltedpassword' to add-scram".to_owned()),
        };
        if !parts.is_empty() {
            let unknown: Vec<&str> = parts.into_keys().collect();
            return Err(format!("Unknown SCRAM configurations: {}", unknown.join(", ")));
        }
        Ok(Self { name: name.to_owned(), salt, iterations, password })
    }
}

#[cfg(test)]
mod tests {
    use moldau_metadata::RecordKind;
    use moldau_security::scram::credential;

    use super::*;

    fn of(arguments: &[&str]) -> Result<Vec<MetadataRecord>, String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        records(&arguments, |length| Ok(vec![7; length]))
    }

    #[test]
    fn a_user_is_a_record_of_what_its_password_is_checked_by() {
        let found = of(&["SCRAM-SHA-256=[name=alice,password=alice-secret]"]).unwrap();
        let (sha256, sha512) = (ScramMechanism::Sha256, ScramMechanism::Sha512);
        let expected = credential(sha256, "alice-secret", vec![7; SALT_BYTES], 4096);
        assert_eq!(found, [expected.to_record("alice", sha256).into()]);
        let salted = STANDARD.encode(salted_password(sha512, b"pw", &[1, 2], 8192));
        let salt = STANDARD.encode([1, 2]);
        let both = of(&[
            &format!(
                "SCRAM-SHA-512=[name=bob, iterations=8192, salt=\"{salt}\", saltedpassword=\"{salted}\"]"
            ),
            &format!("SCRAM-SHA-512=[name=carol,iterations=8192,salt={salt},password=pw]"),
        ])
        .unwrap();
        let credentials: Vec<_> = both
            .iter()
            .map(|record| match &record.kind {
                Some(RecordKind::UserScramCredential(of_user)) => of_user.credential.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(credentials[0], credentials[1]);
    }

    #[test]
    fn what_is_no_user_is_told_as_kafka_tells_it_and_no_password_is_repeated() {
        for (arguments, told) in [
            (&["hush"][..], "Failed to find equals sign"),
            (
                &["SCRAM-SHA-1=[name=a,password=hush]"],
                "The add-scram mechanism SCRAM-SHA-1 is not supported.",
            ),
            (&["SCRAM-SHA-256=name=a,password=hush]"], "Expected configuration string to start with ["),
            (&["SCRAM-SHA-256=[name=a,password=hush"], "Expected configuration string to end with ]"),
            (&["SCRAM-SHA-256=[password=hush]"], "You must supply 'name' to add-scram"),
            (&["SCRAM-SHA-256=[name=a]"], "You must supply one of 'password' or 'saltedpassword'"),
            (&["SCRAM-SHA-256=[name=a,password=]"], "You must supply one of 'password' or 'saltedpassword'"),
            (&["SCRAM-SHA-256=[name=a,saltedpassword=hush]"], "You must supply 'salt' with 'saltedpassword'"),
            (
                &["SCRAM-SHA-256=[name=a,salt=AA==,saltedpassword=hush!]"],
                "Failed to decode given saltedPassword",
            ),
            (&["SCRAM-SHA-256=[name=a,password=my,hush]"], "Failed to find equals sign in a part"),
            (
                &["SCRAM-SHA-256=[name=a,password=hush,iterations=4095]"],
                "The 'iterations' value must be >= 4096",
            ),
            (
                &["SCRAM-SHA-256=[name=a,password=hush,iterations=16385]"],
                "The 'iterations' value must be <= 16384",
            ),
            (&["SCRAM-SHA-256=[name=a,password=hush,color=red]"], "Unknown SCRAM configurations: color"),
            (
                &["SCRAM-SHA-256=[name=a,password=hush]", "SCRAM-SHA-256=[name=a,password=hush]"],
                "A user appears twice",
            ),
        ] {
            let refused = of(arguments).unwrap_err();
            assert!(refused.starts_with(told) && !refused.contains("hush"), "{refused}");
        }
    }
}
