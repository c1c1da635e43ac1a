//! The engine value: guests by name.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::artefact::{Artefact, ArtefactError};
use crate::budget::{Budget, Limits};
use crate::capabilities::{Capabilities, Profile, Support};
use crate::engine::{Engine, EngineError, Failed};
use crate::host::HostModule;
use crate::module::{CheckedModule, ModuleInfo};
use crate::native::guest::Guest;
use crate::native::instance::NativeInstance;
use crate::native::linked::NativeLinked;
use crate::plan::LinkPlan;

/// Runs guests that are Rust code; see the [module](crate::native) for what it can and cannot do.
#[derive(Clone, Default)]
pub struct NativeEngine {
    profile: Profile,
    guests: Arc<HashMap<String, Factory>>,
}

impl NativeEngine {
    /// An engine without guests, of the profile [`Profile::Deadline`].
    pub fn new() -> Self {
        NativeEngine::default()
    }

    /// The same engine with another profile. Calls with a fuel limit need [`Profile::Fuel`].
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// The same engine with one more guest: modules whose custom section `chassis.native` is `name` run what `factory`
    /// makes, once per instance. An earlier guest of that name is replaced.
    #[must_use]
    pub fn with_guest<G: Guest + 'static>(
        mut self,
        name: impl Into<String>,
        factory: impl Fn() -> G + Send + Sync + 'static,
    ) -> Self {
        let factory: Factory = Arc::new(move || Box::new(factory()));
        Arc::make_mut(&mut self.guests).insert(name.into(), factory);
        self
    }
}

impl fmt::Debug for NativeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&String> = self.guests.keys().collect();
        names.sort();
        f.debug_struct("NativeEngine").field("profile", &self.profile).field("guests", &names).finish()
    }
}

/// A module whose guest was found.
#[derive(Clone)]
pub struct NativeModule {
    pub(super) checked: CheckedModule,
    pub(super) factory: Factory,
}

impl fmt::Debug for NativeModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeModule").field("guest", &self.info().native).finish_non_exhaustive()
    }
}

impl NativeModule {
    pub(super) fn info(&self) -> &ModuleInfo {
        self.checked.info()
    }
}

pub(super) type Factory = Arc<dyn Fn() -> Box<dyn Guest> + Send + Sync>;

pub(super) const NAME: &str = "native";

static CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    version: env!("CARGO_PKG_VERSION"),
    native_code: true,
    aot: Support::None("a guest is part of the program"),
    deadline: Support::Coarse("looked at when the guest makes a host call or comes to a checkpoint"),
    deadline_scale: 1,
    fuel: Support::Coarse("one unit for each entry, host call and checkpoint, nothing for what lies between"),
    memory_limit: Support::Coarse("linear memory only, not what the guest's Rust code allocates"),
    table_limit: Support::Exact,
    depth_limit: Support::Coarse("counts nested entries, not the calls within the guest's Rust code"),
    backtrace: Support::None("a guest has no Wasm frames"),
    cheap_instances: Support::Exact,
};

impl Engine for NativeEngine {
    type Module = NativeModule;
    type Linked<S: Send + 'static> = NativeLinked<S>;
    type Instance<S: Send + 'static> = NativeInstance<S>;

    fn capabilities(&self) -> &'static Capabilities {
        &CAPABILITIES
    }

    fn profile(&self) -> Profile {
        self.profile
    }

    fn compile(&self, module: &CheckedModule) -> Result<NativeModule, EngineError> {
        let refuse = |message: String| EngineError::Compile { engine: NAME, message };
        let Some(name) = &module.info().native else {
            return Err(refuse("it has no custom section `chassis.native`, which would name its guest".to_owned()));
        };
        let Some(factory) = self.guests.get(name) else {
            return Err(refuse(format!("no guest is named `{}`", name.escape_debug())));
        };
        if module.info().has_start {
            return Err(refuse("it has a start section, which needs an engine that runs Wasm".to_owned()));
        }
        Ok(NativeModule { checked: module.clone(), factory: factory.clone() })
    }

    fn save(&self, _module: &NativeModule) -> Result<Option<Artefact>, EngineError> {
        Ok(None)
    }

    fn load(&self, module: &CheckedModule, artefact: &Artefact) -> Result<NativeModule, EngineError> {
        artefact.check(&self.cache_key(), module.digest())?;
        let message = "a guest is part of the program, so there is no saved code to load".to_owned();
        Err(ArtefactError::Engine { engine: NAME, message }.into())
    }

    fn cache_key(&self) -> String {
        format!("{NAME}-{}-{}", CAPABILITIES.version, self.profile.as_str())
    }

    fn link<S: Send + 'static, H: HostModule<S>>(
        &self,
        module: &NativeModule,
        plan: LinkPlan,
    ) -> Result<NativeLinked<S>, EngineError> {
        NativeLinked::new::<H>(module.clone(), plan, self.profile)
    }

    fn instantiate<S: Send + 'static>(
        &self,
        linked: &NativeLinked<S>,
        state: S,
        limits: &Limits,
        _budget: Budget,
    ) -> Result<NativeInstance<S>, Failed<S>> {
        NativeInstance::new(linked, state, limits)
    }
}
