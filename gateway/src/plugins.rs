//! The plugins of a configuration, loaded.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use chassis_abi::{Identity, Services, VmState};
use chassis_engine_api::AnyEngine;
use chassis_engine_api::compile::CompilePolicy;
use chassis_host::{Link, LogSink, Plugin, PluginError, PluginLimits, PluginSpec, Preparer, StartError, Worker};
use thiserror::Error;

use crate::callouts::Callouts;
use crate::chain::{Chain, Guests};
use crate::config::{self, Config, Place, PluginConfig};

/// Opens the engine of a name; the default one for `None`.
pub type OpenEngine<'a> = &'a dyn Fn(Option<&str>) -> Result<Arc<dyn AnyEngine<VmState>>, Box<dyn Error + Send + Sync>>;

/// Makes the services that a worker's plugins call.
pub type MakeServices = Arc<dyn Fn() -> Box<dyn Services> + Send + Sync>;

/// The plugins of a configuration, compiled and linked, and what they run with. Shared by all workers.
#[derive(Clone)]
pub struct Plugins {
    /// In the order of the configuration.
    plugins: Vec<Arc<Plugin>>,
    /// The configuration file, and where in it each plugin is.
    file: Arc<Path>,
    places: Vec<Place>,
    services: MakeServices,
    sink: Arc<dyn LogSink>,
}

/// Why plugins could not be loaded, or do not start. Displayed as one line per plugin, `file:line:column: plugin ...`.
#[derive(Debug, Error)]
#[error("{}", failures.iter().map(|failure| failure.line(file)).collect::<Vec<_>>().join("\n"))]
pub struct PluginsError {
    /// The configuration file.
    pub file: PathBuf,
    /// Every plugin that failed; never empty.
    pub failures: Vec<PluginFailure>,
}

/// Why a plugin could not be loaded, or does not start.
#[derive(Debug)]
#[non_exhaustive]
pub struct PluginFailure {
    /// Its name.
    pub plugin: String,
    /// Where it is in the configuration file; where it is used, if it refused the only configuration it is used with.
    pub place: Place,
    /// Whether the fault is the engine's name, the module, or how it starts.
    pub error: LoadFailure,
}

/// What failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadFailure {
    /// There is no such engine.
    #[error("{0}")]
    Engine(Box<dyn Error + Send + Sync>),
    /// The module.
    #[error(transparent)]
    Module(#[from] PluginError),
    /// It was stopped while it started, or refused to, or refused its configuration.
    #[error("{}: {error}", file.display())]
    Start {
        /// The module's file.
        file: PathBuf,
        /// What happened.
        error: StartError,
    },
}

impl Plugins {
    /// Loads all plugins of a configuration that was read from `file`, used or not.
    ///
    /// # Errors
    /// [`PluginsError`] with every plugin that failed.
    pub fn load(
        config: &Config,
        file: impl AsRef<Path>,
        open: OpenEngine<'_>,
        policy: &CompilePolicy,
        services: MakeServices,
        sink: Arc<dyn LogSink>,
    ) -> Result<Self, PluginsError> {
        let mut plugins = Vec::with_capacity(config.plugins.len());
        let mut failures = Vec::new();
        for plugin in &config.plugins {
            match load(plugin, config, open, policy) {
                Ok(loaded) => plugins.push(loaded),
                Err(error) => {
                    failures.push(PluginFailure { plugin: plugin.name.clone(), place: plugin.place, error });
                }
            }
        }
        if failures.is_empty() {
            let places = config.plugins.iter().map(|plugin| plugin.place).collect();
            return Ok(Plugins { plugins, file: file.as_ref().into(), places, services, sink });
        }
        Err(PluginsError { file: file.as_ref().to_owned(), failures })
    }

    /// The plugins, in the order of the configuration.
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// The thread that starts spare VMs; one for all workers.
    pub(crate) fn preparer(&self) -> std::io::Result<Preparer> {
        Preparer::new(Arc::clone(&self.services))
    }

