//! `partition.metadata`: the id of the topic that the partition belongs to (KIP-516).

use moldau_model::TopicId;

pub(crate) const FILE_NAME: &str = "partition.metadata";
pub(crate) const FILE_BYTES_MAX: usize = 4096;

pub(crate) fn encode(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {topic_id}")
}

/// `None` if the file is not whole.
pub(crate) fn decode(bytes: &[u8]) -> Option<TopicId> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    let version: u32 = lines.next()?.strip_prefix("version: ")?.parse().ok()?;
    let topic_id: TopicId = lines.next()?.strip_prefix("topic_id: ")?.parse().ok()?;
    (version == 0 && !topic_id.is_zero()).then_some(topic_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_a_torn_one_is_told() {
        let topic_id = TopicId::from_random_bytes([7; 16]);
        let text = encode(topic_id);
        assert_eq!(decode(text.as_bytes()), Some(topic_id));
        for end in 0..text.len() {
            assert_eq!(decode(&text.as_bytes()[..end]), None, "cut at {end}");
        }
        assert_eq!(decode(&[0; 40]), None);
        assert_eq!(decode(encode(TopicId::ZERO).as_bytes()), None);
    }
}
