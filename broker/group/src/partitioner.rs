//! Which partition of `__consumer_offsets` a group belongs to.

use moldau_model::PartitionIndex;

/// The partition of `__consumer_offsets` that holds a group: Kafka's `abs(hashCode) % partitions`.
///
/// Java hashes UTF-16 code units, and `abs` of the smallest number is zero there.
///
/// # Panics
/// If `partition_count` is not positive: the topic has partitions from its creation on.
#[must_use]
pub fn partition_for_group(group_id: &str, partition_count: i32) -> PartitionIndex {
    assert!(partition_count > 0, "__consumer_offsets has at least one partition");
    let hash = group_id.encode_utf16().fold(0i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionIndex(hash.checked_abs().unwrap_or(0) % partition_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_lies_where_java_would_look_for_it() {
        for (group_id, partition_count, partition) in [
            ("", 50, 0),
            ("a", 50, 97 % 50),
            ("ab", 50, (97 * 31 + 98) % 50),
            // Its hash is the smallest 32-bit number, which has no absolute value.
            ("polygenelubricants", 50, 0),
            // Outside the first plane: two code units, 0xD83D and 0xDE00.
            ("\u{1F600}", 50, (0xD83D * 31 + 0xDE00) % 50),
            ("pageview-group1", 1, 0),
        ] {
            assert_eq!(partition_for_group(group_id, partition_count).0, partition, "{group_id:?}");
        }
    }
}
