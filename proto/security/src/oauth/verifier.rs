//! A listener's tokens: its settings, and the provider's keys, which are read again when their file changes.

use std::io::Read as _;
use std::sync::Arc;

use moldau_metadata::config::security::TokenSettings;

use super::jwt::{TokenRefusal, VerifiedToken, verify};
use super::keys::{KeySet, KeysError};
use crate::reloading::{Reloaded, Reloading};

/// A larger file is no key set.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// See the module.
pub struct TokenVerifier {
    keys: Reloading<KeySet, TokenSettings, KeysError>,
}

impl TokenVerifier {
    /// Reads the keys.
    ///
    /// # Errors
    /// Why there are none.
    pub fn open(settings: TokenSettings) -> Result<Self, KeysError> {
        Ok(Self { keys: Reloading::new(settings, read)? })
    }

    /// Whose a token is, at `now_ms` milliseconds since 1970.
    ///
    /// # Errors
    /// Why it is nobody's.
    pub fn verify(&self, token: &str, now_ms: i64) -> Result<VerifiedToken, TokenRefusal> {
        verify(token, &self.keys.current(), self.keys.settings(), now_ms)
    }

    /// Looks whether the keys have changed. Blocks on files.
    pub fn look_again(&self) -> Reloaded<KeysError> {
        self.keys.look_again()
    }
}

fn read(settings: &TokenSettings) -> Result<Arc<KeySet>, KeysError> {
    let path = &settings.keys_file;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|source| KeysError::Read { path: path.clone(), source })?;
    KeySet::parse(&bytes, &path.display().to_string()).map(Arc::new)
}
