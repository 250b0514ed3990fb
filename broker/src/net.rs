//! From sockets to requests and back. One task per connection; nothing a peer sends makes the broker allocate more than
//! what has arrived of it.

mod answers;
mod authentication;
mod connection;
mod frame_reader;
mod limits;
mod listener;
mod output;
mod pipeline;
mod protection;
mod transport;

pub use limits::{ConnectionBounds, ConnectionLimits, ConnectionPlace};
pub use listener::{BoundListener, NetworkShared, bind};
pub use protection::{Protection, ProtectionError};

/// Waits for the stop. (A watched value's guard must not live across an await, so it ends here.)
pub(crate) async fn stopped(stop: &mut tokio::sync::watch::Receiver<bool>) {
    // An error says that the sender is gone, which is a stop too.
    let _ = stop.wait_for(|stopping| *stopping).await;
}
