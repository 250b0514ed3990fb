//! A transaction is committed in all its partitions or in none, and only if its client asked for it; its client is told the
//! outcome that it has; and readers of what is stable see the records of committed transactions and of no others.

use std::collections::{BTreeMap, BTreeSet};

use super::{CommittedLog, Verdict};
use crate::log::{Batch, InTransaction};
use crate::message::Part;

/// One transaction, as its client meant it.
#[derive(Debug, Default)]
struct Transaction {
    has_asked_for_commit: bool,
    told: Option<bool>,
    /// As the first marker in a committed log says.
    outcome: Option<bool>,
    /// Batches that were acknowledged in it.
    acked: Vec<(Part, u64)>,
    /// Batches in committed logs.
    written: BTreeSet<(Part, u64)>,
    /// For whom offsets were acknowledged in it.
    offsets_for: Option<&'static str>,
}

/// See the module. Transactions have the numbers that their clients gave them, ascending.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    known: BTreeMap<u64, Transaction>,
    /// In committed logs: what is written of a producer since its last marker.
    open: BTreeMap<(Part, i64), u64>,
    given: BTreeSet<(i64, i16)>,
}

impl Transactions {
    /// A producer is given its id and epoch.
    pub(crate) fn given(&mut self, producer: (i64, i16)) -> Verdict {
        if self.given.insert(producer) { Ok(()) } else { Err(format!("{producer:?} is given a second time")) }
    }

    fn of(&mut self, number: u64) -> &mut Transaction {
        self.known.entry(number).or_default()
    }

    pub(crate) fn acked(&mut self, number: u64, part: Part, id: u64) {
        self.of(number).acked.push((part, id));
    }

    pub(crate) fn acked_offsets(&mut self, number: u64, transactional_id: &'static str) {
        self.of(number).offsets_for = Some(transactional_id);
    }

    /// A client is about to ask for the end.
    pub(crate) fn asked(&mut self, number: u64, is_commit: bool) {
        self.of(number).has_asked_for_commit |= is_commit;
    }

    /// A client is told that its transaction has ended as it wished.
    pub(crate) fn told(&mut self, number: u64, is_commit: bool) -> Verdict {
        let transaction = self.of(number);
        transaction.told = Some(is_commit);
        match transaction.outcome {
            Some(outcome) if outcome != is_commit => {
                Err(format!("transaction {number} was committed: {outcome}, its client is told {is_commit}"))
            }
            _ => Ok(()),
        }
    }

    /// A batch is committed.
    pub(super) fn committed(&mut self, part: Part, batch: &Batch) -> Verdict {
        let (Some(by), Some(in_transaction)) = (batch.content.sequenced, batch.content.in_transaction) else {
            return Ok(());
        };
        match in_transaction {
            InTransaction::Records { transaction } => {
                let before = *self.open.entry((part, by.producer_id)).or_insert(transaction);
                if before != transaction {
                    return Err(format!(
                        "{part:?}: {batch:?} is in one transaction with records of {before}"
                    ));
                }
                self.of(transaction).written.insert((part, batch.content.id));
                Ok(())
            }
            InTransaction::Marker { is_commit, .. } => match self.open.remove(&(part, by.producer_id)) {
                Some(number) => self.ended(number, part, is_commit),
                None => Ok(()),
            },
        }
    }

    fn ended(&mut self, number: u64, part: Part, is_commit: bool) -> Verdict {
        let transaction = self.of(number);
        let outcome = *transaction.outcome.get_or_insert(is_commit);
        if outcome != is_commit {
            return Err(format!("transaction {number}: committed is {outcome}, and {is_commit} in {part:?}"));
        }
        if is_commit && !transaction.has_asked_for_commit {
            return Err(format!("transaction {number} is committed in {part:?}, and nobody asked for it"));
        }
        match transaction.told {
            Some(told) if told != is_commit => {
                Err(format!("transaction {number}: its client was told {told}, {part:?} is told {is_commit}"))
            }
            _ => Ok(()),
        }
    }

    /// A reader of what is stable made these batches of an answer that covers the offsets from `from` to `to`.
    pub(super) fn read(
        &self,
        log: &CommittedLog,
        part: Part,
        (from, to): (i64, i64),
        seen: &[u64],
    ) -> Verdict {
        let mut expected = Vec::new();
        for batch in log.batches().iter().filter(|batch| batch.end() > from && batch.end() <= to) {
            match batch.content.in_transaction {
                None => expected.push(batch.content.id),
                Some(InTransaction::Marker { .. }) => {}
                Some(InTransaction::Records { transaction }) => {
                    match self.known.get(&transaction).and_then(|known| known.outcome) {
                        Some(true) => expected.push(batch.content.id),
                        Some(false) => {}
                        None => {
                            return Err(format!("{part:?}: {batch:?} is read, and its transaction is open"));
                        }
                    }
                }
            }
        }
        if expected == seen {
            return Ok(());
        }
        Err(format!("{part:?} from {from} to {to}: a reader made {seen:?} of it, committed are {expected:?}"))
    }

    /// A group of a transactional id's copies: the offset that a coordinator shows is that of a committed transaction.
    pub(crate) fn shown_offset(&self, transactional_id: &str, offset: i64) -> Verdict {
        let known = u64::try_from(offset).ok().and_then(|number| self.known.get(&number));
        let may_be = known.is_some_and(|known| known.has_asked_for_commit && known.outcome != Some(false));
        if offset == -1 || may_be {
            return Ok(());
        }
        Err(format!(
            "offset {offset} of {transactional_id} is shown, of a transaction that was not committed: {known:?}"
        ))
    }

    /// The newest offset in a transaction of which a client of this id was told that it is committed.
    pub(crate) fn told_offset(&self, transactional_id: &str) -> i64 {
        let mut newest_first = self.known.iter().rev();
        let is_told = |(_, known): &(&u64, &Transaction)| {
            known.offsets_for == Some(transactional_id) && known.told == Some(true)
        };
        newest_first.find(is_told).map_or(-1, |(number, _)| *number as i64)
    }

    /// The newest offset that was committed in a transaction of this id.
    pub(crate) fn latest_offset(&self, transactional_id: &str) -> i64 {
        let mut newest_first = self.known.iter().rev();
        let is_committed = |(_, known): &(&u64, &Transaction)| {
            known.offsets_for == Some(transactional_id) && known.outcome == Some(true)
        };
        newest_first.find(is_committed).map_or(-1, |(number, _)| *number as i64)
    }

    /// In the end nothing is open, and what clients were told is so.
    pub(crate) fn check_end(&self) -> Verdict {
        if let Some(((part, producer), number)) = self.open.first_key_value() {
            return Err(format!(
                "in the end transaction {number} of producer {producer} is open in {part:?}"
            ));
        }
        for (number, known) in self.known.iter().filter(|(_, known)| known.told == Some(true)) {
            let is_whole = known.acked.iter().all(|acked| known.written.contains(acked));
            if !is_whole || (!known.acked.is_empty() && known.outcome != Some(true)) {
                return Err(format!("transaction {number} was acknowledged, and is not whole: {known:?}"));
            }
        }
        Ok(())
    }
}
