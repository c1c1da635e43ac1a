//! From upstreams as they are written to upstreams that make sense.

use std::collections::HashSet;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::{
    Balancing, CheckKind, HashKey, KeyPart, NamedUpstream, NodeAddress, NodeConfig, PassHost, Scheme, Timeouts,
    UpstreamConfig, raw,
};
use crate::config::error::Place;
use crate::config::parser::{HOUR, MILLISECOND, Parser};
use crate::config::values::Scalar;
use crate::config::yaml::{At, place, shown};

const SECOND: Duration = Duration::from_secs(1);

/// The most that `retries` may be.
const MOST_RETRIES: u32 = 1000;

impl Parser<'_> {
    pub(in crate::config) fn upstreams(&mut self, raw: Vec<At<raw::Upstream>>) -> Vec<NamedUpstream> {
        let mut ids = HashSet::new();
        let mut upstreams = Vec::with_capacity(raw.len());
        for (index, upstream) in raw.iter().enumerate() {
            let key = format!("upstreams[{index}]");
            let Some(raw_id) = &upstream.value.id else {
                self.problem(place(upstream), &format!("{key}.id"), "is missing");
                continue;
            };
            let id = raw_id.value.text().to_owned();
            self.unique(&mut ids, &id, place(raw_id), &key, "upstream");
            let upstream = self.upstream(&upstream.value, &key, format!("upstreams/{id}"));
            upstreams.push(NamedUpstream { id, upstream });
        }
        upstreams
    }

    /// The upstream of a key; `name` is what its health is told by.
    pub(in crate::config) fn upstream(&mut self, raw: &raw::Upstream, key: &str, name: String) -> UpstreamConfig {
        let nodes = self.nodes(&raw.nodes, &format!("{key}.nodes"));
        let retries = raw.retries.as_ref().and_then(|raw| {
            let retries = raw.value.text().parse().ok().filter(|retries| *retries <= MOST_RETRIES);
            let retries = retries.ok_or_else(|| format!("must be a number up to {MOST_RETRIES}"));
            self.check(place(raw), &format!("{key}.retries"), retries)
        });
        let retry_timeout =
            self.duration(&raw.retry_timeout, Some(SECOND), Duration::ZERO..=HOUR, &format!("{key}.retry_timeout"));
        let pass_host = self.pass_host(raw, key);
        let scheme = self.scheme(raw, &nodes, &pass_host, key);
        let checks = raw.checks.as_ref().and_then(|raw| {
            let key = format!("{key}.checks");
            let checks = self.checks(raw, &key)?;
            // An HTTP check speaks HTTP/1.1 without TLS; nodes that do not would all seem to be down.
            if checks.active.kind == CheckKind::Http && scheme != Scheme::HTTP {
                let cause = "http is for scheme http; for another one, tcp asks for a connection only";
                self.problem(place(raw), &format!("{key}.active.type"), cause);
            }
            Some(checks)
        });
        UpstreamConfig {
            name,
            nodes,
            balance: self.balancing(raw, key),
            retries,
            retry_timeout: retry_timeout.filter(|limit| !limit.is_zero()),
            timeout: self.timeout(&raw.timeout, Timeouts::default(), key),
            scheme,
            pass_host,
            checks,
        }
    }

    fn nodes(&mut self, raw: &At<raw::Nodes>, key: &str) -> Vec<NodeConfig> {
        let mut addresses = HashSet::new();
        let mut parsed = Vec::new();
        let mut any = false;
        let mut add = |parser: &mut Self, name: &str, at: Place, key: &str, weight: &At<Scalar>, priority| {
            any = true;
            let node = node_address(name).and_then(|node| match addresses.insert(node.clone()) {
                true => Ok(node),
                false => Err("is given twice".to_owned()),
            });
            let node = parser.check(at, key, node);
            let number = weight.value.text().parse();
            let number = number.map_err(|_| "the weight must be a number from 0 to 65535".to_owned());
            let number = parser.check(place(weight), key, number);
            if let (Some(address), Some(weight @ 1..)) = (node, number) {
                parsed.push(NodeConfig { address, weight, priority });
            }
        };
        let before = self.problems.len();
        match &raw.value {
            raw::Nodes::Map(pairs) => {
                for (name, weight) in &pairs.0 {
                    let key = format!("{key}.{}", shown(&name.value));
                    add(self, &name.value, place(name), &key, weight, 0);
                }
            }
            raw::Nodes::List(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    let raw::Node { host, port, weight, priority } = &node.value;
                    let bare_ipv6 = host.value.contains(':') && !host.value.starts_with('[');
                    let name = match bare_ipv6 {
                        true => format!("[{}]:{}", host.value, port.value.text()),
                        false => format!("{}:{}", host.value, port.value.text()),
                    };
                    add(self, &name, place(host), &format!("{key}[{index}]"), weight, *priority);
                }
            }
        }
        if !any {
            self.problem(place(raw), key, "is empty; name at least one node, as 127.0.0.1:1980: 1");
        } else if parsed.is_empty() && self.problems.len() == before {
            self.problem(place(raw), key, "all weights are 0, so that no node would be used");
        }
        parsed
    }

    fn balancing(&mut self, raw: &raw::Upstream, key: &str) -> Balancing {
        match raw.kind.as_ref().map_or(raw::Balancing::Roundrobin, |kind| kind.value) {
            raw::Balancing::Chash => return self.hash_key(raw, key).map_or(Balancing::RoundRobin, Balancing::Hash),
            raw::Balancing::Ewma => {
                let at = raw.kind.as_ref().map(place).unwrap_or_default();
                self.problem(at, &format!("{key}.type"), "ewma is not there; least_conn comes nearest to it");
            }
            raw::Balancing::Roundrobin | raw::Balancing::LeastConn => {}
        }
        for (name, at) in [("hash_on", raw.hash_on.as_ref().map(place)), ("key", raw.key.as_ref().map(place))] {
            if let Some(at) = at {
                self.problem(at, &format!("{key}.{name}"), "has no effect without type: chash");
            }
        }
        match raw.kind.as_ref().map(|kind| kind.value) {
            Some(raw::Balancing::LeastConn) => Balancing::LeastConnections,
            _ => Balancing::RoundRobin,
        }
    }

    fn hash_key(&mut self, raw: &raw::Upstream, key: &str) -> Option<HashKey> {
        let hash_on = raw.hash_on.as_ref().map_or(raw::HashOn::Vars, |hash_on| hash_on.value);
        if let (raw::HashOn::Consumer, Some(at)) = (hash_on, &raw.hash_on) {
            self.problem(place(at), &format!("{key}.hash_on"), "consumer is not there: nobody is told apart by name");
            return None;
        }
        let Some(given) = &raw.key else {
            let at = raw.kind.as_ref().map(place).unwrap_or_default();
            self.problem(at, &format!("{key}.key"), "is missing; name what is hashed, as remote_addr");
            return None;
        };
        let text = given.value.as_str();
        let parts = match hash_on {
            raw::HashOn::Vars => variable(text).map(|part| vec![part]),
            raw::HashOn::Header => header(text).map(|part| vec![part]),
            raw::HashOn::Cookie => cookie(text).map(|part| vec![part]),
            raw::HashOn::VarsCombinations => combination(text),
            raw::HashOn::Consumer => return None,
        };
        self.check(place(given), &format!("{key}.key"), parts).map(HashKey)
    }

    fn pass_host(&mut self, raw: &raw::Upstream, key: &str) -> PassHost {
        let mode = raw.pass_host.as_ref().map_or(raw::PassHost::Pass, |mode| mode.value);
        let host_key = format!("{key}.upstream_host");
        let host = raw.upstream_host.as_ref().and_then(|raw| {
            let host =
                Some(&raw.value).filter(|host| !host.is_empty()).and_then(|host| HeaderValue::from_str(host).ok());
            self.check(place(raw), &host_key, host.ok_or_else(|| "is no host".to_owned()))
        });
        match (mode, host, &raw.upstream_host) {
            (raw::PassHost::Rewrite, Some(host), _) => return PassHost::Rewrite(host),
            (raw::PassHost::Rewrite, None, None) => {
                let at = raw.pass_host.as_ref().map(place).unwrap_or_default();
                self.problem(at, &host_key, "is missing; pass_host: rewrite needs it");
            }
            (_, Some(_), Some(at)) => self.problem(place(at), &host_key, "has no effect without pass_host: rewrite"),
            _ => {}
        }
        match mode {
            raw::PassHost::Node => PassHost::Node,
            raw::PassHost::Pass | raw::PassHost::Rewrite => PassHost::Pass,
        }
    }

    /// What is given, in the place of what `timeout` has.
    pub(in crate::config) fn timeout(
        &mut self,
        raw: &Option<raw::Timeout>,
        mut timeout: Timeouts,
        key: &str,
    ) -> Timeouts {
        let Some(raw) = raw else { return timeout };
        let mut read =
            |raw, name: &str| self.duration(raw, Some(SECOND), MILLISECOND..=HOUR, &format!("{key}.timeout.{name}"));
        timeout.connect = read(&raw.connect, "connect").unwrap_or(timeout.connect);
        timeout.send = read(&raw.send, "send").unwrap_or(timeout.send);
        timeout.read = read(&raw.read, "read").unwrap_or(timeout.read);
        timeout
    }
}

