//! What is committed of a partition: all that any leader's high watermark has passed. Every promise about records is held
//! against it.

use crate::log::{Batch, SimulatedLog};

/// Only ever grows, until an unclean election says that records may be lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommittedLog {
    batches: Vec<Batch>,
    is_given_up: bool,
}

impl CommittedLog {
    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(0, Batch::end)
    }

    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(crate) fn batches(&self) -> &[Batch] {
        &self.batches
    }

    fn from(&self, offset: i64) -> &[Batch] {
        &self.batches[self.batches.partition_point(|batch| batch.end() <= offset)..]
    }

    pub(crate) fn at(&self, offset: i64) -> Option<&Batch> {
        self.from(offset).first()
    }

    /// An unclean election was held: nothing is promised any more.
    pub(crate) fn give_up(&mut self) {
        self.is_given_up = true;
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up
    }

    /// Whether a log has the same batches below `end`, as far as both reach. What was compared once is not compared again.
    pub(crate) fn compare(&self, log: &mut SimulatedLog, end: i64) -> Result<(), String> {
        let from = log.verified_end;
        let below = |batch: &&Batch| batch.base < end;
        for (committed, found) in self.from(from).iter().take_while(below).zip(log.from(from)) {
            if !committed.is_same(found) {
                return Err(format!("committed is {committed:?}, the log has {found:?}"));
            }
        }
        log.verified_end = from.max(end.min(log.end()).min(self.end()));
        Ok(())
    }

    /// A leader's high watermark reached `high_watermark`. Gives how many batches that made committed.
    pub(crate) fn extend(&mut self, log: &mut SimulatedLog, high_watermark: i64) -> Result<usize, String> {
        self.compare(log, high_watermark)?;
        let before = self.batches.len();
        for batch in log.from(self.end()) {
            if batch.end() > high_watermark {
                break;
            }
            if batch.base != self.end() {
                return Err(format!("a hole before {batch:?}"));
            }
            self.batches.push(batch.clone());
        }
        if self.end() < high_watermark {
            return Err(format!("the high watermark {high_watermark} is no end of a batch"));
        }
        log.verified_end = log.verified_end.max(high_watermark);
        Ok(self.batches.len() - before)
    }
}
