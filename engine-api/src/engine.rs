//! The traits that a backend implements.

use thiserror::Error;

use crate::artefact::{Artefact, ArtefactError};
use crate::budget::{Budget, Limits};
use crate::capabilities::{Capabilities, Profile};
use crate::clock::{self, Running};
use crate::host::HostModule;
use crate::module::CheckedModule;
use crate::plan::LinkPlan;
use crate::sig::Export;
use crate::stop::Stop;

/// A Wasm engine with its settings; a cheap handle that all threads share.
pub trait Engine: Clone + Send + Sync + 'static {
    /// Compiled code.
    type Module: Clone + Send + Sync + 'static;
    /// Compiled code with its host functions: made once per module, instantiated many times.
    type Linked<S: Send + 'static>: Send + Sync + 'static;
    /// A running instance.
    type Instance<S: Send + 'static>: Instance<S> + 'static;

    /// What this engine can do, its name and version included.
    fn capabilities(&self) -> &'static Capabilities;

    /// The settings of this value.
    fn profile(&self) -> Profile;

    /// Compiles a module on this thread.
    ///
    /// # Errors
    /// [`EngineError::Compile`] if the engine refuses the module.
    fn compile(&self, module: &CheckedModule) -> Result<Self::Module, EngineError>;

    /// Saves compiled code, or `None` where the engine has none that could be saved.
    ///
    /// # Errors
    /// [`EngineError::Artefact`] if saving fails.
    fn save(&self, module: &Self::Module) -> Result<Option<Artefact>, EngineError>;

    /// Loads compiled code that this engine, of this version and profile, saved for `module`.
    ///
    /// # Errors
    /// [`EngineError::Artefact`] if the artefact is for another engine, version, profile, target or module.
    fn load(&self, module: &CheckedModule, artefact: &Artefact) -> Result<Self::Module, EngineError>;

    /// Engine, version, profile and target in one line: what compiled code depends on besides the module.
    fn cache_key(&self) -> String;

    /// Joins a module with the host functions that it imports.
    ///
    /// # Errors
    /// [`EngineError::Link`] if the engine does not agree with the plan.
    fn link<S: Send + 'static, H: HostModule<S>>(
        &self,
        module: &Self::Module,
        plan: LinkPlan,
    ) -> Result<Self::Linked<S>, EngineError>;

    /// Makes an instance and runs the module's start section, if it has one, within `budget`.
    ///
    /// # Errors
    /// What stopped the start section, or [`Stop::Host`] if the instance could not be made; the state comes back.
    fn instantiate<S: Send + 'static>(
        &self,
        linked: &Self::Linked<S>,
        state: S,
        limits: &Limits,
        budget: Budget,
    ) -> Result<Self::Instance<S>, Failed<S>>;
}

/// An instance of a module. Entered by one thread at a time; may move between threads in between.
pub trait Instance<S>: Send {
    /// Calls an export. Parameters are in `slots` (at least [`Sig::slots`](crate::Sig::slots) of them), the result is
    /// left in `slots[0]`.
    ///
    /// # Errors
    /// A [`Stop`] says why the call ended early.
    ///
    /// # Panics
    /// If the module does not export it, or `slots` is too short. A panic of a host function passes through.
    #[inline]
    fn call(&mut self, export: Export, slots: &mut [u64], budget: Budget) -> Result<Outcome, Stop> {
        self.call_while(&clock::enter(), export, slots, &budget)
    }

    /// As [`call`](Instance::call), with the clock kept running by the caller, who may make several calls meanwhile.
    ///
    /// # Errors
    /// As [`call`](Instance::call).
    ///
    /// # Panics
    /// As [`call`](Instance::call).
    fn call_while(
        &mut self,
        running: &Running,
        export: Export,
        slots: &mut [u64],
        budget: &Budget,
    ) -> Result<Outcome, Stop>;

