//! The configuration file as it is written, before anything is known to make sense.

use serde::Deserialize;

use super::values::{Conf, Pairs, Scalar};
use super::yaml::At;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) listen: At<Vec<At<Scalar>>>,
    pub(super) workers: Option<At<Scalar>>,
    pub(super) paths: Option<Paths>,
    pub(super) limits: Option<WorkerLimits>,
    pub(super) wasm: Option<Wasm>,
    pub(super) upstreams: Option<Vec<At<NamedUpstream>>>,
    pub(super) routes: Option<Vec<At<Route>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paths {
    #[serde(default)]
    pub(super) escaped_slashes: EscapedSlashes,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkerLimits {
    pub(super) connections: Option<At<Scalar>>,
    pub(super) buffered_body: Option<At<Scalar>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EscapedSlashes {
    #[default]
    Reject,
    Keep,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wasm {
    pub(super) plugins: Option<Vec<At<Plugin>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plugin {
    pub(super) name: At<String>,
    pub(super) file: At<String>,
    #[serde(default)]
    pub(super) priority: i32,
    pub(super) engine: Option<At<String>>,
    #[serde(default)]
    pub(super) vm_id: String,
    #[serde(default)]
    pub(super) vm_config: Conf,
    #[serde(default)]
    pub(super) root_id: String,
    #[serde(default)]
    pub(super) dialect: Dialect,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) fail_policy: FailPolicy,
    #[serde(default)]
    pub(super) allowed_upstreams: Vec<At<String>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Dialect {
    #[default]
    Envoy,
    Kong,
    Apisix,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) memory: Option<At<Scalar>>,
    pub(super) deadline: Option<At<Scalar>>,
    pub(super) start_deadline: Option<At<Scalar>>,
    pub(super) pause: Option<At<Scalar>>,
    pub(super) callouts: Option<At<Scalar>>,
    pub(super) callouts_per_stream: Option<At<Scalar>>,
    pub(super) callout_bytes: Option<At<Scalar>>,
    pub(super) callout_timeout: Option<At<Scalar>>,
    pub(super) shared_data: Option<At<Scalar>>,
    pub(super) queues: Option<At<Scalar>>,
    pub(super) metrics: Option<At<Scalar>>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FailPolicy {
    #[default]
    Closed,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) id: Option<At<Scalar>>,
    pub(super) uri: At<String>,
    pub(super) methods: Option<At<Vec<At<String>>>>,
    pub(super) host: Option<At<String>>,
    pub(super) hosts: Option<At<Vec<At<String>>>>,
    #[serde(default)]
    pub(super) priority: i32,
    #[serde(default)]
    pub(super) plugins: Pairs<Option<PluginUse>>,
    pub(super) upstream: At<Upstream>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginUse {
    #[serde(default)]
    pub(super) conf: Conf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upstream {
    #[serde(default, rename = "type")]
    pub(super) kind: Balancing,
    pub(super) nodes: At<Pairs<At<Scalar>>>,
    pub(super) timeout: Option<Timeout>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedUpstream {
    pub(super) id: At<Scalar>,
    #[serde(default, rename = "type")]
    pub(super) kind: Balancing,
    pub(super) nodes: At<Pairs<At<Scalar>>>,
    pub(super) timeout: Option<Timeout>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Balancing {
    #[default]
    Roundrobin,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeout {
    pub(super) connect: Option<At<Scalar>>,
    pub(super) send: Option<At<Scalar>>,
    pub(super) read: Option<At<Scalar>>,
}
