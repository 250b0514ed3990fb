//! The one place of the broker that reads the clocks: pure crates get the time as an argument.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use moldau_model::TimestampMs;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Wall-clock time, in milliseconds since 1970: for timestamps and retention. A clock before 1970 counts as 1970.
#[must_use]
pub fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Milliseconds since the process looked first, which no change of the wall clock moves: for lags and sessions.
#[must_use]
pub fn monotonic() -> TimestampMs {
    TimestampMs(i64::try_from(STARTED.elapsed().as_millis()).unwrap_or(i64::MAX))
}
