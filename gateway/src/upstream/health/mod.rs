//! Which nodes of an upstream serve: one judgement for the whole process, which every worker reads and adds to.
//!
//! Nodes are asked from one thread, however many workers there are.

mod probe;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Serialize;
use tokio::sync::Semaphore;

use super::UpstreamError;
use crate::config::{CheckKind, Checks, NodeAddress, Thresholds, UpstreamConfig};

/// The health checks of a process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct HealthChecks(Arc<Registry>);

#[derive(Debug, Default)]
struct Registry {
    /// By name. What no worker uses any more is gone.
    upstreams: Mutex<HashMap<String, Weak<Health>>>,
    prober: Mutex<Option<probe::Prober>>,
}

/// What is known of the nodes of an upstream that has health checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct UpstreamHealth {
    /// `upstreams/ID`, or `routes/ID` if it is a route's own.
    pub name: String,
    /// What its nodes are asked: `http` or `tcp`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its nodes, in the order of the configuration.
    pub nodes: Vec<NodeHealth>,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NodeHealth {
    /// `host:port`.
    pub address: String,
    /// Whether it gets requests.
    pub serves: bool,
    /// `healthy`, `mostly_healthy`, `mostly_unhealthy` or `unhealthy`; mostly if something counts for the opposite.
    pub status: &'static str,
    /// Successes in a row, while it does not serve.
    pub successes: u32,
    /// Statuses that count against it, since the last success.
    pub http_failures: u32,
    /// Connections that failed, likewise.
    pub tcp_failures: u32,
    /// Timeouts, likewise.
    pub timeouts: u32,
}

impl HealthChecks {
    /// What is known of all upstreams that are in use and have health checks, by name.
    pub fn snapshot(&self) -> Vec<UpstreamHealth> {
        let upstreams = self.0.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = upstreams.values().filter_map(Weak::upgrade).map(|health| health.snapshot()).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The health of an upstream, if it has checks. Nodes are asked until nothing has it any more.
    pub(super) fn of(&self, config: &UpstreamConfig) -> Option<Arc<Health>> {
        let checks = config.checks.as_ref()?;
        let mut upstreams = self.0.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        let known = upstreams.get(&config.name).and_then(Weak::upgrade);
        if let Some(known) = known.as_ref().filter(|known| known.is_for(config, checks)) {
            return Some(Arc::clone(known));
        }
        let health = Arc::new(Health::new(config, checks, known.as_deref()));
        upstreams.retain(|_, health| health.strong_count() > 0);
        upstreams.insert(config.name.clone(), Arc::downgrade(&health));
        drop(upstreams);
        let mut prober = self.0.prober.lock().unwrap_or_else(PoisonError::into_inner);
        if prober.is_none() {
            *prober = probe::Prober::start().inspect_err(|error| tracing::error!("no health checks: {error}")).ok();
        }
        if let Some(prober) = &*prober {
            prober.ask(&health);
        }
        Some(health)
    }
}

/// The health of one upstream's nodes.
pub(crate) struct Health {
    name: String,
    checks: Checks,
    nodes: Vec<Node>,
    /// How many may be asked at once.
    asking: Semaphore,
}

#[derive(Debug)]
struct Node {
    address: NodeAddress,
    serves: AtomicBool,
    successes: AtomicU32,
    http_failures: AtomicU32,
    tcp_failures: AtomicU32,
    timeouts: AtomicU32,
}

/// What speaks for a node, or against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Success,
    HttpFailure,
    TcpFailure,
    Timeout,
}

impl Health {
    /// Nodes that `before` knows are what they were there, others serve.
    fn new(config: &UpstreamConfig, checks: &Checks, before: Option<&Health>) -> Self {
        let served = |address: &NodeAddress| {
            let known = before.and_then(|before| before.nodes.iter().find(|node| node.address == *address));
            known.is_none_or(|node| node.serves.load(Relaxed))
        };
        let node = |address: &NodeAddress| Node {
            serves: AtomicBool::new(served(address)),
            address: address.clone(),
            successes: AtomicU32::new(0),
            http_failures: AtomicU32::new(0),
            tcp_failures: AtomicU32::new(0),
            timeouts: AtomicU32::new(0),
        };
        Health {
            name: config.name.clone(),
            checks: checks.clone(),
            nodes: config.nodes.iter().map(|config| node(&config.address)).collect(),
            asking: Semaphore::new(checks.active.concurrency as usize),
        }
    }

