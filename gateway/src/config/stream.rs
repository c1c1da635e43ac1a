//! Sections `stream_proxy` and `stream_routes`: TCP streams.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::chain::PluginUse;
use super::listen::listen_address;
use super::parser::Parser;
use super::service::{Named, Shared};
use super::upstream::{NodeAddress, UpstreamConfig};
use super::vars;
use super::yaml::{At, place};

/// TCP streams: where they come, and where they go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamConfig {
    /// Addresses to listen on; each once, and none that is listened on for HTTP.
    pub listen: Vec<SocketAddr>,
    /// The routes, ids unique, in the order of the file, which is the order in which they are tried.
    pub routes: Vec<StreamRouteConfig>,
}

/// A stream route: which connections, through which plugins, to which upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamRouteConfig {
    /// Its id; the position in the file, counted from 1, if it was not given.
    pub id: String,
    /// The address of ours that the client connected to; `None` is any.
    pub server_addr: Option<IpAddr>,
    /// The port of ours; `None` is any.
    pub server_port: Option<u16>,
    /// Where clients are; `None` is anywhere.
    pub remote_addr: Option<IpNet>,
    /// The chain, in the order in which it sees what the client sends.
    pub plugins: Vec<PluginUse>,
    /// Where connections go.
    pub upstream: UpstreamConfig,
}

/// As it is written.
pub(super) mod raw {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::chain::raw::Plugins;
    use super::super::upstream::raw::Upstream;
    use super::super::values::{Ignored, Scalar};
    use super::super::yaml::At;

    /// Where TCP streams come.
    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct StreamProxy {
        /// Addresses to listen on.
        #[serde(default)]
        pub(in crate::config) tcp: Vec<At<Scalar>>,
    }

    /// Which connections, through which plugins, to which upstream.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct StreamRoute {
        /// Its position in the file, counted from 1, if left out.
        pub(in crate::config) id: Option<At<Scalar>>,
        /// The address of ours that the client connected to; any if left out.
        pub(in crate::config) server_addr: Option<At<String>>,
        /// The port of ours; any if left out.
        pub(in crate::config) server_port: Option<At<Scalar>>,
        /// An address or a network of clients; all if left out.
        pub(in crate::config) remote_addr: Option<At<String>>,
        /// Not there: streams are not decrypted.
        pub(in crate::config) sni: Option<At<String>>,
        /// What each plugin gets.
        #[serde(default)]
        pub(in crate::config) plugins: Plugins,
        /// What it inherits from.
        pub(in crate::config) service_id: Option<At<Scalar>>,
        /// Where connections go.
        pub(in crate::config) upstream: Option<At<Upstream>>,
        /// One of `upstreams`.
        pub(in crate::config) upstream_id: Option<At<Scalar>>,
        /// For people.
        #[allow(dead_code)]
        pub(in crate::config) name: Option<Ignored>,
        /// For people.
        #[allow(dead_code)]
        pub(in crate::config) desc: Option<Ignored>,
        /// For people.
        #[allow(dead_code)]
        pub(in crate::config) labels: Option<Ignored>,
        /// Set by APISIX's Admin API.
        #[allow(dead_code)]
        pub(in crate::config) create_time: Option<Ignored>,
        /// Set by APISIX's Admin API.
        #[allow(dead_code)]
        pub(in crate::config) update_time: Option<Ignored>,
    }
}

impl Parser<'_> {
    /// Where TCP streams come; `http` are the addresses that are listened on for HTTP.
    pub(super) fn stream_proxy(&mut self, proxy: &raw::StreamProxy, http: &[SocketAddr]) -> Vec<SocketAddr> {
        let mut seen: HashSet<SocketAddr> = http.iter().copied().collect();
        let mut listen = Vec::new();
        for (index, raw) in proxy.tcp.iter().enumerate() {
            let address = listen_address(raw.value.text()).and_then(|address| match seen.insert(address) {
                true => Ok(address),
                false => Err("is given twice".to_owned()),
            });
            listen.extend(self.check(place(raw), &format!("stream_proxy.tcp[{index}]"), address));
        }
        listen
    }

    /// The routes of TCP streams.
    pub(super) fn stream_routes(&mut self, routes: &[At<raw::StreamRoute>], shared: &Shared) -> Vec<StreamRouteConfig> {
        let mut ids = HashSet::new();
        let mut parsed = Vec::with_capacity(routes.len());
        for (index, route) in routes.iter().enumerate() {
            let key = format!("stream_routes[{index}]");
            let raw = &route.value;
            let (id, id_place) = match &raw.id {
                Some(id) => (id.value.text().to_owned(), place(id)),
                None => ((index + 1).to_string(), place(route)),
            };
            self.unique(&mut ids, &id, id_place, &key, "stream route");
            if let Some(sni) = &raw.sni {
                self.problem(place(sni), &format!("{key}.sni"), "is not there: streams are not decrypted");
            }
            let service = self.reference(&raw.service_id, &shared.services, &key, "service_id");
            let named = Named { own: &raw.upstream, id: &raw.upstream_id, service_id: &raw.service_id, service };
            let upstream = self.upstream_of_route(named, shared, place(route), &key, format!("stream_routes/{id}"));
            if upstream.nodes.iter().any(|node| node.address == NodeAddress::Echo) {
                let at = raw.upstream.as_ref().map_or(place(route), place);
                self.problem(at, &format!("{key}.upstream"), "builtin:echo answers HTTP only");
            }
            let server_port = raw.server_port.as_ref().and_then(|raw| {
                let port = raw.value.text().parse().ok().filter(|port: &u16| *port > 0);
                let port = port.ok_or_else(|| "must be a number from 1 to 65535".to_owned());
                self.check(place(raw), &format!("{key}.server_port"), port)
            });
            let server_addr = raw.server_addr.as_ref().and_then(|raw| {
                let address = raw.value.parse().map_err(|_| "must be an IP address".to_owned());
                self.check(place(raw), &format!("{key}.server_addr"), address)
            });
            let remote_addr = raw
                .remote_addr
                .as_ref()
                .and_then(|raw| self.check(place(raw), &format!("{key}.remote_addr"), vars::network(&raw.value)));
            let own = self.plugin_uses(&raw.plugins, &key);
            let inherited = service.map(|service| &service.plugins);
            if !self.may_inherit(inherited.map_or(0, Vec::len), place(route), &key) {
                break;
            }
            let plugins = self.merged(own, inherited.into_iter());
            parsed.push(StreamRouteConfig { id, server_addr, server_port, remote_addr, plugins, upstream });
        }
        parsed
    }
}
