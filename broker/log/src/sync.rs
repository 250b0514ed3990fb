//! A ticket for one fdatasync: taken under the partition's lock, run without it, given back under it.

use std::io;

use moldau_model::Offset;

/// What must reach stable storage so that [`SyncTicket::end_offset`] is durable.
#[derive(Debug)]
#[must_use = "a ticket that is dropped leaves the log unable to become durable again"]
pub struct SyncTicket {
    pub(crate) end_offset: Offset,
}

impl SyncTicket {
    /// Syncs the dirty files, and the directories of those that are new. Blocks on the disk; holds no lock of the log.
    /// After an error the log directory must go offline: never run a ticket again.
    pub fn run(&self) -> io::Result<()> {
        todo!()
    }

    /// The exclusive end of what is durable once the ticket was run and completed.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }
}
