//! The name a user probably meant.

use super::definitions;
use super::synonyms::topic_broker_synonym;

/// The known broker setting nearest to a misspelt name; `None` where none is near enough to be worth naming.
///
/// A topic's name for a setting leads to the broker's name of it: `retention.ms` to `log.retention.ms`.
#[must_use]
pub fn nearest_name(unknown: &str) -> Option<&'static str> {
    if definitions::topic_definition(unknown).is_some() {
        return topic_broker_synonym(unknown);
    }
    // A third of the letters may be wrong, and at most four: beyond that a suggestion is a guess.
    let distance_max = (unknown.len() / 3).min(4);
    let lower = unknown.to_ascii_lowercase().replace('_', ".");
    definitions::broker()
        .map(|definition| (distance(&lower, definition.name), definition.name))
        .filter(|(distance, _)| *distance <= distance_max)
        .min()
        .map(|(_, name)| name)
}

/// Letters to insert, delete, replace or swap with their neighbour to get from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut before_last: Vec<usize> = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i; to.len() + 1];
        for j in 1..=to.len() {
            let replaced = last[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_leads_to_the_known_one() {
        for (unknown, known) in [
            ("advertized.listeners", Some("advertised.listeners")),
            ("num.partition", Some("num.partitions")),
            ("log.retention.hour", Some("log.retention.hours")),
            ("auto.create.topic.enabled", Some("auto.create.topics.enable")),
            ("log_dirs", Some("log.dirs")),
            ("retention.ms", Some("log.retention.ms")),
            ("max.message.bytes", Some("message.max.bytes")),
            ("lgo.dirs", Some("log.dirs")),
            ("flush.polcy", Some("flush.policy")),
            ("x", None),
            ("completely.different.thing", None),
        ] {
            assert_eq!(nearest_name(unknown), known, "{unknown}");
        }
    }
}