    fn is_for(&self, config: &UpstreamConfig, checks: &Checks) -> bool {
        self.checks == *checks
            && self.nodes.len() == config.nodes.len()
            && self.nodes.iter().zip(&config.nodes).all(|(node, config)| node.address == config.address)
    }

    /// Whether a node, by its place in the configuration, may be given requests.
    pub(super) fn serves(&self, node: usize) -> bool {
        self.nodes[node].serves.load(Relaxed)
    }

    /// Counts what has become of a request at a node.
    pub(super) fn saw(&self, node: usize, result: Result<u16, &UpstreamError>) {
        let Some(passive) = &self.checks.passive else { return };
        let thresholds = &passive.thresholds;
        let sign = match result {
            Ok(status) => thresholds.sign(status),
            Err(UpstreamError::Client(_)) => None,
            Err(UpstreamError::ConnectTimeout | UpstreamError::SendTimeout | UpstreamError::ReadTimeout) => {
                Some(Sign::Timeout)
            }
            Err(_) => Some(Sign::TcpFailure),
        };
        if let Some(sign) = sign {
            self.count(node, sign, thresholds);
        }
    }

    fn count(&self, index: usize, sign: Sign, thresholds: &Thresholds) {
        let node = &self.nodes[index];
        let serves = node.serves.load(Relaxed);
        let (counter, limit) = match sign {
            Sign::Success => {
                // Nearly always there is nothing to be done.
                for counter in [&node.http_failures, &node.tcp_failures, &node.timeouts] {
                    if counter.load(Relaxed) != 0 {
                        counter.store(0, Relaxed);
                    }
                }
                if serves {
                    return;
                }
                (&node.successes, thresholds.successes)
            }
            Sign::HttpFailure => (&node.http_failures, thresholds.http_failures),
            Sign::TcpFailure => (&node.tcp_failures, thresholds.tcp_failures),
            Sign::Timeout => (&node.timeouts, thresholds.timeouts),
        };
        if limit == 0 {
            return;
        }
        let success = sign == Sign::Success;
        if !success {
            node.successes.store(0, Relaxed);
            if !serves {
                return;
            }
        }
        // Not beyond its limit, so that it never overflows.
        let count = counter.load(Relaxed).saturating_add(1).min(limit);
        counter.store(count, Relaxed);
        if count < limit || node.serves.compare_exchange(!success, success, Relaxed, Relaxed).is_err() {
            return;
        }
        node.successes.store(0, Relaxed);
        let (upstream, node) = (&self.name, node.address.as_str());
        match sign {
            Sign::Success => tracing::info!(upstream, node, "a node serves again, after {count} successes"),
            Sign::HttpFailure => tracing::warn!(upstream, node, "a node is unhealthy: {count} failures by its status"),
            Sign::TcpFailure => tracing::warn!(upstream, node, "a node is unhealthy: {count} connections failed"),
            Sign::Timeout => tracing::warn!(upstream, node, "a node is unhealthy: {count} timeouts"),
        }
    }

    fn snapshot(&self) -> UpstreamHealth {
        let node = |node: &Node| {
            let serves = node.serves.load(Relaxed);
            let [successes, http_failures, tcp_failures, timeouts] =
                [&node.successes, &node.http_failures, &node.tcp_failures, &node.timeouts]
                    .map(|counter| counter.load(Relaxed));
            let status = match (serves, http_failures + tcp_failures + timeouts, successes) {
                (true, 0, _) => "healthy",
                (true, ..) => "mostly_healthy",
                (false, _, 0) => "unhealthy",
                (false, ..) => "mostly_unhealthy",
            };
            let address = node.address.as_str().to_owned();
            NodeHealth { address, serves, status, successes, http_failures, tcp_failures, timeouts }
        };
        let kind = match self.checks.active.kind {
            CheckKind::Http => "http",
            CheckKind::Tcp => "tcp",
        };
        UpstreamHealth { name: self.name.clone(), kind, nodes: self.nodes.iter().map(node).collect() }
    }
}

