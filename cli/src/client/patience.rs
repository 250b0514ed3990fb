//! Saying on standard error for whom a tool waits, where that takes long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::console::note;

/// How long nobody wonders.
const SILENT_MAX: Duration = Duration::from_secs(4);
const TICK: Duration = Duration::from_millis(500);

/// What is waited for now.
#[derive(Debug)]
struct Wait {
    since: Instant,
    whom: String,
    is_told: bool,
}

impl Wait {
    /// The line that is due, once.
    fn due(&mut self, now: Instant) -> Option<String> {
        let waited = now.saturating_duration_since(self.since);
        if self.is_told || waited < SILENT_MAX {
            return None;
        }
        self.is_told = true;
        Some(format!("waiting for {} ({} s so far)", self.whom, waited.as_secs()))
    }
}

type State = Mutex<Option<Wait>>;

/// Tells of waits, from a thread of its own: whoever waits may hang in one request.
pub(crate) struct Patience {
    state: Arc<State>,
}

impl Patience {
    pub(crate) fn new() -> Self {
        let state = Arc::new(State::default());
        let watched = Arc::downgrade(&state);
        // Without the thread, it is waited in silence.
        drop(std::thread::Builder::new().name("patience".to_owned()).spawn(move || watch(&watched)));
        Self { state }
    }

    /// Waits, for this now: a wait that goes on keeps its beginning.
    pub(crate) fn wait_for(&self, whom: String) {
        let mut state = locked(&self.state);
        match &mut *state {
            Some(wait) => wait.whom = whom,
            None => *state = Some(Wait { since: Instant::now(), whom, is_told: false }),
        }
    }

    /// Waits no more.
    pub(crate) fn end(&self) {
        *locked(&self.state) = None;
    }
}

fn locked(state: &State) -> MutexGuard<'_, Option<Wait>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(state: &Weak<State>) {
    loop {
        std::thread::sleep(TICK);
        let Some(state) = state.upgrade() else { return };
        let due = locked(&state).as_mut().and_then(|wait| wait.due(Instant::now()));
        if let Some(line) = due {
            note(&line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_is_told_of_once_and_a_short_one_never() {
        let since = Instant::now();
        let mut wait = Wait { since, whom: "broker 1".to_owned(), is_told: false };
        assert_eq!(wait.due(since + Duration::from_secs(3)), None);
        let line = wait.due(since + Duration::from_secs(5));
        assert_eq!(line.as_deref(), Some("waiting for broker 1 (5 s so far)"));
        assert_eq!(wait.due(since + Duration::from_secs(9)), None);
    }

    #[test]
    fn a_wait_for_somebody_else_has_begun_with_the_first_one() {
        let patience = Patience::new();
        patience.wait_for("a".to_owned());
        let since = locked(&patience.state).as_ref().map(|wait| wait.since);
        patience.wait_for("b".to_owned());
        let state = locked(&patience.state);
        assert_eq!(state.as_ref().map(|wait| (Some(wait.since), wait.whom.as_str())), Some((since, "b")));
        drop(state);
        patience.end();
        assert!(locked(&patience.state).is_none());
    }
}
