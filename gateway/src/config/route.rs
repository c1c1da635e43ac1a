//! Section `routes`: which requests, through which plugins, to which upstream.

use std::collections::HashSet;
use std::fmt;

use http::Method;
use ipnet::IpNet;

use super::chain::PluginUse;
use super::near::nearest;
use super::parser::Parser;
use super::service::{Named, Shared};
use super::upstream::UpstreamConfig;
use super::vars::{self, Condition};
use super::yaml::{At, place, shown};

/// A route: which requests, through which plugins, to which upstream. What it inherits is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteConfig {
    /// Its id; the position in the file, counted from 1, if it was not given.
    pub id: String,
    /// The paths; at least one, each once.
    pub uris: Vec<UriPattern>,
    /// The methods; empty is all.
    pub methods: Vec<Method>,
    /// The hosts; empty is all.
    pub hosts: Vec<HostPattern>,
    /// Where clients are; empty is everywhere.
    pub remote_addresses: Vec<IpNet>,
    /// What else must be true of a request.
    pub vars: Option<Condition>,
    /// Among routes of the same path, higher priority is tried first.
    pub priority: i32,
    /// Its plugins, in the order in which they see the request.
    pub plugins: Vec<PluginUse>,
    /// Where requests go. The timeouts of the route are in it.
    pub upstream: UpstreamConfig,
    /// Whether connections may be upgraded to WebSocket.
    pub enable_websocket: bool,
}

/// The paths that a route is for; compared with the normalised path of a request, decoded and its slashes merged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UriPattern {
    /// This path.
    Exact(String),
    /// All paths that begin so; `/a/*` is the prefix `/a/`.
    Prefix(String),
    /// A path with parameters, each one segment that is not empty.
    Parameters {
        /// What it begins with, up to the slash before the first parameter.
        prefix: String,
        /// The segments after that.
        segments: Vec<Segment>,
        /// Whether anything may follow after a slash: `/users/:id/*`.
        open: bool,
    },
}

/// A segment of a path with parameters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// This one.
    Fixed(String),
    /// Any that is not empty; with its name.
    Parameter(String),
}

