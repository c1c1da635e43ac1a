//! The whole file: its sections, each in a file of its own here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{Place, Problem};
use super::parser::Parser;
use super::values::{Ignored, Scalar};
use super::yaml::{At, place};
use super::{
    Config, Dialect, Phase, RoutesFile, StreamConfig, apisix, chain, endpoints, limits, logs, plugin, route, service,
    stream, tls, upstream,
};

/// The configuration of Chassis: one file, or APISIX's `config.yaml` with `apisix.yaml` beside it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of Chassis")]
pub(super) struct File {
    /// Addresses to listen on.
    pub(super) listen: Option<At<Vec<At<Scalar>>>>,
    /// Addresses to listen on with TLS.
    pub(super) ssl: Option<At<tls::raw::Ssl>>,
    /// How many threads serve; one per core if left out.
    pub(super) workers: Option<At<Scalar>>,
    /// How paths of requests are taken.
    pub(super) paths: Option<At<limits::raw::Paths>>,
    /// What each worker may hold.
    pub(super) limits: Option<At<limits::raw::WorkerLimits>>,
    /// The plugins.
    pub(super) wasm: Option<At<plugin::raw::Wasm>>,
    /// What APISIX has here; where it listens counts if `listen` is left out.
    pub(super) apisix: Option<At<apisix::raw::Apisix>>,
    /// Where metrics are.
    pub(super) plugin_attr: Option<At<endpoints::RawPluginAttr>>,
    /// What APISIX has here.
    pub(super) deployment: Option<At<apisix::raw::Deployment>>,
    /// What is logged, and where.
    pub(super) nginx_config: Option<At<logs::raw::NginxConfig>>,
    /// Where TCP streams come.
    pub(super) stream_proxy: Option<At<stream::raw::StreamProxy>>,
    /// Which TCP streams, through which plugins, to which upstream.
    pub(super) stream_routes: Option<Vec<At<stream::raw::StreamRoute>>>,
    /// Which requests, through which plugins, to which upstream.
    pub(super) routes: Option<Vec<At<route::raw::Route>>>,
    /// What routes inherit.
    pub(super) services: Option<Vec<At<service::raw::Service>>>,
    /// What routes and services may name, and plugins may call.
    pub(super) upstreams: Option<Vec<At<upstream::raw::Upstream>>>,
    /// Plugins that several routes have.
    pub(super) plugin_configs: Option<Vec<At<service::raw::PluginConfig>>>,
    /// Certificates, and for which names they are.
    pub(super) ssls: Option<Vec<At<tls::raw::Certificate>>>,
    /// Plugins that every request passes which a route takes.
    pub(super) global_rules: Option<Vec<At<chain::raw::GlobalRule>>>,
    /// Of APISIX; has no effect.
    etcd: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    plugins: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    stream_plugins: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    #[serde(rename = "ext-plugin")]
    ext_plugin: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    graphql: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    xrpc: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    discovery: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    consumers: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    consumer_groups: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    plugin_metadata: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    secrets: Option<At<Ignored>>,
    /// Of APISIX; has no effect.
    protos: Option<At<Ignored>>,
}

impl File {
    /// The keys that are given and have no effect.
    fn ignored(&self) -> Vec<(&'static str, Place)> {
        let all = [
            ("etcd", &self.etcd),
            ("plugins", &self.plugins),
            ("stream_plugins", &self.stream_plugins),
            ("ext-plugin", &self.ext_plugin),
            ("graphql", &self.graphql),
            ("xrpc", &self.xrpc),
            ("discovery", &self.discovery),
            ("consumers", &self.consumers),
            ("consumer_groups", &self.consumer_groups),
            ("plugin_metadata", &self.plugin_metadata),
            ("secrets", &self.secrets),
            ("protos", &self.protos),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?.place))).collect()
    }

    /// The sections that are not about routes.
    fn fixed(&self) -> Vec<(&'static str, Place)> {
        let all = [
            ("listen", self.listen.as_ref().map(place)),
            ("ssl", self.ssl.as_ref().map(place)),
            ("workers", self.workers.as_ref().map(place)),
            ("paths", self.paths.as_ref().map(place)),
            ("limits", self.limits.as_ref().map(place)),
            ("wasm", self.wasm.as_ref().map(place)),
            ("apisix", self.apisix.as_ref().map(place)),
            ("plugin_attr", self.plugin_attr.as_ref().map(place)),
            ("deployment", self.deployment.as_ref().map(place)),
            ("nginx_config", self.nginx_config.as_ref().map(place)),
            ("stream_proxy", self.stream_proxy.as_ref().map(place)),
        ];
        all.into_iter().filter_map(|(name, place)| Some((name, place?))).collect()
    }
}

/// What was read: the file that was given, and APISIX's file of routes with its name.
pub(super) struct Files<'a> {
    /// Where the file is that was given; relative paths start from its directory.
    pub(super) file: &'a Path,
    pub(super) given: File,
    pub(super) routes: Option<(File, PathBuf)>,
}

