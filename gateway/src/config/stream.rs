//! Sections `stream_proxy` and `stream_routes`: TCP streams.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::PluginConfig;
use super::listen::listen_address;
use super::parser::Parser;
use super::route::PluginUse;
use super::upstream::{NodeAddress, UpstreamConfig};
use super::yaml::{At, place, shown};

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
    pub remote_addr: Option<Network>,
    /// The chain, in the order in which it sees what the client sends.
    pub plugins: Vec<PluginUse>,
    /// Where connections go.
    pub upstream: UpstreamConfig,
}

/// An address, or all that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// How many of its bits count.
    pub bits: u8,
}

impl Network {
    /// Whether an address is in it. One of IPv4 that is written as one of IPv6 is one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differ = u32::from(own) ^ u32::from(other);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differ = u128::from(own) ^ u128::from(other);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }
}

/// As it is written.
pub(super) mod raw {
    use serde::Deserialize;

    use super::super::route::raw::PluginUse;
    use super::super::upstream::raw::Upstream;
    use super::super::values::{Pairs, Scalar};
    use super::super::yaml::At;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct StreamProxy {
        #[serde(default)]
        pub(in crate::config) tcp: Vec<At<Scalar>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct StreamRoute {
        pub(in crate::config) id: Option<At<Scalar>>,
        pub(in crate::config) server_addr: Option<At<String>>,
        pub(in crate::config) server_port: Option<At<Scalar>>,
        pub(in crate::config) remote_addr: Option<At<String>>,
        pub(in crate::config) sni: Option<At<String>>,
        #[serde(default)]
        pub(in crate::config) plugins: Pairs<Option<PluginUse>>,
        pub(in crate::config) upstream: At<Upstream>,
    }
}

impl Parser<'_> {
    /// TCP streams; `http` are the addresses that are listened on for HTTP.
    pub(super) fn streams(
        &mut self,
        proxy: &raw::StreamProxy,
        routes: &[At<raw::StreamRoute>],
        http: &[SocketAddr],
        plugins: &[PluginConfig],
    ) -> StreamConfig {
        let mut seen: HashSet<SocketAddr> = http.iter().copied().collect();
        let mut listen = Vec::new();
        for (index, raw) in proxy.tcp.iter().enumerate() {
            let address = listen_address(raw.value.text()).and_then(|address| match seen.insert(address) {
                true => Ok(address),
                false => Err("is given twice".to_owned()),
            });
            listen.extend(self.check(place(raw), &format!("stream_proxy.tcp[{index}]"), address));
        }
        let names: HashMap<&str, usize> =
            plugins.iter().enumerate().map(|(index, plugin)| (plugin.name.as_str(), index)).collect();
        let mut ids = HashSet::new();
        let mut parsed = Vec::with_capacity(routes.len());
        for (index, route) in routes.iter().enumerate() {
            let key = format!("stream_routes[{index}]");
            let raw = &route.value;
            let (id, id_place) = match &raw.id {
                Some(id) => (id.value.text().to_owned(), place(id)),
                None => ((index + 1).to_string(), place(route)),
            };
            if id.is_empty() {
                self.problem(id_place, &format!("{key}.id"), "is empty");
            }
            if !ids.insert(id.clone()) {
                let cause = format!("there is another stream route with id `{}`", shown(&id));
                self.problem(id_place, &format!("{key}.id"), cause);
            }
            if let Some(sni) = &raw.sni {
                self.problem(place(sni), &format!("{key}.sni"), "is not there: streams are not decrypted");
            }
            let upstream =
                self.upstream(&raw.upstream.value, &format!("{key}.upstream"), format!("stream_routes/{id}"));
            if upstream.nodes.iter().any(|node| node.address == NodeAddress::Echo) {
                self.problem(place(&raw.upstream), &format!("{key}.upstream"), "builtin:echo answers HTTP only");
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
            let remote_addr = raw.remote_addr.as_ref().and_then(|raw| {
                let cause = || "must be an IP address, or one with a number of bits, as 10.0.0.0/8".to_owned();
                self.check(place(raw), &format!("{key}.remote_addr"), network(&raw.value).ok_or_else(cause))
            });
            parsed.push(StreamRouteConfig {
                id,
                server_addr,
                server_port,
                remote_addr,
                plugins: self.chain(&raw.plugins, &names, plugins, &key),
                upstream,
            });
        }
        StreamConfig { listen, routes: parsed }
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some(Network { address, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_begins_with_their_bits() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.1"),
            ("10.1.2.3", "10.1.2.3", "10.1.2.2"),
            ("0.0.0.0/0", "1.2.3.4", "::1"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::/0", "1::", "1.2.3.4"),
        ] {
            let network = network(text).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{text} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{text} {outside}");
        }
        for bad in ["", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "10.0.0", "a/8", "10.0.0.0/"] {
            assert_eq!(network(bad), None, "{bad}");
        }
    }
}
