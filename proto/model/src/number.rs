//! Numbers that must not be mixed up, each its own type.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// A broker's `node.id`. `-1` on the wire means "none": see [`BrokerId::NONE`].
    BrokerId(i32)
}
number! {
    /// A partition's number inside its topic, from zero.
    PartitionIndex(i32)
}
number! {
    /// A record's place in its partition. Ends and watermarks are exclusive: the offset of the *next* record.
    Offset(i64)
}
number! {
    /// Counts the leaderships of one partition (KIP-101). `-1` means unknown.
    LeaderEpoch(i32)
}
number! {
    /// Counts every change of one partition's metadata; the compare-and-swap of AlterPartition (KIP-497).
    PartitionEpoch(i32)
}
number! {
    /// One registration of a broker: the offset of its registration record in the metadata log (KIP-380).
    BrokerEpoch(i64)
}
number! {
    /// An idempotent or transactional producer (KIP-98). `-1` means none.
    ProducerId(i64)
}
number! {
    /// Fences older instances of one [`ProducerId`]. `-1` means none.
    ProducerEpoch(i16)
}
number! {
    /// Names one question to a transaction coordinator (KIP-890). A partition's log gives it out, never twice in a process,
    /// and takes a transaction's first batch only with it.
    VerificationGuard(u64)
}
number! {
    /// Counts the rebalances of a classic consumer group.
    GenerationId(i32)
}
number! {
    /// Milliseconds since 1970-01-01T00:00:00Z. `-1` means none.
    TimestampMs(i64)
}

impl BrokerId {
    pub const NONE: Self = Self(-1);
}

impl LeaderEpoch {
    pub const NONE: Self = Self(-1);
    pub const ZERO: Self = Self(0);

    /// The epoch of the next leadership.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl PartitionEpoch {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ProducerId {
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    pub const NONE: Self = Self(-1);
}

impl TimestampMs {
    pub const NONE: Self = Self(-1);
}

impl Offset {
    pub const ZERO: Self = Self(0);
    /// What the wire says where there is no offset.
    pub const NONE: Self = Self(-1);

    /// The offset `count` records further on.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }

    /// How many records lie between `earlier` and this one; negative if `earlier` is later.
    #[must_use]
    pub const fn minus(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}
