//! The one thing the coordinator reads of the consumers' own protocol: which topics a member subscribes to.
//!
//! Later versions only append to version 0: version, topics, user data.

/// The topics of a ConsumerProtocolSubscription; `None` if the bytes are none.
pub(super) fn topics(metadata: &[u8]) -> Option<Vec<&str>> {
    let (version, rest) = metadata.split_first_chunk::<2>()?;
    if i16::from_be_bytes(*version) < 0 {
        return None;
    }
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    // Each topic takes two bytes at least: a count beyond that is a lie.
    let count = usize::try_from(i32::from_be_bytes(*count)).ok().filter(|count| *count <= rest.len() / 2)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (topic, tail) = tail.split_at_checked(length)?;
        topics.push(std::str::from_utf8(topic).ok()?);
        rest = tail;
    }
    let (user_data_length, rest) = rest.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*user_data_length) {
        -1 => Some(topics),
        length => usize::try_from(length).ok().filter(|length| *length <= rest.len()).map(|_| topics),
    }
}

#[cfg(test)]
mod tests {
    use super::topics;

    #[test]
    fn a_subscription_names_its_topics_whatever_follows() {
        let v0 = b"\0\0\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff";
        assert_eq!(topics(v0), Some(vec!["a", "bc"]));
        // Version 1 appends the partitions that are owned.
        let v1 = b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0";
        assert_eq!(topics(v1), Some(vec!["t"]));
        let with_user_data = b"\0\0\0\0\0\0\0\0\0\x01x";
        assert_eq!(topics(with_user_data), Some(vec![]));
    }

    #[test]
    fn what_is_no_subscription_names_none() {
        for bytes in [
            &b""[..],
            b"\0",
            b"\xff\xff\0\0\0\0\xff\xff\xff\xff",
            b"\0\0\x7f\xff\xff\xff",
            b"\0\0\xff\xff\xff\xff",
            b"\0\0\0\0\0\x01\0\x05a",
            b"\0\0\0\0\0\x01\0\x01\xff\xff\xff\xff\xff",
            b"\0\0\0\0\0\0\0\0\0\x02x",
            b"\0\0\0\0\0\0",
        ] {
            assert_eq!(topics(bytes), None, "{bytes:?}");
        }
    }
}
