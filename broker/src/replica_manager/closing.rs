//! The logs at a clean stop.

use std::collections::HashSet;
use std::sync::Arc;

use moldau_log::LogError;
use moldau_model::BrokerEpoch;

use super::ReplicaManager;
use super::moving::FutureLog;
use super::partition::Partition;
use super::wake::Wake;
use crate::clock;
use crate::log_dirs::LogDir;

impl ReplicaManager {
    /// Closes all logs, and marks the directories in which everything was closed. What one directory refuses keeps no other
    /// from its marker.
    ///
    /// # Errors
    /// The first one, after all was tried.
    pub(crate) fn close_clean(&self, broker_epoch: BrokerEpoch) -> Result<(), LogError> {
        let (mut unclean, mut result) = (HashSet::new(), Ok(()));
        let mut note = |dir: &LogDir, closed: Result<(), LogError>| {
            if let Err(error) = closed {
                tracing::error!(path = %dir.log.path().display(), %error, "a log was not closed");
                unclean.insert(dir.id);
                if result.is_ok() {
                    result = Err(error);
                }
            }
        };
        for partition in self.partitions() {
            let (dir, copy) = (partition.dir(), partition.copy());
            if dir.is_online() {
                note(&dir, partition.close());
            }
            if let Some(copy) = copy.filter(|copy| copy.dir().is_online()) {
                note(copy.dir(), copy.close());
            }
        }
        for dir in self.dirs().iter().filter(|dir| dir.is_online() && !unclean.contains(&dir.id)) {
            let closed = dir.log.close_clean(&self.checkpoints_of(dir), broker_epoch);
            result = result.and(closed);
        }
        result
    }
}

impl Partition {
    fn copy(&self) -> Option<Arc<FutureLog>> {
        self.lock().moving.as_ref().map(|moving| Arc::clone(&moving.future))
    }

    /// Closes the log cleanly; the partition takes nothing any more.
    fn close(&self) -> Result<(), LogError> {
        let mut wake = Wake::default();
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(log) = &mut state.log else { return Ok(()) };
        log.close(clock::now())?;
        self.after_log_change(state, &mut wake);
        drop(guard);
        wake.fire();
        Ok(())
    }
}
