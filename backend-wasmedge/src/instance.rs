//! A running instance: the host's state, the exports resolved once, and calls into it.

use std::fmt;
use std::mem::MaybeUninit;
use std::panic::resume_unwind;
use std::ptr::NonNull;

use chassis_engine_api::{
    Budget, Export, Failed, HostError, Instance, Limits, Meter, Outcome, Sig, Stop, TrapKind, clock,
};
use wasmedge_sys::ffi;

use crate::link::WasmedgeLinked;
use crate::machine::Machine;
use crate::raw::i32_value;
use crate::rewrite::STACK;
use crate::stop::{Code, Parked};
use crate::values::{Params, callable, from_value};
use crate::watch::watch;

/// An instance on WasmEdge.
pub struct WasmedgeInstance<S: Send + 'static> {
    // Freed first.
    machine: Machine,
    inner: Boxed<S>,
    metered: bool,
}

// SAFETY: WasmEdge keeps nothing of an instance by thread between calls, the pointers in it are to what it owns, and
// the state may go to other threads.
unsafe impl<S: Send + 'static> Send for WasmedgeInstance<S> {}

/// What host functions reach by a pointer, while the instance itself is borrowed by the call.
pub(crate) struct Inner<S> {
    pub(crate) state: S,
    pub(crate) meter: Meter,
    pub(crate) parked: Option<Parked>,
    /// How many guest calls are nested in host functions at this moment.
    pub(crate) nesting: u32,
    executor: *mut ffi::WasmEdge_ExecutorContext,
    memory: Option<*mut ffi::WasmEdge_MemoryInstanceContext>,
    /// What is left of the guest's stack; `None` if nothing in the guest counts.
    stack: Option<*mut ffi::WasmEdge_GlobalInstanceContext>,
    /// By [`Export`].
    handles: Box<[Option<Handle>]>,
}

/// An exported function.
#[derive(Clone, Copy)]
pub(crate) struct Handle {
    function: *const ffi::WasmEdge_FunctionInstanceContext,
    sig: Sig,
}

impl<S> Inner<S> {
    #[inline]
    pub(crate) fn handle(&self, export: Export) -> Option<Handle> {
        self.handles.get(usize::from(export.0)).copied().flatten()
    }

    /// # Panics
    /// If the module does not export it.
    #[inline]
    pub(crate) fn expect_handle(&self, export: Export) -> Handle {
        match self.handle(export) {
            Some(handle) => handle,
            None => panic!("export {} is called, but the module does not have it", export.0),
        }
    }

    /// The memory and the state; no guest code may run while they are borrowed.
    #[inline]
    pub(crate) fn memory_and_state(&mut self) -> (&mut [u8], &mut S) {
        let bytes = self.memory_bytes();
        let Some(memory) = self.memory.filter(|_| bytes > 0) else { return (&mut [], &mut self.state) };
        // SAFETY: the memory lives as long as the instance does; it is so long, and stays where it is until the guest
        // runs again, for which the borrow must end.
        let bytes = unsafe {
            let begin = ffi::WasmEdge_MemoryInstanceGetPointer(memory, 0, bytes);
            if begin.is_null() { &mut [] } else { std::slice::from_raw_parts_mut(begin, bytes as usize) }
        };
        (bytes, &mut self.state)
    }

    #[inline]
    fn memory_bytes(&self) -> u64 {
        // SAFETY: the memory lives as long as the instance does.
        self.memory.map_or(0, |memory| unsafe { ffi::WasmEdge_MemoryInstanceGetPageSize(memory) } << 16)
    }

    pub(crate) fn stack_left(&self) -> u32 {
        // SAFETY: the global lives as long as the instance does.
        self.stack.map_or(0, |stack| unsafe { ffi::WasmEdge_GlobalInstanceGetValue(stack) }.Value as u32)
    }

    pub(crate) fn set_stack_left(&mut self, left: u32) {
        if let Some(stack) = self.stack {
            // SAFETY: as above; it is a mutable `i32`, so this cannot fail.
            unsafe { ffi::WasmEdge_GlobalInstanceSetValue(stack, i32_value(left)) };
        }
    }

