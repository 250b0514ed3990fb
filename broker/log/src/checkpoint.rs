//! Kafka's checkpoint files: a version, a count, and a line for each entry.
//!
//! ```text
//! 0
//! 2
//! pageview 0 4711
//! pageview 1 815
//! ```

use std::collections::HashMap;

use moldau_model::{Offset, TopicPartition};

pub(crate) const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
pub(crate) const LOG_START_OFFSET: &str = "log-start-offset-checkpoint";
pub(crate) const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
pub(crate) const FIRST_DIRTY: &str = "cleaner-offset-checkpoint";

/// The largest file that is read at all: some twenty million lines of it would be ours.
pub(crate) const FILE_BYTES_MAX: usize = 1 << 30;

const VERSION: &str = "0";

/// Why a checkpoint file cannot be used. It then counts as missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("corrupt checkpoint: {0}")]
pub(crate) struct CheckpointError(String);

/// The whole file.
pub(crate) fn encode(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("{VERSION}\n{}\n", lines.len());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// Gives each line to `entry`, which returns `None` for one it cannot read. A last line without its end is one of which a
/// loss of power may have taken digits.
pub(crate) fn decode(text: &[u8], mut entry: impl FnMut(&str) -> Option<()>) -> Result<(), CheckpointError> {
    let text = std::str::from_utf8(text).map_err(|_| CheckpointError("not text".into()))?;
    if !text.ends_with('\n') {
        return Err(CheckpointError("cut short".into()));
    }
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default();
    if version != VERSION {
        return Err(CheckpointError(format!("version {version:?}")));
    }
    let count = lines.next().unwrap_or_default();
    let count: usize = count.parse().map_err(|_| CheckpointError(format!("count {count:?}")))?;
    let mut found = 0usize;
    for line in lines {
        found += 1;
        if found > count || entry(line).is_none() {
            return Err(CheckpointError(format!("line {:?}", line.chars().take(80).collect::<String>())));
        }
    }
    if found != count {
        return Err(CheckpointError(format!("{found} of {count} lines")));
    }
    Ok(())
}

/// A file of offsets by partition.
pub(crate) fn encode_offsets(offsets: &[(&TopicPartition, Offset)]) -> String {
    encode(
        offsets
            .iter()
            .map(|(partition, offset)| format!("{} {} {offset}", partition.topic, partition.partition)),
    )
}

pub(crate) fn decode_offsets(text: &[u8]) -> Result<HashMap<TopicPartition, Offset>, CheckpointError> {
    let mut offsets = HashMap::new();
    decode(text, |line| {
        let mut words = line.split(' ');
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        if topic.is_empty() || words.next().is_some() {
            return None;
        }
        let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
        let offset: i64 = offset.parse().ok().filter(|offset| *offset >= 0)?;
        offsets.insert(TopicPartition::new(topic, partition), Offset(offset));
        Some(())
    })?;
    Ok(offsets)
}

mod store;

pub(crate) use store::Checkpoints;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_in_kafkas_text() {
        let (a, b) = (TopicPartition::new("pageview", 0), TopicPartition::new("a.b", 11));
        let text = encode_offsets(&[(&a, Offset(4711)), (&b, Offset(0))]);
        assert_eq!(text, "0\n2\npageview 0 4711\na.b 11 0\n");
        let offsets = decode_offsets(text.as_bytes()).unwrap();
        assert_eq!(offsets, HashMap::from([(a, Offset(4711)), (b, Offset(0))]));
    }

    #[test]
    fn corrupt_files_are_told() {
        for corrupt in [
            &b""[..],
            b"0",
            b"1\n0\n",
            b"0\nx\n",
            b"0\n2\na 0 1\n",
            b"0\n0\na 0 1\n",
            b"0\n1\na 0\n",
            b"0\n1\na 0 -1\n",
            b"0\n1\na -1 1\n",
            b"0\n1\na 0 1 2\n",
            b"0\n1\na 0 1",
            &[0; 64],
            &[0xff; 64],
        ] {
            assert!(decode_offsets(corrupt).is_err(), "{corrupt:?}");
        }
    }
}
