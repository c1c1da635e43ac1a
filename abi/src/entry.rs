//! Entering a guest: the board goes in, the result and the board come out.

use std::sync::PoisonError;

use chassis_engine_api::clock::Running;
use chassis_engine_api::{AnyLinked, Budget, Enter, Export, Failed, Instance, Limits, NotReturned, Stop};
use thiserror::Error;

use crate::board::Board;
use crate::callbacks::{CALLBACKS, Callback, EXPORTS, SLOTS};
use crate::context::ContextId;
use crate::functions::output;
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
            let exports = Exports::of(&*instance);
            let allocator = exports.get(Callback::MemoryAllocate).or(exports.get(Callback::Malloc));
            let version = AbiVersion::of(linked.module().info());
            let state = instance.state();
            output::flush(state);
            *loan.board = state.board.take();
            state.needs_no_rescue();
            state.exports = exports;
            state.allocator = allocator;
            state.answers_missing_as_empty = version == Some(AbiVersion::V0_1_0);
            Ok(instance)
        }
        Err(Failed { stop, mut state }) => {
            output::flush(&mut state);
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
#[inline]
pub fn enter(
    instance: &mut dyn Instance<VmState>,
    running: &Running,
    board: &mut Option<Box<Board>>,
    callback: Callback,
    context: ContextId,
    args: &[Argument],
    budget: &Budget,
) -> Result<Option<u32>, Box<EntryError>> {
    let mut slots = [0_u64; SLOTS];
    let phase = phase_of(callback);
    let leading = usize::from(phase == Phase::Callback);
    slots[0] = u64::from(context);
    for (slot, arg) in slots[leading..].iter_mut().zip(args) {
        *slot = u64::from(*arg);
    }
    let mut entry = Entry { board, callback, phase, context, slots, keep: 0 };
    match instance.enter(running, &mut entry, budget) {
        Ok(_) => Ok(Some(result_of(callback, &entry.slots))),
        Err(why) => not_returned(callback, entry.board.is_some(), why),
    }
}

#[cold]
#[inline(never)]
fn not_returned(callback: Callback, has_board: bool, why: NotReturned) -> Result<Option<u32>, Box<EntryError>> {
    match why {
        NotReturned::Stopped(stop) => Err(Box::new(EntryError::Stopped { callback, stop: *stop })),
        NotReturned::NotCalled if has_board => Ok(None),
        NotReturned::NotCalled => Err(Box::new(EntryError::Reentered)),
    }
}

/// What a callback has returned; 0 if its type has no result.
#[inline]
fn result_of(callback: Callback, slots: &[u64; SLOTS]) -> u32 {
    if callback.has_result() { slots[0] as u32 } else { 0 }
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

/// A callback that is called, and the board that is lent for it.
#[derive(Debug)]
pub struct Entry<'a> {
    board: &'a mut Option<Box<Board>>,
    callback: Callback,
    phase: Phase,
    context: ContextId,
    slots: [u64; SLOTS],
    /// How many effects stay on the board if the guest does not return.
    keep: usize,
}

impl Enter for VmState {
    type Entry<'a> = Entry<'a>;

    // One copy of these behind the object-safe edge.
    #[inline(always)]
    fn begin(&mut self, entry: &mut Entry<'_>) -> Option<Export> {
        let export = self.exports.get(entry.callback)?;
        let board = entry.board.as_mut()?;
        entry.keep = board.begin_entry();
        let is_observed = board.observer.is_some();
        // As nothing is dropped by it, this is two loads and two stores.
        std::mem::swap(&mut self.board, entry.board);
        self.phase = entry.phase;
        self.callback = Some(entry.callback);
        self.effective = entry.context;
        if is_observed {
            self.tell(entry, export);
        }
        Some(export)
    }

    #[inline(always)]
    fn slots<'a>(entry: &'a mut Entry<'_>) -> &'a mut [u64] {
        &mut entry.slots
    }

    #[inline(always)]
    fn end(&mut self, entry: &mut Entry<'_>, outcome: Result<(), Option<&Stop>>) {
        if !self.output.is_empty() {
            output::flush(self);
        }
        let Some(board) = self.board.as_mut() else { return };
        if outcome.is_err() {
            // What was reserved for effects that never come about is free again.
            for effect in board.effects.drain(entry.keep..) {
                self.callouts.undo(&effect);
            }
        }
        let is_observed = board.observer.is_some();
        self.callback = None;
        std::mem::swap(&mut self.board, entry.board);
        if is_observed {
            entry.tell_end(outcome);
        }
    }
}

impl Entry<'_> {
    /// Tells the observer how the callback ended, unless a panic unwinds it.
    #[cold]
    fn tell_end(&mut self, outcome: Result<(), Option<&Stop>>) {
        let result = match outcome {
            Ok(()) => Ok(result_of(self.callback, &self.slots)),
            Err(Some(stop)) => Err(stop),
            Err(None) => return,
        };
        if let Some(observer) = self.board.as_mut().and_then(|board| board.observer.as_mut()) {
            observer.callback_ends(self.callback, result);
        }
    }
}

impl VmState {
    /// Tells the observer that a callback begins, with what its type has of the arguments.
    #[cold]
    fn tell(&mut self, entry: &Entry<'_>, export: Export) {
        let sig = &EXPORTS[usize::from(export.0)].sig;
        let leading = usize::from(entry.phase == Phase::Callback);
        let args = entry.slots.map(|slot| slot as u32);
        if let Some(observer) = self.board.as_mut().and_then(|board| board.observer.as_mut()) {
            observer.callback_begins(entry.callback, entry.context, &args[leading..sig.params.len().max(leading)]);
        }
    }
}

/// By callback: the export that it is called by, if the module has it. What an entry asks first, so no question to the
/// engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exports([u8; CALLBACKS.len()]);

/// No export has this number.
const ABSENT: u8 = u8::MAX;

impl Exports {
    pub(crate) const NONE: Exports = Exports([ABSENT; CALLBACKS.len()]);

    fn of(instance: &dyn Instance<VmState>) -> Self {
        let mut exports = Exports::NONE;
        for (export, callback) in exports.0.iter_mut().zip(CALLBACKS) {
            let mut handles = (0..callback.sigs().len()).map(|type_index| callback.handle(type_index));
            *export = handles.find(|handle| instance.has(*handle)).map_or(ABSENT, |handle| handle.0);
        }
        exports
    }

    #[inline]
    pub(crate) fn get(&self, callback: Callback) -> Option<Export> {
        match self.0[callback as usize] {
            ABSENT => None,
            export => Some(Export(export)),
        }
    }
}
