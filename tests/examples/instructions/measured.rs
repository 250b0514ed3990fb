//! One function for each case, so that the profiler finds what it cost by its name.

use std::hint::black_box;

/// Operations before anything is counted: what is made at the first use is made then.
pub(crate) const WARM_UP: usize = 20;
/// Operations of a case that are counted.
pub(crate) const TIMES: usize = 100;

/// Runs an operation so many times.
pub(crate) type Measured = fn(usize, &mut dyn FnMut());

macro_rules! measured {
    ($($name:ident)+) => {$(
        #[inline(never)]
        pub(crate) fn $name(times: usize, operation: &mut dyn FnMut()) {
            // Functions that are the same are made one by the linker, and then have one name.
            black_box(stringify!($name));
            for _ in 0..times {
                operation();
            }
        }
    )+};
}

measured! {
    api_versions
    metadata_one_topic
    metadata_100_partitions
    produce_tiny
    produce_batched
    produce_lz4
    produce_6_partitions
    produce_idempotent
    produce_acks_all
    fetch_tiny
    fetch_session_of_100
    fetch_parked
    heartbeat
    consumer_heartbeat
    offset_commit
    connection_metadata
    connection_produce
    connection_fetch
}

/// Warms the operation up, counts it, and says so. A function of this module that is not inlined would count itself.
#[inline(always)]
pub(crate) fn count(name: &str, measured: Measured, operation: &mut dyn FnMut()) {
    for _ in 0..WARM_UP {
        operation();
    }
    measured(TIMES, operation);
    println!("{name} {TIMES}");
}
