//! Plays inputs to a plugin on an engine, compiling its module once.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use chassis_abi::{Identity, VmState};
use chassis_conformance::drive::{self, Ask, Cut, Message, Origin, Plan, Run, Scripted, Settings, Sharing};
use chassis_engine_api::compile::CompilePolicy;
use chassis_engine_api::{
    AnyEngine, AnyLinked, Artefact, Capabilities, CheckedModule, EngineError, LoadError, Profile,
};
use chassis_engines::ProxyWasmEngine;
use chassis_host::{FailPolicy, PluginLimits, PluginSpec};
use serde_json::Value;

use crate::inputs::Input;

/// An engine for one module.
pub(crate) struct Stage(ProxyWasmEngine);

impl Stage {
    pub(crate) fn new(engine: &str) -> Self {
        let engine = chassis_engines::open(engine, Profile::Deadline).unwrap();
        Stage(Arc::new(Once { engine, loaded: OnceLock::new() }))
    }

    /// What a plugin does with an input: one element per request, or one if it does not start.
    pub(crate) fn play(&self, file: &Path, input: &Input, origin: &Origin, deadline: Duration) -> Vec<Value> {
        let properties = input.properties.iter().map(|(path, value)| (path.as_bytes().to_vec(), Bytes::from(*value)));
        let spec = spec(file, input, deadline);
        let name = spec.identity.name.clone();
        let plan = Plan {
            spec,
            module: None,
            policy: CompilePolicy::InProcess,
            origin: *origin,
            configuration: input.config.clone(),
            contexts: Vec::new(),
            properties: Arc::new(properties.collect()),
            level: input.level,
            settings: Settings { ticks: input.ticks, pause_limit: input.pause_limit },
            sharing: Sharing::default(),
        };
        let cut = Cut { piece: input.chunk, late_end: false };
        let requests = std::iter::repeat_n(&input.request, input.repeat).chain(&input.then);
        let ask =
            |request: &Message| Ask { request: request.clone(), request_cut: cut, response_cut: cut, ..Ask::default() };
        let asks: Vec<_> = requests.map(ask).collect();
        let trips = drive::run(&self.0, &plan, &asks, &mut Scripted(input.upstream.clone())).unwrap();
        let engine = self.0.capabilities().name;
        trips.iter().map(|trip| serde_json::to_value(Run::new(engine, &name, trip)).unwrap()).collect()
    }
}

fn spec(file: &Path, input: &Input, deadline: Duration) -> PluginSpec {
    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
    let identity = Identity { name, vm_configuration: input.vm_config.clone(), ..Identity::default() };
    let limits = PluginLimits {
        deadline,
        start_deadline: deadline,
        memory_bytes: input.memory_bytes,
        pause: input.pause_limit,
        ..PluginLimits::default()
    };
    PluginSpec { identity, file: file.to_owned(), limits, fail_policy: FailPolicy::Closed }
}

/// Loads a module at the first time only: what differs between inputs has nothing to do with the code.
struct Once {
    engine: ProxyWasmEngine,
    loaded: OnceLock<Arc<dyn AnyLinked<VmState>>>,
}

impl AnyEngine<VmState> for Once {
    fn capabilities(&self) -> &'static Capabilities {
        self.engine.capabilities()
    }

    fn profile(&self) -> Profile {
        self.engine.profile()
    }

    fn cache_key(&self) -> String {
        self.engine.cache_key()
    }

    fn load(&self, module: &CheckedModule, policy: &CompilePolicy) -> Result<Arc<dyn AnyLinked<VmState>>, LoadError> {
        if let Some(loaded) = self.loaded.get() {
            assert_eq!(loaded.module().digest(), module.digest(), "one stage is for one module");
            return Ok(Arc::clone(loaded));
        }
        let loaded = self.engine.load(module, policy)?;
        Ok(Arc::clone(self.loaded.get_or_init(|| loaded)))
    }

    fn load_artefact(
        &self,
        module: &CheckedModule,
        artefact: &Artefact,
    ) -> Result<Arc<dyn AnyLinked<VmState>>, LoadError> {
        self.engine.load_artefact(module, artefact)
    }

    fn compile_to_artefact(&self, module: &CheckedModule) -> Result<Option<Artefact>, EngineError> {
        self.engine.compile_to_artefact(module)
    }
}
