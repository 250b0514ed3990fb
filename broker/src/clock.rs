//! The one place of the broker that reads the clocks: pure crates get the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use moldau_model::TimestampMs;

/// Wall-clock time, in milliseconds since 1970. A clock before 1970 counts as 1970.
#[must_use]
pub fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
