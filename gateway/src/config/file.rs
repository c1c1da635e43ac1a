//! The whole file: its sections, each in a file of its own here.

use std::path::Path;

use serde::Deserialize;

use super::Config;
use super::error::Problem;
use super::parser::Parser;
use super::values::Scalar;
use super::yaml::At;
use super::{endpoints, limits, logs, plugin, route, stream, tls, upstream};

/// The configuration file as it is written, before anything is known to make sense.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) listen: At<Vec<At<Scalar>>>,
    pub(super) ssl: Option<tls::raw::Ssl>,
    pub(super) ssls: Option<Vec<At<tls::raw::Certificate>>>,
    pub(super) workers: Option<At<Scalar>>,
    pub(super) paths: Option<limits::raw::Paths>,
    pub(super) limits: Option<limits::raw::WorkerLimits>,
    pub(super) apisix: Option<endpoints::RawApisix>,
    pub(super) plugin_attr: Option<endpoints::RawPluginAttr>,
    pub(super) nginx_config: Option<logs::raw::NginxConfig>,
    pub(super) wasm: Option<plugin::raw::Wasm>,
    pub(super) upstreams: Option<Vec<At<upstream::raw::Upstream>>>,
    pub(super) routes: Option<Vec<At<route::raw::Route>>>,
    pub(super) stream_proxy: Option<stream::raw::StreamProxy>,
    pub(super) stream_routes: Option<Vec<At<stream::raw::StreamRoute>>>,
}

pub(super) fn config(raw: File, directory: &Path) -> Result<Config, Vec<Problem>> {
    let mut parser = Parser { directory, problems: Vec::new() };
    let listen = parser.listen(&raw.listen);
    let ssl = parser.ssl(raw.ssl, raw.ssls.unwrap_or_default(), &listen);
    let workers = raw.workers.as_ref().and_then(|workers| parser.workers(workers));
    let paths = limits::paths(&raw.paths.unwrap_or_default());
    let limits = parser.worker_limits(&raw.limits.unwrap_or_default());
    let (apisix, attr) = (raw.apisix.unwrap_or_default(), raw.plugin_attr.unwrap_or_default());
    let endpoints = endpoints::endpoints(&apisix, &attr, &mut parser.problems);
    let logs = parser.logs(&raw.nginx_config.unwrap_or_default());
    let plugins = parser.plugins(raw.wasm.unwrap_or_default().plugins.unwrap_or_default());
    let upstreams = parser.upstreams(raw.upstreams.unwrap_or_default());
    let routes = parser.routes(raw.routes.unwrap_or_default(), &plugins);
    let streams = raw.stream_routes.unwrap_or_default();
    let stream = parser.streams(&raw.stream_proxy.unwrap_or_default(), &streams, &listen, &plugins);
    let mut problems = parser.problems;
    if problems.is_empty() {
        return Ok(Config { listen, ssl, workers, paths, limits, endpoints, logs, plugins, upstreams, routes, stream });
    }
    problems.sort_by_key(|problem| problem.place);
    Err(problems)
}
