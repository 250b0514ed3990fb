//! Certificates and keys out of PEM.

use std::path::PathBuf;

use moldau_metadata::config::security::PemSource;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A store larger than this is none: all authorities of an operating system together have a quarter of a megabyte.
const PEM_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Why a store gives nothing. It repeats nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "{0} is not in PEM; make PEM of it (a PKCS12 store by openssl pkcs12 -nodes, a JKS one by keytool \
         -importkeystore -deststoretype PKCS12 first)"
    )]
    NotPem(String),
    #[error("{0} has no certificate in it")]
    NoCertificate(String),
    #[error(
        "{0} has no private key in it that is not encrypted; decrypt it by openssl pkcs8 -in KEY -out FILE"
    )]
    NoKey(String),
}

/// Where something is, for people.
pub(super) fn place(source: &PemSource) -> String {
    match source {
        PemSource::File(path) => path.display().to_string(),
        PemSource::Text(_) => "the PEM of the setting".to_owned(),
    }
}

fn read(source: &PemSource) -> Result<Vec<u8>, PemError> {
    let bytes = match source {
        PemSource::Text(text) => text.expose().as_bytes().to_vec(),
        PemSource::File(path) => {
            use std::io::Read as _;
            let mut bytes = Vec::new();
            let read =
                std::fs::File::open(path).and_then(|file| file.take(PEM_BYTES_MAX).read_to_end(&mut bytes));
            read.map_err(|source| PemError::Read { path: path.clone(), source })?;
            bytes
        }
    };
    if !bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return Err(PemError::NotPem(place(source)));
    }
    Ok(bytes)
}

pub(super) fn certificates(source: &PemSource) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let bytes = read(source)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(PemError::NoCertificate(place(source))),
    }
}

pub(super) fn private_key(source: &PemSource) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_slice(&read(source)?).map_err(|_| PemError::NoKey(place(source)))
}
