//! Certificates and keys from their text.

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::VerifierBuilderError;
use thiserror::Error;

use crate::config::Pem;

/// Why a certificate or key cannot be used; the operator's fault.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The text of a certificate has none.
    #[error("has no certificate")]
    NoCertificate,
    /// The text of a key has none, or one that is encrypted.
    #[error("has no private key that can be read")]
    NoKey,
    /// It is not PEM.
    #[error("is not PEM: {0}")]
    Pem(PemError),
    /// A host that no certificate can be for.
    #[error("no certificate can be for that host")]
    Name,
    /// What it says cannot be used.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// The certificates of authorities cannot be used.
    #[error(transparent)]
    Authorities(#[from] VerifierBuilderError),
}

/// All certificates of a text, at least one.
pub(crate) fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem.text()).collect::<Result<_, _>>().map_err(TlsError::Pem)?;
    if certificates.is_empty() { Err(TlsError::NoCertificate) } else { Ok(certificates) }
}

/// The first key of a text.
pub(crate) fn key(pem: &Pem) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem.text()).map_err(|_| TlsError::NoKey)
}

/// The certificates of a text as those who are believed.
pub(crate) fn authorities(pem: &Pem) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}
