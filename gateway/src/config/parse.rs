//! From what is written to what makes sense. Everything that is wrong is reported, not only the first.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use http::Method;

use super::error::{Place, Problem};
use super::near::nearest;
use super::values::{Scalar, bytes, duration};
use super::yaml::{At, place, shown};
use super::{
    Config, EscapedSlashes, FailPolicy, NamedUpstream, PathRules, PluginConfig, PluginLimits, PluginUse, RouteConfig,
    UpstreamConfig, WorkerLimits,
};
use super::{Dialect, HostPattern, NodeAddress, NodeConfig, Timeouts, UriPattern, raw};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// How many callouts may be allowed at once.
const MOST_CALLOUTS: usize = 1_000_000;

/// After how many problems it is not looked any more for what was meant.
const SUGGESTIONS: usize = 100;

pub(super) fn config(raw: raw::File, directory: &Path) -> Result<Config, Vec<Problem>> {
    let mut parser = Parser { directory, problems: Vec::new() };
    let listen = parser.listen(&raw.listen);
    let workers = raw.workers.as_ref().and_then(|workers| parser.workers(workers));
    let paths = paths(&raw.paths.unwrap_or_default());
    let limits = parser.worker_limits(&raw.limits.unwrap_or_default());
    let plugins = parser.plugins(raw.wasm.unwrap_or_default().plugins.unwrap_or_default());
    let upstreams = parser.upstreams(raw.upstreams.unwrap_or_default());
    let routes = parser.routes(raw.routes.unwrap_or_default(), &plugins);
    let mut problems = parser.problems;
    if problems.is_empty() {
        return Ok(Config { listen, workers, paths, limits, plugins, upstreams, routes });
    }
    problems.sort_by_key(|problem| problem.place);
    Err(problems)
}

struct Parser<'a> {
    directory: &'a Path,
    problems: Vec<Problem>,
}

