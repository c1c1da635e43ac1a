//! The plugins of a configuration, loaded.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use chassis_abi::{Configuration, Identity, Services, VmState};
use chassis_engine_api::AnyEngine;
use chassis_engine_api::compile::CompilePolicy;
use chassis_host::{
    Link, LogSink, Plugin, PluginError, PluginLimits, PluginSpec, Preparer, StartError, StartedPlugin, Worker,
};
use thiserror::Error;

use crate::callouts::Callouts;
use crate::chain::Guests;
use crate::config::{self, Config, Place, PluginConfig};
use crate::logs::spans;

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
    /// The file of routes, if it is another one.
    routes_file: Option<Arc<Path>>,
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
    /// The file that it is in, if that is not the one that was given: APISIX's file of routes.
    pub file: Option<Arc<Path>>,
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
        Self::load_or_keep(&[], config, file.as_ref(), open, policy, (services, sink))
    }

    /// Loads all plugins of a configuration that is to replace the one of these; the same file, or another. What has not
    /// changed, neither its module nor its settings, is kept and not compiled again.
    ///
    /// # Errors
    /// [`PluginsError`] with every plugin that failed.
    pub fn reload(
        &self,
        config: &Config,
        file: impl AsRef<Path>,
        open: OpenEngine<'_>,
        policy: &CompilePolicy,
    ) -> Result<Self, PluginsError> {
        let calls = (Arc::clone(&self.services), Arc::clone(&self.sink));
        Self::load_or_keep(&self.plugins, config, file.as_ref(), open, policy, calls)
    }

    fn load_or_keep(
        earlier: &[Arc<Plugin>],
        config: &Config,
        file: &Path,
        open: OpenEngine<'_>,
        policy: &CompilePolicy,
        (services, sink): (MakeServices, Arc<dyn LogSink>),
    ) -> Result<Self, PluginsError> {
        let mut plugins = Vec::with_capacity(config.plugins.len());
        let mut failures = Vec::new();
        for plugin in &config.plugins {
            match load(plugin, config, open, policy, earlier) {
                Ok(loaded) => plugins.push(loaded),
                Err(error) => {
                    let plugin_name = plugin.name.clone();
                    failures.push(PluginFailure { plugin: plugin_name, file: None, place: plugin.place, error });
                }
            }
        }
        if failures.is_empty() {
            let places = config.plugins.iter().map(|plugin| plugin.place).collect();
            let routes_file = config.routes_file.as_ref().map(|routes| routes.path.as_path().into());
            return Ok(Plugins { plugins, file: file.into(), places, routes_file, services, sink });
        }
        Err(PluginsError { file: file.to_owned(), failures })
    }

    /// The plugins, in the order of the configuration.
    pub fn plugins(&self) -> &[Arc<Plugin>] {
        &self.plugins
    }

    /// The thread that starts spare VMs; one for all workers.
    pub(crate) fn preparer(&self) -> std::io::Result<Preparer> {
        Preparer::new(Arc::clone(&self.services))
    }

    /// What a plugin calls while it starts on a thread of its own.
    pub(crate) fn services(&self) -> Box<dyn Services> {
        (self.services)()
    }

    /// A worker's plugins, of which there are none yet. All streams together may hold `buffer_limit` bytes of body;
    /// `callouts` calls others for them.
    pub(crate) fn guests(&self, preparer: Preparer, buffer_limit: usize, callouts: Callouts) -> Rc<Guests> {
        let mut worker = Worker::new((self.services)(), Arc::clone(&self.sink), preparer);
        worker.set_buffer_limit(buffer_limit);
        if let Some(observer) = spans::of_callbacks() {
            worker.set_observer(Some(observer));
        }
        Guests::new(worker, callouts)
    }

    /// Which plugins routes and global rules use, with a configuration for each use, and the chain of each route: the
    /// plugins of a phase before those of the next one, and of a phase those of global rules first. Stream routes follow,
    /// which global rules have no part in.
    pub(crate) fn plan<'c>(&self, config: &'c Config) -> Plan {
        let mut uses: Vec<Vec<&'c config::PluginUse>> = vec![Vec::new(); self.plugins.len()];
        let mut link = |plugin_use: &'c config::PluginUse| {
            let plugin = plugin_use.plugin;
            uses[plugin].push(plugin_use);
            (config.plugins[plugin].phase, Link { plugin, configuration: uses[plugin].len() - 1 })
        };
        let global: Vec<_> = config.global_rules.iter().flat_map(|rule| &rule.plugins).map(&mut link).collect();
        let mut chains: Vec<Vec<Link>> = Vec::with_capacity(config.routes.len() + config.stream.routes.len());
        for route in &config.routes {
            let mut chain = global.clone();
            chain.extend(route.plugins.iter().map(&mut link));
            chain.sort_by_key(|(phase, _)| *phase);
            chains.push(chain.into_iter().map(|(_, link)| link).collect());
        }
        for route in &config.stream.routes {
            chains.push(route.plugins.iter().map(|plugin_use| link(plugin_use).1).collect());
        }
        let planned = |(index, uses): (usize, Vec<&config::PluginUse>)| Use {
            plugin: Arc::clone(&self.plugins[index]),
            configurations: uses.iter().map(|plugin_use| plugin_use.conf.clone().into()).collect(),
            place: self.places[index],
            only: if let [only] = &*uses { Some((self.routes_file.clone(), only.place)) } else { None },
        };
        Plan { uses: uses.into_iter().enumerate().map(planned).collect(), chains }
    }

    /// Starts every plugin that is used, and configures it for each use, as workers would; then leaves it.
    ///
    /// # Errors
    /// [`PluginsError`] with every plugin that does not start.
    pub fn check(&self, config: &Config) -> Result<(), PluginsError> {
        let plan = self.plan(config);
        let mut failures = Vec::new();
        for planned in plan.uses.iter().filter(|planned| planned.is_used()) {
            let (plugin, configurations) = (Arc::clone(&planned.plugin), Arc::clone(&planned.configurations));
            let started = StartedPlugin::start(plugin, configurations, self.services());
            failures.extend(started.err().map(|error| planned.failure(error)));
        }
        if failures.is_empty() { Ok(()) } else { Err(self.failed(failures)) }
    }

    /// Every plugin that a route uses and that does not start.
    pub(crate) fn failed(&self, failures: Vec<PluginFailure>) -> PluginsError {
        PluginsError { file: self.file.to_path_buf(), failures }
    }
}

