//! The names of partition directories: `<topic>-<partition>`, and with `.<32 hex digits>-delete` or `-future` behind it.

use std::hash::{BuildHasher, RandomState};

use moldau_model::{TopicPartition, validate_topic_name};

const DELETE_SUFFIX: &str = "-delete";
const FUTURE_SUFFIX: &str = "-future";
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
    before_unique(name, DELETE_SUFFIX).is_some()
}

/// Of which partition this is a copy on its way to another log directory.
pub(super) fn parse_future(name: &str) -> Option<TopicPartition> {
    before_unique(name, FUTURE_SUFFIX).and_then(parse_partition)
}

fn before_unique<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let (before, hex) = name.strip_suffix(suffix)?.rsplit_once('.')?;
    (hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(before)
}

/// A name that no other copy has. The caller has seen to it that there is room for it.
pub(super) fn future(topic_partition: &TopicPartition) -> String {
    format!("{topic_partition}.{}{FUTURE_SUFFIX}", unique())
}

/// The longest name of a topic that can be moved: the copy's directory has it whole.
pub(crate) fn is_too_long_to_move(topic_partition: &TopicPartition) -> bool {
    future(topic_partition).len() > FILE_NAME_LENGTH_MAX
}

fn unique() -> String {
    let random = [RandomState::new().hash_one(0), RandomState::new().hash_one(1)];
    format!("{:016x}{:016x}", random[0], random[1])
}

/// A name that no other deletion has. The topic's is cut where the whole would be too long.
pub(super) fn deleted(topic_partition: &TopicPartition) -> String {
    let tail = format!("-{}.{}{DELETE_SUFFIX}", topic_partition.partition, unique());
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
            let future = future(&topic_partition);
            assert_eq!(parse_future(&future), Some(topic_partition.clone()));
            assert!(parse_partition(&future).is_none() && !is_deleted(&future), "{future}");
            assert_eq!(parse_future(&deleted), None);
        }
        let long = TopicPartition::new("x".repeat(249), 2_000_000_000);
        assert!(deleted(&long).len() <= FILE_NAME_LENGTH_MAX && is_too_long_to_move(&long));
        for foreign in ["lost+found", "pageview", "-1", "a-", "a-x", "a-+1", "a-01", "a b-0", "__raft"] {
            assert_eq!(parse_partition(foreign), None, "{foreign}");
        }
        assert!(!is_deleted("pageview-0-delete"));
    }
}
