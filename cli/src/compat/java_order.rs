//! The order in which a `java.util.HashMap` lists strings. Kafka's tools print some lists in it, so scripts that
//! compare outputs see the same order from us.

/// A map made without a size, as of configs.
pub(crate) const DEFAULT_CAPACITY: usize = 16;

/// Sorts `items` as a map would that was made for `initial_capacity` entries and filled in the order given.
pub(crate) fn sort<T>(items: &mut [T], initial_capacity: usize, key: impl Fn(&T) -> &str) {
    let mut capacity = initial_capacity.max(1).next_power_of_two();
    while items.len() > capacity * 3 / 4 {
        capacity *= 2;
    }
    // Equal buckets keep the order of insertion, through every resize.
    items.sort_by_key(|item| {
        let hash = hash(key(item));
        (hash ^ (hash >> 16)) as usize & (capacity - 1)
    });
}

/// Sorts partitions as a map by `TopicPartition` would list them.
pub(crate) fn sort_partitions<T>(items: &mut [((String, i32), T)]) {
    let mut capacity = DEFAULT_CAPACITY;
    while items.len() > capacity * 3 / 4 {
        capacity *= 2;
    }
    items.sort_by(|a, b| a.0.cmp(&b.0));
    items.sort_by_key(|((topic, partition), _)| {
        let hash = (31u32.wrapping_add_signed(*partition)).wrapping_mul(31).wrapping_add(hash(topic));
        (hash ^ (hash >> 16)) as usize & (capacity - 1)
    });
}

/// `String.hashCode`.
fn hash(text: &str) -> u32 {
    text.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        assert_eq!(hash("pageview") as i32, 860_470_708);
        assert_eq!(hash("hello"), 99_162_322);
        assert_eq!(hash(""), 0);
    }

    #[test]
    fn two_topics_come_as_apache_kafka_printed_them() {
        let mut names = ["__consumer_offsets", "pageview"];
        sort(&mut names, 2, |name| name);
        assert_eq!(names, ["pageview", "__consumer_offsets"]);
    }
}
