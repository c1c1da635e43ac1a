//! The text format of Prometheus 0.0.4, with the names that APISIX has where they mean the same.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use chassis_host::{CRASH_KINDS, PluginState, Totals};

use super::route::{BOUNDS, Latencies, RouteTotals};
use super::{WorkerMetrics, lock};

/// What all workers have counted together.
#[derive(Default)]
struct Sums {
    accepted: u64,
    connections: u64,
    requests: u64,
    running: u64,
    routes: BTreeMap<String, RouteTotals>,
    plugins: BTreeMap<String, Totals>,
    /// By plugin and engine: VMs that run, and their memory.
    vms: BTreeMap<(String, &'static str), (u64, u64)>,
}

pub(super) fn text(workers: &[Arc<WorkerMetrics>]) -> String {
    let mut sums = Sums::default();
    workers.iter().for_each(|worker| sums.add(worker));
    let mut out = String::new();
    connections(&mut out, &sums);
    routes(&mut out, &sums.routes);
    plugins(&mut out, &sums);
    out
}

impl Sums {
    fn add(&mut self, worker: &WorkerMetrics) {
        self.accepted += worker.accepted.load(Relaxed);
        self.connections += worker.connections.load(Relaxed);
        self.requests += worker.requests.load(Relaxed);
        self.running += worker.running.load(Relaxed);
        for (id, metrics) in worker.routes() {
            metrics.add_to(self.routes.entry(id).or_default());
        }
        let Some(stats) = lock(&worker.plugins).clone() else { return };
        for (name, totals) in stats.totals() {
            self.plugins.entry(name).or_default().add(&totals);
        }
        for plugin in stats.plugins() {
            let key = (plugin.plugin().name().to_owned(), plugin.plugin().engine());
            let (vms, memory) = self.vms.entry(key).or_default();
            *vms += u64::from(plugin.state() == PluginState::Running);
            *memory += plugin.memory_bytes();
        }
    }
}

fn connections(out: &mut String, sums: &Sums) {
    head(out, "apisix_nginx_http_current_connections", "gauge", "Connections of clients, by state");
    let waiting = sums.connections.saturating_sub(sums.running);
    for (state, count) in [
        ("accepted", sums.accepted),
        ("active", sums.connections),
        ("handled", sums.accepted),
        ("reading", 0),
        ("waiting", waiting),
        ("writing", sums.running),
    ] {
        sample(out, "apisix_nginx_http_current_connections", &[("state", state)], count);
    }
    head(out, "apisix_http_requests_total", "gauge", "Requests of clients since the start");
    sample(out, "apisix_http_requests_total", &[], sums.requests);
}

fn routes(out: &mut String, routes: &BTreeMap<String, RouteTotals>) {
    head(
        out,
        "apisix_http_status",
        "counter",
        "Responses by route and status; 499: the client left; 444: none was sent",
    );
    for (route, totals) in routes {
        for (code, count) in &totals.statuses {
            sample(out, "apisix_http_status", &[("code", &code.to_string()), ("route", route)], count);
        }
    }
    head(
        out,
        "apisix_http_latency",
        "histogram",
        "Latency in milliseconds: of whole requests, and of upstreams to answer",
    );
    for (route, totals) in routes {
        latency(out, "request", route, &totals.latency);
        latency(out, "upstream", route, &totals.upstream_latency);
    }
    head(out, "apisix_bandwidth", "counter", "Bytes of bodies of responses");
    for (route, totals) in routes {
        sample(out, "apisix_bandwidth", &[("type", "egress"), ("route", route)], totals.sent);
    }
}

fn latency(out: &mut String, kind: &str, route: &str, latencies: &Latencies) {
    let mut below = 0;
    let bounds = BOUNDS.iter().map(u64::to_string).chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(latencies.counts) {
        below += count;
        sample(out, "apisix_http_latency_bucket", &[("type", kind), ("route", route), ("le", &bound)], below);
    }
    let labels = [("type", kind), ("route", route)];
    sample(out, "apisix_http_latency_sum", &labels, latencies.micros as f64 / 1000.0);
    sample(out, "apisix_http_latency_count", &labels, below);
}

fn plugins(out: &mut String, sums: &Sums) {
    head(out, "chassis_plugin_callbacks_total", "counter", "How often guests were entered");
    for (plugin, totals) in &sums.plugins {
        sample(out, "chassis_plugin_callbacks_total", &[("plugin", plugin)], totals.callbacks);
    }
    head(out, "chassis_plugin_crashes_total", "counter", "How often guests were stopped, by what stopped them");
    for (plugin, totals) in &sums.plugins {
        for (kind, count) in CRASH_KINDS.iter().zip(totals.crashes) {
            sample(out, "chassis_plugin_crashes_total", &[("plugin", plugin), ("kind", kind)], count);
        }
    }
    head(out, "chassis_plugin_deadline_kills_total", "counter", "How often guests were stopped at their deadline");
    for (plugin, totals) in &sums.plugins {
        let kinds = CRASH_KINDS.iter().zip(totals.crashes);
        let kills: u64 = kinds.filter(|(kind, _)| **kind == "deadline").map(|(_, count)| count).sum();
        sample(out, "chassis_plugin_deadline_kills_total", &[("plugin", plugin)], kills);
    }
    head(out, "chassis_plugin_starts_total", "counter", "How many VMs took over, the first ones included");
    for (plugin, totals) in &sums.plugins {
        sample(out, "chassis_plugin_starts_total", &[("plugin", plugin)], totals.starts);
    }
    head(out, "chassis_vm_instances", "gauge", "VMs that serve, spares not included");
    for ((plugin, engine), (vms, _)) in &sums.vms {
        sample(out, "chassis_vm_instances", &[("plugin", plugin), ("engine", engine)], vms);
    }
    head(out, "chassis_vm_memory_bytes", "gauge", "Memory of the VMs that serve");
    for ((plugin, engine), (_, memory)) in &sums.vms {
        sample(out, "chassis_vm_memory_bytes", &[("plugin", plugin), ("engine", engine)], memory);
    }
}

/// Writing to a string cannot fail.
fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    out.push_str(name);
    for (index, (label, text)) in labels.iter().enumerate() {
        let _ = write!(out, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(text));
    }
    let _ = writeln!(out, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

/// As the format wants a value within its quotes. Ids and names are any text of a configuration.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::StatusCode;

    use crate::config::Config;
    use crate::metrics::{Meter, Metrics};

    #[test]
    fn workers_are_summed_and_ids_are_escaped() {
        let yaml = "listen: [127.0.0.1:1]\nroutes: [{ id: \"a\\\"\\\\\\n} 1\", uri: /, upstream: { nodes: { \"a:1\": 1 } } }]\n";
        let config = Config::parse(yaml, Path::new("")).unwrap();
        let metrics = Metrics::default();
        for sent in [3, 4] {
            let worker = metrics.worker();
            worker.connection_begins();
            let mut meter = Meter::begin(&worker);
            meter.set_route(&worker.route(&config.routes[0]));
            meter.answers(StatusCode::OK);
            meter.sends(sent);
        }
        let worker = metrics.worker();
        let mut left = Meter::begin(&worker);
        left.set_route(&worker.without_route());
        drop(left);
        worker.forget_routes();
        let seen = metrics.prometheus();
        for line in [
            r#"apisix_http_status{code="200",route="a\"\\\n} 1"} 2"#,
            r#"apisix_bandwidth{type="egress",route="a\"\\\n} 1"} 7"#,
            r#"apisix_http_latency_count{type="request",route="a\"\\\n} 1"} 2"#,
            r#"apisix_nginx_http_current_connections{state="active"} 2"#,
            r#"apisix_nginx_http_current_connections{state="writing"} 0"#,
            "apisix_http_requests_total 3",
        ] {
            assert!(seen.lines().any(|found| found == line), "{line} in:\n{seen}");
        }
        assert!(!seen.contains("code=\"499\""), "{seen}");
    }
}
