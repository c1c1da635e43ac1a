//! Section `routes`: which requests, through which plugins, to which upstream.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::Method;

use super::error::Place;
use super::near::nearest;
use super::parser::{Parser, SUGGESTIONS};
use super::plugin::PluginConfig;
use super::upstream::UpstreamConfig;
use super::values::Pairs;
use super::yaml::{At, place, shown};

/// A route: which requests, through which plugins, to which upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteConfig {
    /// Its id; the position in the file, counted from 1, if it was not given.
    pub id: String,
    /// The paths.
    pub uri: UriPattern,
    /// The methods; empty is all.
    pub methods: Vec<Method>,
    /// The hosts; empty is all.
    pub hosts: Vec<HostPattern>,
    /// Among routes of the same `uri`, higher priority is tried first.
    pub priority: i32,
    /// The chain, in the order in which it sees the request.
    pub plugins: Vec<PluginUse>,
    /// Where requests go.
    pub upstream: UpstreamConfig,
}

/// A plugin in the chain of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginUse {
    /// The plugin, an index into [`Config::plugins`](super::Config::plugins).
    pub plugin: usize,
    /// What it gets as its configuration; often empty.
    pub conf: Bytes,
    /// Where it is in the file, for errors that show up later.
    pub place: Place,
}

/// The paths that a route is for; compared with the normalised path of a request, decoded and its slashes merged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UriPattern {
    /// This path.
    Exact(String),
    /// All paths that begin so; `/a/*` is the prefix `/a/`.
    Prefix(String),
}

/// The hosts that a route is for, in lower case and without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// All hosts that end so: `*.example.com` is the suffix `.example.com`.
    Suffix(String),
}

/// As it is written.
pub(super) mod raw {
    use serde::Deserialize;

    use super::super::upstream::raw::Upstream;
    use super::super::values::{Conf, Pairs, Scalar};
    use super::super::yaml::At;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Route {
        pub(in crate::config) id: Option<At<Scalar>>,
        pub(in crate::config) uri: At<String>,
        pub(in crate::config) methods: Option<At<Vec<At<String>>>>,
        pub(in crate::config) host: Option<At<String>>,
        pub(in crate::config) hosts: Option<At<Vec<At<String>>>>,
        #[serde(default)]
        pub(in crate::config) priority: i32,
        #[serde(default)]
        pub(in crate::config) plugins: Pairs<Option<PluginUse>>,
        pub(in crate::config) upstream: At<Upstream>,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct PluginUse {
        #[serde(default)]
        pub(in crate::config) conf: Conf,
    }
}

impl Parser<'_> {
    pub(super) fn routes(&mut self, raw: Vec<At<raw::Route>>, plugins: &[PluginConfig]) -> Vec<RouteConfig> {
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
            let upstream = self.upstream(&raw.upstream.value, &format!("{key}.upstream"), format!("routes/{id}"));
            routes.push(RouteConfig {
                id,
                uri: uri.unwrap_or(UriPattern::Prefix(String::new())),
                methods: self.methods(&raw.methods, &key),
                hosts: self.hosts(&raw, &key),
                priority: raw.priority,
                plugins: self.chain(&raw.plugins, &names, plugins, &key),
                upstream,
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

    /// The plugins of a route, in the order of their priority.
    pub(super) fn chain(
        &mut self,
        raw: &Pairs<Option<raw::PluginUse>>,
        names: &HashMap<&str, usize>,
        plugins: &[PluginConfig],
        key: &str,
    ) -> Vec<PluginUse> {
        let mut chain = Vec::new();
        for (name, plugin_use) in &raw.0 {
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

pub(super) fn host_pattern(text: &str) -> Result<HostPattern, String> {
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
