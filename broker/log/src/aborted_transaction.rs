//! The aborted transactions of a segment, in Kafka's `.txnindex` format: who reads committed records only is told of
//! them, and passes over their records.
//!
//! ```text
//! version i16 = 0 | producer_id i64 | first_offset i64 | last_offset i64 | last_stable_offset i64
//! ```
//! An entry stands in the index of the segment that holds the abort marker. A segment without one has no such file.

use moldau_model::{Offset, ProducerId};

use crate::index::IndexEntry;

const VERSION: i16 = 0;

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    /// Of its first record in this partition.
    pub first_offset: Offset,
    /// Of the marker that ended it.
    pub last_offset: Offset,
    /// What the last stable offset became by its end: all that end later begin at or behind it.
    pub last_stable_offset: Offset,
}

impl AbortedTransaction {
    /// Whether a segment from `base_offset` on can hold its end.
    pub(crate) fn fits(&self, base_offset: Offset) -> bool {
        self.first_offset.0 >= 0 && self.last_offset > self.first_offset && self.last_offset >= base_offset
    }
}

impl IndexEntry for AbortedTransaction {
    const BYTES: usize = 34;
    const IS_ALWAYS_THERE: bool = false;

    fn encode(self, _base_offset: Offset, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_be_bytes());
        for field in [self.producer_id.0, self.first_offset.0, self.last_offset.0, self.last_stable_offset.0]
        {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }

    /// Of another version it is an entry that fits nowhere.
    fn decode(_base_offset: Offset, bytes: &[u8]) -> Self {
        let field = |at: usize| {
            let bytes = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
            bytes.map_or(-1, |bytes| i64::from_be_bytes(*bytes))
        };
        let is_known = bytes.first_chunk() == Some(&VERSION.to_be_bytes());
        Self {
            producer_id: ProducerId(field(2)),
            first_offset: Offset(field(10)),
            last_offset: if is_known { Offset(field(18)) } else { Offset::NONE },
            last_stable_offset: Offset(field(26)),
        }
    }

    fn follows(&self, earlier: &Self) -> bool {
        self.last_offset > earlier.last_offset
    }
}