/// A variable of nginx, by its name without the `$`.
fn variable(name: &str) -> Result<KeyPart, String> {
    match name {
        "remote_addr" => Ok(KeyPart::RemoteAddr),
        "remote_port" => Ok(KeyPart::RemotePort),
        "uri" => Ok(KeyPart::Uri),
        "request_uri" => Ok(KeyPart::RequestUri),
        "args" | "query_string" => Ok(KeyPart::Args),
        "host" => Ok(KeyPart::Host),
        "request_method" => Ok(KeyPart::Method),
        _ => {
            if let Some(name) = name.strip_prefix("arg_").filter(|name| !name.is_empty()) {
                return Ok(KeyPart::Arg(name.to_owned()));
            }
            if let Some(name) = name.strip_prefix("cookie_") {
                return cookie(name);
            }
            if let Some(name) = name.strip_prefix("http_") {
                return header(&name.replace('_', "-"));
            }
            Err("unknown variable; known are remote_addr, remote_port, uri, request_uri, args, host, request_method, \
                 arg_NAME, cookie_NAME and http_NAME"
                .to_owned())
        }
    }
}

fn header(name: &str) -> Result<KeyPart, String> {
    HeaderName::from_bytes(name.as_bytes()).map(KeyPart::Header).map_err(|_| "is no name of a header field".to_owned())
}

fn cookie(name: &str) -> Result<KeyPart, String> {
    match name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && !b";=,\"".contains(&byte)) {
        true => Err("is no name of a cookie".to_owned()),
        false => Ok(KeyPart::Cookie(name.to_owned())),
    }
}

/// Text with variables in it: `$request_uri$remote_addr`, `${host}/x`.
fn combination(text: &str) -> Result<Vec<KeyPart>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        let (before, after) = rest.split_at(dollar);
        if !before.is_empty() {
            parts.push(KeyPart::Text(before.to_owned()));
        }
        let after = &after[1..];
        let (name, next) = match after.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or_else(|| "has a ${ without its }".to_owned())?,
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        parts.push(variable(name)?);
        rest = next;
    }
    if !rest.is_empty() {
        parts.push(KeyPart::Text(rest.to_owned()));
    }
    match parts.iter().any(|part| !matches!(part, KeyPart::Text(_))) {
        true => Ok(parts),
        false => Err("has no variable in it, as $remote_addr".to_owned()),
    }
}

pub(in crate::config) fn node_address(text: &str) -> Result<NodeAddress, String> {
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
