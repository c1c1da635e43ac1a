//! Entering a guest: the board goes in, the result and the board come out.

use std::sync::PoisonError;

use chassis_engine_api::{AnyLinked, Budget, Failed, Instance, Limits, Stop};
use thiserror::Error;

use crate::board::Board;
use crate::callbacks::{Callback, EXPORT_MALLOC, EXPORT_MEMORY_ALLOCATE};
use crate::context::ContextId;
use crate::state::{Identity, Phase, Rescue, VmState};
use crate::version::AbiVersion;

/// An argument of a callback after its context.
pub type Argument = u32;

/// Why a guest could not be entered, or did not return.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The guest was stopped: the plugin's fault.
    #[error("{callback}: {stop}", callback = callback.name())]
    Stopped {
        /// In which callback.
        callback: Callback,
        /// Why.
        stop: Stop,
    },
    /// The board is lent to another guest: the embedder's fault.
    #[error("a guest was entered from within a host call")]
    Reentered,
}

/// Makes an instance with the board lent to it for the module's start section.
///
/// # Errors
/// [`Stop`]; the board is back in `board` in any case, a panic included. [`Stop::Host`] if there is no board.
pub fn begin(
    linked: &dyn AnyLinked<VmState>,
    identity: Identity,
    board: &mut Option<Box<Board>>,
    limits: &Limits,
    budget: Budget,
) -> Result<Box<dyn Instance<VmState>>, Stop> {
    let lent = board.take().ok_or_else(|| Stop::Host(reentered()))?;
    let loan = Loan { board, rescue: Rescue::default() };
    match linked.instantiate(VmState::rescued(identity, lent, loan.rescue.clone()), limits, budget) {
        Ok(mut instance) => {
            // `proxy_on_memory_allocate` before `malloc` (ABI 0.2.1, "Memory management").
            let allocator = [EXPORT_MEMORY_ALLOCATE, EXPORT_MALLOC].into_iter().find(|export| instance.has(*export));
            let version = AbiVersion::of(linked.module().info());
            let state = instance.state();
            *loan.board = state.board.take();
            state.needs_no_rescue();
            state.allocator = allocator;
            state.answers_missing_as_empty = version == Some(AbiVersion::V0_1_0);
            Ok(instance)
        }
        Err(Failed { stop, mut state }) => {
            *loan.board = state.board.take();
            Err(stop)
        }
    }
}

/// A board that an instance in the making has. Should making it panic, the state leaves the board in `rescue`.
struct Loan<'a> {
    board: &'a mut Option<Box<Board>>,
    rescue: Rescue,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if self.board.is_none() {
            *self.board = self.rescue.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }
}

/// Calls a callback in a context; a callback that the module does not export is not called and answers `None`.
///
/// Parameters are the context and `args`, cut to what the module's type of the callback has; start functions get `args`
/// alone. Effects of the call are on the board afterwards, unless it was stopped.
///
/// # Errors
/// [`EntryError`]; the board is back in `board` in any case, a panic of a host function included. The effects of a call
/// that did not return are not on it.
pub fn enter(
    instance: &mut dyn Instance<VmState>,
    board: &mut Option<Box<Board>>,
    callback: Callback,
    context: ContextId,
    args: &[Argument],
    budget: Budget,
) -> Result<Option<u32>, EntryError> {
    let sigs = callback.sigs();
    let Some(index) = (0..sigs.len()).find(|i| instance.has(callback.handle(*i))) else { return Ok(None) };
    let sig = sigs[index];
    let mut slots = [0_u64; 8];
    let phase = phase_of(callback);
    let leading = usize::from(phase == Phase::Callback);
    slots[0] = u64::from(context);
    for (slot, arg) in slots[leading..].iter_mut().zip(args) {
        *slot = u64::from(*arg);
    }

    let mut lent = board.take().ok_or(EntryError::Reentered)?;
    let mut entered = Entered { instance, board, keep: lent.begin_entry() };
    entered.lend(lent, phase, callback, context);
    if let Some(observer) = entered.observer() {
        let given: Vec<u32> = args.iter().copied().take(sig.params.len().saturating_sub(leading)).collect();
        observer.callback_begins(callback, context, &given);
    }
    let used = sig.slots().max(1);
    let outcome = entered.instance.call(callback.handle(index), &mut slots[..used], budget);
    let result = if sig.result.is_some() { slots[0] as u32 } else { 0 };
    if let Some(observer) = entered.observer() {
        observer.callback_ends(callback, outcome.as_ref().map(|_| result));
    }
    match outcome {
        Ok(_) => {
            entered.keep = usize::MAX;
            Ok(Some(result))
        }
        Err(stop) => Err(EntryError::Stopped { callback, stop }),
    }
}

fn phase_of(callback: Callback) -> Phase {
    match callback {
        Callback::Initialize | Callback::Main | Callback::MainVoid | Callback::Start => Phase::Start,
        _ => Phase::Callback,
    }
}

fn reentered() -> chassis_engine_api::HostError {
    chassis_engine_api::HostError::new(EntryError::Reentered.to_string())
}

/// A guest that is being run; gives the board back when it is dropped, panics included.
struct Entered<'a> {
    instance: &'a mut dyn Instance<VmState>,
    board: &'a mut Option<Box<Board>>,
    /// How many effects stay on the board: those from before, unless the guest returns.
    keep: usize,
}

impl Entered<'_> {
    fn lend(&mut self, board: Box<Board>, phase: Phase, callback: Callback, context: ContextId) {
        let state = self.instance.state();
        state.board = Some(board);
        state.phase = phase;
        state.callback = Some(callback);
        state.effective = context;
    }

    fn observer(&mut self) -> Option<&mut (dyn crate::Observer + 'static)> {
        self.instance.state().board.as_mut()?.observer.as_deref_mut()
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let state = self.instance.state();
        state.callback = None;
        *self.board = state.board.take();
        if let Some(board) = self.board {
            board.effects.truncate(self.keep);
        }
    }
}
