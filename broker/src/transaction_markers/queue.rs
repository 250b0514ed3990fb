//! Markers that wait for a lane to one leader.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Parcel;

/// Transactions in one request: what a leader can append within a request's time, whatever waits behind.
const PARCELS_PER_REQUEST_MAX: usize = 1_000;

/// First in, first out; bounded by the transactions that end.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Parcel>>,
    arrived: Notify,
}

impl Queue {
    pub(super) fn push(&self, parcel: Parcel) {
        self.waiting.lock().push_back(parcel);
        self.arrived.notify_one();
    }

    /// What waits, as much as one request takes; waits until there is something.
    pub(super) async fn take(&self) -> Vec<Parcel> {
        loop {
            let taken = self.try_take();
            if !taken.is_empty() {
                return taken;
            }
            self.arrived.notified().await;
        }
    }

    fn try_take(&self) -> Vec<Parcel> {
        let mut waiting = self.waiting.lock();
        let count = waiting.len().min(PARCELS_PER_REQUEST_MAX);
        let taken = waiting.drain(..count).collect();
        if !waiting.is_empty() {
            // Another lane goes on with the rest.
            self.arrived.notify_one();
        }
        taken
    }
}
