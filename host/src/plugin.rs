//! A loaded plugin: checked, compiled and linked, not yet running.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chassis_abi::{
    AbiVersion, CALLBACKS, Callback, CalloutRules, EXPORTS, HIGRESS_MARKER, Identity, MARKERS, ProxyWasm, Quotas,
    VmState,
};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::{
    AnyEngine, AnyLinked, Budget, CheckedModule, FrontLimits, Limits, LinkPlan, LoadError, ModuleInfo,
};
use thiserror::Error;

use crate::source::{SourceError, read_module};

/// What a plugin is loaded from and how it may behave.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginSpec {
    /// What it is called and configured with. Its quotas are those of `limits`, whatever they say here.
    pub identity: Identity,
    /// The module's file, `.wasm` or `.wat`.
    pub file: PathBuf,
    /// What it may use.
    pub limits: PluginLimits,
    /// What happens to streams when it fails.
    pub fail_policy: FailPolicy,
}

/// What a plugin may use.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginLimits {
    /// How long one callback may take.
    pub deadline: Duration,
    /// How long starting and configuring may take, each callback by itself.
    pub start_deadline: Duration,
    /// Memory in bytes, per VM.
    pub memory_bytes: u64,
    /// Elements of each table.
    pub table_elements: u32,
    /// How long a stream may be paused.
    pub pause: Duration,
    /// Bytes of body that one stream may hold back in one direction.
    pub buffered_body: usize,
    /// Whom it may call, and how much of it at once.
    pub callouts: CalloutRules,
    /// How long a callout may take for which the plugin gives no timeout.
    pub callout_timeout: Duration,
    /// Bytes of shared data that it set last, keys included.
    pub shared_data: usize,
    /// Bytes of the queues that it made, and of its items in any.
    pub queues: usize,
    /// How many metrics it may define.
    pub metrics: usize,
    /// What its module may contain.
    pub front: FrontLimits,
}

impl Default for PluginLimits {
    /// 50 ms a callback, 500 ms to start, 64 MiB of memory, 10,000 table elements, 60 s of pause, 16 MiB of body;
    /// no callouts, of which each would have 60 s; 16 MiB of shared data, 4 MiB in queues, 1,000 metrics.
    fn default() -> Self {
        let (limits, quotas) = (Limits::default(), Quotas::default());
        PluginLimits {
            deadline: Duration::from_millis(50),
            start_deadline: Duration::from_millis(500),
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            pause: Duration::from_secs(60),
            buffered_body: 16 << 20,
            callouts: CalloutRules::default(),
            callout_timeout: Duration::from_secs(60),
            shared_data: quotas.shared_data,
            queues: quotas.queues,
            metrics: quotas.metrics,
            front: FrontLimits::default(),
        }
    }
}

impl PluginLimits {
    pub(crate) fn budget(&self) -> Budget {
        Budget::deadline(self.deadline)
    }

    pub(crate) fn start_budget(&self) -> Budget {
        Budget::deadline(self.start_deadline)
    }

    pub(crate) fn instance(&self) -> Limits {
        Limits { memory_bytes: self.memory_bytes, table_elements: self.table_elements }
    }

    /// What it may have in the stores.
    pub fn quotas(&self) -> Quotas {
        Quotas { shared_data: self.shared_data, queues: self.queues, metrics: self.metrics }
    }
}

/// What happens to a stream whose plugin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum FailPolicy {
    /// It is answered with 503, or reset if its response has begun.
    #[default]
    Closed,
}

/// A plugin that can be started. Shared by all workers.
pub struct Plugin {
    spec: PluginSpec,
    linked: Arc<dyn AnyLinked<VmState>>,
    version: AbiVersion,
    higress: bool,
    exported: Vec<Callback>,
}

impl Plugin {
    /// Reads, checks, compiles and links a plugin.
    ///
    /// # Errors
    /// [`PluginError`] with everything that is wrong.
    pub fn load(
        spec: PluginSpec,
        engine: &dyn AnyEngine<VmState>,
        policy: &CompilePolicy,
    ) -> Result<Arc<Plugin>, PluginError> {
        let bytes = read_module(&spec.file, spec.limits.front.module_bytes)?;
        Plugin::from_bytes(spec, bytes, engine, policy)
    }

