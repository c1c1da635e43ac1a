//! The engine: settings, compiled code, and what is made of it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

use chassis_engine_api::{
    Artefact, ArtefactError, Budget, Capabilities, CheckedModule, Engine, EngineError, Failed, HostModule, Limits,
    LinkPlan, Profile, clock,
};
use wasmtime::Module;

use crate::capabilities;
use crate::config;
use crate::instance::WasmtimeInstance;
use crate::link::WasmtimeLinked;

/// Wasmtime with the settings of one [`Profile`].
#[derive(Clone)]
pub struct WasmtimeEngine {
    running: Arc<Running>,
    profile: Profile,
    key: Arc<str>,
}

/// Compiled code. Cheap to clone.
#[derive(Clone)]
pub struct WasmtimeModule {
    pub(crate) module: Module,
    digest: [u8; 32],
}

/// The part of an engine that must live as long as any of its instances: the clock moves its epoch.
pub(crate) struct Running {
    pub(crate) engine: wasmtime::Engine,
}

impl clock::Listener for Running {
    fn tick(&self) {
        self.engine.increment_epoch();
    }
}

impl WasmtimeEngine {
    /// Sets Wasmtime up.
    ///
    /// # Errors
    /// [`EngineError::Setup`] if this machine lacks something, address space for the pool of [`Profile::Stream`] for
    /// one.
    pub fn new(profile: Profile) -> Result<Self, EngineError> {
        let engine = config::engine(profile)
            .map_err(|error| EngineError::Setup { engine: "wasmtime", message: format!("{error:#}") })?;
        let key = key(&engine, profile).into();
        let running = Arc::new(Running { engine });
        let listener: Weak<Running> = Arc::downgrade(&running);
        clock::subscribe(listener);
        Ok(WasmtimeEngine { running, profile, key })
    }

    fn module(&self, module: Module, checked: &CheckedModule) -> WasmtimeModule {
        WasmtimeModule { module, digest: *checked.digest() }
    }
}

impl Engine for WasmtimeEngine {
    type Module = WasmtimeModule;
    type Linked<S: Send + 'static> = WasmtimeLinked<S>;
    type Instance<S: Send + 'static> = WasmtimeInstance<S>;

    fn capabilities(&self) -> &'static Capabilities {
        capabilities::of(self.profile)
    }

    fn profile(&self) -> Profile {
        self.profile
    }

    fn compile(&self, module: &CheckedModule) -> Result<WasmtimeModule, EngineError> {
        let compiled = Module::from_binary(&self.running.engine, module.bytes())
            .map_err(|error| EngineError::Compile { engine: "wasmtime", message: format!("{error:#}") })?;
        Ok(self.module(compiled, module))
    }

    fn save(&self, module: &WasmtimeModule) -> Result<Option<Artefact>, EngineError> {
        let bytes = module.module.serialize().map_err(unusable)?;
        // SAFETY: the bytes are a whole module of Wasmtime, compiled with the settings that the key stands for; `load`
        // takes them for nothing else.
        let artefact = unsafe { Artefact::from_engine(&*self.key, module.digest, bytes) };
        Ok(Some(artefact))
    }

    fn load(&self, module: &CheckedModule, artefact: &Artefact) -> Result<WasmtimeModule, EngineError> {
        artefact.check(&self.key, module.digest())?;
        // SAFETY: an artefact is what `save` returned, in this process or, sealed with a secret key, in another; the
        // check says that it was this engine's, with the same version, settings and target.
        let loaded = unsafe { Module::deserialize(&self.running.engine, artefact.bytes()) }.map_err(unusable)?;
        Ok(self.module(loaded, module))
    }

    fn cache_key(&self) -> String {
        self.key.to_string()
    }

    fn link<S: Send + 'static, H: HostModule<S>>(
        &self,
        module: &WasmtimeModule,
        plan: LinkPlan,
    ) -> Result<WasmtimeLinked<S>, EngineError> {
        WasmtimeLinked::new::<H>(&self.running, self.profile, &module.module, &plan)
    }

    fn instantiate<S: Send + 'static>(
        &self,
        linked: &WasmtimeLinked<S>,
        state: S,
        limits: &Limits,
        budget: Budget,
    ) -> Result<WasmtimeInstance<S>, Failed<S>> {
        WasmtimeInstance::new(linked, state, limits, budget)
    }
}

impl fmt::Debug for WasmtimeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WasmtimeEngine").field(&self.key).finish()
    }
}

impl fmt::Debug for WasmtimeModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmtimeModule").finish_non_exhaustive()
    }
}

fn unusable(error: wasmtime::Error) -> EngineError {
    ArtefactError::Engine { engine: "wasmtime", message: format!("{error:#}") }.into()
}

/// The hash covers what Wasmtime itself compares when it loads code: target, CPU features, settings.
fn key(engine: &wasmtime::Engine, profile: Profile) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let (version, profile, settings) = (capabilities::VERSION, profile.as_str(), hasher.finish());
    let (arch, os) = (std::env::consts::ARCH, std::env::consts::OS);
    format!("wasmtime {version} {profile} {arch}-{os} {settings:016x}")
}
