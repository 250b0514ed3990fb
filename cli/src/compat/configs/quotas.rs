//! `kafka-configs` of users, clients and addresses: what each may take of a broker.

use std::io;
use std::net::ToSocketAddrs;

use super::{Entity, Which};
use crate::client::configs::ConfigChange;
use crate::client::quotas::{EntityQuotas, QuotaEntity, QuotaMatch};
use crate::client::{Client, ClientError};
use crate::compat::tool::Failure;
use crate::console::{Console, outln};

const OF_CLIENTS: &[&str] =
    &["producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"];
const OF_ADDRESSES: &[&str] = &["connection_creation_rate"];

fn text<T>(text: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Text(text.into()))
}

/// The protocol's name of a type of entity.
fn kind(entity: &Entity) -> &'static str {
    match entity.option {
        "client" => "client-id",
        other => other,
    }
}

/// What is asked for, in the protocol's words.
pub(super) fn types(found: &[(&'static Entity, Which)]) -> Vec<(&'static str, QuotaMatch)> {
    let wanted = |which: &Which| match which {
        Which::Every => QuotaMatch::Any,
        Which::Default => QuotaMatch::Default,
        Which::Named(name) => QuotaMatch::Named(name.clone()),
    };
    found.iter().map(|(entity, which)| (kind(entity), wanted(which))).collect()
}

/// Whether it is a quota of a user or a client.
pub(super) fn is_known(key: &str) -> bool {
    OF_CLIENTS.contains(&key)
}

/// Refuses what Kafka's tool refuses before it asks anybody.
pub(super) fn check(found: &[(&'static Entity, Which)], alters: bool) -> Result<(), Failure> {
    if alters && found.iter().any(|(_, which)| *which == Which::Every) {
        return text(
            "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips",
        );
    }
    for (entity, which) in found {
        if let (Which::Named(name), "ip") = (which, entity.option)
            && (name.as_str(), 0).to_socket_addrs().is_err()
        {
            return text(format!(
                "The entity name for ips must be a valid IP or resolvable host, but it is: {name}"
            ));
        }
    }
    Ok(())
}

/// Sets and removes limits.
pub(super) fn alter(
    client: &mut Client,
    found: &[(&'static Entity, Which)],
    changes: &[ConfigChange],
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let Some((head, which)) = found.first() else { return Ok(()) };
    let operations = operations(found, head, changes)?;
    let types = types(found);
    let current = client.describe_quotas(&types)?;
    let current = current.first().map(|quotas| quotas.limits.as_slice()).unwrap_or_default();
    let is_missing = |(key, value): &&(String, Option<f64>)| {
        value.is_none() && !current.iter().any(|(present, _)| present == key)
    };
    let missing: Vec<&str> = operations.iter().filter(is_missing).map(|(key, _)| key.as_str()).collect();
    if !missing.is_empty() {
        return text(format!("Invalid config(s): {}", missing.join(",")));
    }
    let named = |wanted: &QuotaMatch| match wanted {
        QuotaMatch::Named(name) => Some(name.clone()),
        QuotaMatch::Any | QuotaMatch::Default => None,
    };
    let entity: QuotaEntity =
        types.iter().map(|(kind, wanted)| ((*kind).to_owned(), named(wanted))).collect();
    client.alter_quotas(&entity, &operations)?;
    match which {
        Which::Named(name) => outln!(console, "Completed updating config for {} {name}.", head.singular()),
        _ => outln!(console, "Completed updating default config for {} in the cluster.", head.plural),
    }
    Ok(())
}

fn operations(
    found: &[(&'static Entity, Which)],
    head: &Entity,
    changes: &[ConfigChange],
) -> Result<Vec<(String, Option<f64>)>, Failure> {
    let is_address = head.option == "ip";
    let known = if is_address { OF_ADDRESSES } else { OF_CLIENTS };
    let unknown = |key: &&str| !known.contains(key);
    let sets = |change: &ConfigChange| matches!(change, ConfigChange::Set(..));
    for (is_set, verb) in [(true, "added"), (false, "deleted")] {
        let keys = changes.iter().filter(|change| sets(change) == is_set).map(|change| match change {
            ConfigChange::Set(key, _) | ConfigChange::Delete(key) => key.as_str(),
        });
        let names: Vec<&str> = keys.filter(unknown).collect();
        if names.is_empty() {
            continue;
        }
        let names = names.join(", ");
        if is_address {
            return text(format!(
                "Only connection quota configs can be {verb} for 'ips' using --bootstrap-server. Unexpected config \
                 names: {names}"
            ));
        }
        if found.iter().any(|(entity, _)| entity.option == "client") {
            let names = if is_set { format!("Set({names})") } else { format!("List({names})") };
            return text(format!(
                "Only quota configs can be {verb} for 'clients' using --bootstrap-server. Unexpected config names: \
                 {names}"
            ));
        }
        let names = if is_set { format!("Set({names})") } else { format!("List({names})") };
        return text(format!(
            "Only quota and SCRAM credential configs can be {verb} for 'users' using --bootstrap-server. Unexpected \
             config names: {names}"
        ));
    }
    let operation = |change: &ConfigChange| match change {
        ConfigChange::Delete(key) => Ok((key.clone(), None)),
        ConfigChange::Set(key, value) => match value.trim().parse() {
            Ok(number) => Ok((key.clone(), Some(number))),
            Err(_) => text(format!("Cannot parse quota configuration value for {key}: {value}")),
        },
    };
    changes.iter().map(operation).collect()
}

/// Prints the quotas of the entities that have these types and no others.
pub(super) fn describe(
    client: &mut Client,
    found: &[(&'static Entity, Which)],
    console: &mut Console<'_>,
) -> Result<(), ClientError> {
    for quotas in client.describe_quotas(&types(found))? {
        // What cannot be written is said by the end of the program.
        let _ = print(&quotas, console);
    }
    Ok(())
}

fn print(quotas: &EntityQuotas, console: &mut Console<'_>) -> io::Result<()> {
    let part = |(kind, shown): (&str, &str)| {
        let (_, name) = quotas.entity.iter().find(|(given, _)| given == kind)?;
        Some(name.as_ref().map_or_else(|| format!("the default {shown}"), |name| format!("{shown} '{name}'")))
    };
    let entity: Vec<String> = [("user", "user-principal"), ("client-id", "client-id"), ("ip", "ip")]
        .into_iter()
        .filter_map(part)
        .collect();
    let limits: Vec<String> =
        quotas.limits.iter().map(|(key, value)| format!("{key}={}", java_double(*value))).collect();
    outln!(console, "Quota configs for {} are {}", entity.join(", "), limits.join(", "));
    Ok(())
}

/// As Java prints a number: with a point always, and with an exponent from ten million on.
fn java_double(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e7).contains(&value.abs()) {
        let shown = format!("{value:e}");
        let (digits, exponent) = shown.split_once('e').unwrap_or((&shown, "0"));
        let point = if digits.contains('.') { "" } else { ".0" };
        return format!("{digits}{point}E{exponent}");
    }
    if value.fract() == 0.0 { format!("{value:.1}") } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_printed_as_apache_kafka_printed_them() {
        let entity = |parts: &[(&str, Option<&str>)]| {
            parts.iter().map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned))).collect()
        };
        let printed = |parts: &[(&str, Option<&str>)], limits: &[(&str, f64)]| {
            let limits = limits.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
            let (mut out, mut err) = (Vec::new(), Vec::new());
            print(
                &EntityQuotas { entity: entity(parts), limits },
                &mut Console { out: &mut out, err: &mut err },
            )
            .unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            printed(
                &[("client-id", Some("c1"))],
                &[("consumer_byte_rate", 2048.0), ("producer_byte_rate", 1024.0)]
            ),
            "Quota configs for client-id 'c1' are consumer_byte_rate=2048.0, producer_byte_rate=1024.0\n"
        );
        assert_eq!(
            printed(&[("client-id", None), ("user", Some("u2"))], &[("controller_mutation_rate", 3.0)]),
            "Quota configs for user-principal 'u2', the default client-id are controller_mutation_rate=3.0\n"
        );
        assert_eq!(
            printed(&[("ip", Some("127.0.0.9"))], &[("connection_creation_rate", 10.0)]),
            "Quota configs for ip '127.0.0.9' are connection_creation_rate=10.0\n"
        );
    }

    #[test]
    fn numbers_are_javas() {
        for (value, shown) in [
            (12.5, "12.5"),
            (5.0, "5.0"),
            (5_000_000.0, "5000000.0"),
            (50_000_000.0, "5.0E7"),
            (12_345_678.0, "1.2345678E7"),
            (0.0001, "1.0E-4"),
        ] {
            assert_eq!(java_double(value), shown);
        }
    }
}
