//! The plugins of a configuration, loaded.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use chassis_abi::{Identity, Services, VmState};
use chassis_engine_api::AnyEngine;
use chassis_engine_api::compile::CompilePolicy;
use chassis_host::{Link, LogSink, Plugin, PluginError, PluginLimits, PluginSpec, Preparer, StartError, Worker};
use std::rc::Rc;
use thiserror::Error;

use crate::chain::{Chain, Guests};
use crate::config::{self, Config, Place, PluginConfig, RouteConfig};

/// Opens the engine of a name; the default one for `None`.
pub type OpenEngine<'a> = &'a dyn Fn(Option<&str>) -> Result<Arc<dyn AnyEngine<VmState>>, Box<dyn Error + Send + Sync>>;

/// Makes the services that a worker's plugins call.
pub type MakeServices = Arc<dyn Fn() -> Box<dyn Services> + Send + Sync>;

/// The plugins of a configuration, compiled and linked, and what they run with. Shared by all workers.
#[derive(Clone)]
pub struct Plugins {
    /// In the order of the configuration.
    plugins: Vec<Arc<Plugin>>,
    services: MakeServices,
    sink: Arc<dyn LogSink>,
}

/// Why plugins could not be loaded. Displayed as one line per plugin, `file:line:column: plugin ...`.
#[derive(Debug, Error)]
#[error("{}", failures.iter().map(|failure| failure.line(file)).collect::<Vec<_>>().join("\n"))]
pub struct PluginsError {
    /// The configuration file.
    pub file: PathBuf,
    /// Every plugin that failed; never empty.
    pub failures: Vec<PluginFailure>,
}

/// Why a plugin could not be loaded.
#[derive(Debug)]
#[non_exhaustive]
pub struct PluginFailure {
    /// Its name.
    pub plugin: String,
    /// Where it is in the configuration file.
    pub place: Place,
    /// Whether the fault is the engine's name or the module.
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
}

impl Plugins {
    /// Loads all plugins of a configuration that was read from `file`, used or not.
    ///
    /// # Errors
    /// [`PluginsError`] with every plugin that failed.
    pub fn load(
        config: &Config,
        file: impl Into<PathBuf>,
        open: OpenEngine<'_>,
        policy: &CompilePolicy,
        services: MakeServices,
        sink: Arc<dyn LogSink>,
    ) -> Result<Self, PluginsError> {
        let mut plugins = Vec::with_capacity(config.plugins.len());
        let mut failures = Vec::new();
        for plugin in &config.plugins {
            match load(plugin, open, policy) {
                Ok(loaded) => plugins.push(loaded),
                Err(error) => {
                    failures.push(PluginFailure { plugin: plugin.name.clone(), place: plugin.place, error });
                }
            }
        }
        if failures.is_empty() {
            return Ok(Plugins { plugins, services, sink });
        }
        Err(PluginsError { file: file.into(), failures })
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
    /// chain of each route.
    pub(crate) fn start(
        &self,
        routes: &[RouteConfig],
        preparer: Preparer,
    ) -> Result<(Rc<Guests>, Vec<Option<Chain>>), (String, StartError)> {
        let mut configurations: Vec<Vec<Bytes>> = vec![Vec::new(); self.plugins.len()];
        let mut chains: Vec<Vec<Link>> = Vec::with_capacity(routes.len());
        for route in routes {
            let link = |plugin_use: &config::PluginUse| {
                let of_plugin = &mut configurations[plugin_use.plugin];
                of_plugin.push(plugin_use.conf.clone());
                Link { plugin: plugin_use.plugin, configuration: of_plugin.len() - 1 }
            };
            chains.push(route.plugins.iter().map(link).collect());
        }
        let mut ids = vec![None; self.plugins.len()];
        let worker = Worker::new((self.services)(), Arc::clone(&self.sink), preparer);
        let guests = Guests::new(worker, |worker| {
            for (index, configurations) in configurations.into_iter().enumerate().filter(|(_, c)| !c.is_empty()) {
                let plugin = &self.plugins[index];
                let id = worker.add_plugin(Arc::clone(plugin), configurations);
                ids[index] = Some(id.map_err(|error| (plugin.name().to_owned(), error))?);
            }
            Ok(())
        })?;
        let chain = |links: Vec<Link>| {
            let plugins: Vec<&Plugin> = links.iter().map(|link| &*self.plugins[link.plugin]).collect();
            let links = links.iter().filter_map(|link| Some(Link { plugin: ids[link.plugin]?, ..*link })).collect();
            (!plugins.is_empty()).then(|| Chain::new(&guests, links, &plugins))
        };
        let chains = chains.into_iter().map(chain).collect();
        Ok((guests, chains))
    }
}

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugins").field("plugins", &self.plugins).finish_non_exhaustive()
    }
}

impl PluginFailure {
    fn line(&self, file: &std::path::Path) -> String {
        let Place { line, column } = self.place;
        format!("{}:{line}:{column}: plugin `{}`: {}", file.display(), self.plugin, self.error)
    }
}

fn load(config: &PluginConfig, open: OpenEngine<'_>, policy: &CompilePolicy) -> Result<Arc<Plugin>, LoadFailure> {
    let engine = open(config.engine.as_deref()).map_err(LoadFailure::Engine)?;
    let mut limits = PluginLimits::default();
    limits.memory_bytes = config.limits.memory.unwrap_or(limits.memory_bytes);
    limits.deadline = config.limits.deadline.unwrap_or(limits.deadline);
    limits.pause = config.limits.pause.unwrap_or(limits.pause);
    let spec = PluginSpec {
        identity: Identity {
            name: config.name.clone(),
            root_id: String::new(),
            vm_id: String::new(),
            vm_configuration: config.vm_config.clone(),
            environment: Vec::new(),
        },
        file: config.file.clone(),
        limits,
        fail_policy: match config.fail_policy {
            config::FailPolicy::Closed => chassis_host::FailPolicy::Closed,
        },
    };
    Ok(Plugin::load(spec, &*engine, policy)?)
}
