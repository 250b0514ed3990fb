//! The coordinator's clock: wall-clock time at the start, from then on counted by the monotonic clock. Sessions do not
//! end early because somebody set the machine's time, and the times in committed offsets still are wall-clock times.

use std::time::{Duration, Instant};

pub(super) struct CoordinatorClock {
    started_ms: i64,
    started: Instant,
}

impl CoordinatorClock {
    pub(super) fn start() -> Self {
        Self { started_ms: crate::clock::now().0, started: Instant::now() }
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        self.started_ms + i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX / 2)
    }

    /// How long until a time of this clock; zero if it has passed.
    pub(super) fn until(&self, deadline_ms: i64) -> Duration {
        Duration::from_millis(u64::try_from(deadline_ms.saturating_sub(self.now_ms())).unwrap_or(0))
    }
}