/// What routes need of plugins.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// All plugins, in the order of the configuration; those that no route uses have no configuration.
    pub(crate) uses: Vec<Use>,
    /// The chain of each route; plugins by their places in `uses`.
    pub(crate) chains: Vec<Vec<Link>>,
}

/// A plugin, with the configurations that it is used with.
#[derive(Debug, Clone)]
pub(crate) struct Use {
    pub(crate) plugin: Arc<Plugin>,
    pub(crate) configurations: Arc<[Configuration]>,
    /// Where the plugin is in the file; and where it is used, if that is one place, with the file if it is another one.
    place: Place,
    only: Option<(Option<Arc<Path>>, Place)>,
}

impl Use {
    /// Whether this is the same module with the same settings and configurations, so that its VM may stay.
    pub(crate) fn is_same(&self, other: &Use) -> bool {
        Arc::ptr_eq(&self.plugin, &other.plugin) && self.configurations == other.configurations
    }

    /// Whether a route or a global rule uses it.
    pub(crate) fn is_used(&self) -> bool {
        !self.configurations.is_empty()
    }

    pub(crate) fn failure(&self, error: StartError) -> PluginFailure {
        let (file_of_use, place) = match (&error, &self.only) {
            (StartError::ConfigurationRefused | StartError::ConfigurationInvalid, Some(only)) => only.clone(),
            _ => (None, self.place),
        };
        let error = LoadFailure::Start { file: self.plugin.spec().file.clone(), error };
        PluginFailure { plugin: self.plugin.name().to_owned(), file: file_of_use, place, error }
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
        let file = self.file.as_deref().unwrap_or(file);
        format!("{}:{line}:{column}: plugin `{}`: {}", file.display(), self.plugin, self.error)
    }
}

fn load(
    config: &PluginConfig,
    all: &Config,
    open: OpenEngine<'_>,
    policy: &CompilePolicy,
    earlier: &[Arc<Plugin>],
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
            environment: config.env.clone(),
            dialect: config.dialect,
            ..Identity::default()
        },
        file: config.file.clone(),
        limits,
        fail_policy: match config.fail_policy {
            config::FailPolicy::Closed => chassis_host::FailPolicy::Closed,
        },
    };
    Ok(Plugin::load_or_keep(spec, &*engine, policy, earlier)?)
}
