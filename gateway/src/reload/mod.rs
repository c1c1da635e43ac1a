//! Another configuration while the gateway serves: prepared on the thread of whoever asks for it, then swapped by each
//! worker at once.

mod swap;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chassis_host::{Preparer, StartedPlugin};
use thiserror::Error;
use tokio::sync::{mpsc, watch};

pub(crate) use self::swap::{PLUGIN_END, Running, Swap};

use crate::config::Config;
use crate::control::State;
use crate::listen;
use crate::plugins::{Plan, Plugins, PluginsError};
use crate::worker::Phase;

/// Replaces the configuration of a [`Server`](crate::Server) that runs, and ends it; a handle for any thread.
///
/// A reload compiles, starts and configures what has changed on the thread that calls it, and only when all of that
/// succeeded has each worker swap. A request keeps the configuration that it began with. A plugin whose module, settings
/// and configurations are the same keeps its VMs; of others the plugin contexts end after their last stream. Listeners
/// and connections to upstreams that both configurations have stay as they are.
#[derive(Debug, Clone)]
pub struct Reloader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Held by the one reload that is under way.
    reloading: Mutex<Option<Preparer>>,
    current: Mutex<Current>,
    /// What the process was started with, some of which stays.
    started: Arc<Config>,
    /// What is told of it elsewhere.
    state: Arc<State>,
    workers: Vec<mpsc::UnboundedSender<Swap>>,
    phase: watch::Receiver<Phase>,
    /// What the server was asked to do.
    asked: watch::Sender<Phase>,
}

/// What is served.
#[derive(Debug, Clone)]
struct Current {
    config: Arc<Config>,
    plugins: Option<Plugins>,
    plan: Arc<Plan>,
    /// As the configuration has them, and the real ones.
    addresses: Vec<(SocketAddr, SocketAddr)>,
    generation: u64,
}

/// What a reload has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many configurations there have been; 1 is the one that the server was started with.
    pub generation: u64,
    /// Plugins that were started, by name, as they are new or something of them is.
    pub started: Vec<String>,
    /// Plugins that kept their VMs.
    pub kept: Vec<String>,
    /// Plugins that end after their last stream: removed, or there in a new version.
    pub ended: Vec<String>,
    /// Parts of the configuration (`workers`, `ssl`, `stream_proxy`, `endpoints` for those of operators) that have changed and have no effect before the next start.
    pub needs_restart: Vec<&'static str>,
}

/// Why a configuration was refused. The one from before is served on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// Plugins did not start, or refused their configuration.
    #[error(transparent)]
    Plugins(#[from] PluginsError),
    /// A route uses plugins, and none were given: the caller's fault.
    #[error("the configuration uses plugins that were not loaded")]
    NoPlugins,
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system has no thread left for us.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The server has not started yet, or ends.
    #[error("the server does not serve any more")]
    Ending,
}

impl Reloader {
    pub(crate) fn new(
        state: &Arc<State>,
        plugins: Option<Plugins>,
        preparer: Option<Preparer>,
        workers: Vec<mpsc::UnboundedSender<Swap>>,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let config = state.config();
        let plan = plugins.as_ref().map(|plugins| plugins.plan(&config)).unwrap_or_default();
        let started = Arc::clone(&config);
        let current = Current { config, plugins, plan: Arc::new(plan), addresses: Vec::new(), generation: 1 };
        let shared = Shared {
            reloading: Mutex::new(preparer),
            current: Mutex::new(current),
            started,
            state: Arc::clone(state),
            workers,
            phase,
            asked: watch::channel(Phase::Serve).0,
        };
        Reloader { shared: Arc::new(shared) }
    }

    /// Has all requests that begin after this returned be served by `config`, with its plugins, loaded by
    /// [`Plugins::reload`] of the [current ones](Reloader::plugins), so that what has not changed is kept. One reload at
    /// a time: others wait. Blocks, for as long as plugins take to start.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed then.
    pub fn reload(&self, config: Config, plugins: Option<Plugins>) -> Result<Report, ReloadError> {
        let mut preparer = lock(&self.shared.reloading);
        self.is_ready().then_some(()).ok_or(ReloadError::Ending)?;
        let before = lock(&self.shared.current).clone();
        let config = Arc::new(config);
        let plan = plan(&config, plugins.as_ref())?;
        let is_used = plan.uses.iter().any(|planned| planned.is_used());
        if preparer.is_none() && is_used {
            *preparer = plugins.as_ref().map(Plugins::preparer).transpose()?;
        }
        let mut addresses = Vec::with_capacity(config.listen.len());
        let mut swaps: Vec<Swap> = Vec::with_capacity(self.shared.workers.len());
        let (done, outcomes) = channel();
        for _ in &self.shared.workers {
            swaps.push(Swap {
                config: Arc::clone(&config),
                plan: Arc::clone(&plan),
                started: start(&plan, &before.plan, plugins.as_ref())?,
                plugins: plugins.clone().zip(preparer.clone()),
                listeners: Vec::new(),
                done: done.clone(),
            });
        }
        drop(done);
        // Last, as clients that connect from here on wait until workers have their listeners.
        for address in &config.listen {
            let known = before.addresses.iter().find(|(configured, _)| configured == address);
            let real = match known {
                Some((_, real)) => *real,
                None => listen(*address, &mut swaps)?,
            };
            addresses.push((*address, real));
        }
        for (worker, swap) in self.shared.workers.iter().zip(swaps) {
            let _ = worker.send(swap);
        }
        // A worker that ends meanwhile tells nothing.
        let told = outcomes.iter().filter(|done| *done).count();
        if told < self.shared.workers.len() {
            return Err(ReloadError::Ending);
        }
        let report = report(&self.shared.started, &before, &config, &plan);
        let generation = report.generation;
        self.shared.state.set_config(&config);
        *lock(&self.shared.current) = Current { config, plugins, plan, addresses, generation };
        Ok(report)
    }

