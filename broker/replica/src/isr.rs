//! The ISR as a leader holds it: what is committed, and the one change that may be under way.
//!
//! ```text
//! Committed ── propose ──> Pending ── committed / refused ──> Committed
//! ```
//! While a change is pending nobody knows which of the two sets a new leader would be chosen from, so the high
//! watermark counts the larger one: with an expansion the proposed set, with a shrink still the committed one.

use moldau_model::{BrokerEpoch, BrokerId, LeaderEpoch, PartitionEpoch};

/// A member of a proposed ISR with the registration it was seen under (KIP-903).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsrMember {
    pub broker_id: BrokerId,
    /// `BrokerEpoch(-1)` where it is not known.
    pub broker_epoch: BrokerEpoch,
}

/// A change of the ISR to be asked of the controller: compare-and-swap by the partition epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartition {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    pub new_isr: Vec<IsrMember>,
}

/// What became of an [`AlterPartition`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlterPartitionOutcome {
    /// Committed, with this result. The metadata stream says the same, earlier or later.
    Committed { isr: Vec<BrokerId>, leader_epoch: LeaderEpoch, partition_epoch: PartitionEpoch },
    /// Refused for good (fenced, not eligible, unknown partition): back to what is committed.
    Refused,
    /// Stale epoch or no answer: the controller may have committed it. The larger set goes on counting until the
    /// metadata says which holds.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Isr {
    pub(crate) committed: Vec<BrokerId>,
    pending: Option<Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    /// With the registrations under which they were found fit to join: another incarnation has to show that anew.
    proposed: Vec<IsrMember>,
    /// Whether the answer is still to come. After `Unknown` only metadata resolves it.
    in_flight: bool,
}

impl Isr {
    pub(crate) fn committed(isr: Vec<BrokerId>) -> Self {
        Self { committed: isr, pending: None }
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.in_flight)
    }

    /// Whether the high watermark must count `broker`.
    pub(crate) fn maximal_contains(&self, broker: BrokerId) -> bool {
        self.committed.contains(&broker)
            || self
                .pending
                .as_ref()
                .is_some_and(|pending| pending.proposed.iter().any(|member| member.broker_id == broker))
    }

    pub(crate) fn propose(&mut self, isr: Vec<IsrMember>) {
        assert!(self.pending.is_none(), "a second ISR change while one is pending");
        self.pending = Some(Pending { proposed: isr, in_flight: true });
    }

    pub(crate) fn commit(&mut self, isr: Vec<BrokerId>) {
        self.committed = isr;
        self.pending = None;
    }

    pub(crate) fn refuse(&mut self) {
        self.pending = None;
    }

    pub(crate) fn lose_answer(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.in_flight = false;
        }
    }

    /// A change whose answer was lost may be proposed again: the same set, for any other could count too few, and the same
    /// registrations. A member that has restarted since may lack what it had, and is refused by its old one (KIP-903).
    pub(crate) fn retry(&mut self) -> Option<Vec<IsrMember>> {
        let pending = self.pending.as_mut().filter(|pending| !pending.in_flight)?;
        pending.in_flight = true;
        Some(pending.proposed.clone())
    }
}
