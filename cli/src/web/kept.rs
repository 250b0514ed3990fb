//! The records that a scan has found and not given yet: so many of each partition, and so many bytes of all.

use std::collections::{BTreeMap, VecDeque};

use crate::client::offsets::Partition;

/// What lines of records may take together until they are given. A scan is one of a few that a node runs at a time.
pub(super) const BYTES_MAX: usize = 32 << 20;

/// A record as it is given: its line of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) text: String,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
}

/// Lines by partition, each in the order of its offsets.
#[derive(Debug)]
pub(super) struct Kept {
    queues: BTreeMap<Partition, Queue>,
    bytes: usize,
    /// Lines of one partition.
    each_max: usize,
    bytes_max: usize,
    /// The highest offset of each partition that had to go.
    dropped: BTreeMap<Partition, i64>,
    was_too_large: bool,
}

impl Kept {
    pub(super) fn new(each_max: usize, bytes_max: usize) -> Self {
        Self {
            queues: BTreeMap::new(),
            bytes: 0,
            each_max,
            bytes_max,
            dropped: BTreeMap::new(),
            was_too_large: false,
        }
    }

    /// Whether as many of the partition are kept as can be given.
    pub(super) fn is_full_of(&self, partition: &Partition) -> bool {
        self.queues.get(partition).is_some_and(|queue| queue.lines.len() >= self.each_max)
    }

    /// Whether there is no room for one of any partition.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= self.bytes_max
    }

    /// Keeps one more.
    pub(super) fn add(&mut self, partition: &Partition, line: Line) {
        if !self.queues.contains_key(partition) {
            self.queues.insert(partition.clone(), Queue::default());
        }
        let Some(queue) = self.queues.get_mut(partition) else { return };
        queue.bytes += line.text.len();
        self.bytes += line.text.len();
        queue.lines.push_back(line);
    }

    /// Keeps one more, the oldest of its partition, or of the one with the most, having to go for it.
    pub(super) fn add_newer(&mut self, partition: &Partition, line: Line) {
        self.add(partition, line);
        if self.queues.get(partition).is_some_and(|queue| queue.lines.len() > self.each_max) {
            self.drop_oldest(&partition.clone());
        }
        while self.bytes > self.bytes_max {
            self.was_too_large = true;
            let largest = self.queues.iter().max_by_key(|(_, queue)| queue.bytes);
            let Some(largest) = largest.map(|(partition, _)| partition.clone()) else { return };
            self.drop_oldest(&largest);
        }
    }

    fn drop_oldest(&mut self, partition: &Partition) {
        let Some(queue) = self.queues.get_mut(partition) else { return };
        let Some(line) = queue.lines.pop_front() else { return };
        queue.bytes -= line.text.len();
        self.bytes -= line.text.len();
        self.dropped.insert(partition.clone(), line.offset);
    }

    /// Forgets what was found in a partition.
    pub(super) fn forget(&mut self, partition: &Partition) {
        self.bytes -= self.queues.remove(partition).map_or(0, |queue| queue.bytes);
        self.dropped.remove(partition);
    }

    /// The highest offset of each partition that had to go.
    pub(super) fn dropped(&self) -> &BTreeMap<Partition, i64> {
        &self.dropped
    }

    /// Whether something had to go for its size, and not for the number of what is newer.
    pub(super) fn was_too_large(&self) -> bool {
        self.was_too_large
    }

    /// The oldest of all that is the next one of its partition.
    pub(super) fn pop_oldest(&mut self) -> Option<(Partition, Line)> {
        let front = |queue: &Queue| queue.lines.front().map(|line| line.timestamp);
        let next = self.queues.iter().filter_map(|(p, queue)| Some((front(queue)?, p))).min()?.1.clone();
        let line = self.queues.get_mut(&next)?.lines.pop_front()?;
        Some((next, line))
    }

    /// The newest of all that is the last one of its partition.
    pub(super) fn pop_newest(&mut self) -> Option<(Partition, Line)> {
        let back = |queue: &Queue| queue.lines.back().map(|line| line.timestamp);
        let next = self.queues.iter().filter_map(|(p, queue)| Some((back(queue)?, p))).max()?.1.clone();
        let line = self.queues.get_mut(&next)?.lines.pop_back()?;
        Some((next, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(partition: i32) -> Partition {
        ("t".to_owned(), partition)
    }

    fn line(offset: i64, timestamp: i64) -> Line {
        Line { offset, timestamp, text: "x".repeat(10) }
    }

    #[test]
    fn records_are_merged_by_time_and_a_partition_keeps_its_order() {
        let kept = || {
            let mut kept = Kept::new(10, BYTES_MAX);
            for (partition, offset, timestamp) in [(0, 0, 5), (0, 1, 2), (1, 0, 3), (1, 1, 9)] {
                kept.add(&of(partition), line(offset, timestamp));
            }
            kept
        };
        let (mut forwards, mut backwards) = (kept(), kept());
        let oldest: Vec<_> = std::iter::from_fn(|| forwards.pop_oldest()).collect();
        let newest: Vec<_> = std::iter::from_fn(|| backwards.pop_newest()).collect();
        let order = |lines: &[(Partition, Line)]| -> Vec<(i32, i64)> {
            lines.iter().map(|(partition, line)| (partition.1, line.offset)).collect()
        };
        assert_eq!(order(&oldest), [(1, 0), (0, 0), (0, 1), (1, 1)]);
        assert_eq!(order(&newest), [(1, 1), (1, 0), (0, 1), (0, 0)]);
    }

    #[test]
    fn no_more_is_kept_than_can_be_given_and_the_newest_stay() {
        let mut kept = Kept::new(3, BYTES_MAX);
        for offset in 0..1000 {
            kept.add_newer(&of(0), line(offset, offset));
        }
        assert_eq!((kept.bytes, kept.dropped().get(&of(0))), (30, Some(&996)));
        assert!(!kept.was_too_large());
        assert_eq!(kept.pop_newest().map(|(_, line)| line.offset), Some(999));
    }

    #[test]
    fn no_more_bytes_are_kept_than_may_be_and_every_partition_gives_some() {
        let mut kept = Kept::new(1000, 100);
        for offset in 0..500 {
            kept.add_newer(&of(offset as i32 % 2), line(offset, offset));
            assert!(kept.bytes <= 100);
        }
        assert!(kept.was_too_large() && kept.dropped().len() == 2);
        assert_eq!(kept.queues.values().map(|queue| queue.lines.len()).collect::<Vec<_>>(), [5, 5]);
        kept.forget(&of(0));
        assert_eq!((kept.bytes, kept.dropped().len()), (50, 1));
    }
}
