//! Sections `ssl` and `ssls`: listeners that speak TLS, and their certificates.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use super::error::Place;
use super::listen::listen_address;
use super::parser::Parser;
use super::route::host_pattern;
use super::yaml::{At, place, shown};
use super::{HostPattern, MAX_FILE_BYTES};
use crate::tls::server_config;
use bytes::Bytes;

/// Listeners that speak TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SslConfig {
    /// Addresses to listen on; often none, each once, and none that is listened on without TLS.
    pub listen: Vec<SocketAddr>,
    /// The certificates; each can be used, and at least one if there is an address.
    pub certificates: Vec<CertificateConfig>,
    /// The name that counts for clients that give none, or one that no certificate is for; it has a certificate.
    pub fallback_sni: Option<String>,
}

/// A certificate, and for which names it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateConfig {
    /// The names; a suffix stands for one label before it. At least one; a name that is given before counts there.
    pub snis: Vec<HostPattern>,
    /// The certificate, then those that lead to its root.
    pub cert: Pem,
    /// Its key.
    pub key: Pem,
    /// Who signs the certificates of clients, which have to have one; `None` asks for none.
    pub client_ca: Option<Pem>,
    /// Where it is in the file.
    pub place: Place,
}

/// The text of certificates or of a key. It is not shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pem(Bytes);

impl Pem {
    /// The text.
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({} bytes)", self.0.len())
    }
}

/// As it is written.
pub(super) mod raw {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::values::Scalar;
    use super::super::yaml::At;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Ssl {
        pub(in crate::config) listen: At<Vec<At<Scalar>>>,
        pub(in crate::config) fallback_sni: Option<At<String>>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Certificate {
        #[serde(rename = "id")]
        pub(in crate::config) _id: Option<Scalar>,
        pub(in crate::config) snis: At<Vec<At<String>>>,
        pub(in crate::config) cert: At<String>,
        pub(in crate::config) key: At<String>,
        pub(in crate::config) client: Option<Client>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Client {
        pub(in crate::config) ca: At<String>,
    }
}

impl Parser<'_> {
    pub(super) fn ssl(
        &mut self,
        raw: Option<raw::Ssl>,
        certificates: Vec<At<raw::Certificate>>,
        plain: &[SocketAddr],
    ) -> SslConfig {
        let certificates: Vec<_> = certificates
            .into_iter()
            .enumerate()
            .filter_map(|(index, raw)| self.certificate(raw, &format!("ssls[{index}]")))
            .collect();
        let Some(raw) = raw else { return SslConfig { certificates, ..SslConfig::default() } };
        let mut seen: HashSet<_> = plain.iter().copied().collect();
        let mut listen = Vec::new();
        for (index, entry) in raw.listen.value.iter().enumerate() {
            let address = listen_address(entry.value.text()).and_then(|address| match seen.insert(address) {
                true => Ok(address),
                false => Err("is given twice".to_owned()),
            });
            listen.extend(self.check(place(entry), &format!("ssl.listen[{index}]"), address));
        }
        if !listen.is_empty() && certificates.is_empty() {
            self.problem(place(&raw.listen), "ssl.listen", "has no certificate to show; ssls is missing or empty");
        }
        let fallback_sni = raw.fallback_sni.and_then(|raw| {
            let name = raw.value.to_ascii_lowercase();
            let is_known = certificates.iter().flat_map(|entry| &entry.snis).any(|sni| match sni {
                HostPattern::Exact(known) => *known == name,
                HostPattern::Suffix(domain) => name.find('.').is_some_and(|dot| name[dot..] == **domain),
            });
            let name = if is_known { Ok(name) } else { Err("none of ssls is for this name".to_owned()) };
            self.check(place(&raw), "ssl.fallback_sni", name)
        });
        SslConfig { listen, certificates, fallback_sni }
    }

    fn certificate(&mut self, raw: At<raw::Certificate>, key: &str) -> Option<CertificateConfig> {
        let certificate_place = place(&raw);
        let raw::Certificate { _id: _, snis: raw_snis, cert, key: private, client } = raw.value;
        if raw_snis.value.is_empty() {
            self.problem(place(&raw_snis), &format!("{key}.snis"), "is empty; name at least one host");
        }
        let mut snis = Vec::new();
        for (index, sni) in raw_snis.value.iter().enumerate() {
            snis.extend(self.check(place(sni), &format!("{key}.snis[{index}]"), host_pattern(&sni.value)));
        }
        let client_ca = client.map(|client| self.pem(&client.ca, &format!("{key}.client.ca")));
        let (cert, private) = (self.pem(&cert, &format!("{key}.cert")), self.pem(&private, &format!("{key}.key")));
        let client_ca = match client_ca {
            Some(ca) => Some(ca?),
            None => None,
        };
        let config = CertificateConfig { snis, cert: cert?, key: private?, client_ca, place: certificate_place };
        let usable = server_config(&config).map(drop).map_err(|error| format!("cannot be used: {error}"));
        self.check(certificate_place, key, usable).map(|()| config)
    }

    /// What is given as text, or as the name of a file.
    pub(super) fn pem(&mut self, raw: &At<String>, key: &str) -> Option<Pem> {
        let text = match raw.value.trim_start().starts_with("-----BEGIN") {
            true => Ok(raw.value.clone().into()),
            false => read(&self.directory.join(&raw.value))
                .map_err(|error| format!("`{}` is no PEM, and cannot be read as a file: {error}", shown(&raw.value))),
        };
        self.check(place(raw), key, text).map(Pem)
    }
}

fn read(file: &Path) -> std::io::Result<Bytes> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(file)?.take(MAX_FILE_BYTES).read_to_end(&mut text)?;
    Ok(text.into())
}
