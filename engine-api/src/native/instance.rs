//! A running guest: its memory, its state and what its current call may still spend.

use std::fmt;
use std::sync::Arc;

use crate::budget::{Budget, Limits, Meter, Verdict};
use crate::clock::Running;
use crate::engine::{Failed, Instance, Outcome};
use crate::host::{Caller, HostError};
use crate::native::guest::{Guest, Host};
use crate::native::linked::{Inner, NativeLinked};
use crate::sig::{Export, Sig, Ty};
use crate::stop::{Stop, TrapKind};

/// How deeply entries may nest (a host function calls the guest, which calls a host function, and so on) before the
/// innermost one ends with [`TrapKind::StackOverflow`].
pub const MAX_DEPTH: u32 = 100;

/// An instance of a [`Guest`].
pub struct NativeInstance<S> {
    guest: Box<dyn Guest>,
    linked: Arc<Inner<S>>,
    store: Store<S>,
}

impl<S: Send + 'static> NativeInstance<S> {
    pub(super) fn new(linked: &NativeLinked<S>, state: S, limits: &Limits) -> Result<Self, Failed<S>> {
        let linked = linked.inner.clone();
        match Memory::new(&linked, limits) {
            Ok(memory) => {
                let guest = (linked.module.factory)();
                let store = Store { state, memory, meter: Meter::unlimited(), fuel: None, depth: 0 };
                Ok(NativeInstance { guest, linked, store })
            }
            Err(error) => Err(Failed { stop: error.into(), state }),
        }
    }
}

impl<S> fmt::Debug for NativeInstance<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeInstance").field("module", &self.linked.module).finish_non_exhaustive()
    }
}

impl<S: Send + 'static> Instance<S> for NativeInstance<S> {
    fn call_while(&mut self, _: &Running, export: Export, slots: &mut [u64], budget: &Budget) -> Result<Outcome, Stop> {
        if budget.fuel.is_some() && !self.linked.metered {
            return Err(HostError::new("a fuel limit needs an engine with the profile `fuel`").into());
        }
        self.store.meter = Meter::start(budget);
        self.store.fuel = budget.fuel;
        // Set and not counted down: a panic may have unwound an earlier call.
        self.store.depth = 0;
        let mut frame = Frame { guest: &*self.guest, linked: &self.linked, store: &mut self.store };
        frame.call(export, slots)?;
        Ok(Outcome::Done)
    }

    fn state(&mut self) -> &mut S {
        &mut self.store.state
    }

    fn has(&self, export: Export) -> bool {
        self.linked.plan.has(export)
    }

    fn memory(&mut self) -> (&mut [u8], &mut S) {
        self.store.exported_memory(self.linked.plan.has_memory())
    }

    fn memory_bytes(&self) -> u64 {
        if self.linked.plan.has_memory() { self.store.memory.bytes.len() as u64 } else { 0 }
    }
}

struct Store<S> {
    state: S,
    memory: Memory,
    meter: Meter,
    fuel: Option<u64>,
    depth: u32,
}

impl<S> Store<S> {
    /// What the host sees: only a memory that the module exports.
    fn exported_memory(&mut self, exported: bool) -> (&mut [u8], &mut S) {
        let bytes: &mut [u8] = if exported { &mut self.memory.bytes } else { &mut [] };
        (bytes, &mut self.state)
    }

    fn spend(&mut self) -> Result<(), Stop> {
        if let Some(fuel) = &mut self.fuel {
            *fuel = fuel.checked_sub(1).ok_or(Stop::Fuel)?;
        }
        match self.meter.check() {
            Verdict::Continue => Ok(()),
            Verdict::Expired => Err(Stop::Deadline),
        }
    }
}

/// One entry into the guest, as the guest and the host functions that it calls see it.
pub(super) struct Frame<'a, S> {
    guest: &'a dyn Guest,
    linked: &'a Inner<S>,
    store: &'a mut Store<S>,
}

impl<S: Send + 'static> Caller<S> for Frame<'_, S> {
    fn state(&mut self) -> &mut S {
        &mut self.store.state
    }

    fn memory(&mut self) -> (&mut [u8], &mut S) {
        self.store.exported_memory(self.linked.plan.has_memory())
    }

