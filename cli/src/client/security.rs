//! How a tool's properties say that servers are dialled: `security.protocol`, `ssl.*`, `sasl.*`.

use moldau_metadata::config::security::client_security;
use moldau_security::link::Dialer;

/// What dials as these properties say; the later of two equal keys holds. Reads the files of TLS.
///
/// # Errors
/// What is wrong with them, in one line.
pub(crate) fn dialer(properties: &[(String, String)]) -> Result<Dialer, String> {
    let settings = properties.iter().cloned().collect();
    let (_, peer) = client_security(&settings).map_err(|error| error.to_string())?;
    Dialer::new(&peer).map_err(|error| error.to_string())
}