impl Parser<'_> {
    fn problem(&mut self, place: Place, key: &str, cause: impl Into<String>) {
        self.problems.push(Problem::new(place, key, cause));
    }

    /// The value, or a problem at its place.
    fn check<T>(&mut self, place: Place, key: &str, value: Result<T, String>) -> Option<T> {
        value.map_err(|cause| self.problem(place, key, cause)).ok()
    }

    fn listen(&mut self, raw: &At<Vec<At<Scalar>>>) -> Vec<SocketAddr> {
        if raw.value.is_empty() {
            self.problem(place(raw), "listen", "is empty; name at least one address, as 127.0.0.1:9080");
        }
        let mut seen = HashSet::new();
        let mut addresses = Vec::new();
        for (index, entry) in raw.value.iter().enumerate() {
            let key = format!("listen[{index}]");
            let address = listen_address(entry.value.text()).and_then(|address| match seen.insert(address) {
                true => Ok(address),
                false => Err("is given twice".to_owned()),
            });
            addresses.extend(self.check(place(entry), &key, address));
        }
        addresses
    }

    fn workers(&mut self, raw: &At<Scalar>) -> Option<NonZeroUsize> {
        let workers = raw.value.text().parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= 1024);
        self.check(place(raw), "workers", workers.ok_or_else(|| "must be a number from 1 to 1024".to_owned()))
    }

    fn worker_limits(&mut self, raw: &raw::WorkerLimits) -> WorkerLimits {
        let mut limits = WorkerLimits::default();
        if let Some(raw) = &raw.connections {
            let value = raw.value.text().parse().ok().filter(|count| (1..=1_000_000).contains(count));
            let value = value.ok_or_else(|| "must be a number from 1 to 1000000".to_owned());
            limits.connections = self.check(place(raw), "limits.connections", value).unwrap_or(limits.connections);
        }
        if let Some(raw) = &raw.buffered_body {
            let value = bytes(&raw.value).and_then(|bytes| {
                let allowed = (64 << 10)..=(1 << 40);
                allowed.contains(&bytes).then_some(bytes).ok_or_else(|| "must be from 64KiB to 1024GiB".to_owned())
            });
            limits.buffered_body =
                self.check(place(raw), "limits.buffered_body", value).unwrap_or(limits.buffered_body);
        }
        limits
    }

    fn plugins(&mut self, raw: Vec<At<raw::Plugin>>) -> Vec<PluginConfig> {
        let mut names = HashSet::new();
        let mut plugins = Vec::with_capacity(raw.len());
        for (index, plugin) in raw.into_iter().enumerate() {
            let key = format!("wasm.plugins[{index}]");
            let plugin_place = place(&plugin);
            let raw = plugin.value;
            if raw.name.value.is_empty() {
                self.problem(place(&raw.name), &format!("{key}.name"), "is empty");
            }
            if !names.insert(raw.name.value.clone()) {
                let cause = format!("there is another plugin named `{}`", shown(&raw.name.value));
                self.problem(place(&raw.name), &format!("{key}.name"), cause);
            }
            if raw.file.value.is_empty() {
                self.problem(place(&raw.file), &format!("{key}.file"), "is empty");
            }
            if let Some(engine) = raw.engine.as_ref().filter(|engine| engine.value.is_empty()) {
                self.problem(place(engine), &format!("{key}.engine"), "is empty");
            }
            plugins.push(PluginConfig {
                file: self.directory.join(&raw.file.value),
                name: raw.name.value,
                priority: raw.priority,
                engine: raw.engine.map(|engine| engine.value),
                vm_id: raw.vm_id,
                vm_config: raw.vm_config.0.into(),
                root_id: raw.root_id,
                dialect: match raw.dialect {
                    raw::Dialect::Envoy => Dialect::Envoy,
                    raw::Dialect::Kong => Dialect::Kong,
                    raw::Dialect::Apisix => Dialect::Apisix,
                },
                limits: self.limits(&raw.limits, &key),
                fail_policy: match raw.fail_policy {
                    raw::FailPolicy::Closed => FailPolicy::Closed,
                },
                allowed_upstreams: self.allowed(&raw.allowed_upstreams, &key),
                place: plugin_place,
            });
        }
        plugins
    }

    fn limits(&mut self, raw: &raw::Limits, key: &str) -> PluginLimits {
        let memory = raw.memory.as_ref().and_then(|memory| {
            let value = bytes(&memory.value).and_then(|bytes| {
                let allowed = (64 << 10)..=(4 << 30);
                allowed.contains(&bytes).then_some(bytes).ok_or_else(|| "must be from 64KiB to 4GiB".to_owned())
            });
            self.check(place(memory), &format!("{key}.limits.memory"), value)
        });
        let mut stored = |raw: &Option<At<Scalar>>, name: &str| {
            let raw = raw.as_ref()?;
            let value = bytes(&raw.value)
                .and_then(|bytes| if bytes <= 1 << 30 { Ok(bytes) } else { Err("must be at most 1GiB".to_owned()) });
            self.check(place(raw), &format!("{key}.limits.{name}"), value)
        };
        let (shared_data, queues) = (stored(&raw.shared_data, "shared_data"), stored(&raw.queues, "queues"));
        let metrics = raw.metrics.as_ref().and_then(|metrics| {
            let value = metrics.value.text().parse().ok().filter(|count| *count <= 100_000);
            let value = value.ok_or_else(|| "must be a number up to 100000".to_owned());
            self.check(place(metrics), &format!("{key}.limits.metrics"), value)
        });
        PluginLimits {
            memory,
            deadline: self.duration(&raw.deadline, None, MILLISECOND..=MINUTE, &format!("{key}.limits.deadline")),
            start_deadline: self.duration(
                &raw.start_deadline,
                None,
                MILLISECOND..=HOUR,
                &format!("{key}.limits.start_deadline"),
            ),
            pause: self.duration(&raw.pause, None, MILLISECOND..=HOUR, &format!("{key}.limits.pause")),
            callouts: self.count(&raw.callouts, &format!("{key}.limits.callouts")),
            callouts_per_stream: self.count(&raw.callouts_per_stream, &format!("{key}.limits.callouts_per_stream")),
            callout_bytes: raw.callout_bytes.as_ref().and_then(|raw| {
                let value = bytes(&raw.value).and_then(|bytes| {
                    let allowed = (1 << 10)..=(4 << 30);
                    allowed.contains(&bytes).then_some(bytes).ok_or_else(|| "must be from 1KiB to 4GiB".to_owned())
                });
                self.check(place(raw), &format!("{key}.limits.callout_bytes"), value)
            }),
            callout_timeout: self.duration(
                &raw.callout_timeout,
                None,
                MILLISECOND..=HOUR,
                &format!("{key}.limits.callout_timeout"),
            ),
            shared_data,
            queues,
            metrics,
        }
    }

    fn count(&mut self, raw: &Option<At<Scalar>>, key: &str) -> Option<usize> {
        let raw = raw.as_ref()?;
        let count = raw.value.text().parse().ok().filter(|count| *count <= MOST_CALLOUTS);
        self.check(place(raw), key, count.ok_or_else(|| format!("must be a number from 0 to {MOST_CALLOUTS}")))
    }

    /// The addresses that a plugin may call.
    fn allowed(&mut self, raw: &[At<String>], key: &str) -> Vec<String> {
        let mut allowed = Vec::with_capacity(raw.len());
        for (index, entry) in raw.iter().enumerate() {
            let address = node_address(&entry.value).and_then(|address| match address {
                NodeAddress::Tcp(address) => Ok(address),
                NodeAddress::Echo => Err("must be host:port".to_owned()),
            });
            allowed.extend(self.check(place(entry), &format!("{key}.allowed_upstreams[{index}]"), address));
        }
        allowed
    }

    fn upstreams(&mut self, raw: Vec<At<raw::NamedUpstream>>) -> Vec<NamedUpstream> {
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

    fn duration(
        &mut self,
        raw: &Option<At<Scalar>>,
        unit: Option<Duration>,
        allowed: RangeInclusive<Duration>,
        key: &str,
    ) -> Option<Duration> {
        let raw = raw.as_ref()?;
        let value = duration(&raw.value, unit).and_then(|value| {
            let out = || format!("must be from {:?} to {:?}", allowed.start(), allowed.end());
            allowed.contains(&value).then_some(value).ok_or_else(out)
        });
        self.check(place(raw), key, value)
    }

    fn routes(&mut self, raw: Vec<At<raw::Route>>, plugins: &[PluginConfig]) -> Vec<RouteConfig> {
        let names: HashMap<&str, usize> =
            plugins.iter().enumerate().map(|(index, plugin)| (plugin.name.as_str(), index)).collect();
        let mut ids = HashSet::new();
        let mut routes = Vec::with_capacity(raw.len());
        for (index, route) in raw.into_iter().enumerate() {
            let key = format!("routes[{index}]");
            let route_place = place(&route);
            let raw = route.value;
            let (id, id_place) = match &raw.id {
                Some(id) => (id.value.text().to_owned(), place(id)),
                None => ((index + 1).to_string(), route_place),
            };
            if id.is_empty() {
                self.problem(id_place, &format!("{key}.id"), "is empty");
            }
            if !ids.insert(id.clone()) {
                let cause = format!("there is another route with id `{}`", shown(&id));
                self.problem(id_place, &format!("{key}.id"), cause);
            }
            let uri = self.check(place(&raw.uri), &format!("{key}.uri"), uri_pattern(&raw.uri.value));
            routes.push(RouteConfig {
                id,
                uri: uri.unwrap_or(UriPattern::Prefix(String::new())),
                methods: self.methods(&raw.methods, &key),
                hosts: self.hosts(&raw, &key),
                priority: raw.priority,
                plugins: self.chain(&raw, &names, plugins, &key),
                upstream: self.upstream(&raw.upstream.value, &format!("{key}.upstream")),
            });
        }
        routes
    }

    fn methods(&mut self, raw: &Option<At<Vec<At<String>>>>, key: &str) -> Vec<Method> {
        let Some(raw) = raw else { return Vec::new() };
        if raw.value.is_empty() {
            self.problem(place(raw), &format!("{key}.methods"), "is empty; leave it out to allow all");
        }
        let mut methods = Vec::new();
        for (index, method) in raw.value.iter().enumerate() {
            methods.extend(self.check(place(method), &format!("{key}.methods[{index}]"), parse_method(&method.value)));
        }
        methods
    }

    fn hosts(&mut self, raw: &raw::Route, key: &str) -> Vec<HostPattern> {
        let mut hosts = Vec::new();
        if let Some(host) = &raw.host {
            hosts.extend(self.check(place(host), &format!("{key}.host"), host_pattern(&host.value)));
            if let Some(second) = &raw.hosts {
                self.problem(
                    place(second),
                    &format!("{key}.hosts"),
                    "is given together with host; one of them is enough",
                );
            }
        }
        let Some(raw) = &raw.hosts else { return hosts };
        if raw.value.is_empty() {
            self.problem(place(raw), &format!("{key}.hosts"), "is empty; leave it out to allow all");
        }
        for (index, host) in raw.value.iter().enumerate() {
            hosts.extend(self.check(place(host), &format!("{key}.hosts[{index}]"), host_pattern(&host.value)));
        }
        hosts
    }

    fn chain(
        &mut self,
        raw: &raw::Route,
        names: &HashMap<&str, usize>,
        plugins: &[PluginConfig],
        key: &str,
    ) -> Vec<PluginUse> {
        let mut chain = Vec::new();
        for (name, plugin_use) in &raw.plugins.0 {
            let Some(&plugin) = names.get(name.value.as_str()) else {
                // Each is compared with all names, which a file with very many of both would make a work of hours.
                let near = (self.problems.len() < SUGGESTIONS).then(|| nearest(&name.value, names.keys().copied()));
                let cause = match near.flatten() {
                    Some(near) => format!("unknown plugin; did you mean `{near}`?"),
                    None => "unknown plugin; wasm.plugins has none of that name".to_owned(),
                };
                self.problem(place(name), &format!("{key}.plugins.{}", shown(&name.value)), cause);
                continue;
            };
            let conf = plugin_use.as_ref().map(|plugin_use| plugin_use.conf.0.clone()).unwrap_or_default();
            chain.push(PluginUse { plugin, conf: conf.into(), place: place(name) });
        }
        chain.sort_by_key(|plugin_use| (-i64::from(plugins[plugin_use.plugin].priority), plugin_use.plugin));
        chain
    }

    fn upstream(&mut self, raw: &raw::Upstream, key: &str) -> UpstreamConfig {
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

fn paths(raw: &raw::Paths) -> PathRules {
    let escaped_slashes = match raw.escaped_slashes {
        raw::EscapedSlashes::Reject => EscapedSlashes::Reject,
        raw::EscapedSlashes::Keep => EscapedSlashes::Keep,
    };
    PathRules { escaped_slashes }
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        return Err(format!("must be an address with a port; did you mean `127.0.0.1:{port}`?"));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Err(format!("must be an IP address; did you mean `127.0.0.1:{}`?", shown(port)));
    }
    Err("must be an IP address with a port, as 127.0.0.1:9080 or [::1]:9080".to_owned())
}

fn uri_pattern(text: &str) -> Result<UriPattern, String> {
    if !text.starts_with('/') {
        return Err(format!("must begin with a slash; did you mean `/{}`?", shown(text)));
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '?' | '#' | '%' | '\\')) {
        return Err(format!("is compared with decoded paths without query; {bad:?} may not be in it"));
    }
    let (path, prefix) = match text.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (text, false),
    };
    if path.contains('*') {
        return Err("may have a * only at its end".to_owned());
    }
    if path.contains("//")
        || path.contains("/./")
        || path.contains("/../")
        || path.ends_with("/.")
        || path.ends_with("/..")
    {
        return Err("never matches: requests are compared after //, /./ and /../ were resolved".to_owned());
    }
    Ok(if prefix { UriPattern::Prefix(path.to_owned()) } else { UriPattern::Exact(path.to_owned()) })
}

fn parse_method(text: &str) -> Result<Method, String> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PURGE"];
    if KNOWN.contains(&text) {
        return Method::from_bytes(text.as_bytes()).map_err(|error| error.to_string());
    }
    Err(match nearest(text, KNOWN) {
        Some(near) => format!("unknown method; did you mean `{near}`?"),
        None => format!("unknown method; known are {}", KNOWN.join(", ")),
    })
}

fn host_pattern(text: &str) -> Result<HostPattern, String> {
    let (name, suffix) = match text.strip_prefix('*') {
        Some(rest) if rest.starts_with('.') && rest.len() > 1 => (rest, true),
        Some(_) => return Err("must be a host, or * with a domain, as *.example.com".to_owned()),
        None => (text, false),
    };
    let bracketed = name.starts_with('[') && name.ends_with(']');
    if name.is_empty() || (name.contains(':') && !bracketed) {
        return Err("must be a host without port, as example.com or *.example.com".to_owned());
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte)) {
        return Err("has characters that no host has".to_owned());
    }
    let name = name.to_ascii_lowercase();
    Ok(if suffix { HostPattern::Suffix(name) } else { HostPattern::Exact(name) })
}

fn node_address(text: &str) -> Result<NodeAddress, String> {
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
