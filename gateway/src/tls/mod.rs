//! TLS with clients: which certificate a name gets, and whom it lets in; and with upstreams.
//!
//! Each certificate has a configuration of its own, sessions that are resumed included: what a client has shown for one
//! name counts for no other.

mod client;
mod pem;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{ProtocolVersion, ServerConfig};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

pub(crate) use self::client::{Connector, client_config};
pub use self::pem::TlsError;
pub(crate) use self::pem::{authorities, certificates, key};

use crate::config::{CertificateConfig, HostPattern, SslConfig};
use crate::head::ClientTls;
use crate::route::host_of;

/// The certificates of all listeners.
#[derive(Debug)]
pub(crate) struct Certificates {
    entries: Vec<Entry>,
    exact: HashMap<String, usize>,
    /// By what follows the first label, with its dot.
    wildcard: HashMap<String, usize>,
    fallback: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    config: Arc<ServerConfig>,
    verifies_clients: bool,
}

/// Why there is no connection: the client's fault.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    /// It broke off, or is no TLS.
    #[error("{0}")]
    Broken(#[from] std::io::Error),
    /// It took too long.
    #[error("timed out")]
    Timeout,
    /// There is no certificate for the name, or none without one.
    #[error("there is no certificate for {0:?}")]
    Name(Option<String>),
}

/// The primitives that all of TLS here is made of.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What a listener does with a certificate.
///
/// # Errors
/// If it, its key or the authorities of clients are none, or do not belong together.
pub(crate) fn server_config(config: &CertificateConfig) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(authorities(ca)?);
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?)
        }
    };
    let mut server = builder.with_single_cert(certificates(&config.cert)?, key(&config.key)?)?;
    server.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}

const HTTP2: &[u8] = b"h2";

impl Certificates {
    /// The certificates of a configuration.
    ///
    /// # Errors
    /// As for [`server_config`].
    pub(crate) fn new(config: &SslConfig) -> Result<Self, TlsError> {
        let mut certificates =
            Certificates { entries: Vec::new(), exact: HashMap::new(), wildcard: HashMap::new(), fallback: None };
        for (index, entry) in config.certificates.iter().enumerate() {
            let verifies_clients = entry.client_ca.is_some();
            certificates.entries.push(Entry { config: Arc::new(server_config(entry)?), verifies_clients });
            for sni in &entry.snis {
                match sni {
                    HostPattern::Exact(name) => certificates.exact.entry(name.clone()).or_insert(index),
                    HostPattern::Suffix(domain) => certificates.wildcard.entry(domain.clone()).or_insert(index),
                };
            }
        }
        certificates.fallback = config.fallback_sni.as_deref().and_then(|name| certificates.of_name(name));
        Ok(certificates)
    }

    fn of_name(&self, name: &str) -> Option<usize> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let domain = || name.find('.').map(|dot| &name[dot..]);
        self.exact.get(&name).or_else(|| self.wildcard.get(domain()?)).copied()
    }

    /// The certificate that is nearest to a host. A route's `*` is any number of labels, other than a certificate's.
    fn of_host(&self, host: &str) -> Option<usize> {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let nearest = || host.match_indices('.').find_map(|(dot, _)| self.wildcard.get(&host[dot..]));
        self.exact.get(&host).or_else(nearest).copied()
    }

    /// Whether a connection for the name of one certificate may have a request for this host. It may not if the host's own
    /// certificate asks clients for theirs.
    pub(crate) fn admit(&self, tls: &ClientTls, authority: Option<&str>) -> bool {
        let of_host = authority.and_then(|authority| self.of_host(host_of(authority)));
        of_host.is_none_or(|entry| entry == tls.certificate || !self.entries[entry].verifies_clients)
    }

    /// Has a client's hello answered, within `limit`. The second is what is known of the client, the third whether it
    /// speaks HTTP/2.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: S,
        limit: Duration,
    ) -> Result<(TlsStream<S>, ClientTls, bool), HandshakeError> {
        let until = Instant::now() + limit;
        let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io);
        let start = timeout_at(until, hello).await.map_err(|_| HandshakeError::Timeout)??;
        let server_name = start.client_hello().server_name().map(str::to_owned);
        let entry = server_name.as_deref().and_then(|name| self.of_name(name)).or(self.fallback);
        let Some(certificate) = entry else { return Err(HandshakeError::Name(server_name)) };
        let accepting = start.into_stream(Arc::clone(&self.entries[certificate].config));
        let stream = timeout_at(until, accepting).await.map_err(|_| HandshakeError::Timeout)??;
        let connection = stream.get_ref().1;
        let tls = ClientTls {
            certificate,
            version: match connection.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            },
            server_name,
            is_verified: connection.peer_certificates().is_some_and(|certificates| !certificates.is_empty()),
        };
        let is_http2 = connection.alpn_protocol() == Some(HTTP2);
        Ok((stream, tls, is_http2))
    }
}