    fn has(&self, export: Export) -> bool {
        self.linked.plan.has(export)
    }

    fn call(&mut self, export: Export, slots: &mut [u64]) -> Result<(), Stop> {
        assert!(self.linked.plan.has(export), "the module does not export {export:?}");
        let spec = self.linked.plan.exports()[usize::from(export.0)];
        let slots = &mut slots[..spec.sig.slots()];
        if self.store.depth >= MAX_DEPTH {
            return Err(Stop::trap(TrapKind::StackOverflow));
        }
        self.store.spend()?;
        truncate_params(&spec.sig, slots);
        self.store.depth += 1;
        let guest = self.guest;
        let ended = guest.call(spec.name, slots, self);
        self.store.depth -= 1;
        truncate_result(&spec.sig, slots);
        ended
    }
}

impl<S: Send + 'static> Host for Frame<'_, S> {
    fn memory(&mut self) -> &mut [u8] {
        &mut self.store.memory.bytes
    }

    fn grow(&mut self, pages: u32) -> Option<u32> {
        self.store.memory.grow(pages)
    }

    fn import(&mut self, module: &str, name: &str, slots: &mut [u64]) -> Result<(), Stop> {
        let linked = self.linked;
        let Some(function) = linked.find(module, name) else {
            return Err(HostError::new(format!("the module does not import {module}.{name}")).into());
        };
        let Some(slots) = slots.get_mut(..function.sig.slots()) else {
            return Err(HostError::new(format!("too few slots for {module}.{name} {}", function.sig)).into());
        };
        self.store.spend()?;
        truncate_params(&function.sig, slots);
        (function.call)(self, slots)?;
        truncate_result(&function.sig, slots);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), Stop> {
        self.store.spend()
    }
}

const PAGE: u64 = 64 << 10;
const MOST_PAGES: u64 = 1 << 16;

struct Memory {
    bytes: Vec<u8>,
    /// The module's own maximum or the instance's limit, whichever is lower.
    limit: u64,
}

impl Memory {
    fn new<S>(linked: &Inner<S>, limits: &Limits) -> Result<Self, HostError> {
        let info = linked.module.info();
        if info.table_elements > u64::from(limits.table_elements) {
            let (found, limit) = (info.table_elements, limits.table_elements);
            return Err(HostError::new(format!("a table of {found} elements, the limit is {limit}")));
        }
        let (initial, maximum) = match info.memories.first() {
            Some(memory) => (memory.minimum_pages, memory.maximum_pages.unwrap_or(MOST_PAGES)),
            None => (0, 0),
        };
        let limit = limits.memory_bytes.min(maximum.saturating_mul(PAGE));
        let mut memory = Memory { bytes: Vec::new(), limit };
        if memory.resize(initial).is_none() {
            return Err(HostError::new(format!("a memory of {initial} pages, the limit is {limit} bytes")));
        }
        Ok(memory)
    }

    fn grow(&mut self, pages: u32) -> Option<u32> {
        let before = self.bytes.len() as u64 / PAGE;
        self.resize(before + u64::from(pages))?;
        u32::try_from(before).ok()
    }

    fn resize(&mut self, pages: u64) -> Option<()> {
        let size = pages.checked_mul(PAGE).filter(|size| *size <= self.limit)?;
        let size = usize::try_from(size).ok()?;
        self.bytes.try_reserve_exact(size - self.bytes.len()).ok()?;
        self.bytes.resize(size, 0);
        Some(())
    }
}

/// What passes between Wasm and a host keeps only the bits of its type; so it does here.
fn truncate_params(sig: &Sig, slots: &mut [u64]) {
    for (ty, slot) in sig.params.iter().zip(slots) {
        *slot = truncated(*ty, *slot);
    }
}

fn truncate_result(sig: &Sig, slots: &mut [u64]) {
    if let (Some(ty), Some(slot)) = (sig.result, slots.first_mut()) {
        *slot = truncated(ty, *slot);
    }
}

fn truncated(ty: Ty, slot: u64) -> u64 {
    match ty {
        Ty::I32 | Ty::F32 => slot & u64::from(u32::MAX),
        _ => slot,
    }
}