    /// Starts, on this thread, a VM of every plugin that a route uses, with a plugin context for each use. Answers the
    /// chain of each route. All streams together may hold `buffer_limit` bytes of body; `callouts` calls others for them.
    ///
    /// # Errors
    /// [`PluginsError`] with every plugin that does not start.
    pub(crate) fn start(
        &self,
        routes: &[&[config::PluginUse]],
        preparer: Preparer,
        buffer_limit: usize,
        callouts: Callouts,
    ) -> Result<(Rc<Guests>, Vec<Option<Chain>>), PluginsError> {
        let mut uses: Vec<Vec<&config::PluginUse>> = vec![Vec::new(); self.plugins.len()];
        let mut chains: Vec<Vec<Link>> = Vec::with_capacity(routes.len());
        for route in routes {
            let mut chain = Vec::with_capacity(route.len());
            for plugin_use in *route {
                let plugin = plugin_use.plugin;
                chain.push(Link { plugin, configuration: uses[plugin].len() });
                uses[plugin].push(plugin_use);
            }
            chains.push(chain);
        }
        let mut ids = vec![None; self.plugins.len()];
        let mut worker = Worker::new((self.services)(), Arc::clone(&self.sink), preparer);
        worker.set_buffer_limit(buffer_limit);
        let guests = Guests::new(worker, callouts, |worker| {
            let mut failures = Vec::new();
            for (index, uses) in uses.iter().enumerate().filter(|(_, uses)| !uses.is_empty()) {
                let configurations = uses.iter().map(|plugin_use| plugin_use.conf.clone()).collect();
                match worker.add_plugin(Arc::clone(&self.plugins[index]), configurations) {
                    Ok(id) => ids[index] = Some(id),
                    Err(error) => failures.push(self.start_failure(index, uses, error)),
                }
            }
            if failures.is_empty() { Ok(()) } else { Err(PluginsError { file: self.file.to_path_buf(), failures }) }
        })?;
        let chain = |links: Vec<Link>| {
            let plugins: Vec<&Plugin> = links.iter().map(|link| &*self.plugins[link.plugin]).collect();
            let links = links.iter().filter_map(|link| Some(Link { plugin: ids[link.plugin]?, ..*link })).collect();
            (!plugins.is_empty()).then(|| Chain::new(&guests, links, &plugins))
        };
        let chains = chains.into_iter().map(chain).collect();
        Ok((guests, chains))
    }

    fn start_failure(&self, index: usize, uses: &[&config::PluginUse], error: StartError) -> PluginFailure {
        let place = match (&error, uses) {
            (StartError::ConfigurationRefused | StartError::ConfigurationInvalid, [only]) => only.place,
            _ => self.places[index],
        };
        let plugin = &self.plugins[index];
        let error = LoadFailure::Start { file: plugin.spec().file.clone(), error };
        PluginFailure { plugin: plugin.name().to_owned(), place, error }
    }
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").field("plugins", &self.plugins).finish_non_exhaustive()
    }
}

impl PluginFailure {
    fn line(&self, file: &Path) -> String {
        let Place { line, column } = self.place;
        format!("{}:{line}:{column}: plugin `{}`: {}", file.display(), self.plugin, self.error)
    }
}

fn load(
    config: &PluginConfig,
    all: &Config,
    open: OpenEngine<'_>,
    policy: &CompilePolicy,
) -> Result<Arc<Plugin>, LoadFailure> {
    let engine = open(config.engine.as_deref()).map_err(LoadFailure::Engine)?;
    let mut limits = PluginLimits::default();
    limits.memory_bytes = config.limits.memory.unwrap_or(limits.memory_bytes);
    limits.deadline = config.limits.deadline.unwrap_or(limits.deadline);
    limits.start_deadline = config.limits.start_deadline.unwrap_or(limits.start_deadline);
    limits.pause = config.limits.pause.unwrap_or(limits.pause);
    limits.callout_timeout = config.limits.callout_timeout.unwrap_or(limits.callout_timeout);
    let rules = &mut limits.callouts;
    rules.per_vm = config.limits.callouts.unwrap_or(rules.per_vm);
    rules.per_stream = config.limits.callouts_per_stream.unwrap_or(rules.per_stream);
    rules.bytes = config.limits.callout_bytes.map_or(rules.bytes, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let named = all.upstreams.iter().map(|upstream| &upstream.id);
    rules.upstreams = Arc::new(named.chain(&config.allowed_upstreams).cloned().collect());
    let stored =
        |given: Option<u64>, default| given.map_or(default, |given| usize::try_from(given).unwrap_or(usize::MAX));
    limits.shared_data = stored(config.limits.shared_data, limits.shared_data);
    limits.queues = stored(config.limits.queues, limits.queues);
    limits.metrics = stored(config.limits.metrics, limits.metrics);
    let spec = PluginSpec {
        identity: Identity {
            name: config.name.clone(),
            root_id: config.root_id.clone(),
            vm_id: config.vm_id.clone(),
            vm_configuration: config.vm_config.clone(),
            environment: Vec::new(),
            dialect: config.dialect,
            ..Identity::default()
        },
        file: config.file.clone(),
        limits,
        fail_policy: match config.fail_policy {
            config::FailPolicy::Closed => chassis_host::FailPolicy::Closed,
        },
    };
    Ok(Plugin::load(spec, &*engine, policy)?)
}
