//! What really happened in a run: a fault that was drawn and changed nothing was not applied.

use std::collections::BTreeMap;
use std::fmt;

/// Something that a set of runs must have seen, or it proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happened {
    MessageLost,
    MessageCut,
    MessageDuplicated,
    MessageLate,
    BrokerKilled,
    BrokerLostPower,
    UnsyncedRecordsLost,
    BrokerPaused,
    BrokerShutDownCleanly,
    BrokerWiped,
    AllBrokersLostPower,
    SlowDisk,
    ControllerKilled,
    ControllerLostPower,
    UnsyncedMetadataLost,
    ControllerPaused,
    WinnerMuted,
    OneWayPartition,
    TwoWayPartition,
    ControllerElected,
    MetadataEntryDropped,
    SnapshotSent,
    BrokerFenced,
    LeaderElected,
    ElectedFromElr,
    UncleanElection,
    PreferredElection,
    ReassignmentBegun,
    ReassignmentEnded,
    IsrShrunk,
    IsrExpanded,
    AlterPartitionRefused,
    LogTruncated,
    DivergingEpoch,
    DuplicateBatch,
    ProduceRefusedBelowMinIsr,
    LeaderFencedFetch,
    GroupLoaded,
    GroupRebalanced,
    AckedAll,
    AckedOne,
    RecordsConsumed,
    OffsetCommitted,
    OffsetFetched,
    ProducerIdBlock,
    TransactionCommitted,
    TransactionAborted,
    TransactionAbandoned,
    TransactionProducerFenced,
    TransactionsLoaded,
    MarkerSentAgain,
    LateBatchRefused,
    CommittedRecordsRead,
    ReadFromFollower,
    TransactionOffsetsSeen,
    UnstableOffset,
    /// Offsets, of a coordinator that the controllers have not answered for a session.
    AskedWhileOutOfTouch,
}

impl Happened {
    /// All of them, each of which a set of runs must show.
    pub const ALL: &[Self] = &[
        Self::MessageLost,
        Self::MessageCut,
        Self::MessageDuplicated,
        Self::MessageLate,
        Self::BrokerKilled,
        Self::BrokerLostPower,
        Self::UnsyncedRecordsLost,
        Self::BrokerPaused,
        Self::BrokerShutDownCleanly,
        Self::BrokerWiped,
        Self::AllBrokersLostPower,
        Self::SlowDisk,
        Self::ControllerKilled,
        Self::ControllerLostPower,
        Self::UnsyncedMetadataLost,
        Self::ControllerPaused,
        Self::WinnerMuted,
        Self::OneWayPartition,
        Self::TwoWayPartition,
        Self::ControllerElected,
        Self::MetadataEntryDropped,
        Self::SnapshotSent,
        Self::BrokerFenced,
        Self::LeaderElected,
        Self::ElectedFromElr,
        Self::UncleanElection,
        Self::PreferredElection,
        Self::ReassignmentBegun,
        Self::ReassignmentEnded,
        Self::IsrShrunk,
        Self::IsrExpanded,
        Self::AlterPartitionRefused,
        Self::LogTruncated,
        Self::DivergingEpoch,
        Self::DuplicateBatch,
        Self::ProduceRefusedBelowMinIsr,
        Self::LeaderFencedFetch,
        Self::GroupLoaded,
        Self::GroupRebalanced,
        Self::AckedAll,
        Self::AckedOne,
        Self::RecordsConsumed,
        Self::OffsetCommitted,
        Self::OffsetFetched,
        Self::ProducerIdBlock,
        Self::TransactionCommitted,
        Self::TransactionAborted,
        Self::TransactionAbandoned,
        Self::TransactionProducerFenced,
        Self::TransactionsLoaded,
        Self::MarkerSentAgain,
        Self::LateBatchRefused,
        Self::CommittedRecordsRead,
        Self::ReadFromFollower,
        Self::TransactionOffsetsSeen,
        Self::UnstableOffset,
        Self::AskedWhileOutOfTouch,
    ];
}

/// How often each happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<Happened, u64>,
}

impl Coverage {
    pub(crate) fn note(&mut self, what: Happened) {
        self.note_many(what, 1);
    }

    pub(crate) fn note_many(&mut self, what: Happened, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }

    /// How often it happened.
    #[must_use]
    pub fn count(&self, what: Happened) -> u64 {
        self.counts.get(&what).copied().unwrap_or(0)
    }

    /// Takes in another run's.
    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            self.note_many(*what, *count);
        }
    }

    /// What never happened.
    #[must_use]
    pub fn missing(&self) -> Vec<Happened> {
        Happened::ALL.iter().copied().filter(|what| self.count(*what) == 0).collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for what in Happened::ALL {
            writeln!(f, "{:>12}  {what:?}", self.count(*what))?;
        }
        Ok(())
    }
}
