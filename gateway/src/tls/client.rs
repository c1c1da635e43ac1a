//! TLS with upstreams: whom it believes, and what it shows.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{HTTP2, TlsError, authorities, certificates, key, provider};
use crate::config::Pem;

/// What a connection to an upstream is made with.
///
/// # Errors
/// If a certificate or key is none, or they do not belong together.
pub(crate) fn client_config(
    ca: Option<&Pem>,
    shown: Option<(&Pem, &Pem)>,
    http2: bool,
) -> Result<ClientConfig, TlsError> {
    let roots = ca.map_or_else(|| Ok(RootCertStore::empty()), authorities)?;
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, private)) => builder.with_client_auth_cert(certificates(certificate)?, key(private)?)?,
    };
    if ca.is_none() {
        config.dangerous().set_certificate_verifier(Arc::new(Anyone));
    }
    config.alpn_protocols = vec![if http2 { HTTP2.to_vec() } else { b"http/1.1".to_vec() }];
    Ok(config)
}

/// TLS with one host.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    name: ServerName<'static>,
}

impl Connector {
    /// TLS with an upstream that has a certificate for `name`.
    ///
    /// # Errors
    /// If no certificate can be for it.
    pub(crate) fn new(config: &Arc<ClientConfig>, name: &str) -> Result<Self, TlsError> {
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|_| TlsError::Name)?;
        Ok(Connector { tls: TlsConnector::from(Arc::clone(config)), name })
    }

    /// A connection through `io`.
    pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(&self, io: S) -> io::Result<TlsStream<S>> {
        let stream = self.tls.connect(self.name.clone(), io).await?;
        let wants_http2 = self.tls.config().alpn_protocols.iter().any(|protocol| protocol == HTTP2);
        if wants_http2 && stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "it does not speak HTTP/2"));
        }
        Ok(stream)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Believes anyone who has the key of the certificate that it shows.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
