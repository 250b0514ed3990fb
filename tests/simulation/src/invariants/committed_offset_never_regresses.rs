//! A group's committed offset never goes back, and is never answered as missing or as zero once it was committed.
//!
//! A coordinator that does not know yet that it was deposed may answer with what it knew, as Kafka's may: so an answer is
//! held against what coordinators of the same or earlier leader epochs had said before it was asked for.

use std::collections::BTreeMap;

use super::Verdict;

/// Of one group and partition: by the leader epoch of who said it, the largest offset that was acknowledged or shown.
pub(crate) type Required = BTreeMap<i32, i64>;

/// The offsets of one group and partition.
#[derive(Clone, Debug, Default)]
struct Key {
    required: Required,
    attempted: i64,
}

/// See the module. Offsets are committed in ascending order, from 1 on.
#[derive(Debug, Default)]
pub(crate) struct CommittedOffsets {
    keys: BTreeMap<(String, i32), Key>,
}

impl CommittedOffsets {
    fn key(&mut self, group: &str, partition: i32) -> &mut Key {
        self.keys.entry((group.to_owned(), partition)).or_default()
    }

    /// The next offset to be committed, larger than all before.
    pub(crate) fn attempt(&mut self, group: &str, partition: i32) -> i64 {
        let key = self.key(group, partition);
        key.attempted += 1;
        key.attempted
    }

    /// What an answer to a question that is asked now has to reach.
    pub(crate) fn required(&mut self, group: &str, partition: i32) -> Required {
        self.key(group, partition).required.clone()
    }

    pub(crate) fn acked(&mut self, group: &str, partition: i32, offset: i64, epoch: i32) {
        let known = self.key(group, partition).required.entry(epoch).or_insert(offset);
        *known = (*known).max(offset);
    }

    pub(crate) fn fetched(
        &mut self,
        group: &str,
        partition: i32,
        (offset, epoch): (i64, i32),
        required: &Required,
    ) -> Verdict {
        let least = required.range(..=epoch).map(|(_, offset)| *offset).max();
        let attempted = self.key(group, partition).attempted;
        let is_missing = offset == -1 && least.is_none();
        if !is_missing && (offset < least.unwrap_or(1) || offset > attempted) {
            return Err(format!(
                "group {group} partition {partition}: the coordinator of epoch {epoch} answers {offset}, where {least:?} was \
                 committed of {attempted}"
            ));
        }
        if offset > 0 {
            self.acked(group, partition, offset, epoch);
        }
        Ok(())
    }
}
