//! A configuration in the place of another, as one worker does it.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use chassis_host::{Link, Plugin, PluginId, Preparer, StartedPlugin};

use crate::callouts::Callouts;
use crate::chain::{Chain, Guests};
use crate::config::{Config, WorkerLimits};
use crate::metrics::WorkerMetrics;
use crate::plugins::{Plan, Plugins, PluginsError, Use};
use crate::proxy::Snapshot;
use crate::tcp::StreamRoutes;
use crate::upstream::Pool;

/// What a worker is to serve from now on. All that can fail was done already.
pub(crate) struct Swap {
    pub(crate) config: Arc<Config>,
    pub(crate) plan: Arc<Plan>,
    /// A VM for each entry of the plan that is used and does not run already.
    pub(crate) started: Vec<Option<StartedPlugin>>,
    /// What a worker that had no plugins yet begins with.
    pub(crate) plugins: Option<(Plugins, Preparer)>,
    /// New listeners, by the addresses of the configuration.
    pub(crate) listeners: Vec<(SocketAddr, TcpListener)>,
    /// Told whether it is done.
    pub(crate) done: Sender<bool>,
}

/// How long plugins may defer their end.
pub(crate) const PLUGIN_END: Duration = Duration::from_secs(5);

/// What requests and what streams of TCP are served with.
pub(crate) type Served = (Snapshot, StreamRoutes);

/// The plugins that a worker runs.
pub(crate) struct Running {
    pool: Rc<Pool>,
    metrics: Arc<WorkerMetrics>,
    guests: RefCell<Option<Rc<Guests>>>,
    plugins: RefCell<Vec<(Use, PluginId)>>,
}

impl Running {
    pub(crate) fn new(pool: Rc<Pool>, metrics: Arc<WorkerMetrics>) -> Self {
        Running { pool, metrics, guests: RefCell::default(), plugins: RefCell::default() }
    }

    /// Starts, on this thread, all plugins that a configuration uses.
    ///
    /// # Errors
    /// [`PluginsError`] with every plugin that does not start.
    pub(crate) fn start(&self, config: &Config, plugins: Option<(&Plugins, Preparer)>) -> Result<Served, PluginsError> {
        let Some((plugins, preparer)) = plugins else {
            return Ok(self.served(config, (0..config.chains()).map(|_| None).collect()));
        };
        let plan = plugins.plan(config);
        let guests = self.begin(config, plugins, preparer);
        let mut failures = Vec::new();
        let mut running = Vec::new();
        let mut ids = vec![None; plan.uses.len()];
        for (planned, id) in plan.uses.iter().zip(&mut ids).filter(|(planned, _)| planned.is_used()) {
            let added =
                guests.with(|worker| worker.add_plugin(Arc::clone(&planned.plugin), planned.configurations.to_vec()));
            match added {
                Ok(added) => {
                    *id = Some(added);
                    running.push((planned.clone(), added));
                }
                Err(error) => failures.push(planned.failure(error)),
            }
        }
        if !failures.is_empty() {
            return Err(plugins.failed(failures));
        }
        self.plugins.replace(running);
        Ok(self.served(config, chains(&plan, &ids, &guests)))
    }

    /// Takes over what was started for a configuration, keeps what has not changed, and begins the end of everything
    /// else. `None` if something is missing, which leaves everything as it is.
    pub(crate) fn swap(&self, swap: &mut Swap) -> Option<Served> {
        let Swap { config, plan, started, plugins, .. } = swap;
        let found =
            |planned: &Use| self.plugins.borrow().iter().find(|(other, _)| planned.is_same(other)).map(|(_, id)| *id);
        let kept: Vec<_> = plan.uses.iter().map(found).collect();
        let all = plan.uses.iter().zip(&kept).zip(&*started);
        if all.clone().any(|((planned, kept), started)| planned.is_used() && kept.is_none() && started.is_none()) {
            return None;
        }
        if plan.uses.iter().any(Use::is_used) && self.guests().is_none() {
            let (plugins, preparer) = plugins.take()?;
            self.begin(config, &plugins, preparer);
        }
        let Some(guests) = self.guests() else {
            return Some(self.served(config, plan.chains.iter().map(|_| None).collect()));
        };
        let limit = buffer_limit(config.limits);
        guests.callouts().replace(config, &self.pool, limit);
        guests.with(|worker| worker.set_buffer_limit(limit));
        let mut running = Vec::new();
        let mut ids = vec![None; plan.uses.len()];
        let all = plan.uses.iter().zip(kept).zip(started).zip(&mut ids);
        for (((planned, kept), started), id) in all.filter(|(((planned, _), _), _)| planned.is_used()) {
            *id = kept.or_else(|| {
                let started = started.take()?;
                Some(guests.with(|worker| worker.add_started(started)))
            });
            running.extend(id.map(|id| (planned.clone(), id)));
        }
        let served = self.served(config, chains(plan, &ids, &guests));
        let before = self.plugins.replace(running);
        for (_, id) in before {
            if !ids.contains(&Some(id)) {
                guests.with(|worker| worker.remove_plugin(id, PLUGIN_END));
            }
        }
        Some(served)
    }

    /// The guests, if there have ever been any.
    pub(crate) fn guests(&self) -> Option<Rc<Guests>> {
        self.guests.borrow().clone()
    }

    /// `chains` has one entry per route, and per stream route after them.
    fn served(&self, config: &Config, mut chains: Vec<Option<Chain>>) -> Served {
        let of_streams = chains.split_off(config.routes.len());
        let streams = StreamRoutes::new(&config.stream.routes, &self.pool, of_streams);
        (Snapshot::new(config, &self.pool, chains, &self.metrics), streams)
    }

    fn begin(&self, config: &Config, plugins: &Plugins, preparer: Preparer) -> Rc<Guests> {
        let limit = buffer_limit(config.limits);
        let guests = plugins.guests(preparer, limit, Callouts::new(config, &self.pool, limit));
        guests.with(|worker| self.metrics.set_plugins(worker.stats()));
        self.guests.replace(Some(Rc::clone(&guests)));
        guests
    }
}

fn buffer_limit(limits: WorkerLimits) -> usize {
    usize::try_from(limits.buffered_body).unwrap_or(usize::MAX)
}

/// The chain of each route.
fn chains(plan: &Plan, ids: &[Option<PluginId>], guests: &Rc<Guests>) -> Vec<Option<Chain>> {
    let chain = |links: &Vec<Link>| {
        let plugins: Vec<&Plugin> = links.iter().map(|link| &*plan.uses[link.plugin].plugin).collect();
        let links = links.iter().filter_map(|link| Some(Link { plugin: ids[link.plugin]?, ..*link })).collect();
        (!plugins.is_empty()).then(|| Chain::new(guests, links, &plugins))
    };
    plan.chains.iter().map(chain).collect()
}