    /// Calls an export with the state made ready for it: a single step across the object-safe edge, where reaching for
    /// the state, calling, and reaching for the state again are three.
    ///
    /// # Errors
    /// [`NotReturned`]: what stopped the call, or that the state had nothing called.
    ///
    /// # Panics
    /// As [`call`](Instance::call); the state hears of the end first.
    #[inline]
    fn enter(&mut self, running: &Running, entry: &mut S::Entry<'_>, budget: &Budget) -> Result<Outcome, NotReturned>
    where
        S: Enter,
    {
        let entered = Entered { instance: self, entry };
        let Some(export) = entered.instance.state().begin(entered.entry) else { return Err(NotReturned::NotCalled) };
        match entered.instance.call_while(running, export, S::slots(entered.entry), budget) {
            Ok(outcome) => {
                entered.instance.state().end(entered.entry, Ok(()));
                std::mem::forget(entered);
                Ok(outcome)
            }
            Err(stop) => Err(entered.stopped(stop)),
        }
    }

    /// The host's state.
    fn state(&mut self) -> &mut S;

    /// Whether the module exports this, with the listed type.
    fn has(&self, export: Export) -> bool;

    /// The memory and the state, both at once.
    fn memory(&mut self) -> (&mut [u8], &mut S);

    /// The current size of the memory in bytes.
    fn memory_bytes(&self) -> u64;
}

/// A state that has something to do around each call into its instance, for [`Instance::enter`].
pub trait Enter {
    /// What a call is about.
    type Entry<'a>;

    /// Where the parameters are, and the result is left: [`Instance::call`]'s slots. An array has the advantage that its
    /// length is known to the compiler.
    fn slots<'a>(entry: &'a mut Self::Entry<'_>) -> &'a mut [u64];

    /// The call begins: says which export is to be called, or that none is.
    fn begin(&mut self, entry: &mut Self::Entry<'_>) -> Option<Export>;

    /// The call has ended: it returned; or it was stopped, for a reason unless a panic unwinds it or there was no call.
    fn end(&mut self, entry: &mut Self::Entry<'_>, outcome: Result<(), Option<&Stop>>);
}

/// Why there is no result of an entry.
#[derive(Debug)]
pub enum NotReturned {
    /// The state had nothing called.
    NotCalled,
    /// The call was stopped. In a box, what is rare does not make the usual answer larger than two registers.
    Stopped(Box<Stop>),
}

/// Tells the state of the end of a call, panics included.
struct Entered<'a, 'b, I: Instance<S> + ?Sized, S: Enter> {
    instance: &'a mut I,
    entry: &'a mut S::Entry<'b>,
}

impl<I: Instance<S> + ?Sized, S: Enter> Entered<'_, '_, I, S> {
    #[cold]
    #[inline(never)]
    fn stopped(self, stop: Stop) -> NotReturned {
        self.instance.state().end(self.entry, Err(Some(&stop)));
        std::mem::forget(self);
        NotReturned::Stopped(Box::new(stop))
    }
}

impl<I: Instance<S> + ?Sized, S: Enter> Drop for Entered<'_, '_, I, S> {
    #[cold]
    fn drop(&mut self) {
        self.instance.state().end(self.entry, Err(None));
    }
}

/// How a call ended that was not stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The export returned.
    Done,
}

/// An instance that could not be made, with the state that it was given.
#[derive(Debug)]
pub struct Failed<S> {
    /// Why.
    pub stop: Stop,
    /// The state, as the start section left it.
    pub state: S,
}

/// An engine's refusal. It is the module's fault unless the variant says otherwise.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The engine could not be set up: the machine's fault, or a bad setting.
    #[error("{engine} could not be set up: {message}")]
    Setup {
        /// The engine.
        engine: &'static str,
        /// Its words.
        message: String,
    },
    /// The module could not be compiled.
    #[error("{engine} could not compile the module: {message}")]
    Compile {
        /// The engine.
        engine: &'static str,
        /// Its words.
        message: String,
    },
    /// The module could not be linked.
    #[error("{engine} could not link the module: {message}")]
    Link {
        /// The engine.
        engine: &'static str,
        /// Its words.
        message: String,
    },
    /// Saved code could not be used.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
}
