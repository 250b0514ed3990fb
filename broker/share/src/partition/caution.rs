//! How many records go out together with one that was delivered often.
//!
//! A record that makes its members fail takes those with it that were delivered beside it: they come nearer to their limit, too,
//! and would be given up with it. From half of the limit on, a batch is therefore delivered in pieces, half as long with each
//! delivery, and a record on its last delivery alone, as Apache Kafka 4.3 does it.

use super::acquire::FetchedBatch;

/// The least number of deliveries from which on a batch is cut: the first time, nothing is known of its records.
const CUT_FROM_MIN: i16 = 2;
/// Where records are delivered twice at most, the last delivery is only the second one: they go out together still.
const ALONE_FROM_LIMIT: i16 = 3;

/// What may be taken of one batch.
#[derive(Debug)]
pub(super) struct Caution {
    delivery_count_max: i16,
    /// Records that the batch's offsets stand for.
    batch_length: i64,
    /// Records that were taken of batches before.
    taken_before: i64,
    /// How many records of the batch may go out, once one of them is such that it matters.
    length_max: Option<i64>,
}

impl Caution {
    pub(super) fn new(delivery_count_max: i16, batch: &FetchedBatch, taken_before: i64) -> Self {
        let batch_length = batch.last + 1 - batch.first;
        Self { delivery_count_max, batch_length, taken_before, length_max: None }
    }

    /// How many records may be taken from one on that was delivered `delivery_count` times, with `taken` taken so far; none
    /// where the answer is to end before it.
    pub(super) fn room(&mut self, delivery_count: i16, taken: i64) -> i64 {
        let is_last_delivery = self.delivery_count_max >= ALONE_FROM_LIMIT
            && delivery_count >= self.delivery_count_max.saturating_sub(1);
        if is_last_delivery {
            self.length_max = Some(1);
            return 1 - taken;
        }
        let cut_from = CUT_FROM_MIN.max(self.delivery_count_max / 2 + self.delivery_count_max % 2);
        if delivery_count >= cut_from {
            if self.taken_before > 0 {
                return 0;
            }
            // More than 63 halves are none.
            let halvings = u32::from((delivery_count - cut_from + 1).unsigned_abs());
            let length = self.batch_length.checked_shr(halvings).unwrap_or(0).max(1);
            self.length_max.get_or_insert(length);
        }
        self.length_max.map_or(i64::MAX, |length_max| length_max - (taken - self.taken_before))
    }

    /// Whether something was taken that others are better not delivered with.
    pub(super) fn is_taken(&self) -> bool {
        self.length_max.is_some()
    }
}
