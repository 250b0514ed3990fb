//! `--delete` and `--delete-offsets`.

use std::collections::{BTreeMap, BTreeSet};

use super::Failure;
use crate::client::{Client, ClientError};
use crate::compat::java_order;
use crate::compat::options::Options;
use crate::console::{Console, outln};

/// Groups that were asked to be deleted, each with the reason why it was not.
type Outcomes = Vec<(String, Result<(), String>)>;

/// What to print of the deletions, and whether all succeeded.
fn groups_text(mut outcomes: Outcomes) -> (String, bool) {
    java_order::sort(&mut outcomes, java_order::DEFAULT_CAPACITY, |(name, _)| name);
    let deleted: Vec<String> =
        outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(name, _)| format!("'{name}'")).collect();
    let deleted_text = deleted.join(", ");
    if deleted.len() == outcomes.len() {
        return (format!("Deletion of requested share groups ({deleted_text}) was successful.\n"), true);
    }
    let mut text = "\nError: Deletion of some share groups failed:\n".to_owned();
    for (name, outcome) in &outcomes {
        if let Err(reason) = outcome {
            text += &format!("* Group '{name}' could not be deleted due to: {reason}\n");
        }
    }
    if !deleted.is_empty() {
        text += &format!("\nThese share groups were deleted successfully: {deleted_text}\n");
    }
    (text, false)
}

/// `--delete`. What is not a share group, or not empty, is not even asked for.
pub(super) fn groups(
    client: &mut Client,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let listed = client.list_share_groups()?;
    let states: BTreeMap<&str, &str> =
        listed.iter().map(|group| (group.group.as_str(), group.state.as_str())).collect();
    let named: Vec<&str> = if options.has("all-groups") {
        states.keys().copied().collect()
    } else {
        options.all("group").iter().map(String::as_str).collect()
    };
    let mut seen = BTreeSet::new();
    let mut outcomes = Outcomes::new();
    for name in named.into_iter().filter(|name| seen.insert(*name)) {
        let outcome = match states.get(name) {
            None => Err(format!("java.lang.IllegalArgumentException: Group '{name}' is not a share group.")),
            Some(&"Dead") => {
                Err(format!("java.lang.IllegalStateException: Share group '{name}' group state is DEAD."))
            }
            Some(&"Empty") => match client.delete_group(name) {
                Ok(()) => Ok(()),
                Err(error @ ClientError::Broker { .. }) => Err(error.java()),
                Err(error) => return Err(error.into()),
            },
            Some(_) => Err(format!(
                "org.apache.kafka.common.errors.GroupNotEmptyException: Share group '{name}' is not EMPTY."
            )),
        };
        outcomes.push((name.to_owned(), outcome));
    }
    let (text, all) = groups_text(outcomes);
    write!(console.out, "{text}")?;
    if all { Ok(()) } else { Err(Failure::Exit(1)) }
}

/// `--delete-offsets`.
pub(super) fn offsets(
    client: &mut Client,
    options: &Options,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let group = options.one("group")?.unwrap_or_default();
    let topics: BTreeSet<String> = options.all("topic").iter().cloned().collect();
    let topics: Vec<String> = topics.into_iter().collect();
    let results = match client.delete_share_offsets(group, &topics) {
        Ok(results) => results,
        Err(ClientError::Broker { code, message }) => {
            outln!(console, "\nError: {message}");
            let again =
                |topic: &String| (topic.clone(), Err(ClientError::Broker { code, message: message.clone() }));
            topics.iter().map(again).collect()
        }
        Err(error) => return Err(error.into()),
    };
    let width = topics.iter().map(|topic| topic.chars().count()).max().unwrap_or(0).max(15);
    outln!(console, "\n{:<width$} STATUS", "TOPIC");
    for (topic, result) in &results {
        match result {
            Ok(()) => outln!(console, "{topic:<width$} Successful"),
            Err(error) => outln!(console, "{topic:<width$} Error: {error}"),
        }
    }
    if results.values().all(Result::is_ok) { Ok(()) } else { Err(Failure::Exit(1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_told_in_apache_kafkas_words() {
        let of = |name: &str, outcome: Result<(), &str>| (name.to_owned(), outcome.map_err(str::to_owned));
        assert_eq!(
            groups_text(vec![of("new", Ok(()))]),
            ("Deletion of requested share groups ('new') was successful.\n".to_owned(), true)
        );
        assert_eq!(
            groups_text(Vec::new()),
            ("Deletion of requested share groups () was successful.\n".to_owned(), true)
        );
        let reason = "java.lang.IllegalArgumentException: Group 'h' is not a share group.";
        assert_eq!(
            groups_text(vec![of("g", Ok(())), of("h", Err(reason))]),
            (
                "\nError: Deletion of some share groups failed:\n* Group 'h' could not be deleted due to: \
                 java.lang.IllegalArgumentException: Group 'h' is not a share group.\n\n\
                 These share groups were deleted successfully: 'g'\n"
                    .to_owned(),
                false
            )
        );
    }
}