    /// Why a call ended early, before which so much of the stack was left: frames that were taken down gave nothing
    /// back.
    ///
    /// # Panics
    /// If a host function did: its panic goes on here.
    #[cold]
    pub(crate) fn stopped(&mut self, code: Code, left: u32) -> Stop {
        let exhausted = self.stack.is_some() && self.stack_left().cast_signed() < 0;
        self.set_stack_left(left);
        if code.is_unwinding() {
            match self.parked.take() {
                Some(Parked::Stop(stop)) => return stop,
                Some(Parked::Panic(panic)) => resume_unwind(panic),
                None => {}
            }
        }
        if exhausted && code.is(ffi::WasmEdge_ErrCode_Unreachable) {
            return Stop::trap(TrapKind::StackOverflow);
        }
        code.stop()
    }
}

impl<S: Send + 'static> WasmedgeInstance<S> {
    /// Makes the instance and runs its start function.
    pub(crate) fn new(
        linked: &WasmedgeLinked<S>,
        state: S,
        limits: &Limits,
        budget: Budget,
    ) -> Result<Self, Failed<S>> {
        if let Err(error) = linked.module.needs.check(limits) {
            return Err(Failed { stop: error.into(), state });
        }
        let machine = match Machine::new(limits, linked.metered) {
            Ok(machine) => machine,
            Err(code) => return Err(Failed { stop: code.instantiation(), state }),
        };
        let inner = Boxed::new(Inner {
            state,
            meter: Meter::unlimited(),
            parked: None,
            nesting: 0,
            executor: machine.executor(),
            memory: None,
            stack: None,
            handles: Box::default(),
        });
        let mut instance = WasmedgeInstance { machine, inner, metered: linked.metered };
        match instance.start(linked, limits, budget) {
            Ok(()) => Ok(instance),
            Err(stop) => Err(Failed { stop, state: instance.into_state() }),
        }
    }

    fn start(&mut self, linked: &WasmedgeLinked<S>, limits: &Limits, budget: Budget) -> Result<(), Stop> {
        let (module, plan) = (&linked.module, &linked.plan);
        // What segments' offsets cost is the host's.
        self.machine.allow(u64::MAX);
        let made = self.machine.instantiate(&module.ast, &linked.imports, self.inner.as_ptr().cast());
        made.map_err(Code::instantiation)?;
        let machine = &self.machine;
        let resolve = |(export, spec): (Export, &chassis_engine_api::ExportSpec)| {
            let there = plan.has(export) && callable(&spec.sig);
            let function = if there { machine.function(spec.name) } else { None };
            function.map(|function| Handle { function, sig: spec.sig })
        };
        let handles = (0..=u8::MAX).map(Export).zip(plan.exports()).map(resolve).collect();
        let memory = if plan.has_memory() { machine.memory("memory") } else { None };
        let global = |name: &Option<String>| name.as_ref().and_then(|name| machine.global(name));
        let (stack, tables) = (global(&module.added.stack), global(&module.added.tables));
        let start = module.added.start.as_ref().and_then(|name| machine.function(name));
        if let Some(tables) = tables {
            // SAFETY: the global lives; it is a mutable `i32`.
            unsafe { ffi::WasmEdge_GlobalInstanceSetValue(tables, i32_value(limits.table_elements)) };
        }
        let inner = self.inner.get_mut();
        inner.handles = handles;
        inner.memory = memory;
        inner.stack = stack;
        inner.set_stack_left(STACK);
        let _running = clock::enter();
        match start {
            Some(function) => self.enter(Handle { function, sig: Sig::new(&[], None) }, &mut [], budget),
            None => Ok(()),
        }
    }

    /// Calls from outside.
    #[inline]
    fn enter(&mut self, handle: Handle, slots: &mut [u64], budget: Budget) -> Result<(), Stop> {
        if self.metered {
            self.machine.allow(budget.fuel.unwrap_or(u64::MAX));
        } else if budget.fuel.is_some() {
            return Err(HostError::new("a fuel limit needs an engine with the profile `fuel`").into());
        }
        let inner = self.inner.get_mut();
        inner.meter = Meter::start(&budget);
        inner.nesting = 0;
        // SAFETY: the handle lives as long as `self`, whose borrow outlives the watch.
        let watch = unsafe { watch(inner.meter, self.machine.cancel()) };
        // SAFETY: `self` is borrowed, so nobody else uses the instance; no reference into it is left.
        let ended = unsafe { invoke(self.inner.as_ptr(), handle, slots) };
        if watch.end() {
            self.machine.forget_cancellation();
        }
        match ended {
            Ok(()) => Ok(()),
            Err(code) => Err(self.inner.get_mut().stopped(code, STACK)),
        }
    }

    fn into_state(self) -> S {
        // The machine first: it is what has the pointer.
        drop(self.machine);
        self.inner.into_inner().state
    }
}

