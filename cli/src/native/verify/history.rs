//! What was written and what was read, and whether the one follows from the other. No clock, no network: the judge of
//! `moldau verify`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many examples of each kind of fault are kept.
const EXAMPLES_MAX: usize = 5;

/// A record's name: who wrote it, and as which of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) producer: u32,
    pub(super) sequence: u64,
}

impl Name {
    /// As it stands in the record's value.
    pub(super) fn text(self, run: u64) -> String {
        format!("moldau-verify {run:016x} {} {}", self.producer, self.sequence)
    }

    /// Reads a value; `None` for records of others.
    pub(super) fn parse(value: &[u8], run: u64) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut words = text.split(' ');
        if words.next() != Some("moldau-verify") || words.next()? != format!("{run:016x}") {
            return None;
        }
        let name = Self { producer: words.next()?.parse().ok()?, sequence: words.next()?.parse().ok()? };
        words.next().is_none().then_some(name)
    }
}

/// What became of a record that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The cluster said that it has it.
    Acknowledged,
    /// The cluster did not say so: it may be there, or not.
    Unknown,
}

/// One record as a reader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) name: Name,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(super) struct History {
    sent: BTreeMap<Name, Outcome>,
    /// What was read while the load ran, by partition and offset.
    live: HashMap<(i32, i64), Name>,
    changed: Vec<String>,
}

/// What is wrong, with some examples; and the counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) acknowledged: u64,
    pub(super) unknown: u64,
    pub(super) found: u64,
    pub(super) faults: Vec<Fault>,
}

/// A kind of fault: how often, and the first few.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: &'static str,
    pub(super) count: u64,
    pub(super) examples: Vec<String>,
}

impl Judgement {
    /// Whether the run shows that the cluster keeps its promises: it made some, and broke none.
    pub(super) fn is_sound(&self) -> bool {
        self.acknowledged > 0 && self.faults.is_empty()
    }
}

impl History {
    pub(super) fn sent(&mut self, name: Name, outcome: Outcome) {
        self.sent.insert(name, outcome);
    }

    /// A record that was read while the load ran. What was shown to a reader once must stay.
    pub(super) fn read_live(&mut self, seen: Seen) {
        let Seen { partition, offset, name } = seen;
        if let Some(before) = self.live.insert((partition, offset), name)
            && before != name
        {
            self.changed.push(format!("partition {partition}, offset {offset}"));
        }
    }

    /// Judges by what the partitions hold at the end, which comes partition by partition in the order of offsets.
    pub(super) fn judge(&self, last: &[Seen]) -> Judgement {
        let mut judgement = Judgement { found: last.len() as u64, ..Judgement::default() };
        let mut found: HashMap<Name, u64> = HashMap::with_capacity(last.len());
        let mut highest: BTreeMap<(i32, u32), u64> = BTreeMap::new();
        let mut at: HashMap<(i32, i64), Name> = HashMap::with_capacity(last.len());
        let (mut duplicated, mut reordered) = (Fault::new("duplicated"), Fault::new("reordered"));
        let (mut invented, mut lost) = (Fault::new("never sent"), Fault::new("lost"));
        let mut changed = Fault::new("changed after it was read");
        for seen in last {
            let Seen { partition, offset, name } = *seen;
            let place = || {
                format!(
                    "producer {} record {} at partition {partition}, offset {offset}",
                    name.producer, name.sequence
                )
            };
            at.insert((partition, offset), name);
            let times = found.entry(name).or_default();
            *times += 1;
            if *times > 1 {
                duplicated.add(place);
                continue;
            }
            match self.sent.get(&name) {
                None => invented.add(place),
                // One that was given up may have been written late, behind what was sent after it.
                Some(Outcome::Unknown) => {}
                Some(Outcome::Acknowledged) => {
                    let highest = highest.entry((partition, name.producer)).or_insert(name.sequence);
                    if name.sequence < *highest {
                        reordered.add(place);
                    }
                    *highest = name.sequence.max(*highest);
                }
            }
        }
        for (name, outcome) in &self.sent {
            match outcome {
                Outcome::Acknowledged => {
                    judgement.acknowledged += 1;
                    if !found.contains_key(name) {
                        lost.add(|| format!("producer {} record {}", name.producer, name.sequence));
                    }
                }
                Outcome::Unknown => judgement.unknown += 1,
            }
        }
        let live: BTreeSet<(&(i32, i64), &Name)> = self.live.iter().collect();
        for ((partition, offset), name) in live {
            if at.get(&(*partition, *offset)) != Some(name) {
                changed.add(|| format!("partition {partition}, offset {offset}"));
            }
        }
        for example in &self.changed {
            changed.add(|| example.clone());
        }
        let faults = [lost, duplicated, reordered, invented, changed];
        judgement.faults = faults.into_iter().filter(|fault| fault.count > 0).collect();
        judgement
    }
}

