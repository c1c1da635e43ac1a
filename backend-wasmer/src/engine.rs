//! The engine: settings, compiled code, and what is made of it.

use std::fmt;
use std::sync::Arc;

use chassis_engine_api::{
    Artefact, ArtefactError, Budget, Capabilities, CheckedModule, Engine, EngineError, Failed, HostModule, Limits,
    LinkPlan, Profile,
};
use wasmer::sys::NativeEngineExt;

use crate::capabilities::{CAPABILITIES, NAME, VERSION};
use crate::compiler::{self, Compiler};
use crate::instance::WasmerInstance;
use crate::limiter::Needs;
use crate::link::WasmerLinked;
use crate::metering::{self, Additions, Metering, Rule};
use crate::module::{Inner, WasmerModule};

/// Wasmer with the settings of one [`Profile`].
#[derive(Clone)]
pub struct WasmerEngine {
    profile: Profile,
    compiler: Compiler,
    key: Arc<str>,
}

impl WasmerEngine {
    /// Wasmer with Cranelift and the settings for `profile`.
    ///
    /// # Errors
    /// None today: engines are set up for each module.
    pub fn new(profile: Profile) -> Result<Self, EngineError> {
        Ok(Self::with_compiler(profile, Compiler::default()))
    }

    /// Wasmer with this compiler and the settings for `profile`.
    pub fn with_compiler(profile: Profile, compiler: Compiler) -> Self {
        let (name, format) = (compiler.as_str(), metering::FORMAT);
        let key = format!("{NAME} {VERSION} {name} {} {} {format}", profile.as_str(), compiler::target());
        WasmerEngine { profile, compiler, key: key.into() }
    }

    fn rule(&self) -> Rule {
        match self.profile {
            Profile::Fuel => Rule::Pieces,
            Profile::Deadline | Profile::Stream => Rule::Rounds,
        }
    }
}

impl Engine for WasmerEngine {
    type Module = WasmerModule;
    type Linked<S: Send + 'static> = WasmerLinked<S>;
    type Instance<S: Send + 'static> = WasmerInstance<S>;

    fn capabilities(&self) -> &'static Capabilities {
        &CAPABILITIES
    }

    fn profile(&self) -> Profile {
        self.profile
    }

    fn compile(&self, module: &CheckedModule) -> Result<WasmerModule, EngineError> {
        let additions = Additions::new(module).map_err(refused)?;
        let metering = Metering::new(&additions, self.rule()).map_err(refused)?;
        let engine = self.compiler.engine(Arc::new(metering));
        let compiled = wasmer::Module::from_binary(&engine, &additions.bytes).map_err(refused)?;
        Ok(wrap(module, compiled, engine, additions))
    }

    fn save(&self, module: &WasmerModule) -> Result<Option<Artefact>, EngineError> {
        let bytes = module.inner.module.serialize().map_err(unusable)?;
        // SAFETY: the bytes are a whole module of Wasmer, compiled with the settings that the key stands for; `load`
        // takes them for nothing else.
        let artefact = unsafe { Artefact::from_engine(&*self.key, module.inner.digest, bytes.to_vec()) };
        Ok(Some(artefact))
    }

    fn load(&self, module: &CheckedModule, artefact: &Artefact) -> Result<WasmerModule, EngineError> {
        artefact.check(&self.key, module.digest())?;
        let additions = Additions::new(module).map_err(refused)?;
        let engine = <wasmer::Engine as NativeEngineExt>::headless();
        // SAFETY: an artefact is what `save` returned, in this process or, sealed with a secret key, in another; the
        // check says that it was this engine's, with the same version, settings and target.
        let loaded = unsafe { wasmer::Module::deserialize(&engine, artefact.bytes().to_vec()) }.map_err(unusable)?;
        Ok(wrap(module, loaded, engine, additions))
    }

    fn cache_key(&self) -> String {
        self.key.to_string()
    }

    fn link<S: Send + 'static, H: HostModule<S>>(
        &self,
        module: &WasmerModule,
        plan: LinkPlan,
    ) -> Result<WasmerLinked<S>, EngineError> {
        WasmerLinked::new::<H>(module, plan, self.profile == Profile::Fuel)
            .map_err(|message| EngineError::Link { engine: NAME, message })
    }

    fn instantiate<S: Send + 'static>(
        &self,
        linked: &WasmerLinked<S>,
        state: S,
        limits: &Limits,
        budget: Budget,
    ) -> Result<WasmerInstance<S>, Failed<S>> {
        WasmerInstance::new(linked, state, limits, budget)
    }
}

impl fmt::Debug for WasmerEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WasmerEngine").field(&self.key).finish()
    }
}

fn wrap(checked: &CheckedModule, module: wasmer::Module, engine: wasmer::Engine, additions: Additions) -> WasmerModule {
    let Additions { names, moved, .. } = additions;
    let (digest, needs) = (*checked.digest(), Needs::of(checked.info()));
    WasmerModule { inner: Arc::new(Inner { module, engine, digest, names, moved, needs }) }
}

fn refused(error: impl fmt::Display) -> EngineError {
    EngineError::Compile { engine: NAME, message: error.to_string() }
}

fn unusable(error: impl fmt::Display) -> EngineError {
    ArtefactError::Engine { engine: NAME, message: error.to_string() }.into()
}
