//! Instances: made, called, and what they hold.

use std::fmt;
use std::sync::Arc;

use chassis_engine_api::{Budget, Export, Failed, HostError, Instance, Limits, Meter, Outcome, Stop, Verdict, clock};
use wasmtime::{AsContextMut, Extern, Memory, Store, UpdateDeadline};

use crate::limiter::Limiter;
use crate::link::{Exports, WasmtimeLinked};
use crate::stop::{stop, unwind};
use crate::values::Callee;

/// A running instance.
pub struct WasmtimeInstance<S: Send + 'static> {
    store: Store<Data<S>>,
    /// By [`Export`]: what is called from outside.
    callbacks: Box<[Option<Callee>]>,
}

/// What an instance holds besides its memory. Calls read from it without reference counts or locks.
pub(crate) struct Data<S> {
    pub(crate) state: S,
    pub(crate) meter: Meter,
    /// `None` while the start section runs, or if the module exports none.
    pub(crate) memory: Option<Memory>,
    /// By [`Export`]: what host functions call; empty while the start section runs.
    callees: Box<[Option<Callee>]>,
    pub(crate) exports: Arc<Exports>,
    fuel: bool,
    limiter: Limiter,
}

impl<S> Data<S> {
    #[inline]
    pub(crate) fn callee(&self, export: Export) -> Option<Callee> {
        self.callees.get(usize::from(export.0)).copied().flatten()
    }

    #[inline]
    pub(crate) fn has(&self, export: Export) -> bool {
        matches!(self.exports.functions.get(usize::from(export.0)), Some(Some(_)))
    }
}

impl<S: Send + 'static> WasmtimeInstance<S> {
    pub(crate) fn new(
        linked: &WasmtimeLinked<S>,
        state: S,
        limits: &Limits,
        budget: Budget,
    ) -> Result<Self, Failed<S>> {
        if let Some(message) = linked.needs.beyond(limits) {
            return Err(Failed { stop: HostError::new(message).into(), state });
        }
        let data = Data {
            state,
            meter: Meter::unlimited(),
            memory: None,
            callees: Box::default(),
            exports: linked.exports.clone(),
            fuel: linked.exports.fuel,
            limiter: Limiter(*limits),
        };
        let mut store = Store::new(&linked.exports.running.engine, data);
        store.limiter(|data| &mut data.limiter);
        store.epoch_deadline_callback(|mut store| match store.data_mut().meter.check() {
            Verdict::Continue => Ok(UpdateDeadline::Continue(1)),
            Verdict::Expired => Err(unwind(Stop::Deadline)),
        });
        let mut instance = WasmtimeInstance { store, callbacks: Box::default() };
        match instance.start(linked, budget) {
            Ok(()) => Ok(instance),
            Err(stop) => Err(Failed { stop, state: instance.store.into_data().state }),
        }
    }

    /// Runs the start section and takes the exports down.
    fn start(&mut self, linked: &WasmtimeLinked<S>, budget: Budget) -> Result<(), Stop> {
        let _running = clock::enter();
        self.spend(&budget)?;
        let instance = linked.pre.instantiate(&mut self.store).map_err(stop)?;
        let mut callees = Vec::with_capacity(linked.exports.functions.len());
        for listed in &linked.exports.functions {
            let found = listed.and_then(|(export, spec)| match instance.get_module_export(&mut self.store, &export) {
                Some(Extern::Func(func)) => Callee::new(func, &self.store, &spec.sig),
                _ => None,
            });
            callees.push(found);
        }
        self.callbacks = callees.clone().into();
        let memory = linked.exports.memory.and_then(|export| instance.get_module_export(&mut self.store, &export));
        let data = self.store.data_mut();
        data.callees = callees.into();
        data.memory = memory.and_then(Extern::into_memory);
        Ok(())
    }

    /// Begins an outer call.
    #[inline]
    fn spend(&mut self, budget: &Budget) -> Result<(), Stop> {
        if self.store.data_mut().meter.restart(budget) {
            self.ticked();
        }
        if self.store.data().fuel | budget.fuel.is_some() {
            self.fuel(budget)?;
        }
        Ok(())
    }

    /// Without this the guest would be interrupted once more than it need be, in vain.
    #[cold]
    #[inline(never)]
    fn ticked(&mut self) {
        self.store.set_epoch_deadline(1);
    }

    /// Gives a call its fuel, where fuel is counted or asked for.
    #[cold]
    #[inline(never)]
    fn fuel(&mut self, budget: &Budget) -> Result<(), Stop> {
        if !self.store.data().fuel {
            return Err(HostError::new("a budget with fuel needs an engine of the fuel profile").into());
        }
        self.store.set_fuel(budget.fuel.unwrap_or(u64::MAX)).map_err(stop)
    }
}

impl<S: Send + 'static> Instance<S> for WasmtimeInstance<S> {
    // Whoever knows the engine at compile time calls compiled code without a step between; whoever does not has one
    // copy of this behind the object-safe edge.
    #[inline(always)]
    fn call_while(
        &mut self,
        _: &clock::Running,
        export: Export,
        slots: &mut [u64],
        budget: &Budget,
    ) -> Result<Outcome, Stop> {
        self.spend(budget)?;
        let Some(Some(callback)) = self.callbacks.get(usize::from(export.0)) else {
            not_exported(export);
        };
        match callback.call(self.store.as_context_mut(), slots) {
            Ok(()) => Ok(Outcome::Done),
            Err(error) => Err(stop(error)),
        }
    }

    fn state(&mut self) -> &mut S {
        &mut self.store.data_mut().state
    }

    fn has(&self, export: Export) -> bool {
        self.store.data().has(export)
    }

    fn memory(&mut self) -> (&mut [u8], &mut S) {
        match self.store.data().memory {
            Some(memory) => {
                let (bytes, data) = memory.data_and_store_mut(self.store.as_context_mut());
                (bytes, &mut data.state)
            }
            None => (&mut [], &mut self.store.data_mut().state),
        }
    }

    fn memory_bytes(&self) -> u64 {
        self.store.data().memory.map_or(0, |memory| memory.data_size(&self.store) as u64)
    }
}

impl<S: Send + 'static> fmt::Debug for WasmtimeInstance<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmtimeInstance").field("memory_bytes", &self.memory_bytes()).finish_non_exhaustive()
    }
}

#[cold]
fn not_exported(export: Export) -> ! {
    panic!("the module does not export {export:?}");
}
