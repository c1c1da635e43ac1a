//! The engine value: settings, reading modules, linking, instantiating.

use std::fmt;
use std::sync::{Arc, OnceLock};

use chassis_engine_api::{
    Artefact, ArtefactError, Budget, Capabilities, CheckedModule, Engine, EngineError, Failed, HostModule, Limits,
    LinkPlan, Profile,
};
use wasmedge_sdk::LogManager;
use wasmedge_sdk::utils::CoreVersion;

use crate::capabilities::{CAPABILITIES, NAME, NO_CODE, VERSION};
use crate::instance::WasmedgeInstance;
use crate::limiter::Needs;
use crate::link::WasmedgeLinked;
use crate::machine;
use crate::raw::{Ast, Config};
use crate::rewrite::{self, Added, Rewritten};

/// All that a memory can address, in pages. The limits of an instance are its own.
const ALL_PAGES: u64 = 1 << 16;

/// WasmEdge's interpreter with the settings of one [`Profile`].
#[derive(Debug, Clone)]
pub struct WasmedgeEngine {
    profile: Profile,
}

/// A module as WasmEdge reads it. Cheap to clone.
#[derive(Clone)]
pub struct WasmedgeModule {
    pub(crate) ast: Arc<Ast>,
    pub(crate) added: Added,
    pub(crate) needs: Needs,
}

impl fmt::Debug for WasmedgeModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmedgeModule").field("added", &self.added).finish_non_exhaustive()
    }
}

impl WasmedgeEngine {
    /// WasmEdge with the settings for `profile`. The first one turns off WasmEdge's own log, which is the process's: it
    /// has a line on stderr for each trap.
    ///
    /// # Errors
    /// [`EngineError::Setup`] if the library that was found is of another version, or one whose calls cannot be
    /// cancelled from outside, so that no deadline would hold; or if it cannot be told now, as no thread can be started.
    pub fn new(profile: Profile) -> Result<Self, EngineError> {
        static CHECKED: OnceLock<()> = OnceLock::new();
        if CHECKED.get().is_none() {
            LogManager::log_off();
            check_library().map_err(|message| EngineError::Setup { engine: NAME, message })?;
            CHECKED.get_or_init(|| ());
        }
        Ok(WasmedgeEngine { profile })
    }
}

impl Engine for WasmedgeEngine {
    type Module = WasmedgeModule;
    type Linked<S: Send + 'static> = WasmedgeLinked<S>;
    type Instance<S: Send + 'static> = WasmedgeInstance<S>;

    fn capabilities(&self) -> &'static Capabilities {
        &CAPABILITIES
    }

    fn profile(&self) -> Profile {
        self.profile
    }

    fn compile(&self, module: &CheckedModule) -> Result<WasmedgeModule, EngineError> {
        let compile_error = |message| EngineError::Compile { engine: NAME, message };
        let Rewritten { bytes, added } = rewrite::rewrite(module).map_err(|error| compile_error(error.to_string()))?;
        let ast = Config::new(ALL_PAGES, false).and_then(|config| Ast::new(&config, &bytes));
        let ast = ast.map_err(|code| compile_error(code.to_string()))?;
        Ok(WasmedgeModule { ast: Arc::new(ast), added, needs: Needs::of(module.info()) })
    }

    fn save(&self, _module: &WasmedgeModule) -> Result<Option<Artefact>, EngineError> {
        Ok(None)
    }

    fn load(&self, module: &CheckedModule, artefact: &Artefact) -> Result<WasmedgeModule, EngineError> {
        artefact.check(&self.cache_key(), module.digest())?;
        Err(ArtefactError::Engine { engine: NAME, message: NO_CODE.to_owned() }.into())
    }

    fn cache_key(&self) -> String {
        format!("{NAME} {VERSION} {} {}", self.profile.as_str(), std::env::consts::ARCH)
    }

    fn link<S: Send + 'static, H: HostModule<S>>(
        &self,
        module: &WasmedgeModule,
        plan: LinkPlan,
    ) -> Result<WasmedgeLinked<S>, EngineError> {
        WasmedgeLinked::new::<H>(module, plan, self.profile == Profile::Fuel)
    }

    fn instantiate<S: Send + 'static>(
        &self,
        linked: &WasmedgeLinked<S>,
        state: S,
        limits: &Limits,
        budget: Budget,
    ) -> Result<WasmedgeInstance<S>, Failed<S>> {
        WasmedgeInstance::new(linked, state, limits, budget)
    }
}

fn check_library() -> Result<(), String> {
    let found = CoreVersion::version_string();
    if (CoreVersion::major(), CoreVersion::minor()) != (0, 17) {
        return Err(format!("libwasmedge {found} is installed, {VERSION} is needed"));
    }
    match machine::probe() {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("libwasmedge {found} does not let calls be cancelled, so no deadline would hold")),
        Err(code) => Err(code.to_string()),
    }
}
