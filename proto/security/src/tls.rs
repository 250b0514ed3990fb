//! rustls' configurations, made of settings and PEM.

mod pem;
mod verifier;

use std::sync::Arc;

use moldau_metadata::config::security::{ClientAuth, KeyStore, TlsSettings};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

pub use pem::PemError;

/// Bundles of the authorities that an operating system trusts, where a client names none of its own.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("{place}: the key and the certificate cannot be used: {source}")]
    KeyStore { place: String, source: rustls::Error },
    #[error("{place}: the trusted certificates cannot be used: {reason}")]
    TrustStore { place: String, reason: String },
    #[error("ssl.enabled.protocols or ssl.cipher.suites leave nothing to speak: {0}")]
    Nothing(rustls::Error),
    #[error("ssl.truststore.location: it has to tell whose certificates are believed")]
    NoTrustStore,
    #[error("a server needs a certificate and its key: ssl.keystore.location")]
    NoKeyStore,
}

fn provider(settings: &TlsSettings) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    if !settings.cipher_suites.is_empty() {
        provider.cipher_suites.retain(|suite| {
            // Java's names of the newer suites have no version in them.
            let name = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            settings.cipher_suites.contains(&name)
        });
    }
    Arc::new(provider)
}

fn versions(settings: &TlsSettings) -> Vec<&'static SupportedProtocolVersion> {
    let newer = settings.allows_1_3.then_some(&rustls::version::TLS13);
    let older = settings.allows_1_2.then_some(&rustls::version::TLS12);
    newer.into_iter().chain(older).collect()
}

/// What a listener speaks. Reads files.
///
/// # Errors
/// Which of them cannot be used, and why.
pub fn server_config(settings: &TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider(settings);
    let store = settings.key_store.as_ref().ok_or(TlsError::NoKeyStore)?;
    let (certificates, key) = key_store(store)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&versions(settings)).map_err(TlsError::Nothing)?;
    let builder = match (settings.client_auth, &settings.trust_store) {
        (ClientAuth::None, _) => builder.with_no_client_auth(),
        (_, None) => return Err(TlsError::NoTrustStore),
        (client_auth, Some(source)) => {
            let roots = Arc::new(roots(pem::certificates(source)?, &pem::place(source))?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = if client_auth == ClientAuth::Requested {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let verifier = verifier.build().map_err(|error| TlsError::TrustStore {
                place: pem::place(source),
                reason: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let config = builder.with_single_cert(certificates, key);
    let place = pem::place(&store.certificates);
    Ok(Arc::new(config.map_err(|source| TlsError::KeyStore { place, source })?))
}

/// What dials. Reads files.
///
/// # Errors
/// Which of them cannot be used, and why.
pub fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider(settings);
    let (trusted, place) = match &settings.trust_store {
        Some(source) => (pem::certificates(source)?, pem::place(source)),
        None => system_certificates().ok_or(TlsError::NoTrustStore)?,
    };
    let roots = Arc::new(roots(trusted, &place)?);
    let verifier = verifier::server_verifier(roots, &provider, settings.checks_host_name)
        .map_err(|reason| TlsError::TrustStore { place, reason })?;
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&versions(settings)).map_err(TlsError::Nothing)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match &settings.key_store {
        None => builder.with_no_client_auth(),
        Some(store) => {
            let (certificates, key) = key_store(store)?;
            let place = pem::place(&store.certificates);
            let config = builder.with_client_auth_cert(certificates, key);
            config.map_err(|source| TlsError::KeyStore { place, source })?
        }
    };
    Ok(Arc::new(config))
}

fn key_store(store: &KeyStore) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    Ok((pem::certificates(&store.certificates)?, pem::private_key(&store.key)?))
}

fn roots(certificates: Vec<CertificateDer<'static>>, place: &str) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        let reason = "none of the certificates can be read".to_owned();
        return Err(TlsError::TrustStore { place: place.to_owned(), reason });
    }
    Ok(roots)
}

fn system_certificates() -> Option<(Vec<CertificateDer<'static>>, String)> {
    use moldau_metadata::config::security::PemSource;
    SYSTEM_BUNDLES.iter().find_map(|path| {
        let certificates = pem::certificates(&PemSource::File((*path).into())).ok()?;
        Some((certificates, (*path).to_owned()))
    })
}
