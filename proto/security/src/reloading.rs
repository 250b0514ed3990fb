//! Something that was made of files, and is made anew once they change: certificates are renewed while a node runs, and keys
//! of identity providers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use moldau_metadata::config::security::TlsSettings;

use crate::tls::TlsError;

/// When a file was written last, and how long it is; nothing where it cannot be looked at.
type Seen = Vec<Option<(SystemTime, u64)>>;

struct State<T> {
    current: Arc<T>,
    seen: Seen,
}

/// Settings that name files.
pub trait NamesFiles {
    /// The files.
    fn files(&self) -> BTreeSet<PathBuf>;
}

impl NamesFiles for TlsSettings {
    fn files(&self) -> BTreeSet<PathBuf> {
        Self::files(self)
    }
}

/// A file is what is made of it.
impl NamesFiles for PathBuf {
    fn files(&self) -> BTreeSet<PathBuf> {
        [self.clone()].into()
    }
}

/// See the module. What cannot be used is not: the last that could stays.
pub struct Reloading<T, S = TlsSettings, E = TlsError> {
    settings: S,
    make: fn(&S) -> Result<Arc<T>, E>,
    files: Vec<PathBuf>,
    state: Mutex<State<T>>,
}

/// What became of a look at the files.
#[derive(Debug)]
pub enum Reloaded<E = TlsError> {
    Unchanged,
    Changed,
    /// They changed, and cannot be used. It is looked at them again when they change again.
    Refused(E),
}

impl<T, S: NamesFiles, E> Reloading<T, S, E> {
    /// Reads the files.
    ///
    /// # Errors
    /// What cannot be used.
    pub fn new(settings: S, make: fn(&S) -> Result<Arc<T>, E>) -> Result<Self, E> {
        let files: Vec<PathBuf> = settings.files().into_iter().collect();
        // Looked at before they are read: what changes in between is read once more.
        let seen = look(&files);
        let current = make(&settings)?;
        Ok(Self { settings, make, files, state: Mutex::new(State { current, seen }) })
    }

    /// What holds now.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).current)
    }

    /// Looks whether the files have changed, and reads them if so. Blocks on files.
    pub fn look_again(&self) -> Reloaded<E> {
        let seen = look(&self.files);
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.seen == seen {
                return Reloaded::Unchanged;
            }
            state.seen = seen;
        }
        match (self.make)(&self.settings) {
            Ok(made) => {
                self.state.lock().unwrap_or_else(PoisonError::into_inner).current = made;
                Reloaded::Changed
            }
            Err(error) => Reloaded::Refused(error),
        }
    }
}

fn look(files: &[PathBuf]) -> Seen {
    let look = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(look).collect()
}
