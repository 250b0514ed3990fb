//! Faults that can be switched on, one at a time, to see that the simulation would find them.
//!
//! A switch is looked at by the simulated shell alone: the crates that go into the broker have none.

/// One seeded fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A registration does not end what the broker's last incarnation led.
    KeepLeaderEpochAcrossRestart,
    /// A new follower cuts its log at its high watermark.
    TruncateByHighWatermark,
    /// A leader takes a smaller ISR for committed as soon as it has asked for it.
    AckBeforeIsrCommitted,
    /// A controller does not look at the epochs of a proposed ISR.
    SkipEpochCheckOfProposal,
    /// A controller answers a vote request before its vote is on stable storage.
    NoSyncOfVote,
    /// A long entry of the metadata log arrives at the other controllers without its end.
    LargeEntryCut,
    /// A new leader has forgotten its producers.
    LoseProducerStateOnFailover,
    /// A coordinator that has not loaded a group answers its offsets with zero.
    ZeroForMissingOffset,
    /// A coordinator reads its partition only up to the high watermark that it happens to know.
    LoadToHighWatermarkOnly,
    /// A coordinator answers as soon as it has read its partition, committed or not.
    AnswerUncommittedLoad,
    /// A coordinator takes its records for committed when they are appended.
    AckOffsetsBeforeCommit,
    /// A follower's fetch offset counts in place of its durable end.
    CountFetchOffset,
    /// Any live replica is elected where the ISR is empty, and nobody says so.
    ElectOutsideOfIsr,
    /// A follower joins the ISR before it has reached the start of the leadership.
    ExpandBeforeEpochStart,
    /// The high watermark does not wait for a replica whose joining is under way.
    WatermarkIgnoresPendingExpansion,
    /// Consumers are given everything up to the log's end.
    ServeBeyondHighWatermark,
    /// A sync that was begun before a truncation makes durable what was appended after it.
    SyncForgetsTruncation,
    /// A broker takes the roles that an image from before its registration gives it.
    RolesBeforeRegistration,
    /// A broker says that its stop was clean when it was not, in a cluster that acknowledges from the page cache.
    UncleanStopCalledClean,
    /// Blocks of producer ids are given out before they are committed.
    ProducerIdsBeforeCommit,
    /// A reader of what is stable gets everything below the high watermark.
    ReadOpenTransactions,
    /// A partition takes the first batch of a transaction without asking the coordinator.
    NoVerification,
    /// A coordinator takes markers for written when they are sent.
    CompleteBeforeMarkers,
    /// A partition refuses a marker that is in its log already, where it may yet be lost.
    RefuseMarkerThatIsThere,
    /// A group's coordinator that loads takes offsets in transactions for committed.
    LoadOffsetsOfOpenTransactions,
    /// A coordinator that the controllers have not answered for a session tells where transactions were.
    TellOffsetsWhenReplaced,
}

impl Bug {
    /// Every fault, in the order of the table.
    pub const ALL: &[Self] = &[
        Self::KeepLeaderEpochAcrossRestart,
        Self::TruncateByHighWatermark,
        Self::AckBeforeIsrCommitted,
        Self::NoSyncOfVote,
        Self::LargeEntryCut,
        Self::LoseProducerStateOnFailover,
        Self::ZeroForMissingOffset,
        Self::LoadToHighWatermarkOnly,
        Self::AnswerUncommittedLoad,
        Self::AckOffsetsBeforeCommit,
        Self::CountFetchOffset,
        Self::SkipEpochCheckOfProposal,
        Self::ElectOutsideOfIsr,
        Self::ExpandBeforeEpochStart,
        Self::WatermarkIgnoresPendingExpansion,
        Self::ServeBeyondHighWatermark,
        Self::SyncForgetsTruncation,
        Self::RolesBeforeRegistration,
        Self::UncleanStopCalledClean,
        Self::ProducerIdsBeforeCommit,
        Self::ReadOpenTransactions,
        Self::NoVerification,
        Self::CompleteBeforeMarkers,
        Self::RefuseMarkerThatIsThere,
        Self::LoadOffsetsOfOpenTransactions,
        Self::TellOffsetsWhenReplaced,
    ];

    /// The name on the command line: the variant's, as it is written.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The fault of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}
