//! `--delete` and `--delete-offsets`.

use std::collections::BTreeMap;

use moldau_model::ErrorCode;

use super::{Failure, MISSING, scoped_partitions};
use crate::client::offsets::Partition;
use crate::client::{Client, ClientError};
use crate::compat::options::Options;
use crate::console::{Console, outln};

/// What to print of the deletions, and whether all succeeded.
fn groups_text(results: &[(String, Result<(), ClientError>)]) -> (String, bool) {
    let quoted = |names: Vec<&String>| {
        names.into_iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
    };
    let deleted: Vec<&String> = results.iter().filter(|(_, r)| r.is_ok()).map(|(name, _)| name).collect();
    if deleted.len() == results.len() {
        return (
            format!("Deletion of requested consumer groups ({}) was successful.\n", quoted(deleted)),
            true,
        );
    }
    let mut text = "\nError: Deletion of some consumer groups failed:\n".to_owned();
    for (name, result) in results {
        if let Err(error) = result {
            text += &format!("* Group '{name}' could not be deleted due to: {}\n", error.java());
        }
    }
    if !deleted.is_empty() {
        text += &format!("\nThese consumer groups were deleted successfully: {}\n", quoted(deleted));
    }
    (text, false)
}

/// `--delete`.
pub(super) fn groups(
    client: &mut Client,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let names = super::groups(client, options)?;
    let mut results = Vec::with_capacity(names.len());
    for name in names {
        let result = client.delete_group(&name);
        match result {
            Err(error @ (ClientError::Unreachable { .. } | ClientError::Address(_))) => {
                return Err(error.into());
            }
            result => results.push((name, result)),
        }
    }
    let (text, all) = groups_text(&results);
    write!(console.out, "{text}")?;
    if all { Ok(()) } else { Err(Failure::Exit(1)) }
}

/// `--delete-offsets`.
pub(super) fn offsets(
    client: &mut Client,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let group = options.one("group")?.unwrap_or_default().to_owned();
    let mut rows: Vec<(String, String, Result<(), ClientError>)> = Vec::new();
    let mut partitions: Vec<Partition> = Vec::new();
    for topic in options.all("topic") {
        match scoped_partitions(client, std::slice::from_ref(topic)) {
            Ok(found) => partitions.extend(found),
            Err(Failure::Client(error)) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
                rows.push((topic.clone(), MISSING.to_owned(), Err(error)));
            }
            Err(error) => return Err(error),
        }
    }
    let results = match client.delete_offsets(&group, &partitions) {
        Ok(results) => {
            outln!(console, "Request succeeded for deleting offsets from group {group}.");
            results
        }
        Err(ClientError::Broker { code, message }) => {
            outln!(console, "\nError: {message}");
            let again =
                |p: &Partition| (p.clone(), Err(ClientError::Broker { code, message: message.clone() }));
            partitions.iter().map(again).collect::<BTreeMap<_, _>>()
        }
        Err(error) => return Err(error.into()),
    };
    rows.extend(
        results.into_iter().map(|((topic, partition), result)| (topic, partition.to_string(), result)),
    );
    outln!(console, "\n{:<15} {:<10} {:<15}", "TOPIC", "PARTITION", "STATUS");
    for (topic, partition, result) in &rows {
        let status = match result {
            Ok(()) => "Successful".to_owned(),
            Err(error) => format!("Error: {}", error.java()),
        };
        outln!(console, "{topic:<15} {partition:<10} {status:<15}");
    }
    if rows.iter().all(|(_, _, result)| result.is_ok()) { Ok(()) } else { Err(Failure::Exit(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_told_in_apache_kafkas_words() {
        let error = || Err(ClientError::broker(ErrorCode::NonEmptyGroup.code(), None));
        let (text, all) = groups_text(&[("g1".to_owned(), Ok(()))]);
        assert_eq!((text.as_str(), all), (include_str!("../../../tests/golden/g_del.out"), true));
        let (text, all) = groups_text(&[("g2".to_owned(), error())]);
        assert_eq!((text.as_str(), all), (include_str!("../../../tests/golden/g2_del.out"), false));
        let (text, _) = groups_text(&[("g1".to_owned(), Ok(())), ("g2".to_owned(), error())]);
        assert!(text.ends_with("\n\nThese consumer groups were deleted successfully: 'g1'\n"), "{text}");
    }
}