impl<S: Send + 'static> Instance<S> for WasmedgeInstance<S> {
    #[inline]
    fn call_while(
        &mut self,
        _: &clock::Running,
        export: Export,
        slots: &mut [u64],
        budget: &Budget,
    ) -> Result<Outcome, Stop> {
        let handle = self.inner.get().expect_handle(export);
        self.enter(handle, slots, *budget)?;
        Ok(Outcome::Done)
    }

    fn state(&mut self) -> &mut S {
        &mut self.inner.get_mut().state
    }

    fn has(&self, export: Export) -> bool {
        self.inner.get().handle(export).is_some()
    }

    fn memory(&mut self) -> (&mut [u8], &mut S) {
        self.inner.get_mut().memory_and_state()
    }

    fn memory_bytes(&self) -> u64 {
        self.inner.get().memory_bytes()
    }
}

impl<S: Send + 'static> fmt::Debug for WasmedgeInstance<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmedgeInstance").field("memory_bytes", &self.memory_bytes()).finish_non_exhaustive()
    }
}

/// Runs a function of the guest, from outside or out of a host function.
///
/// # Safety
/// The handle must be of the instance that `inner` belongs to, nobody else may use that instance before the return, and
/// no reference to `inner` may live on.
///
/// # Errors
/// A code for [`Inner::stopped`].
///
/// # Panics
/// If `slots` is too short.
#[inline]
pub(crate) unsafe fn invoke<S>(inner: *mut Inner<S>, handle: Handle, slots: &mut [u64]) -> Result<(), Code> {
    let Handle { function, sig } = handle;
    assert!(slots.len() >= sig.slots(), "fewer slots than the call needs");
    let params = Params::new(&sig, slots);
    let mut result = MaybeUninit::<ffi::WasmEdge_Value>::uninit();
    // SAFETY: the executor and the function live with the instance; the parameters are as many as the function takes,
    // which was looked up by this type, and of its types; there is room for the result if there is one.
    let ended = unsafe {
        let results = u32::from(sig.result.is_some());
        let executor = (*inner).executor;
        let count = sig.params.len() as u32;
        ffi::WasmEdge_ExecutorInvoke(executor, function, params.as_ptr(), count, result.as_mut_ptr(), results)
    };
    Code::check(ended)?;
    if let Some(ty) = sig.result {
        // SAFETY: a call that returned has left its result.
        slots[0] = from_value(ty, unsafe { result.assume_init_ref() });
    }
    Ok(())
}

/// A box whose content is reached by a copy of its pointer too.
struct Boxed<S>(NonNull<Inner<S>>);

impl<S> Boxed<S> {
    fn new(inner: Inner<S>) -> Self {
        Boxed(NonNull::from(Box::leak(Box::new(inner))))
    }

    fn as_ptr(&self) -> *mut Inner<S> {
        self.0.as_ptr()
    }

    fn get(&self) -> &Inner<S> {
        // SAFETY: it was boxed; guests, who have the other copy of the pointer, run only while the instance is borrowed
        // for a call.
        unsafe { self.0.as_ref() }
    }

    fn get_mut(&mut self) -> &mut Inner<S> {
        // SAFETY: as above.
        unsafe { self.0.as_mut() }
    }

    fn into_inner(self) -> Inner<S> {
        let pointer = self.as_ptr();
        std::mem::forget(self);
        // SAFETY: it was boxed, and is not freed elsewhere.
        *unsafe { Box::from_raw(pointer) }
    }
}

impl<S> Drop for Boxed<S> {
    fn drop(&mut self) {
        // SAFETY: it was boxed, and this is its end.
        drop(unsafe { Box::from_raw(self.as_ptr()) });
    }
}
