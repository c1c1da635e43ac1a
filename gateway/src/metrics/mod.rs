//! What is counted of the gateway, per worker, and summed when it is asked for.
//!
//! Each worker writes its own counters, with a load and a store; the thread that answers a scrape reads them. A request
//! takes no lock and allocates nothing for them.

mod route;
mod scrape;
mod text;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis_host::{PluginStats, Stores, WorkerStats};

use crate::config::RouteConfig;

pub(crate) use self::route::{Meter, RouteMetrics};
pub(crate) use self::scrape::Scrape;

/// The metrics of a process. Clones are the same.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Registry>);

#[derive(Default)]
struct Registry {
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
    /// Where plugins keep their own.
    stores: Mutex<Option<Arc<Stores>>>,
}

/// What one worker counts.
#[derive(Debug, Default)]
pub(crate) struct WorkerMetrics {
    accepted: AtomicU64,
    connections: AtomicU64,
    requests: AtomicU64,
    running: AtomicU64,
    /// By id. Counting goes by the references that routes have.
    routes: Mutex<HashMap<String, Arc<RouteMetrics>>>,
    plugins: Mutex<Option<Arc<WorkerStats>>>,
}

impl Metrics {
    /// Has the metrics that plugins define told too.
    pub fn set_stores(&self, stores: Arc<Stores>) {
        *lock(&self.0.stores) = Some(stores);
    }

    /// All that there is to tell, in the text format of Prometheus 0.0.4.
    pub fn prometheus(&self) -> String {
        let mut out = text::text(&lock(&self.0.workers));
        // In the same text, and all of its names begin with `wasmcustom_`, which none of ours do.
        let stores = lock(&self.0.stores).clone();
        out.push_str(&stores.map(|stores| stores.prometheus()).unwrap_or_default());
        out
    }

    /// The plugins of each worker.
    pub(crate) fn plugins(&self) -> Vec<Vec<Arc<PluginStats>>> {
        let workers = lock(&self.0.workers).clone();
        let plugins = |worker: &Arc<WorkerMetrics>| lock(&worker.plugins).as_ref().map(|stats| stats.plugins());
        workers.iter().map(|worker| plugins(worker).unwrap_or_default()).collect()
    }

    /// What another worker is to count with.
    pub(crate) fn worker(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::default());
        lock(&self.0.workers).push(Arc::clone(&worker));
        worker
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl WorkerMetrics {
    /// What requests of a route are counted with; the same for a route of the same id in the next configuration.
    pub(crate) fn route(&self, config: &RouteConfig) -> Arc<RouteMetrics> {
        Arc::clone(lock(&self.routes).entry(config.id.clone()).or_default())
    }

    /// What requests are counted with that no route is for.
    pub(crate) fn without_route(&self) -> Arc<RouteMetrics> {
        Arc::clone(lock(&self.routes).entry(String::new()).or_default())
    }

    /// Forgets what was counted for routes that are not there any more.
    pub(crate) fn forget_routes(&self) {
        lock(&self.routes).retain(|_, metrics| Arc::strong_count(metrics) > 1);
    }

    /// Has the plugins of this worker told.
    pub(crate) fn set_plugins(&self, stats: &Arc<WorkerStats>) {
        *lock(&self.plugins) = Some(Arc::clone(stats));
    }

    /// Notes a connection that was accepted.
    pub(crate) fn connection_begins(&self) {
        add(&self.accepted, 1);
        add(&self.connections, 1);
    }

    /// Notes that a connection has ended.
    pub(crate) fn connection_ends(&self) {
        subtract(&self.connections);
    }

    fn request_begins(&self) {
        add(&self.requests, 1);
        add(&self.running, 1);
    }

    fn request_ends(&self) {
        subtract(&self.running);
    }

    fn routes(&self) -> BTreeMap<String, Arc<RouteMetrics>> {
        lock(&self.routes).iter().map(|(id, metrics)| (id.clone(), Arc::clone(metrics))).collect()
    }
}

/// Adds where nobody else writes.
fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(number), Relaxed);
}

fn subtract(counter: &AtomicU64) {
    counter.store(counter.load(Relaxed).saturating_sub(1), Relaxed);
}

/// Nothing that is done under these locks leaves anything half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
