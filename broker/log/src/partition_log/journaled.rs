//! The log and the sync journal of its directory: before bytes that were written are changed or given up, the journal has to
//! forget them.

use std::io;
use std::sync::Arc;

use super::PartitionLog;
use crate::journal::{Journal, JournalSeat};

impl PartitionLog {
    /// Makes what only the journal may have durable in the segment itself, and has the journal forget the log's entries: the
    /// segment may be cut or closed now. Blocks on syncs, if there are any.
    pub(super) fn leave_journal(&mut self) -> io::Result<()> {
        match &self.journal {
            Some(seat) if self.durability.leave_journal() => {
                self.durability.sync_files_now()?;
                seat.void(true)
            }
            _ => Ok(()),
        }
    }

    /// From now on the log's records may be in the journal, under the name that its directory has now.
    pub(crate) fn enter_journal(&mut self, journal: Option<&Arc<Journal>>) {
        self.journal =
            journal.map(|journal| JournalSeat::new(journal, &self.storage.directory(), self.topic_id));
    }

    /// The same for a log that is about to be deleted, and whose records nobody wants.
    pub(crate) fn abandon_journal(&mut self) -> io::Result<()> {
        match &self.journal {
            Some(seat) if self.durability.leave_journal() => seat.void(false),
            _ => Ok(()),
        }
    }
}
