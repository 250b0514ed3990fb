//! A listener's tokens: its settings, and the provider's keys, which are read or fetched again from time to time.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use moldau_metadata::config::security::{KeysPlace, TokenSettings};

use super::endpoint::FetchedKeys;
use super::jwt::{TokenRefusal, VerifiedToken, verify};
use super::keys::{KeySet, KeysError};
use crate::reloading::{Reloaded, Reloading};

/// A larger file is no key set.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// See the module.
pub struct TokenVerifier {
    settings: TokenSettings,
    keys: Keys,
}

enum Keys {
    File(Reloading<KeySet, PathBuf, KeysError>),
    Endpoint(FetchedKeys),
}

impl TokenVerifier {
    /// Reads the keys, or waits until they were fetched or could not be. Blocks.
    ///
    /// # Errors
    /// Why there are none; not for an endpoint that cannot be reached.
    pub fn open(settings: TokenSettings) -> Result<Self, KeysError> {
        let keys = match &settings.keys {
            KeysPlace::File(path) => Keys::File(Reloading::new(path.clone(), read)?),
            KeysPlace::Endpoint(endpoint) => Keys::Endpoint(FetchedKeys::open(endpoint)?),
        };
        Ok(Self { settings, keys })
    }

    /// Whose a token is, at `now_ms` milliseconds since 1970.
    ///
    /// # Errors
    /// Why it is nobody's.
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<VerifiedToken, TokenRefusal> {
        match &self.keys {
            Keys::File(keys) => verify(token, &keys.current(), &self.settings, now_ms, |_| {}),
            Keys::Endpoint(keys) => {
                verify(token, &keys.current(), &self.settings, now_ms, |key_id| keys.ask_for(key_id))
            }
        }
    }

    /// Whether the keys have changed. Blocks on files.
    pub fn look_again(&self) -> Reloaded<KeysError> {
        match &self.keys {
            Keys::File(keys) => keys.look_again(),
            Keys::Endpoint(keys) => keys.news(),
        }
    }
}

fn read(path: &PathBuf) -> Result<Arc<KeySet>, KeysError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|source| KeysError::Read { path: path.clone(), source })?;
    KeySet::parse(&bytes, &path.display().to_string()).map(Arc::new)
}