/// As the file has it.
impl fmt::Display for UriPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UriPattern::Exact(path) => f.write_str(path),
            UriPattern::Prefix(path) => write!(f, "{path}*"),
            UriPattern::Parameters { prefix, segments, open } => {
                f.write_str(prefix)?;
                for (index, segment) in segments.iter().enumerate() {
                    let slash = if index == 0 { "" } else { "/" };
                    match segment {
                        Segment::Fixed(text) => write!(f, "{slash}{text}")?,
                        Segment::Parameter(name) => write!(f, "{slash}:{name}")?,
                    }
                }
                f.write_str(if *open { "/*" } else { "" })
            }
        }
    }
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
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::chain::raw::Plugins;
    use super::super::upstream::raw::{Timeout, Upstream};
    use super::super::values::{Ignored, Json, Scalar};
    use super::super::yaml::At;

    /// Which requests, through which plugins, to which upstream.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Route {
        /// Its position in the file, counted from 1, if left out.
        pub(in crate::config) id: Option<At<Scalar>>,
        /// A path, a prefix that ends with `*`, or a path with parameters: `/users/:id`.
        pub(in crate::config) uri: Option<At<String>>,
        /// Several of them.
        pub(in crate::config) uris: Option<At<Vec<At<String>>>>,
        /// All if left out.
        pub(in crate::config) methods: Option<At<Vec<At<String>>>>,
        /// A host, or a domain as `*.example.com`; all if left out.
        pub(in crate::config) host: Option<At<String>>,
        /// Several of them.
        pub(in crate::config) hosts: Option<At<Vec<At<String>>>>,
        /// An address or a network of clients; all if left out.
        pub(in crate::config) remote_addr: Option<At<String>>,
        /// Several of them.
        pub(in crate::config) remote_addrs: Option<At<Vec<At<String>>>>,
        /// Conditions on what the request has: `[["arg_name", "==", "json"]]`.
        pub(in crate::config) vars: Option<At<Json>>,
        /// Among routes of the same path, higher priority is tried first.
        #[serde(default)]
        pub(in crate::config) priority: i32,
        /// 0 switches it off.
        pub(in crate::config) status: Option<At<Scalar>>,
        /// What each plugin gets.
        #[serde(default)]
        pub(in crate::config) plugins: Plugins,
        /// Plugins that others have, too.
        pub(in crate::config) plugin_config_id: Option<At<Scalar>>,
        /// What it inherits from.
        pub(in crate::config) service_id: Option<At<Scalar>>,
        /// Where requests go.
        pub(in crate::config) upstream: Option<At<Upstream>>,
        /// One of `upstreams`.
        pub(in crate::config) upstream_id: Option<At<Scalar>>,
        /// In the place of the upstream's.
        pub(in crate::config) timeout: Option<Timeout>,
        /// Whether connections may be upgraded to WebSocket.
        pub(in crate::config) enable_websocket: Option<bool>,
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
    /// The routes that are switched on.
    pub(super) fn routes(&mut self, raw: Vec<At<raw::Route>>, shared: &Shared) -> Vec<RouteConfig> {
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
            self.unique(&mut ids, &id, id_place, &key, "route");
            let service = self.reference(&raw.service_id, &shared.services, &key, "service_id");
            let plugin_config = self.reference(&raw.plugin_config_id, &shared.plugin_configs, &key, "plugin_config_id");
            let own = self.plugin_uses(&raw.plugins, &key);
            let inherited = plugin_config.into_iter().chain(service.map(|service| &service.plugins));
            let count = inherited.clone().map(Vec::len).sum::<usize>() + self.global_uses;
            if !self.may_inherit(count, route_place, &key) {
                break;
            }
            let plugins = self.merged(own, inherited);
            let mut hosts = self.hosts(&raw.host, &raw.hosts, &key);
            if let Some(service) = service.filter(|_| raw.host.is_none() && raw.hosts.is_none())
                && self.may_inherit(service.hosts.len(), route_place, &key)
            {
                hosts = service.hosts.clone();
            }
            let named = Named { own: &raw.upstream, id: &raw.upstream_id, service_id: &raw.service_id, service };
            let mut upstream = self.upstream_of_route(named, shared, route_place, &key, format!("routes/{id}"));
            upstream.timeout = self.timeout(&raw.timeout, upstream.timeout, &key);
            let route = RouteConfig {
                id,
                uris: self.uris(&raw, route_place, &key),
                methods: self.methods(&raw.methods, &key),
                hosts,
                remote_addresses: self.remote_addresses(&raw, &key),
                vars: raw.vars.as_ref().and_then(|raw| self.vars(raw, &key)),
                priority: raw.priority,
                plugins,
                upstream,
                enable_websocket: raw
                    .enable_websocket
                    .unwrap_or_else(|| service.is_some_and(|service| service.enable_websocket)),
            };
            if self.is_on(&raw.status, &key) {
                routes.push(route);
            }
        }
        routes
    }

    fn is_on(&mut self, raw: &Option<At<super::values::Scalar>>, key: &str) -> bool {
        let Some(raw) = raw else { return true };
        let on = match raw.value.text() {
            "1" => Ok(true),
            "0" => Ok(false),
            _ => Err("must be 1, or 0 to switch the route off".to_owned()),
        };
        self.check(place(raw), &format!("{key}.status"), on).unwrap_or(true)
    }

    fn vars(&mut self, raw: &At<super::values::Json>, key: &str) -> Option<Condition> {
        let value = serde_json::from_str(raw.value.text()).map_err(|error| error.to_string());
        let condition = value.and_then(|value| vars::condition(&value, &mut self.patterns));
        self.check(place(raw), &format!("{key}.vars"), condition)
    }

    fn uris(&mut self, raw: &raw::Route, route_place: super::Place, key: &str) -> Vec<UriPattern> {
        let mut uris = Vec::new();
        let mut seen = HashSet::new();
        match (&raw.uri, &raw.uris) {
            (None, None) => self.problem(route_place, &format!("{key}.uri"), "is missing"),
            (Some(_), Some(second)) => {
                self.problem(
                    place(second),
                    &format!("{key}.uris"),
                    "is given together with uri; one of them is enough",
                );
            }
            (Some(uri), None) => {
                uris.extend(self.check(place(uri), &format!("{key}.uri"), uri_pattern(&uri.value)));
            }
            (None, Some(list)) if list.value.is_empty() => {
                self.problem(place(list), &format!("{key}.uris"), "is empty; name at least one path");
            }
            (None, Some(list)) => {
                for (index, uri) in list.value.iter().enumerate() {
                    let pattern = uri_pattern(&uri.value).and_then(|pattern| match seen.insert(pattern.clone()) {
                        true => Ok(pattern),
                        false => Err("is given twice".to_owned()),
                    });
                    uris.extend(self.check(place(uri), &format!("{key}.uris[{index}]"), pattern));
                }
            }
        }
        uris
    }

    fn remote_addresses(&mut self, raw: &raw::Route, key: &str) -> Vec<IpNet> {
        let mut addresses = Vec::new();
        if let Some(raw) = &raw.remote_addr {
            addresses.extend(self.check(place(raw), &format!("{key}.remote_addr"), vars::network(&raw.value)));
        }
        let Some(list) = &raw.remote_addrs else { return addresses };
        if raw.remote_addr.is_some() {
            let cause = "is given together with remote_addr; one of them is enough";
            self.problem(place(list), &format!("{key}.remote_addrs"), cause);
        }
        if list.value.is_empty() {
            self.problem(place(list), &format!("{key}.remote_addrs"), "is empty; leave it out to allow all");
        }
        for (index, raw) in list.value.iter().enumerate() {
            let address = vars::network(&raw.value);
            addresses.extend(self.check(place(raw), &format!("{key}.remote_addrs[{index}]"), address));
        }
        addresses
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

    pub(super) fn hosts(
        &mut self,
        one: &Option<At<String>>,
        several: &Option<At<Vec<At<String>>>>,
        key: &str,
    ) -> Vec<HostPattern> {
        let mut hosts = Vec::new();
        if let Some(host) = one {
            hosts.extend(self.check(place(host), &format!("{key}.host"), host_pattern(&host.value)));
            if let Some(second) = several {
                self.problem(
                    place(second),
                    &format!("{key}.hosts"),
                    "is given together with host; one of them is enough",
                );
            }
        }
        let Some(raw) = several else { return hosts };
        if raw.value.is_empty() {
            self.problem(place(raw), &format!("{key}.hosts"), "is empty; leave it out to allow all");
        }
        for (index, host) in raw.value.iter().enumerate() {
            hosts.extend(self.check(place(host), &format!("{key}.hosts[{index}]"), host_pattern(&host.value)));
        }
        hosts
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
        || !prefix && (path.ends_with("/.") || path.ends_with("/.."))
    {
        return Err("never matches: requests are compared after //, /./ and /../ were resolved".to_owned());
    }
    if let Some(at) = path.find("/:") {
        return parameters(&path[..=at], &path[at + 1..], prefix);
    }
    Ok(if prefix { UriPattern::Prefix(path.to_owned()) } else { UriPattern::Exact(path.to_owned()) })
}

fn parameters(prefix: &str, rest: &str, any_end: bool) -> Result<UriPattern, String> {
    let rest = match (any_end, rest.strip_suffix('/')) {
        (false, _) => rest,
        (true, Some(rest)) => rest,
        (true, None) => return Err("has parameters, and so may have a * only after a slash at its end".to_owned()),
    };
    let segment = |segment: &str| match segment.strip_prefix(':') {
        Some("") => Err("has a parameter without a name".to_owned()),
        Some(name) => Ok(Segment::Parameter(name.to_owned())),
        None => Ok(Segment::Fixed(segment.to_owned())),
    };
    let segments = rest.split('/').map(segment).collect::<Result<_, _>>()?;
    Ok(UriPattern::Parameters { prefix: prefix.to_owned(), segments, open: any_end })
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

/// The longest name of the domain name system, without its last dot.
const MOST_HOST: usize = 253;

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
    if name.len() > MOST_HOST {
        return Err(format!("has {} characters; no host has more than {MOST_HOST}", name.len()));
    }
    let name = name.to_ascii_lowercase();
    Ok(if suffix { HostPattern::Suffix(name) } else { HostPattern::Exact(name) })
}
