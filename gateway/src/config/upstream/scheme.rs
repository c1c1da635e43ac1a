//! `scheme` and `tls` of an upstream: how it is spoken to.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rustls::ClientConfig;

use super::{NodeAddress, NodeConfig, PassHost, raw};
use crate::config::Pem;
use crate::config::parser::Parser;
use crate::config::yaml::{At, place, shown};
use crate::tls::{Connector, client_config};

/// How an upstream is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Scheme {
    /// Whether it is HTTP/2 (`grpc` and `grpcs`).
    pub http2: bool,
    /// TLS (`https` and `grpcs`).
    pub tls: Option<UpstreamTls>,
}

impl Scheme {
    /// HTTP/1.1 without TLS.
    pub(crate) const HTTP: Scheme = Scheme { http2: false, tls: None };
}

/// TLS with an upstream. Equal ones share connections.
#[derive(Clone)]
#[non_exhaustive]
pub struct UpstreamTls {
    /// Who signs its certificate; without, any is believed.
    pub ca: Option<Pem>,
    /// The certificate that is shown to it, and its key.
    pub shown: Option<(Pem, Pem)>,
    /// Whose certificate it has to have; `None` is that of the host that it is told, or else of its node.
    pub sni: Option<String>,
    http2: bool,
    config: Arc<ClientConfig>,
}

/// What makes one different from another.
type Identity<'a> = (&'a Option<Pem>, &'a Option<(Pem, Pem)>, &'a Option<String>, bool);

impl UpstreamTls {
    fn identity(&self) -> Identity<'_> {
        (&self.ca, &self.shown, &self.sni, self.http2)
    }

    /// TLS with one of its nodes; `None` if that is none that can have a certificate.
    pub(crate) fn connector(&self, name: &str) -> Option<Connector> {
        Connector::new(&self.config, name).ok()
    }

    /// Whose certificate a node has to have.
    pub(crate) fn name_of(&self, node: &str, pass_host: &PassHost) -> String {
        let host = match (&self.sni, pass_host) {
            (Some(sni), _) => sni,
            (None, PassHost::Rewrite(host)) => host.to_str().unwrap_or(node),
            (None, _) => node,
        };
        without_port(host).to_owned()
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for UpstreamTls {}

impl Hash for UpstreamTls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ca, shown, sni, http2) = self.identity();
        let mut debug = f.debug_struct("UpstreamTls");
        debug.field("ca", ca).field("shown", shown).field("sni", sni).field("http2", &http2).finish_non_exhaustive()
    }
}

impl Parser<'_> {
    pub(super) fn scheme(
        &mut self,
        raw: &raw::Upstream,
        nodes: &[NodeConfig],
        pass_host: &PassHost,
        key: &str,
    ) -> Scheme {
        let kind = raw.scheme.as_ref().map(|scheme| scheme.value).unwrap_or_default();
        let http2 = matches!(kind, raw::Scheme::Grpc | raw::Scheme::Grpcs);
        if let Some(scheme) = &raw.scheme
            && kind != raw::Scheme::Http
            && nodes.iter().any(|node| node.address == NodeAddress::Echo)
        {
            self.problem(place(scheme), &format!("{key}.scheme"), "must be http for builtin:echo");
        }
        let is_tls = matches!(kind, raw::Scheme::Https | raw::Scheme::Grpcs);
        let tls = match (&raw.scheme, &raw.tls) {
            (Some(_), Some(tls)) if is_tls => self.upstream_tls(tls, nodes, pass_host, http2, &format!("{key}.tls")),
            (Some(scheme), None) if is_tls => {
                let cause = "needs `tls` beside it: with `ca`, or with `verify: false`, which believes anyone";
                self.problem(place(scheme), &format!("{key}.scheme"), cause);
                None
            }
            (_, Some(tls)) => {
                self.problem(place(tls), &format!("{key}.tls"), "is for scheme https or grpcs");
                None
            }
            _ => None,
        };
        Scheme { http2, tls }
    }

    fn upstream_tls(
        &mut self,
        at: &At<raw::Tls>,
        nodes: &[NodeConfig],
        pass_host: &PassHost,
        http2: bool,
        key: &str,
    ) -> Option<UpstreamTls> {
        let raw = &at.value;
        match (raw.verify, &raw.ca) {
            (Some(false), Some(ca)) => {
                self.problem(place(ca), &format!("{key}.ca"), "is given together with verify: false");
            }
            (None | Some(true), None) => {
                let cause = "needs `ca`, to verify certificates, or `verify: false`, which believes anyone";
                self.problem(place(at), key, cause);
            }
            _ => {}
        }
        let ca = raw.ca.as_ref().map(|ca| self.pem(ca, &format!("{key}.ca")));
        let own = match (&raw.client_cert, &raw.client_key) {
            (Some(certificate), Some(private)) => {
                let certificate = self.pem(certificate, &format!("{key}.client_cert"));
                Some(certificate.zip(self.pem(private, &format!("{key}.client_key"))))
            }
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => {
                self.problem(place(one), key, "client_cert and client_key are given together");
                None
            }
        };
        if matches!(ca, Some(None)) || matches!(own, Some(None)) {
            return None;
        }
        let (ca, own) = (ca.flatten(), own.flatten());
        let config = client_config(ca.as_ref(), own.as_ref().map(|(cert, key)| (cert, key)), http2);
        let config = config.map_err(|error| format!("cannot be used: {error}"));
        let config = Arc::new(self.check(place(at), key, config)?);
        let tls = UpstreamTls { ca, shown: own, sni: raw.sni.as_ref().map(|sni| sni.value.clone()), http2, config };
        for node in nodes {
            let name = tls.name_of(node.address.as_str(), pass_host);
            if tls.connector(&name).is_none() {
                let cause = format!("no certificate can be for `{}`", shown(&name));
                self.problem(place(at), key, cause);
            }
        }
        Some(tls)
    }
}
