//! What a thread keeps back while it does several things in a row, to do it once for all of them behind the last.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::thread::LocalKey;

/// What waits behind a thread's plug; `None` without one.
pub(crate) type Held<T> = RefCell<Option<Vec<T>>>;

/// While it lives, what its thread puts into `held` stays there. Dropping it releases all of that.
#[must_use = "dropped at once it holds nothing back"]
pub(crate) struct Plug<T: 'static> {
    held: &'static LocalKey<Held<T>>,
    release: fn(Vec<T>),
    /// An outer plug of the same thread holds on.
    is_inner: bool,
    /// It belongs to its thread.
    _not_send: PhantomData<*const ()>,
}

/// Leaves the item to the thread's plug; without one it comes back.
pub(crate) fn hold<T>(held: &'static LocalKey<Held<T>>, item: T) -> Option<T> {
    held.with_borrow_mut(|held| match held {
        Some(held) => {
            held.push(item);
            None
        }
        None => Some(item),
    })
}

impl<T: 'static> Plug<T> {
    pub(crate) fn new(held: &'static LocalKey<Held<T>>, release: fn(Vec<T>)) -> Self {
        let is_inner = held.with_borrow_mut(|held| {
            let is_inner = held.is_some();
            held.get_or_insert_default();
            is_inner
        });
        Self { held, release, is_inner, _not_send: PhantomData }
    }
}

impl<T: 'static> Drop for Plug<T> {
    fn drop(&mut self) {
        if !self.is_inner {
            // What is released meanwhile finds no plug.
            (self.release)(self.held.take().unwrap_or_default());
        }
    }
}
