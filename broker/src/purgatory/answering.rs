//! Who gives the answer when an operation is done: the thread by which it became so, at once, rather than a task that
//! it would have to wake.

use std::cell::RefCell;
use std::sync::Arc;

use crate::plug::{Held, Plug};

/// Connections that one plug answers by itself. The threads that sync have others waiting for them: with more, their
/// tasks do it, side by side.
const ANSWERED_AT_ONCE_MAX: usize = 4;

/// A connection whose operation is done.
pub(crate) trait Answering: Send + Sync {
    /// Answers what can be answered without waiting. No lock of a partition is held.
    fn answer(&self);

    /// Has its task do so.
    fn wake(&self);
}

thread_local! {
    static DONE: Held<Arc<dyn Answering>> = const { RefCell::new(None) };
}

/// Keeps operations that its thread completes from being answered: one connection's leave by one write when it is dropped.
pub(crate) fn plug_answers() -> Plug<Arc<dyn Answering>> {
    Plug::new(&DONE, |done| {
        let is_little = done.len() <= ANSWERED_AT_ONCE_MAX;
        for connection in done {
            if is_little {
                connection.answer();
            } else {
                connection.wake();
            }
        }
    })
}

/// Answers now, or when the thread's plug is pulled.
pub(super) fn answer_or_hold(connection: Arc<dyn Answering>) {
    let unheld = DONE.with_borrow_mut(|held| match held {
        Some(held) => {
            if !held.iter().any(|other| Arc::ptr_eq(other, &connection)) {
                held.push(connection);
            }
            None
        }
        None => Some(connection),
    });
    if let Some(connection) = unheld {
        connection.answer();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counted {
        answered: AtomicUsize,
        woken: AtomicUsize,
    }

    impl Answering for Counted {
        fn answer(&self) {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }

        fn wake(&self) {
            self.woken.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counts(connections: &[Arc<Counted>]) -> Vec<(usize, usize)> {
        let of = |it: &Arc<Counted>| (it.answered.load(Ordering::Relaxed), it.woken.load(Ordering::Relaxed));
        connections.iter().map(of).collect()
    }

    #[test]
    fn a_connection_behind_a_plug_is_answered_once_however_much_of_it_is_done() {
        let connections: Vec<Arc<Counted>> = (0..2).map(|_| Arc::default()).collect();
        let plug = plug_answers();
        for connection in connections.iter().cycle().take(6) {
            let _inner = plug_answers();
            answer_or_hold(connection.clone());
        }
        assert_eq!(counts(&connections), [(0, 0), (0, 0)]);
        drop(plug);
        assert_eq!(counts(&connections), [(1, 0), (1, 0)]);
        answer_or_hold(connections[0].clone());
        assert_eq!(counts(&connections), [(2, 0), (1, 0)]);
    }

    #[test]
    fn many_connections_are_left_to_their_tasks() {
        let connections: Vec<Arc<Counted>> = (0..=ANSWERED_AT_ONCE_MAX).map(|_| Arc::default()).collect();
        let plug = plug_answers();
        connections.iter().for_each(|connection| answer_or_hold(connection.clone()));
        drop(plug);
        assert!(counts(&connections).iter().all(|counts| *counts == (0, 1)));
    }
}
