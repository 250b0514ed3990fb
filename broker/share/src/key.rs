//! The name of a share partition, and which coordinator has its state.

use std::fmt;
use std::sync::Arc;

use moldau_model::{PartitionIndex, TopicId};

/// One partition as one share group reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharePartitionKey {
    pub group_id: Arc<str>,
    pub topic_id: TopicId,
    pub partition: PartitionIndex,
}

/// The text by which FindCoordinator asks for its coordinator.
impl fmt::Display for SharePartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.group_id, self.topic_id, self.partition)
    }
}

impl SharePartitionKey {
    #[must_use]
    pub fn new(group_id: impl Into<Arc<str>>, topic_id: TopicId, partition: i32) -> Self {
        Self { group_id: group_id.into(), topic_id, partition: PartitionIndex(partition) }
    }

    /// The key that a text names. A group's id may have colons in it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, partition) = text.rsplit_once(':')?;
        let (group_id, topic_id) = rest.rsplit_once(':')?;
        let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
        let is_group = !group_id.trim().is_empty();
        is_group.then_some(Self::new(group_id, topic_id.parse().ok()?, partition))
    }

    /// The partition of `__share_group_state` that holds its state: Kafka's `abs(hashCode) % partitions` of its text.
    ///
    /// # Panics
    /// If `partition_count` is not positive: the topic has partitions from its creation on.
    #[must_use]
    pub fn state_partition(&self, partition_count: i32) -> PartitionIndex {
        state_partition_of(&self.to_string(), partition_count)
    }
}

/// The partition of `__share_group_state` that a text names.
///
/// # Panics
/// As [`SharePartitionKey::state_partition`].
#[must_use]
pub fn state_partition_of(text: &str, partition_count: i32) -> PartitionIndex {
    assert!(partition_count > 0, "__share_group_state has at least one partition");
    let hash = text.encode_utf16().fold(0i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionIndex(hash.checked_abs().unwrap_or(0) % partition_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The topic id and the partitions are those of a run of Apache Kafka 4.3.0.
    #[test]
    fn a_share_partition_lies_where_kafka_put_it() {
        for (group_id, partition, lies_in) in
            [("g1", 0, 0), ("g1", 2, 48), ("g1", 1, 49), ("g2", 2, 41), ("g2", 1, 42), ("g2", 0, 43)]
        {
            let key = SharePartitionKey::new(group_id, "XDXwxJMsStyARBbS2ECUQg".parse().unwrap(), partition);
            assert_eq!(key.state_partition(50).0, lies_in, "{key}");
        }
    }

    #[test]
    fn a_key_is_read_from_its_text_and_nothing_else_is() {
        let key = SharePartitionKey::new("a:b", TopicId::ONE, 7);
        assert_eq!(SharePartitionKey::parse(&key.to_string()), Some(key));
        for text in [
            "",
            "g",
            "g:AAAAAAAAAAAAAAAAAAAAAA",
            "g:nothing:0",
            ":AAAAAAAAAAAAAAAAAAAAAA:0",
            "g:AAAAAAAAAAAAAAAAAAAAAA:-1",
        ] {
            assert_eq!(SharePartitionKey::parse(text), None, "{text}");
        }
    }
}
