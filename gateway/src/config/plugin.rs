//! Section `wasm`: the plugins, and how each is run.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::Dialect;

use super::error::Place;
use super::parser::{HOUR, MILLISECOND, MINUTE, Parser};
use super::upstream::{NodeAddress, node_address};
use super::values::{Pairs, Scalar, bytes};
use super::yaml::{At, place, shown};

/// A plugin: a module and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginConfig {
    /// Its name, as routes use it; not empty.
    pub name: String,
    /// The module; relative paths were resolved against the directory of the configuration file.
    pub file: PathBuf,
    /// Plugins of higher priority see a request first.
    pub priority: i32,
    /// The phase of a request in which it runs.
    pub phase: Phase,
    /// The engine asked for, not judged here; `None` is the default engine.
    pub engine: Option<String>,
    /// The space in which it shares data and queues with others; empty unless given.
    pub vm_id: String,
    /// Whose names for properties it uses.
    pub dialect: Dialect,
    /// The name of its root context, as plugins know it that register under one; often empty.
    pub root_id: String,
    /// What the VM gets at its start.
    pub vm_config: Bytes,
    /// Its environment: name and value of each variable, names unique.
    pub env: Vec<(String, String)>,
    /// Limits that the file sets.
    pub limits: PluginLimits,
    /// What a request gets when the plugin fails.
    pub fail_policy: FailPolicy,
    /// What it may call beside the upstreams that have an id: `host:port`.
    pub allowed_upstreams: Vec<String>,
    /// Where the plugin is in the file, for errors that show up later.
    pub place: Place,
}

/// Limits of a plugin; `None` is the host's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PluginLimits {
    /// Bytes of linear memory per instance: 64 KiB to 4 GiB.
    pub memory: Option<u64>,
    /// The most that one callback may run: 1 ms to 60 s.
    pub deadline: Option<Duration>,
    /// The most that each step of starting and configuring it may run: 1 ms to 1 h.
    pub start_deadline: Option<Duration>,
    /// The longest that a request may be paused: 1 ms to 1 h.
    pub pause: Option<Duration>,
    /// Callouts under way at once: 0 to 1,000,000.
    pub callouts: Option<usize>,
    /// Callouts under way that one stream has started: 0 to 1,000,000.
    pub callouts_per_stream: Option<usize>,
    /// Bytes that callouts under way send together: 1 KiB to 4 GiB.
    pub callout_bytes: Option<u64>,
    /// How long a callout may take for which the plugin gives no timeout: 1 ms to 1 h.
    pub callout_timeout: Option<Duration>,
    /// Bytes of shared data that it set last, keys included: at most 1 GiB.
    pub shared_data: Option<u64>,
    /// Bytes of the queues that it made, and of its items in any: at most 1 GiB.
    pub queues: Option<u64>,
    /// How many metrics it may define: at most 100,000.
    pub metrics: Option<u64>,
}

/// When a plugin sees a request: all plugins of a phase see its headers and body before any of the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// First.
    Rewrite,
    /// Then.
    #[default]
    Access,
}

/// What a request gets when a plugin fails on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailPolicy {
    /// 503.
    #[default]
    Closed,
}

/// How many callouts may be allowed at once.
const MOST_CALLOUTS: usize = 1_000_000;

/// As it is written.
pub(super) mod raw {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::super::values::{Conf, Pairs, Scalar};
    use super::super::yaml::At;

    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Wasm {
        pub(in crate::config) plugins: Option<Vec<At<Plugin>>>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Plugin {
        pub(in crate::config) name: At<String>,
        pub(in crate::config) file: At<String>,
        #[serde(default)]
        pub(in crate::config) priority: i32,
        pub(in crate::config) engine: Option<At<String>>,
        #[serde(default)]
        pub(in crate::config) vm_id: String,
        #[serde(default)]
        pub(in crate::config) vm_config: Conf,
        #[serde(default)]
        pub(in crate::config) root_id: String,
        pub(in crate::config) dialect: Option<Dialect>,
        #[serde(default)]
        pub(in crate::config) http_request_phase: RequestPhase,
        #[serde(default)]
        pub(in crate::config) isolation: At<Isolation>,
        #[serde(default)]
        pub(in crate::config) env: Pairs<Scalar>,
        #[serde(default)]
        pub(in crate::config) limits: Limits,
        #[serde(default)]
        pub(in crate::config) fail_policy: At<FailPolicy>,
        #[serde(default)]
        pub(in crate::config) allowed_upstreams: Vec<At<String>>,
    }

    #[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub(in crate::config) enum Dialect {
        Envoy,
        Kong,
        Apisix,
    }

