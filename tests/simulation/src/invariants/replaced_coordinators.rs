//! A coordinator that was fenced tells nobody where transactions were: its successor lets them go on, and who begins from there repeats
//! them.
//!
//! One that gave up its leadership while it was in service, to a preferred leader for one, may tell it until it hears of that (ADR 45).

use std::collections::BTreeSet;

use moldau_metadata::{MetadataImage, PartitionRegistration};

use super::Verdict;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ReplacedCoordinators {
    /// Leader epochs that ended while their leader was in service.
    moved: BTreeSet<i32>,
}

impl ReplacedCoordinators {
    /// The partition of `__consumer_offsets` has changed.
    pub(super) fn note(
        &mut self,
        then: &PartitionRegistration,
        now: &PartitionRegistration,
        after: &MetadataImage,
    ) {
        let is_in_service = after.broker(then.leader).is_some_and(|broker| !broker.fenced);
        if then.leader_epoch != now.leader_epoch && is_in_service {
            self.moved.insert(then.leader_epoch.0);
        }
    }

    /// The coordinator of this epoch shows `offset` to somebody who knew before that `told_before` was committed.
    pub(super) fn shown(&self, epoch: i32, offset: i64, told_before: i64) -> Verdict {
        if offset >= told_before || self.moved.contains(&epoch) {
            return Ok(());
        }
        Err(format!(
            "the coordinator of epoch {epoch} shows offset {offset}, and {told_before} was committed before"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_in_service_may_be_behind() {
        let coordinators = ReplacedCoordinators { moved: BTreeSet::from([3]) };
        coordinators.shown(2, 7, 7).unwrap();
        coordinators.shown(2, 8, 7).unwrap();
        coordinators.shown(3, 6, 7).unwrap();
        coordinators.shown(2, 6, 7).unwrap_err();
        coordinators.shown(2, -1, 7).unwrap_err();
    }
}
