//! A leader comes out of the ISR or the ELR, but for topics that allow otherwise, and those say so.

use moldau_metadata::{LeaderRecoveryState, MetadataImage, PartitionRegistration};

use super::Verdict;
use crate::coverage::{Coverage, Happened};
use crate::topology::PARTS;

pub(super) fn check(before: &MetadataImage, after: &MetadataImage) -> Verdict {
    for part in PARTS {
        let (Some((_, then)), Some((_, now))) = (part.find(before), part.find(after)) else { continue };
        // A replica that completes a reassignment joins the ISR and may lead at once; `isr_holds_committed` looks at it.
        let completes = then.is_reassigning() && !now.is_reassigning();
        let is_clean = !now.has_leader()
            || then.isr.contains(&now.leader)
            || then.elr.contains(&now.leader)
            || completes;
        if !is_clean && (part.elects_cleanly() || !is_unclean(now)) {
            return Err(format!("{part:?}: {then:?} became {now:?}"));
        }
    }
    Ok(())
}

/// Whether the leader may hold less than was committed.
pub(super) fn is_unclean(partition: &PartitionRegistration) -> bool {
    partition.leader_recovery_state == LeaderRecoveryState::Recovering
}

pub(super) fn note(then: &PartitionRegistration, now: &PartitionRegistration, coverage: &mut Coverage) {
    if now.has_leader() && now.leader_epoch > then.leader_epoch {
        coverage.note(Happened::LeaderElected);
        if then.elr.contains(&now.leader) {
            coverage.note(Happened::ElectedFromElr);
        }
        if is_unclean(now) {
            coverage.note(Happened::UncleanElection);
        }
        if now.leader == now.preferred_replica() && then.has_leader() {
            coverage.note(Happened::PreferredElection);
        }
    }
    match (then.is_reassigning(), now.is_reassigning()) {
        (false, true) => coverage.note(Happened::ReassignmentBegun),
        (true, false) => coverage.note(Happened::ReassignmentEnded),
        _ => {}
    }
    if now.leader_epoch == then.leader_epoch {
        if now.isr.len() < then.isr.len() {
            coverage.note(Happened::IsrShrunk);
        } else if now.isr.len() > then.isr.len() {
            coverage.note(Happened::IsrExpanded);
        }
    }
}