impl Fault {
    fn new(kind: &'static str) -> Self {
        Self { kind, count: 0, examples: Vec::new() }
    }

    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sequence: u64) -> Name {
        Name { producer: 1, sequence }
    }

    fn seen(offset: i64, sequence: u64) -> Seen {
        Seen { partition: 0, offset, name: name(sequence) }
    }

    /// Records 0 to 3, of which the third was given up.
    fn history() -> History {
        let mut history = History::default();
        for sequence in 0..4 {
            let outcome = if sequence == 2 { Outcome::Unknown } else { Outcome::Acknowledged };
            history.sent(name(sequence), outcome);
        }
        history
    }

    fn faults(history: &History, last: &[Seen]) -> Vec<(&'static str, u64)> {
        history.judge(last).faults.iter().map(|fault| (fault.kind, fault.count)).collect()
    }

    #[test]
    fn a_record_whose_fate_is_unknown_may_be_there_or_not_or_late() {
        let history = history();
        for last in [
            vec![seen(0, 0), seen(1, 1), seen(2, 3)],
            vec![seen(0, 0), seen(1, 1), seen(2, 2), seen(3, 3)],
            vec![seen(0, 0), seen(1, 1), seen(2, 3), seen(3, 2)],
        ] {
            assert_eq!(faults(&history, &last), []);
        }
        let judgement = history.judge(&[seen(0, 0), seen(1, 1), seen(2, 3)]);
        assert_eq!((judgement.acknowledged, judgement.unknown, judgement.found), (3, 1, 3));
    }

    #[test]
    fn each_fault_is_told_by_its_name() {
        let history = history();
        assert_eq!(faults(&history, &[seen(0, 0), seen(1, 3)]), [("lost", 1)]);
        let twice = [seen(0, 0), seen(1, 1), seen(2, 3), seen(3, 1)];
        assert_eq!(faults(&history, &twice), [("duplicated", 1)]);
        assert_eq!(faults(&history, &[seen(0, 0), seen(1, 3), seen(2, 1)]), [("reordered", 1)]);
        let foreign = [seen(0, 0), seen(1, 1), seen(2, 3), seen(3, 9)];
        assert_eq!(faults(&history, &foreign), [("never sent", 1)]);
    }

    #[test]
    fn a_run_in_which_nothing_was_promised_shows_nothing() {
        assert!(history().judge(&[seen(0, 0), seen(1, 1), seen(2, 3)]).is_sound());
        let mut history = History::default();
        assert!(!history.judge(&[]).is_sound());
        history.sent(name(0), Outcome::Unknown);
        let judgement = history.judge(&[seen(0, 0)]);
        assert!(judgement.faults.is_empty() && !judgement.is_sound());
    }

    #[test]
    fn what_a_reader_saw_must_stay() {
        let mut history = history();
        history.read_live(seen(2, 2));
        history.read_live(seen(2, 2));
        let last = [seen(0, 0), seen(1, 1), seen(2, 3)];
        assert_eq!(faults(&history, &last), [("changed after it was read", 1)]);
        history.read_live(seen(2, 3));
        assert_eq!(faults(&history, &last), [("changed after it was read", 1)]);
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let text = name(7).text(5);
        assert_eq!(Name::parse(text.as_bytes(), 5), Some(name(7)));
        assert_eq!(Name::parse(text.as_bytes(), 6), None);
        assert_eq!(Name::parse(b"hello", 5), None);
        assert_eq!(Name::parse(format!("{text} x").as_bytes(), 5), None);
    }
}
