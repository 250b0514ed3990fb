//! An identity provider's keys, fetched by HTTPS: by a thread of its own, so that neither a login nor a listener waits for
//! the provider. What cannot be fetched or read changes nothing.

mod get;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use moldau_metadata::config::security::KeysEndpoint;
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::get::get;
use super::keys::{KeySet, KeysError};
use super::schedule::Schedule;
use crate::reloading::Reloaded;
use crate::tls::client_config;

pub use self::get::FetchError;

/// See the module. The thread ends with it.
pub(super) struct FetchedKeys {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: KeysEndpoint,
    begun: Instant,
    /// The schedule has changed, or nobody wants keys any more.
    changed: Notify,
    state: Mutex<State>,
}

struct State {
    current: Arc<KeySet>,
    schedule: Schedule,
    news: Reloaded<KeysError>,
    /// What is told of last: one failure, told once, stands for those that follow.
    last_told: Option<String>,
    is_wanted: bool,
}

impl FetchedKeys {
    /// Waits until keys were fetched for the first time, or could not be: a node that starts while the provider does not answer
    /// serves everybody else, and takes tokens once it does.
    ///
    /// # Errors
    /// What is wrong on this side.
    pub(super) fn open(endpoint: &KeysEndpoint) -> Result<Self, KeysError> {
        client_config(&endpoint.tls)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(KeysError::Thread)?;
        let state = State {
            current: Arc::default(),
            schedule: Schedule::new(endpoint),
            news: Reloaded::Unchanged,
            last_told: None,
            is_wanted: true,
        };
        let shared = Arc::new(Shared {
            endpoint: endpoint.clone(),
            begun: Instant::now(),
            changed: Notify::new(),
            state: Mutex::new(state),
        });
        let (first, fetched) = sync_channel(1);
        let of_thread = Arc::clone(&shared);
        let fetching = move || {
            runtime.block_on(of_thread.keep_fetching(first));
            // A name that is looked up is not waited for.
            runtime.shutdown_background();
        };
        std::thread::Builder::new().name("jwks".to_owned()).spawn(fetching).map_err(KeysError::Thread)?;
        let _ended = fetched.recv();
        let fetched = Self { shared };
        let mut state = fetched.shared.state.lock();
        // The first keys are no change of any.
        if matches!(state.news, Reloaded::Changed) {
            state.news = Reloaded::Unchanged;
        }
        drop(state);
        Ok(fetched)
    }

    pub(super) fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.shared.state.lock().current)
    }

    /// A token names a key that is not there.
    pub(super) fn ask_for(&self, key_id: &str) {
        let now = self.shared.begun.elapsed();
        if self.shared.state.lock().schedule.ask_for(key_id, now) {
            self.shared.changed.notify_one();
        }
    }

    /// What has become of the fetches since it was asked last.
    pub(super) fn news(&self) -> Reloaded<KeysError> {
        std::mem::replace(&mut self.shared.state.lock().news, Reloaded::Unchanged)
    }
}

impl Drop for FetchedKeys {
    fn drop(&mut self) {
        self.shared.state.lock().is_wanted = false;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    async fn keep_fetching(&self, first: SyncSender<()>) {
        let mut first = Some(first);
        while self.until_due().await {
            let keys = self.fetch().await;
            self.state.lock().take(keys, self.begun.elapsed());
            // Whoever waits for the first is told by the sender's going.
            first = None;
        }
        drop(first);
    }

    /// Whether keys are wanted still.
    async fn until_due(&self) -> bool {
        loop {
            let due = {
                let state = self.state.lock();
                if !state.is_wanted {
                    return false;
                }
                state.schedule.due()
            };
            let left = due.saturating_sub(self.begun.elapsed());
            if left.is_zero() {
                return true;
            }
            // Out of time or woken: either way it is looked again.
            drop(tokio::time::timeout(left, self.changed.notified()).await);
        }
    }

    async fn fetch(&self) -> Result<KeySet, KeysError> {
        // Read anew each time: authorities are renewed, too.
        let config = client_config(&self.endpoint.tls)?;
        let place = self.endpoint.to_string();
        match get(&self.endpoint, config).await {
            Ok(json) => KeySet::parse(&json, &place),
            Err(source) => Err(KeysError::Fetch { place, source }),
        }
    }
}

impl State {
    fn take(&mut self, keys: Result<KeySet, KeysError>, now: std::time::Duration) {
        match keys {
            Ok(keys) => {
                self.schedule.succeeded(now);
                if *self.current != keys || self.last_told.take().is_some() {
                    self.current = Arc::new(keys);
                    self.news = Reloaded::Changed;
                }
            }
            Err(error) => {
                self.schedule.failed(now);
                let told = error.to_string();
                if self.last_told.as_ref() != Some(&told) {
                    self.last_told = Some(told);
                    self.news = Reloaded::Refused(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
