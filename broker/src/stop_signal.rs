//! How threads of the broker rest: until their time has come, or the broker stops.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// Shared by threads that are to end together.
#[derive(Default)]
pub(crate) struct StopSignal {
    is_stopping: Mutex<bool>,
    changed: Condvar,
}

impl StopSignal {
    pub(crate) fn stop(&self) {
        *self.is_stopping.lock() = true;
        self.changed.notify_all();
    }

    /// `false` once the broker stops.
    pub(crate) fn pause_until(&self, deadline: Instant) -> bool {
        let mut is_stopping = self.is_stopping.lock();
        while !*is_stopping {
            if self.changed.wait_until(&mut is_stopping, deadline).timed_out() {
                return !*is_stopping;
            }
        }
        false
    }
}
