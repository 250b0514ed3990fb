//! Which partition of `__transaction_state` a transactional id belongs to.

use moldau_model::PartitionIndex;

/// The partition of `__transaction_state` that holds a transactional id: Kafka's `abs(hashCode) % partitions`.
///
/// Java hashes UTF-16 code units, and `abs` of the smallest number is zero there.
///
/// # Panics
/// If `partition_count` is not positive: the topic has partitions from its creation on.
#[must_use]
pub fn partition_for_transactional_id(transactional_id: &str, partition_count: i32) -> PartitionIndex {
    assert!(partition_count > 0, "__transaction_state has at least one partition");
    let units = transactional_id.encode_utf16();
    let hash = units.fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    PartitionIndex(hash.checked_abs().unwrap_or(0) % partition_count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transactional_id_lies_where_java_would_look_for_it() {
        for (transactional_id, partition_count, partition) in [
            ("ab", 50, (97 * 31 + 98) % 50),
            // Its hash is the smallest 32-bit number, which has no absolute value.
            ("polygenelubricants", 50, 0),
            // Outside the first plane: two code units, 0xD83D and 0xDE00.
            ("\u{1F600}", 50, (0xD83D * 31 + 0xDE00) % 50),
            ("orders-1", 1, 0),
        ] {
            let found = partition_for_transactional_id(transactional_id, partition_count);
            assert_eq!(found.0, partition, "{transactional_id:?}");
        }
    }
}
