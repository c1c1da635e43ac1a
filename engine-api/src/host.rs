//! Host functions: how a host describes them, and what they see of the instance that called them.

use std::borrow::Cow;
use std::fmt;

use crate::sig::{Export, Sig};
use crate::stop::Stop;

/// A host function: a zero-sized type, so that each backend compiles a direct, typed trampoline for it.
pub trait HostFn<S>: 'static {
    /// The Wasm module name under which it is imported.
    const MODULE: &'static str;
    /// The import's name.
    const NAME: &'static str;
    /// Its type.
    const SIG: Sig;

    /// Runs it. `slots` holds the parameters (an `i32` is zero-extended) and has room for a result, which goes to
    /// `slots[0]`.
    ///
    /// # Errors
    /// A [`Stop`] unwinds the guest; it reaches the caller of the outermost [`Instance::call`](crate::Instance::call).
    fn call<C: Caller<S> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop>;
}

/// All host functions of a host, for instances with state `S`.
pub trait HostModule<S>: 'static {
    /// Adds each host function to `registrar`, always the same ones in the same order.
    fn register<R: Registrar<S>>(registrar: &mut R);

    /// What would provide an import that this host does not have, if that is known.
    fn hint(_module: &str, _name: &str) -> Option<&'static str> {
        None
    }
}

/// Receives host functions.
pub trait Registrar<S> {
    /// Takes note of `F`.
    fn add<F: HostFn<S>>(&mut self);
}

/// What a host function sees of the instance that called it.
pub trait Caller<S> {
    /// The instance's state.
    fn state(&mut self) -> &mut S;

    /// The guest's memory and the state at once, borrowed, never copied. Empty when the module has no memory. A
    /// [`call`](Caller::call) may move the memory, which is why the borrow cannot outlive it.
    fn memory(&mut self) -> (&mut [u8], &mut S);

    /// Whether the module exports this.
    fn has(&self, export: Export) -> bool;

    /// Calls into the guest that is waiting for this host function (its allocator, for one). Spends the budget of the
    /// outer call. Parameters are in `slots`, the result is left in `slots[0]`.
    ///
    /// # Errors
    /// As [`Instance::call`](crate::Instance::call); the error should be passed on, which ends the outer call too.
    fn call(&mut self, export: Export, slots: &mut [u64]) -> Result<(), Stop>;
}

/// Why a host function gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostError {
    message: Cow<'static, str>,
}

impl HostError {
    /// An error with this message.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        HostError { message: message.into() }
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HostError {}

impl From<HostError> for Stop {
    fn from(error: HostError) -> Self {
        Stop::Host(error)
    }
}