impl Thresholds {
    /// What a status says.
    fn sign(&self, status: u16) -> Option<Sign> {
        if self.healthy_statuses.binary_search(&status).is_ok() {
            return Some(Sign::Success);
        }
        self.unhealthy_statuses.binary_search(&status).is_ok().then_some(Sign::HttpFailure)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("name", &self.name).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn upstream(checks: &str) -> UpstreamConfig {
        let text = format!(
            "listen: [127.0.0.1:1]\nupstreams:\n  - {{ id: u, nodes: {{ \"127.0.0.1:1\": 1, b:2: 1 }}, checks: {checks} }}\n"
        );
        Config::parse(&text, Path::new("")).unwrap().upstreams.remove(0).upstream
    }

    fn health(checks: &str) -> Health {
        let config = upstream(checks);
        Health::new(&config, config.checks.as_ref().unwrap(), None)
    }

    const PASSIVE: &str = "{ active: {}, passive: { healthy: { successes: 3 }, \
                           unhealthy: { http_failures: 2, tcp_failures: 1, timeouts: 0 } } }";

    #[test]
    fn counts_in_a_row_decide() {
        let health = health(PASSIVE);
        let status = || health.snapshot().nodes[0].status;
        assert_eq!(status(), "healthy");
        for (sign, expected) in [
            (500, "mostly_healthy"),
            (200, "healthy"),
            (503, "mostly_healthy"),
            // Says nothing.
            (404, "mostly_healthy"),
            (500, "unhealthy"),
            (200, "mostly_unhealthy"),
            (200, "mostly_unhealthy"),
            (500, "unhealthy"),
            (200, "mostly_unhealthy"),
            (302, "mostly_unhealthy"),
            (200, "healthy"),
            (500, "mostly_healthy"),
        ] {
            health.saw(0, Ok(sign));
            assert_eq!(status(), expected, "{sign}");
        }
        assert!(health.serves(0) && health.serves(1));
        health.saw(1, Err(&UpstreamError::ReadTimeout));
        health.saw(1, Err(&UpstreamError::Client(crate::head::Refusal::Chunk)));
        assert!(health.serves(1), "0 is never, and clients break off");
        health.saw(1, Err(&UpstreamError::Switching));
        assert!(!health.serves(1));
        assert_eq!(health.snapshot().nodes[1].address, "b:2");
    }

    #[test]
    fn without_passive_checks_requests_say_nothing() {
        let health = health("{ active: { type: tcp } }");
        for _ in 0..500 {
            health.saw(0, Ok(500));
        }
        assert_eq!(health.snapshot().nodes[0].status, "healthy");
        assert_eq!((health.snapshot().kind, health.snapshot().name.as_str()), ("tcp", "upstreams/u"));
    }

    #[test]
    fn workers_share_what_they_know_and_what_changes_keeps_its_state() {
        let checks = HealthChecks::default();
        let config = upstream(PASSIVE);
        let one = checks.of(&config).unwrap();
        assert!(Arc::ptr_eq(&one, &checks.of(&config).unwrap()));
        one.saw(1, Err(&UpstreamError::Switching));
        let changed = upstream(&PASSIVE.replace("successes: 3", "successes: 4"));
        let other = checks.of(&changed).unwrap();
        assert!(!Arc::ptr_eq(&one, &other) && !other.serves(1));
        assert_eq!(checks.snapshot().len(), 1);
        drop((one, other));
        assert_eq!(checks.snapshot(), [], "what nobody uses is not told");
        let mut none = config;
        none.checks = None;
        assert!(checks.of(&none).is_none());
    }
}