    /// The configuration that is served.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&lock(&self.shared.current).config)
    }

    /// The plugins of the configuration that is served.
    pub fn plugins(&self) -> Option<Plugins> {
        lock(&self.shared.current).plugins.clone()
    }

    /// The addresses without TLS that are listened on, in the order of the configuration; ports are the real ones.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        lock(&self.shared.current).addresses.iter().map(|(_, real)| *real).collect()
    }

    /// Whether the server takes requests and goes on to: not once it drains, which is when whoever shares requests out is
    /// to leave it out.
    pub fn is_ready(&self) -> bool {
        *self.shared.phase.borrow() == Phase::Serve && self.shared.phase.has_changed().is_ok()
    }

    /// Has [`Server::run`](crate::Server::run) end as at SIGTERM: when all requests have ended, or the drain limit is over.
    pub fn quit(&self) {
        self.shared.asked.send_if_modified(|asked| std::mem::replace(asked, Phase::Drain) == Phase::Serve);
    }

    /// Has [`Server::run`](crate::Server::run) end at once.
    pub fn stop(&self) {
        self.shared.asked.send_replace(Phase::Stop);
    }

    pub(crate) fn asked(&self) -> watch::Receiver<Phase> {
        self.shared.asked.subscribe()
    }

    pub(crate) fn set_addresses(&self, addresses: impl Iterator<Item = (SocketAddr, SocketAddr)>) {
        lock(&self.shared.current).addresses = addresses.collect();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that could be left half done is changed under these.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn plan(config: &Config, plugins: Option<&Plugins>) -> Result<Arc<Plan>, ReloadError> {
    match plugins {
        Some(plugins) if plugins.plugins().len() == config.plugins.len() => Ok(Arc::new(plugins.plan(config))),
        _ if config.uses_plugins() => Err(ReloadError::NoPlugins),
        _ => Ok(Arc::new(Plan { uses: Vec::new(), chains: vec![Vec::new(); config.chains()] })),
    }
}

/// Starts what one worker needs and does not run.
fn start(plan: &Plan, before: &Plan, plugins: Option<&Plugins>) -> Result<Vec<Option<StartedPlugin>>, PluginsError> {
    let Some(plugins) = plugins else { return Ok(Vec::new()) };
    let mut failures = Vec::new();
    let mut started = Vec::with_capacity(plan.uses.len());
    for planned in &plan.uses {
        let runs = before.uses.iter().any(|other| planned.is_same(other));
        if runs || !planned.is_used() {
            started.push(None);
            continue;
        }
        let (plugin, configurations) = (Arc::clone(&planned.plugin), Arc::clone(&planned.configurations));
        match StartedPlugin::start(plugin, configurations, plugins.services()) {
            Ok(plugin) => started.push(Some(plugin)),
            Err(error) => failures.push(planned.failure(error)),
        }
    }
    if failures.is_empty() { Ok(started) } else { Err(plugins.failed(failures)) }
}

/// Binds an address for all workers.
fn listen(address: SocketAddr, swaps: &mut [Swap]) -> Result<SocketAddr, ReloadError> {
    let failed = |source| ReloadError::Listen { address, source };
    let listeners: Vec<TcpListener> = listen::bind(address, swaps.len()).map_err(failed)?;
    let real = listeners[0].local_addr().map_err(failed)?;
    swaps.iter_mut().zip(listeners).for_each(|(swap, listener)| swap.listeners.push((address, listener)));
    Ok(real)
}

fn report(started: &Config, before: &Current, config: &Config, plan: &Plan) -> Report {
    let names = |plan: &Plan, other: &Plan, same: bool| -> Vec<String> {
        let used = plan.uses.iter().filter(|planned| planned.is_used());
        let chosen = used.filter(|planned| other.uses.iter().any(|other| planned.is_same(other)) == same);
        chosen.map(|planned| planned.plugin.name().to_owned()).collect()
    };
    let needs_restart = [
        ("workers", started.workers != config.workers),
        ("ssl", started.ssl != config.ssl),
        ("stream_proxy", started.stream.listen != config.stream.listen),
        ("endpoints", started.endpoints != config.endpoints),
    ];
    Report {
        generation: before.generation + 1,
        started: names(plan, &before.plan, false),
        kept: names(plan, &before.plan, true),
        ended: names(&before.plan, plan, false),
        needs_restart: needs_restart.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect(),
    }
}
