//! What is told of a configuration and of its plugins, as JSON.

use std::sync::Arc;
use std::time::Duration;

use chassis_host::{CRASH_KINDS, PluginState, PluginStats, Totals};
use serde_json::{Map, Value, json};

use crate::config::{Config, HostPattern, NamedUpstream, NodeAddress, Phase, RouteConfig, Timeouts, UpstreamConfig};

/// A route, in the words of the configuration.
pub(super) fn route(config: &Config, route: &RouteConfig) -> Value {
    let plugins = route.plugins.iter().filter_map(|plugin_use| {
        let name = config.plugins.get(plugin_use.plugin)?.name.clone();
        Some((name, json!({ "conf": String::from_utf8_lossy(&plugin_use.conf) })))
    });
    json!({
        "id": route.id,
        "uris": route.uris.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "methods": route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
        "hosts": route.hosts.iter().map(host).collect::<Vec<_>>(),
        "priority": route.priority,
        "plugins": plugins.collect::<Map<_, _>>(),
        "upstream": target(&route.upstream),
    })
}

/// The plugins that a request of a route passes, in their order.
pub(super) fn chain(config: &Config, route: &RouteConfig) -> Value {
    let plugins = config.chain(route).into_iter().filter_map(|plugin_use| {
        let plugin = config.plugins.get(plugin_use.plugin)?;
        Some(json!({
            "name": plugin.name,
            "priority": plugin.priority,
            "phase": if plugin.phase == Phase::Rewrite { "rewrite" } else { "access" },
            "file": plugin.file.display().to_string(),
            "conf": String::from_utf8_lossy(&plugin_use.conf),
        }))
    });
    json!({ "route": route.id, "chain": plugins.collect::<Vec<_>>() })
}

pub(super) fn upstream(named: &NamedUpstream) -> Value {
    let mut shown = target(&named.upstream);
    shown["id"] = json!(named.id);
    shown
}

fn target(upstream: &UpstreamConfig) -> Value {
    let nodes = upstream.nodes.iter().map(|node| {
        let address = match &node.address {
            NodeAddress::Echo => "builtin:echo",
            NodeAddress::Tcp(address) => address,
        };
        (address.to_owned(), json!(node.weight))
    });
    json!({ "nodes": nodes.collect::<Map<_, _>>(), "timeout": timeout(&upstream.timeout) })
}

fn timeout(timeouts: &Timeouts) -> Value {
    json!({
        "connect": seconds(timeouts.connect),
        "send": seconds(timeouts.send),
        "read": seconds(timeouts.read),
    })
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn host(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Suffix(domain) => format!("*{domain}"),
    }
}

/// Every plugin of the configuration, with what runs of it on each worker; unused ones run nowhere.
pub(super) fn plugins(config: &Config, workers: &[Vec<Arc<PluginStats>>]) -> Value {
    config.plugins.iter().map(|plugin| of_plugin(&plugin.name, workers)).collect()
}

fn of_plugin(name: &str, workers: &[Vec<Arc<PluginStats>>]) -> Value {
    let mut vms = Vec::new();
    let mut totals = Totals::default();
    let mut memory = 0;
    let mut any = None;
    for (number, worker) in workers.iter().enumerate() {
        for stats in worker.iter().filter(|stats| stats.plugin().name() == name) {
            totals.add(&stats.totals());
            memory += stats.memory_bytes();
            any = Some(Arc::clone(stats.plugin()));
            vms.push(json!({
                "worker": number,
                "state": state(stats.state()),
                "memory_bytes": stats.memory_bytes(),
                "callbacks": stats.totals().callbacks,
                "starts": stats.totals().starts,
            }));
        }
    }
    let crashes: Map<String, Value> =
        CRASH_KINDS.iter().zip(totals.crashes).map(|(kind, count)| ((*kind).to_owned(), json!(count))).collect();
    let mut shown = json!({
        "name": name,
        "memory_bytes": memory,
        "callbacks": totals.callbacks,
        "crashes": crashes,
        "vms": vms,
    });
    if let Some(plugin) = any {
        shown["engine"] = json!({ "name": plugin.engine(), "version": plugin.engine_version() });
        shown["abi"] = json!(plugin.abi_version().as_str());
        shown["file"] = json!(plugin.spec().file.display().to_string());
        shown["sha256"] = json!(plugin.module().digest_hex());
    }
    shown
}

fn state(state: PluginState) -> &'static str {
    match state {
        PluginState::Starting => "starting",
        PluginState::Running => "running",
        PluginState::Failed => "failed",
        _ => "ended",
    }
}