    /// As [`load`](Plugin::load); where one of `earlier` was loaded from the same module, for the same engine and with
    /// the same spec, it answers that one and compiles nothing.
    ///
    /// # Errors
    /// [`PluginError`] with everything that is wrong.
    pub fn load_or_keep(
        spec: PluginSpec,
        engine: &dyn AnyEngine<VmState>,
        policy: &CompilePolicy,
        earlier: &[Arc<Plugin>],
    ) -> Result<Arc<Plugin>, PluginError> {
        let bytes = read_module(&spec.file, spec.limits.front.module_bytes)?;
        let same = |plugin: &&Arc<Plugin>| {
            plugin.engine() == engine.capabilities().name && plugin.spec == spec && plugin.module().bytes() == bytes
        };
        match earlier.iter().find(same) {
            Some(plugin) => Ok(Arc::clone(plugin)),
            None => Plugin::from_bytes(spec, bytes, engine, policy),
        }
    }

    /// As [`load`](Plugin::load), of a binary module that was read already; the file's name is for messages only.
    ///
    /// # Errors
    /// [`PluginError`] with everything that is wrong.
    pub fn from_bytes(
        spec: PluginSpec,
        bytes: Vec<u8>,
        engine: &dyn AnyEngine<VmState>,
        policy: &CompilePolicy,
    ) -> Result<Arc<Plugin>, PluginError> {
        let fail = |problems: Vec<Problem>| PluginError::Module { file: spec.file.clone(), problems };
        let module = CheckedModule::new(bytes, &spec.limits.front).map_err(|error| fail(vec![Problem::of(error)]))?;
        let mut problems = judge(module.info());
        if let Err(error) = LinkPlan::new::<VmState, ProxyWasm>(module.info(), EXPORTS) {
            problems.extend(error.missing.iter().map(Problem::of));
            problems.extend(error.wrong.iter().map(Problem::of));
        }
        let Some(version) = AbiVersion::of(module.info()).filter(|_| problems.is_empty()) else {
            return Err(fail(problems));
        };
        let linked = engine.load(&module, policy).map_err(|error| match error {
            LoadError::Link(error) => fail(vec![Problem::of(error)]),
            error => PluginError::Engine { file: spec.file.clone(), error: Box::new(error) },
        })?;
        let exported = CALLBACKS.iter().copied().filter(|c| module.info().exports_function(c.name())).collect();
        let higress = module.info().exports_function(HIGRESS_MARKER);
        Ok(Arc::new(Plugin { spec, linked, version, higress, exported }))
    }

    /// What it was loaded from.
    pub fn spec(&self) -> &PluginSpec {
        &self.spec
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.identity.name
    }

    /// The ABI version that it is marked with.
    pub fn abi_version(&self) -> AbiVersion {
        self.version
    }

    /// Whether it is one for Higress, which understands a pause in headers in a way of its own.
    pub(crate) fn is_higress(&self) -> bool {
        self.higress
    }

    /// Its module.
    pub fn module(&self) -> &CheckedModule {
        self.linked.module()
    }

    /// The name of the engine that runs it.
    pub fn engine(&self) -> &'static str {
        self.linked.capabilities().name
    }

    /// The version of that engine.
    pub fn engine_version(&self) -> &'static str {
        self.linked.capabilities().version
    }

    /// Whether it exports a callback. What it does not export is never called and costs nothing.
    pub fn exports(&self, callback: Callback) -> bool {
        self.exported.contains(&callback)
    }

    pub(crate) fn linked(&self) -> &dyn AnyLinked<VmState> {
        &*self.linked
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name()).field("engine", &self.engine()).finish_non_exhaustive()
    }
}

/// Why a plugin could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PluginError {
    /// Its file could not be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its module is not one that this host can run: the plugin's fault.
    #[error("{}: {}", file.display(), list(problems))]
    Module {
        /// The file.
        file: PathBuf,
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
    /// The engine could not compile it.
    #[error("{}: {error}", file.display())]
    Engine {
        /// The file.
        file: PathBuf,
        /// What the engine says.
        error: Box<LoadError>,
    },
}

/// One thing that is wrong with a module, and what would help where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    fn of(error: impl fmt::Display) -> Self {
        Problem(error.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// What every Proxy-Wasm module must have.
fn judge(info: &ModuleInfo) -> Vec<Problem> {
    let mut problems = Vec::new();
    if AbiVersion::of(info).is_none() {
        let known: Vec<&str> = MARKERS.iter().map(|(name, _)| *name).collect();
        problems.push(Problem(format!(
            "no Proxy-Wasm ABI version: exports none of {}; build it with a Proxy-Wasm SDK",
            known.join(", ")
        )));
    }
    if !info.memory_exported {
        problems.push(Problem("no memory: exports no memory named `memory`".to_owned()));
    }
    if !info.exports_function("proxy_on_memory_allocate") && !info.exports_function("malloc") {
        problems.push(Problem("no allocator: exports neither proxy_on_memory_allocate nor malloc".to_owned()));
    }
    problems
}
