//! `kafka-configs` of users: passwords for SCRAM.

use moldau_metadata::ScramMechanism;

use super::{Entity, Which};
use crate::client::Client;
use crate::client::configs::ConfigChange;
use crate::client::scram::ScramChange;
use crate::compat::tool::Failure;
use crate::console::{Console, outln};

const ITERATIONS: i32 = 4096;
const SALT_BYTES: usize = 20;

fn text<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Text(text.into()))
}

fn mechanism(key: &str) -> Option<ScramMechanism> {
    ScramMechanism::ALL.into_iter().find(|mechanism| mechanism.name() == key)
}

const fn key(change: &ConfigChange) -> &String {
    match change {
        ConfigChange::Set(key, _) | ConfigChange::Delete(key) => key,
    }
}

/// What the changes say of passwords; nothing where they speak of quotas.
pub(super) fn changes(
    found: &[(&'static Entity, Which)],
    changes: &[ConfigChange],
    is_quota: impl Fn(&str) -> bool,
) -> Result<Option<Vec<ScramChange>>, Failure> {
    let is_of_users = found.iter().all(|(entity, _)| entity.option == "user");
    let is_scram = |change: &&ConfigChange| mechanism(key(change)).is_some();
    if !is_of_users || !changes.iter().any(|change| is_scram(&change)) {
        return Ok(None);
    }
    if changes.iter().any(|change| !is_scram(&change) && !is_quota(key(change))) {
        // What is wrong with it is told where quotas are read.
        return Ok(None);
    }
    if found.iter().any(|(_, which)| *which == Which::Default) {
        return text(
            "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using \
             --bootstrap-server.",
        );
    }
    if !changes.iter().all(|change| is_scram(&change)) {
        return text(
            "Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server.",
        );
    }
    let of = |change: &ConfigChange| {
        let Some(mechanism) = mechanism(key(change)) else { return text("no SCRAM mechanism") };
        match change {
            ConfigChange::Delete(_) => Ok(ScramChange::Delete(mechanism)),
            ConfigChange::Set(_, value) => set(mechanism, value),
        }
    };
    changes.iter().map(of).collect::<Result<Vec<_>, _>>().map(Some)
}

/// `iterations=8192,password=secret`, the first part as you like.
fn set(mechanism: ScramMechanism, value: &str) -> Result<ScramChange, Failure> {
    let name = mechanism.name();
    let invalid = || Failure::Text(format!("Invalid credential property {name}"));
    let (iterations, rest) = match value.strip_prefix("iterations=") {
        None => (ITERATIONS, value),
        Some(rest) => {
            let (number, rest) = rest.split_once(',').ok_or_else(invalid)?;
            let iterations: i32 = number.trim().parse().map_err(|_| invalid())?;
            (if iterations == -1 { ITERATIONS } else { iterations }, rest)
        }
    };
    let password = rest.strip_prefix("password=").ok_or_else(invalid)?;
    if iterations < ScramMechanism::ITERATIONS_MIN {
        return text(format!(
            "Iterations {iterations} is less than the minimum {} required for {name}",
            ScramMechanism::ITERATIONS_MIN
        ));
    }
    Ok(ScramChange::Set { mechanism, iterations, password: password.to_owned() })
}

/// Sets and deletes a user's passwords.
pub(super) fn alter(
    client: &mut Client,
    user: &str,
    changes: &[ScramChange],
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let salt = || {
        let mut salt = vec![0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(std::io::Error::other)?;
        Ok(salt)
    };
    client.alter_scram(user, changes, salt)?;
    outln!(console, "Completed updating config for user {user}.");
    Ok(())
}

/// Prints what users log in by.
pub(super) fn describe(
    client: &mut Client,
    found: &[(&'static Entity, Which)],
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let users: Option<Vec<String>> = found
        .iter()
        .map(|(entity, which)| match which {
            Which::Named(name) if entity.option == "user" => Some(vec![name.clone()]),
            Which::Every if entity.option == "user" => Some(Vec::new()),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()
        .map(|names| names.concat());
    let Some(users) = users else { return Ok(()) };
    for (user, mechanisms) in client.describe_scram(&users)? {
        match mechanisms {
            Ok(mechanisms) => {
                let info = |(mechanism, iterations): &(ScramMechanism, i32)| {
                    format!("{}=iterations={iterations}", mechanism.name())
                };
                let infos: Vec<String> = mechanisms.iter().map(info).collect();
                outln!(
                    console,
                    "SCRAM credential configs for user-principal '{user}' are {}",
                    infos.join(", ")
                );
            }
            Err(error) => outln!(
                console,
                "Error retrieving SCRAM credential configs for user-principal '{user}': {}",
                error.java()
            ),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_may_have_commas_and_equals_signs_and_is_not_repeated_in_errors() {
        let Ok(ScramChange::Set { iterations, password, .. }) =
            set(ScramMechanism::Sha256, "iterations=8192,password=a,b=c")
        else {
            panic!("refused")
        };
        assert_eq!((iterations, password.as_str()), (8192, "a,b=c"));
        assert!(matches!(
            set(ScramMechanism::Sha512, "password=x"),
            Ok(ScramChange::Set { iterations: 4096, .. })
        ));
        for wrong in
            ["canary", "iterations=x,password=canary", "iterations=8192", "iterations=1,password=canary"]
        {
            let Err(Failure::Text(text)) = set(ScramMechanism::Sha256, wrong) else { panic!("{wrong}") };
            assert!(!text.contains("canary"), "{text}");
        }
    }
}
