//! Lets time pass for the shards: one task for all of them, asleep until the earliest deadline.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Coordinator;
use super::shard::Shard;

/// A deadline that has passed and stays is looked at again after this, not at once.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// With nothing due, the task still looks whether the coordinator is gone.
const PAUSE_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run<S: Shard>(coordinator: Weak<Coordinator<S>>) {
    loop {
        let Some(coordinator) = coordinator.upgrade() else { return };
        if coordinator.is_stopped.load(Ordering::Acquire) {
            return;
        }
        // Deadlines that are set from here on lower this again and wake the task.
        coordinator.next_tick_ms.store(i64::MAX, Ordering::Release);
        let now_ms = coordinator.clock.now_ms();
        for slot in coordinator.slots() {
            if let Some(deadline_ms) = slot.tick(&coordinator, now_ms) {
                coordinator.next_tick_ms.fetch_min(deadline_ms, Ordering::AcqRel);
            }
        }
        let next_ms = coordinator.next_tick_ms.load(Ordering::Acquire);
        let pause = coordinator.clock.until(next_ms).clamp(PAUSE_MIN, PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = coordinator.tick_sooner.notified() => {}
        }
    }
}
