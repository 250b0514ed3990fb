//! State batches: offsets in a row that have the same state, as they are written and kept.

/// What has become of a record, as far as it has to be remembered. That somebody has it just now is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// To be delivered, again or for the first time.
    Available,
    /// Accepted by a member.
    Acknowledged,
    /// Given up: rejected, delivered too often, or no record at all.
    Archived,
}

impl DeliveryState {
    /// Kafka's number for it.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Self::Available => 0,
            Self::Acknowledged => 2,
            Self::Archived => 4,
        }
    }

    /// The state of Kafka's number.
    #[must_use]
    pub fn from_code(code: i8) -> Option<Self> {
        [Self::Available, Self::Acknowledged, Self::Archived].into_iter().find(|state| state.code() == code)
    }

    /// Whether nothing is to be done any more.
    #[must_use]
    pub fn is_done(self) -> bool {
        self != Self::Available
    }
}

/// Offsets `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateBatch {
    pub first: i64,
    pub last: i64,
    pub state: DeliveryState,
    pub delivery_count: i16,
}

impl StateBatch {
    /// Whether it holds offsets, and those can be.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        0 <= self.first && self.first <= self.last && self.delivery_count >= 0
    }

    fn continues(&self, before: &Self) -> bool {
        before.last + 1 == self.first
            && before.state == self.state
            && before.delivery_count == self.delivery_count
    }
}

/// What is known once `newer` is written over `older`: sorted, without overlaps, as few batches as it takes, and nothing of
/// what lies before the start offset.
#[must_use]
pub fn combine(older: &[StateBatch], newer: &[StateBatch], start_offset: i64) -> Vec<StateBatch> {
    let mut laid = older.to_vec();
    laid.sort_unstable();
    for batch in newer {
        laid = laid.iter().flat_map(|under| around(under, batch)).collect();
        let at = laid.partition_point(|other| other.first < batch.first);
        laid.insert(at, *batch);
    }
    let mut combined: Vec<StateBatch> = Vec::with_capacity(laid.len());
    for mut batch in laid {
        if start_offset >= 0 {
            batch.first = batch.first.max(start_offset);
        }
        if batch.first > batch.last {
            continue;
        }
        match combined.last_mut() {
            Some(last) if batch.continues(last) => last.last = batch.last,
            _ => combined.push(batch),
        }
    }
    combined
}

/// What is left of a batch that another one is laid over.
fn around(under: &StateBatch, over: &StateBatch) -> impl Iterator<Item = StateBatch> {
    let is_apart = over.last < under.first || under.last < over.first;
    let before = StateBatch { last: if is_apart { under.last } else { over.first - 1 }, ..*under };
    let after = StateBatch { first: over.last.saturating_add(1), ..*under };
    let after = (!is_apart && after.first <= after.last).then_some(after);
    (before.first <= before.last).then_some(before).into_iter().chain(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: i64, last: i64, state: DeliveryState, delivery_count: i16) -> StateBatch {
        StateBatch { first, last, state, delivery_count }
    }

    use DeliveryState::{Acknowledged, Archived, Available};

    #[test]
    fn what_was_written_last_counts_and_neighbours_become_one() {
        let older = [batch(0, 9, Available, 1), batch(20, 29, Available, 2)];
        let newer = [batch(5, 24, Acknowledged, 2)];
        assert_eq!(
            combine(&older, &newer, 0),
            [batch(0, 4, Available, 1), batch(5, 24, Acknowledged, 2), batch(25, 29, Available, 2)]
        );
        let neighbours = [batch(10, 19, Available, 1), batch(0, 9, Available, 1)];
        assert_eq!(combine(&neighbours, &[], 0), [batch(0, 19, Available, 1)]);
        let inside = [batch(3, 3, Archived, 1)];
        assert_eq!(
            combine(&[batch(0, 9, Available, 1)], &inside, 0),
            [batch(0, 2, Available, 1), batch(3, 3, Archived, 1), batch(4, 9, Available, 1)]
        );
        let later = [batch(0, 4, Available, 1), batch(0, 9, Acknowledged, 1)];
        assert_eq!(combine(&[], &later, -1), [batch(0, 9, Acknowledged, 1)]);
    }

    #[test]
    fn what_lies_before_the_start_is_forgotten() {
        let known = [batch(0, 9, Acknowledged, 1), batch(10, 19, Available, 1)];
        assert_eq!(combine(&known, &[], 15), [batch(15, 19, Available, 1)]);
        assert_eq!(combine(&known, &[], 20), []);
        assert_eq!(combine(&known, &[], -1), known);
    }

    /// Offset by offset, the way one would do it without batches.
    #[test]
    fn batches_say_what_single_offsets_would() {
        const OFFSETS: usize = 24;
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..500 {
            let mut expected: [Option<(DeliveryState, i16)>; OFFSETS] = [None; OFFSETS];
            let mut known = Vec::new();
            for _ in 0..4 {
                let newer: Vec<StateBatch> = (0..random(4))
                    .map(|_| {
                        let first = random(OFFSETS as u64) as i64;
                        let last = (first + random(6) as i64).min(OFFSETS as i64 - 1);
                        let state = [Available, Acknowledged, Archived][random(3) as usize];
                        batch(first, last, state, random(2) as i16 + 1)
                    })
                    .collect();
                for batch in &newer {
                    for offset in batch.first..=batch.last {
                        expected[offset as usize] = Some((batch.state, batch.delivery_count));
                    }
                }
                known = combine(&known, &newer, 0);
                let mut said: [Option<(DeliveryState, i16)>; OFFSETS] = [None; OFFSETS];
                for batch in &known {
                    assert!(batch.is_valid());
                    for offset in batch.first..=batch.last {
                        let before = said[offset as usize].replace((batch.state, batch.delivery_count));
                        assert_eq!(before, None, "no offset is told of twice");
                    }
                }
                assert_eq!(said, expected);
                assert!(known.windows(2).all(|pair| !pair[1].continues(&pair[0])), "as few as it takes");
            }
        }
    }
}