    #[derive(Debug, Default, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(in crate::config) struct Limits {
        pub(in crate::config) memory: Option<At<Scalar>>,
        pub(in crate::config) deadline: Option<At<Scalar>>,
        pub(in crate::config) start_deadline: Option<At<Scalar>>,
        pub(in crate::config) pause: Option<At<Scalar>>,
        pub(in crate::config) callouts: Option<At<Scalar>>,
        pub(in crate::config) callouts_per_stream: Option<At<Scalar>>,
        pub(in crate::config) callout_bytes: Option<At<Scalar>>,
        pub(in crate::config) callout_timeout: Option<At<Scalar>>,
        pub(in crate::config) shared_data: Option<At<Scalar>>,
        pub(in crate::config) queues: Option<At<Scalar>>,
        pub(in crate::config) metrics: Option<At<Scalar>>,
    }

    #[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub(in crate::config) enum FailPolicy {
        #[default]
        Closed,
        Open,
    }

    /// In which phase it sees requests.
    #[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub(in crate::config) enum RequestPhase {
        Rewrite,
        #[default]
        Access,
    }

    /// What has a VM of its own.
    #[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    pub(in crate::config) enum Isolation {
        #[default]
        Worker,
        Route,
        Stream,
    }
}

impl Parser<'_> {
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
            if let raw::FailPolicy::Open = raw.fail_policy.value {
                let cause = "`open` is not there yet: a failed plugin answers with 503, which is `closed`";
                self.problem(place(&raw.fail_policy), &format!("{key}.fail_policy"), cause);
            }
            if let raw::Isolation::Route | raw::Isolation::Stream = raw.isolation.value {
                let cause = "is not there yet: a plugin has one VM per worker, which is `worker`";
                self.problem(place(&raw.isolation), &format!("{key}.isolation"), cause);
            }
            plugins.push(PluginConfig {
                file: self.directory.join(&raw.file.value),
                name: raw.name.value,
                priority: raw.priority,
                engine: raw.engine.map(|engine| engine.value),
                vm_id: raw.vm_id,
                vm_config: raw.vm_config.text.into(),
                root_id: raw.root_id,
                dialect: match raw.dialect {
                    None => self.dialect,
                    Some(raw::Dialect::Envoy) => Dialect::Envoy,
                    Some(raw::Dialect::Kong) => Dialect::Kong,
                    Some(raw::Dialect::Apisix) => Dialect::Apisix,
                },
                phase: raw.http_request_phase.into(),
                env: self.env(raw.env, &key),
                limits: self.limits(&raw.limits, &key),
                fail_policy: FailPolicy::Closed,
                allowed_upstreams: self.allowed(&raw.allowed_upstreams, &key),
                place: plugin_place,
            });
        }
        plugins
    }

    /// Reads the plugins, for what uses them by name.
    pub(super) fn set_plugins(&mut self, raw: Vec<At<raw::Plugin>>) {
        self.plugins = self.plugins(raw);
        let names = self.plugins.iter().enumerate().map(|(index, plugin)| (plugin.name.clone(), index));
        self.names = names.collect();
    }

    fn env(&mut self, raw: Pairs<Scalar>, key: &str) -> Vec<(String, String)> {
        let mut env = Vec::with_capacity(raw.0.len());
        for (name, value) in raw.0 {
            let text = value.text().to_owned();
            if name.value.is_empty() || name.value.contains(['=', '\0']) || text.contains('\0') {
                self.problem(
                    place(&name),
                    &format!("{key}.env"),
                    "names are not empty and without =; nothing has a NUL",
                );
            }
            env.push((name.value, text));
        }
        env
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
}
