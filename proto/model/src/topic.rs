//! Topics and their partitions by name and by id.

use std::fmt;
use std::sync::Arc;

use crate::{PartitionIndex, TopicId};

/// The longest topic name: a partition's directory is `<name>-<index>`, and it must fit a file name.
const NAME_LENGTH_MAX: usize = 249;

/// A partition by its topic's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: PartitionIndex,
}

impl TopicPartition {
    #[must_use]
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition: PartitionIndex(partition) }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A partition by its topic's id, which outlives no deletion: what replication and storage go by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicIdPartition {
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
}

/// Why a topic may not have this name. The text is Kafka's, for it reaches users through clients' errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidTopicName(String);

impl fmt::Display for InvalidTopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidTopicName {}

/// Checks a topic's name as Kafka does: 1 to 249 of `[a-zA-Z0-9._-]`, and neither `.` nor `..`.
/// This also is what keeps a name from leaving the log directory.
pub fn validate_topic_name(name: &str) -> Result<(), InvalidTopicName> {
    let refuse = |text: String| Err(InvalidTopicName(format!("Topic name is invalid: {text}")));
    if name.is_empty() {
        return refuse("the empty string is not allowed".into());
    }
    if name == "." || name == ".." {
        return refuse(format!("'{name}' is not allowed"));
    }
    if name.len() > NAME_LENGTH_MAX {
        return refuse(format!(
            "the length of '{name}' is longer than the max allowed length {NAME_LENGTH_MAX}"
        ));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return refuse(format!(
            "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_kafka_refuses() {
        let long = "a".repeat(250);
        for (name, text) in [
            ("", "the empty string is not allowed"),
            (".", "'.' is not allowed"),
            ("..", "'..' is not allowed"),
            (long.as_str(), "is longer than the max allowed length 249"),
            ("../../etc", "other than ASCII alphanumerics"),
            ("a\0b", "other than ASCII alphanumerics"),
            ("Vltava–Moldau", "other than ASCII alphanumerics"),
        ] {
            let error = validate_topic_name(name).unwrap_err().to_string();
            assert!(error.contains(text), "{name:?}: {error}");
        }
        for name in ["pageview", "a.b_c-D9", "...", &"a".repeat(249)] {
            assert_eq!(validate_topic_name(name), Ok(()));
        }
    }
}
