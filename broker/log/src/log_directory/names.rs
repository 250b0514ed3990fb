//! The names of partition directories: `<topic>-<partition>`, and `<topic>-<partition>.<32 hex digits>-delete`.

use std::hash::{BuildHasher, RandomState};

use moldau_model::{TopicPartition, validate_topic_name};

const DELETE_SUFFIX: &str = "-delete";
const FILE_NAME_LENGTH_MAX: usize = 255;

/// `None` for a directory that is no partition's.
pub(super) fn parse_partition(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    validate_topic_name(topic).ok()?;
    let number: i32 = partition.parse().ok()?;
    // `+1` and `01` parse too, but are not how we would write it.
    (number >= 0 && number.to_string() == partition).then(|| TopicPartition::new(topic, number))
}

pub(super) fn is_deleted(name: &str) -> bool {
    let unique = name.strip_suffix(DELETE_SUFFIX).and_then(|name| name.rsplit_once('.'));
    unique.is_some_and(|(_, hex)| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A name that no other deletion has. The topic's is cut where the whole would be too long.
pub(super) fn deleted(topic_partition: &TopicPartition) -> String {
    let random = [RandomState::new().hash_one(0), RandomState::new().hash_one(1)];
    let tail = format!("-{}.{:016x}{:016x}{DELETE_SUFFIX}", topic_partition.partition, random[0], random[1]);
    let room = FILE_NAME_LENGTH_MAX - tail.len();
    let topic: String = topic_partition.topic.chars().take(room).collect();
    topic + &tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for (topic, partition) in [("pageview", 0), ("a-b.c_d-7", 12), ("__consumer_offsets", 49)] {
            let topic_partition = TopicPartition::new(topic, partition);
            assert_eq!(parse_partition(&topic_partition.to_string()), Some(topic_partition.clone()));
            let deleted = deleted(&topic_partition);
            assert!(is_deleted(&deleted) && parse_partition(&deleted).is_none(), "{deleted}");
        }
        let long = TopicPartition::new("x".repeat(249), 2_000_000_000);
        assert!(deleted(&long).len() <= FILE_NAME_LENGTH_MAX);
        for foreign in ["lost+found", "pageview", "-1", "a-", "a-x", "a-+1", "a-01", "a b-0", "__raft"] {
            assert_eq!(parse_partition(foreign), None, "{foreign}");
        }
        assert!(!is_deleted("pageview-0-delete"));
    }
}
