//! Section `upstreams`, and the upstream of a route.

use std::collections::HashSet;
use std::time::Duration;

use super::parser::{HOUR, MILLISECOND, Parser};
use super::yaml::{At, place, shown};

/// An upstream with an id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedUpstream {
    /// Its id; not empty.
    pub id: String,
    /// Where its requests go.
    pub upstream: UpstreamConfig,
}

/// The upstream of a route, or one with an id.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamConfig {
    /// The nodes among which requests are shared out by weight; at least one, no weight 0, addresses unique.
    pub nodes: Vec<NodeConfig>,
    /// How long it may take.
    pub timeout: Timeouts,
}

/// One node of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Where it is.
    pub address: NodeAddress,
    /// Its share: 1 to 65,535.
    pub weight: u16,
}

/// Where a node is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeAddress {
    /// In this process: answers with the request it got, as JSON.
    Echo,
    /// `host:port`; the host is a name or an address.
    Tcp(String),
}

/// How long an upstream may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// To accept a connection: 1 ms to 1 h, 60 s by default.
    pub connect: Duration,
    /// Between two pieces of the request that it takes: 1 ms to 1 h, 60 s by default.
    pub send: Duration,
    /// Between two pieces of the response: 1 ms to 1 h, 60 s by default.
    pub read: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Timeouts { connect: minute, send: minute, read: minute }
    }
}

/// As it is written.
pub(super) mod raw {
    use serde::Deserialize;

    use super::super::values::{Pairs, Scalar};
    use super::super::yaml::At;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Upstream {
        #[serde(default, rename = "type")]
        pub(in crate::config) kind: Balancing,
        pub(in crate::config) nodes: At<Pairs<At<Scalar>>>,
        pub(in crate::config) timeout: Option<Timeout>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct NamedUpstream {
        pub(in crate::config) id: At<Scalar>,
        #[serde(default, rename = "type")]
        pub(in crate::config) kind: Balancing,
        pub(in crate::config) nodes: At<Pairs<At<Scalar>>>,
        pub(in crate::config) timeout: Option<Timeout>,
    }

    #[derive(Debug, Clone, Copy, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub(in crate::config) enum Balancing {
        #[default]
        Roundrobin,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Timeout {
        pub(in crate::config) connect: Option<At<Scalar>>,
        pub(in crate::config) send: Option<At<Scalar>>,
        pub(in crate::config) read: Option<At<Scalar>>,
    }
}

impl Parser<'_> {
    pub(super) fn upstreams(&mut self, raw: Vec<At<raw::NamedUpstream>>) -> Vec<NamedUpstream> {
        let mut ids = HashSet::new();
        let mut upstreams = Vec::with_capacity(raw.len());
        for (index, upstream) in raw.into_iter().enumerate() {
            let key = format!("upstreams[{index}]");
            let raw::NamedUpstream { id: raw_id, kind, nodes, timeout } = upstream.value;
            let id = raw_id.value.text().to_owned();
            if id.is_empty() {
                self.problem(place(&raw_id), &format!("{key}.id"), "is empty");
            }
            if !ids.insert(id.clone()) {
                let cause = format!("there is another upstream with id `{}`", shown(&id));
                self.problem(place(&raw_id), &format!("{key}.id"), cause);
            }
            let upstream = self.upstream(&raw::Upstream { kind, nodes, timeout }, &key);
            upstreams.push(NamedUpstream { id, upstream });
        }
        upstreams
    }

    pub(super) fn upstream(&mut self, raw: &raw::Upstream, key: &str) -> UpstreamConfig {
        match raw.kind {
            raw::Balancing::Roundrobin => {}
        }
        let nodes = &raw.nodes;
        if nodes.value.0.is_empty() {
            self.problem(
                place(nodes),
                &format!("{key}.nodes"),
                "is empty; name at least one node, as 127.0.0.1:1980: 1",
            );
        }
        let mut addresses = HashSet::new();
        let mut parsed = Vec::new();
        for (address, weight) in &nodes.value.0 {
            let key = format!("{key}.nodes.{}", shown(&address.value));
            let node = node_address(&address.value);
            let node = node.and_then(|node| match addresses.insert(node.clone()) {
                true => Ok(node),
                false => Err("is given twice".to_owned()),
            });
            let node = self.check(place(address), &key, node);
            let number = weight.value.text().parse().ok().filter(|weight| *weight > 0);
            let number = number.ok_or_else(|| "the weight must be a number from 1 to 65535".to_owned());
            let number = self.check(place(weight), &key, number);
            if let (Some(address), Some(weight)) = (node, number) {
                parsed.push(NodeConfig { address, weight });
            }
        }
        UpstreamConfig { nodes: parsed, timeout: self.timeout(&raw.timeout, key) }
    }

    fn timeout(&mut self, raw: &Option<raw::Timeout>, key: &str) -> Timeouts {
        let mut timeout = Timeouts::default();
        let Some(raw) = raw else { return timeout };
        let second = Some(Duration::from_secs(1));
        let mut read =
            |raw, name: &str| self.duration(raw, second, MILLISECOND..=HOUR, &format!("{key}.timeout.{name}"));
        timeout.connect = read(&raw.connect, "connect").unwrap_or(timeout.connect);
        timeout.send = read(&raw.send, "send").unwrap_or(timeout.send);
        timeout.read = read(&raw.read, "read").unwrap_or(timeout.read);
        timeout
    }
}

pub(super) fn node_address(text: &str) -> Result<NodeAddress, String> {
    if let Some(builtin) = text.strip_prefix("builtin:") {
        return match builtin {
            "echo" => Ok(NodeAddress::Echo),
            _ => Err("unknown built-in node; did you mean `builtin:echo`?".to_owned()),
        };
    }
    if text.contains("://") {
        return Err("must be host:port, without a scheme".to_owned());
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(|| "has no port; write it as host:port".to_owned())?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return Err("an IPv6 address goes in brackets, as [::1]:1980".to_owned());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if host.is_empty() || !host.bytes().all(allowed) {
        return Err("must be host:port".to_owned());
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(NodeAddress::Tcp(text.to_ascii_lowercase())),
        _ => Err("the port must be a number from 1 to 65535".to_owned()),
    }
}