pub(super) fn config(files: Files<'_>) -> Result<Config, Vec<Problem>> {
    let Files { file: given_file, mut given, routes } = files;
    let directory = given_file.parent().unwrap_or(Path::new(""));
    let mut parser = Parser::new(directory, if routes.is_some() { Dialect::Apisix } else { Dialect::Envoy });
    parser.warn_of_file(&given);
    let listen = parser.listeners(&given, routes.is_some());
    let endpoints = endpoints::endpoints(
        given.apisix.as_ref().map(|apisix| &apisix.value),
        given.plugin_attr.as_ref().map(|attr| &attr.value),
        &mut parser.problems,
    );
    let workers = match (&given.workers, &given.nginx_config) {
        (Some(workers), _) => parser.workers(workers),
        (None, Some(nginx)) => nginx.value.worker_processes.as_ref().and_then(|raw| parser.worker_processes(raw)),
        (None, None) => None,
    };
    let paths = given.paths.as_ref().map(|paths| limits::paths(&paths.value)).unwrap_or_default();
    let limits = given.limits.as_ref().map(|limits| parser.worker_limits(&limits.value)).unwrap_or_default();
    let logs = given.nginx_config.as_ref().map(|raw| parser.logs(&raw.value)).unwrap_or_default();
    parser.set_plugins(given.wasm.take().and_then(|wasm| wasm.value.plugins).unwrap_or_default());
    let (ssl, stream_proxy) = (given.ssl.take(), given.stream_proxy.take().unwrap_or_default());
    let mut dynamic = Dynamic::of(given);
    let mut routes_file = None;
    if let Some((file, path)) = routes {
        parser.refuse_dynamic(&dynamic);
        parser.file = Some(path.as_path().into());
        for (name, place) in file.fixed() {
            parser.problem(place, name, "belongs into config.yaml");
        }
        parser.warn_ignored("", file.ignored());
        dynamic = Dynamic::of(file);
        routes_file = Some(RoutesFile { path });
    }
    let ssl = parser.ssl(ssl.map(|ssl| ssl.value), dynamic.ssls, &listen);
    let upstreams = parser.upstreams(dynamic.upstreams);
    let shared = parser.shared(&upstreams, &dynamic.plugin_configs, &dynamic.services);
    let global_rules = parser.global_rules(dynamic.global_rules);
    let routes = parser.routes(dynamic.routes, &shared);
    let stream_routes = parser.stream_routes(&dynamic.stream_routes, &shared);
    // This is of the first file again.
    parser.file = None;
    let http: Vec<_> = listen.iter().chain(&ssl.listen).copied().collect();
    let stream_listen = parser.stream_proxy(&stream_proxy.value, &http);
    let Parser { mut problems, warnings, plugins, .. } = parser;
    if problems.is_empty() {
        return Ok(Config {
            file: given_file.to_owned(),
            listen,
            ssl,
            workers,
            paths,
            limits,
            endpoints,
            logs,
            plugins,
            upstreams,
            routes,
            global_rules,
            stream: StreamConfig { listen: stream_listen, routes: stream_routes },
            routes_file,
            warnings,
        });
    }
    problems.sort_by_key(|problem| (problem.file.is_some(), problem.place));
    Err(problems)
}

/// What changes while the gateway serves.
struct Dynamic {
    ssls: Vec<At<tls::raw::Certificate>>,
    routes: Vec<At<route::raw::Route>>,
    services: Vec<At<service::raw::Service>>,
    upstreams: Vec<At<upstream::raw::Upstream>>,
    plugin_configs: Vec<At<service::raw::PluginConfig>>,
    global_rules: Vec<At<chain::raw::GlobalRule>>,
    stream_routes: Vec<At<stream::raw::StreamRoute>>,
}

impl Dynamic {
    fn of(file: File) -> Self {
        Dynamic {
            ssls: file.ssls.unwrap_or_default(),
            routes: file.routes.unwrap_or_default(),
            services: file.services.unwrap_or_default(),
            upstreams: file.upstreams.unwrap_or_default(),
            plugin_configs: file.plugin_configs.unwrap_or_default(),
            global_rules: file.global_rules.unwrap_or_default(),
            stream_routes: file.stream_routes.unwrap_or_default(),
        }
    }
}

impl Parser<'_> {
    /// Warns of what has no effect in the file that was given.
    fn warn_of_file(&mut self, file: &File) {
        self.warn_ignored("", file.ignored());
        if let Some(apisix) = &file.apisix {
            self.warn_ignored("apisix", apisix.value.ignored());
        }
        if let Some(deployment) = &file.deployment {
            self.warn_ignored("deployment", deployment.value.ignored());
            self.deployment(&deployment.value);
        }
    }

    /// Where requests come; where APISIX would listen if nothing is said in its files.
    fn listeners(&mut self, file: &File, is_of_apisix: bool) -> Vec<SocketAddr> {
        match (&file.listen, &file.apisix) {
            (Some(listen), _) => self.listen(listen),
            (None, None) if !is_of_apisix => {
                self.problem(Place { line: 1, column: 1 }, "listen", "is missing");
                Vec::new()
            }
            (None, apisix) => self.node_listen(apisix.as_ref().and_then(|apisix| apisix.value.node_listen.as_ref())),
        }
    }

    /// Routes beside a file of routes would not be looked at.
    fn refuse_dynamic(&mut self, dynamic: &Dynamic) {
        let first = [
            ("ssls", dynamic.ssls.first().map(place)),
            ("routes", dynamic.routes.first().map(place)),
            ("services", dynamic.services.first().map(place)),
            ("upstreams", dynamic.upstreams.first().map(place)),
            ("plugin_configs", dynamic.plugin_configs.first().map(place)),
            ("global_rules", dynamic.global_rules.first().map(place)),
            ("stream_routes", dynamic.stream_routes.first().map(place)),
        ];
        for (name, place) in first {
            if let Some(place) = place {
                self.problem(place, name, "belongs into apisix.yaml");
            }
        }
    }
}

/// In which phase of a request a plugin runs.
impl From<plugin::raw::RequestPhase> for Phase {
    fn from(phase: plugin::raw::RequestPhase) -> Self {
        match phase {
            plugin::raw::RequestPhase::Rewrite => Phase::Rewrite,
            plugin::raw::RequestPhase::Access => Phase::Access,
        }
    }
}
