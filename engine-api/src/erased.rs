//! The object-safe edge, where plugins of different engines stand side by side.

use std::marker::PhantomData;
use std::sync::Arc;

use thiserror::Error;

use crate::artefact::Artefact;
use crate::budget::{Budget, Limits};
use crate::capabilities::{Capabilities, Profile};
use crate::compile::{CompileError, CompilePolicy};
use crate::engine::{Engine, EngineError, Failed, Instance};
use crate::host::HostModule;
use crate::module::CheckedModule;
use crate::plan::{LinkError, LinkPlan};
use crate::sig::ExportSpec;

/// An engine whose type is not known here, ready for one host's functions and state.
pub trait AnyEngine<S>: Send + Sync {
    /// What the engine can do, its name and version included.
    fn capabilities(&self) -> &'static Capabilities;

    /// The settings of this value.
    fn profile(&self) -> Profile;

    /// What compiled code depends on besides the module.
    fn cache_key(&self) -> String;

    /// Compiles and links a module.
    ///
    /// # Errors
    /// See [`LoadError`].
    fn load(&self, module: &CheckedModule, policy: &CompilePolicy) -> Result<Arc<dyn AnyLinked<S>>, LoadError>;

    /// Loads saved code and links it: [`load`](AnyEngine::load) without compiling.
    ///
    /// # Errors
    /// [`LoadError`]; an artefact of another engine or of another module among others.
    fn load_artefact(&self, module: &CheckedModule, artefact: &Artefact) -> Result<Arc<dyn AnyLinked<S>>, LoadError>;

    /// Compiles a module on this thread and saves the code; `None` where the engine has none to save.
    ///
    /// # Errors
    /// See [`EngineError`].
    fn compile_to_artefact(&self, module: &CheckedModule) -> Result<Option<Artefact>, EngineError>;
}

/// A linked module whose engine's type is not known here.
pub trait AnyLinked<S>: Send + Sync {
    /// The engine that runs it.
    fn capabilities(&self) -> &'static Capabilities;

    /// The module.
    fn module(&self) -> &CheckedModule;

    /// Makes an instance; see [`Engine::instantiate`].
    ///
    /// # Errors
    /// As there.
    fn instantiate(&self, state: S, limits: &Limits, budget: Budget) -> Result<Box<dyn Instance<S>>, Failed<S>>;
}

/// Why a module could not be loaded.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It imports what the host does not have, or exports a callback with a wrong type: the module's fault.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The engine refused it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The compiling child process failed.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// Joins an engine with a host's functions and the exports that this host calls.
pub fn erase<E, H, S>(engine: E, exports: &'static [ExportSpec]) -> Arc<dyn AnyEngine<S>>
where
    E: Engine,
    H: HostModule<S> + Send + Sync,
    S: Send + 'static,
{
    Arc::new(Erased::<E, H> { engine, exports, host: PhantomData })
}

struct Erased<E, H> {
    engine: E,
    exports: &'static [ExportSpec],
    host: PhantomData<fn() -> H>,
}

impl<E, H, S> AnyEngine<S> for Erased<E, H>
where
    E: Engine,
    H: HostModule<S> + Send + Sync,
    S: Send + 'static,
{
    fn capabilities(&self) -> &'static Capabilities {
        self.engine.capabilities()
    }

    fn profile(&self) -> Profile {
        self.engine.profile()
    }

    fn cache_key(&self) -> String {
        self.engine.cache_key()
    }

    fn load(&self, module: &CheckedModule, policy: &CompilePolicy) -> Result<Arc<dyn AnyLinked<S>>, LoadError> {
        // Planned first: a module that cannot be linked is not worth compiling.
        let plan = LinkPlan::new::<S, H>(module.info(), self.exports)?;
        let compiled = policy.compile(&self.engine, module)?;
        let linked = self.engine.link::<S, H>(&compiled, plan)?;
        Ok(Arc::new(ErasedLinked { engine: self.engine.clone(), module: module.clone(), linked }))
    }

    fn load_artefact(&self, module: &CheckedModule, artefact: &Artefact) -> Result<Arc<dyn AnyLinked<S>>, LoadError> {
        let plan = LinkPlan::new::<S, H>(module.info(), self.exports)?;
        let compiled = self.engine.load(module, artefact)?;
        let linked = self.engine.link::<S, H>(&compiled, plan)?;
        Ok(Arc::new(ErasedLinked { engine: self.engine.clone(), module: module.clone(), linked }))
    }

    fn compile_to_artefact(&self, module: &CheckedModule) -> Result<Option<Artefact>, EngineError> {
        let compiled = self.engine.compile(module)?;
        self.engine.save(&compiled)
    }
}

struct ErasedLinked<E: Engine, S: Send + 'static> {
    engine: E,
    module: CheckedModule,
    linked: E::Linked<S>,
}

impl<E: Engine, S: Send + 'static> AnyLinked<S> for ErasedLinked<E, S> {
    fn capabilities(&self) -> &'static Capabilities {
        self.engine.capabilities()
    }

    fn module(&self) -> &CheckedModule {
        &self.module
    }

    fn instantiate(&self, state: S, limits: &Limits, budget: Budget) -> Result<Box<dyn Instance<S>>, Failed<S>> {
        Ok(Box::new(self.engine.instantiate(&self.linked, state, limits, budget)?))
    }
}
