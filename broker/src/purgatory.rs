//! Requests that have done their part and wait for something: produces for the high watermark, fetches for records.

mod delayed_fetch;
mod delayed_produce;

pub use delayed_fetch::FetchWaiter;
pub(crate) use delayed_fetch::WaitEnd;
pub use delayed_produce::DelayedProduce;
