//! Requests that have done their part and wait for something: produces and deletions for the other replicas, fetches for
//! records.

mod answering;
mod delayed_fetch;
mod delayed_operation;

pub(crate) use answering::{Answering, plug_answers};
pub use delayed_fetch::FetchWaiter;
pub(crate) use delayed_fetch::WaitEnd;
pub(crate) use delayed_fetch::plug_fetches;
pub use delayed_operation::DelayedOperation;
