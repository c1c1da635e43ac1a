//! A running instance: made, its exports resolved once, and calls into it.

use std::fmt;

use chassis_engine_api::{
    Budget, Export, Failed, HostError, Instance, Limits, LinkPlan, Outcome, Sig, Stop, clock, for_each_export_shape,
};
use wasmer::sys::NativeEngineExt;
use wasmer::{AsStoreMut, Extern, Function, FunctionEnv, FunctionEnvMut, RuntimeError, Store, TypedFunction, Value};

use crate::limiter::Limiter;
use crate::link::WasmerLinked;
use crate::metering::{Spending, refill};
use crate::module::WasmerModule;
use crate::shared::{Exports, Owner, Shared};
use crate::slots::{Slot, SlotResult, from_value, to_value};
use crate::stop;

/// An instance on Wasmer.
pub struct WasmerInstance<S: Send + 'static> {
    // Dropped before what its host functions refer to.
    store: Store,
    owner: Owner<S>,
    metered: bool,
    /// What the instance in the store was made of.
    _module: WasmerModule,
}

// SAFETY: a Wasmer store is not `Send` because of what may be put into it: callbacks, and data of host functions. The
// store of an instance is made here and never given out, so it holds only what is made here: the module's own objects,
// which are plain memory, and host functions, whose data is a `Shared<S>` with `S: Send`. What Wasmer keeps per thread
// (the stack of stores that run, a guest's stack for the next call) is put back before a call returns or unwinds, and
// signal handlers are set up for each thread that calls.
unsafe impl<S: Send + 'static> Send for WasmerInstance<S> {}

impl<S: Send + 'static> WasmerInstance<S> {
    pub(crate) fn new(linked: &WasmerLinked<S>, state: S, limits: &Limits, budget: Budget) -> Result<Self, Failed<S>> {
        if let Err(error) = linked.module.inner.needs.check(limits) {
            return Err(Failed { stop: error.into(), state });
        }
        let mut engine = linked.module.inner.engine.clone();
        engine.set_tunables(Limiter::new(limits));
        let mut instance = WasmerInstance {
            store: Store::new(engine),
            owner: Owner::new(state),
            metered: linked.metered,
            _module: linked.module.clone(),
        };
        match instance.start(linked, budget) {
            Ok(()) => Ok(instance),
            Err(stop) => {
                let WasmerInstance { store, owner, .. } = instance;
                drop(store);
                Err(Failed { stop, state: owner.into_state() })
            }
        }
    }

    /// Makes the instance within the store, takes its exports down and runs the start function.
    fn start(&mut self, linked: &WasmerLinked<S>, budget: Budget) -> Result<(), Stop> {
        let (module, store, shared) = (&linked.module.inner, &mut self.store, self.owner.shared());
        let env = FunctionEnv::new(store, ());
        let imports: Vec<Extern> = linked.makers.iter().map(|make| make(store, &env, shared).into()).collect();
        let made = wasmer::Instance::new_by_index(store, &module.module, &imports);
        let made = made.map_err(|error| stop::from_instantiation(&error))?;
        let refilling = move |caller: FunctionEnvMut<'_, ()>| refill(caller, shared);
        let refilling = Value::FuncRef(Some(Function::new_typed_with_env(store, &env, refilling)));
        let table = made.exports.get_table(&module.names.refill).map_err(unexpected)?;
        table.set(store, 0, refilling).map_err(unexpected)?;
        let counter = made.exports.get_global(&module.names.counter).map_err(unexpected)?.clone();
        let exports = Exports {
            memory: if linked.plan.has_memory() { made.exports.get_memory("memory").ok().cloned() } else { None },
            handles: resolve(store, &made, &linked.plan)?,
            moved: module.moved,
        };
        // SAFETY: the module's start section was taken out, so no code of the guest has run.
        unsafe { shared.found(exports, Spending::new(counter)) };
        let Some(name) = &module.names.start else { return Ok(()) };
        let start = made.exports.get_function(name).map_err(unexpected)?;
        let start = Handle::new(store, start, Sig::new(&[], None)).map_err(unexpected)?;
        let _running = clock::enter();
        self.enter(budget, |store| start.call(store, &mut []).map_err(|error| stop::from_call(&error, shared)))
    }

    #[inline]
    fn enter(&mut self, budget: Budget, call: impl FnOnce(&mut Store) -> Result<(), Stop>) -> Result<(), Stop> {
        let mut shared = self.owner.shared();
        if self.metered {
            if let Some(spending) = shared.spending() {
                spending.start(&mut self.store, &budget);
            }
        } else if budget.fuel.is_some() {
            return Err(no_fuel());
        }
        shared.meter().restart(&budget);
        *shared.nesting() = 0;
        call(&mut self.store)
    }
}

impl<S: Send + 'static> Instance<S> for WasmerInstance<S> {
    #[inline]
    fn call_while(
        &mut self,
        _: &clock::Running,
        export: Export,
        slots: &mut [u64],
        budget: &Budget,
    ) -> Result<Outcome, Stop> {
        let shared = self.owner.shared();
        self.enter(*budget, |store| call(store, shared, export, slots))?;
        Ok(Outcome::Done)
    }

    fn state(&mut self) -> &mut S {
        self.owner.state()
    }

    fn has(&self, export: Export) -> bool {
        self.owner.shared().has(export)
    }

    fn memory(&mut self) -> (&mut [u8], &mut S) {
        self.owner.memory(&mut self.store)
    }

    fn memory_bytes(&self) -> u64 {
        let exports = self.owner.shared().exports();
        exports.memory.as_ref().map_or(0, |memory| memory.view(&self.store).data_size())
    }
}

impl<S: Send + 'static> fmt::Debug for WasmerInstance<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmerInstance").field("memory_bytes", &self.memory_bytes()).finish_non_exhaustive()
    }
}

/// Calls an export, from outside or out of a host function.
///
/// # Panics
/// If the module does not export it, or `slots` is too short.
#[inline]
pub(crate) fn call<S>(
    store: &mut impl AsStoreMut,
    shared: Shared<S>,
    export: Export,
    slots: &mut [u64],
) -> Result<(), Stop> {
    let Some(Some(handle)) = shared.exports().handles.get(usize::from(export.0)) else {
        panic!("export {} is called, but the module does not have it", export.0);
    };
    handle.call(store, slots).map_err(|error| stop::from_call(&error, shared))
}

fn resolve(store: &Store, made: &wasmer::Instance, plan: &LinkPlan) -> Result<Box<[Option<Handle>]>, Stop> {
    let exports = (0..=u8::MAX).map(Export).zip(plan.exports());
    let handles = exports.map(|(export, spec)| match made.exports.get_function(spec.name) {
        Ok(func) if plan.has(export) => Handle::new(store, func, spec.sig).map(Some).map_err(unexpected),
        _ => Ok(None),
    });
    handles.collect()
}

/// An exported function, typed where its shape is a usual one.
macro_rules! handle {
    ($($shape:ident ($($param:ident)*) -> ($($result:ident)?);)*) => {
        // Wasmer takes one parameter as itself, not as a tuple of one.
        #[allow(unused_parens)]
        #[derive(Debug)]
        pub(crate) enum Handle {
            $($shape(TypedFunction<($($param),*), result!($($result)?)>),)*
            Untyped(Function, Sig),
        }

        impl Handle {
            fn new(store: &Store, func: &Function, sig: Sig) -> Result<Self, RuntimeError> {
                $(
                    if sig.is(&[$(<$param as Slot>::TY),*], <result!($($result)?) as SlotResult>::TY) {
                        return Ok(Handle::$shape(func.typed(store)?));
                    }
                )*
                Ok(Handle::Untyped(func.clone(), sig))
            }

            #[inline]
            fn call(&self, store: &mut impl AsStoreMut, slots: &mut [u64]) -> Result<(), RuntimeError> {
                match self {
                    $(Handle::$shape(func) => {
                        #[allow(unused_variables, unused_mut)]
                        let mut next = slots.iter().copied();
                        func.call(store $(, <$param as Slot>::from_slot(param(&mut next)))*)?.into_slots(slots);
                        Ok(())
                    })*
                    Handle::Untyped(func, sig) => call_untyped(store, func, sig, slots),
                }
            }
        }
    };
}

macro_rules! result {
    () => {
        ()
    };
    ($result:ident) => {
        $result
    };
}

for_each_export_shape!(handle);

#[inline]
fn param(slots: &mut impl Iterator<Item = u64>) -> u64 {
    match slots.next() {
        Some(slot) => slot,
        None => panic!("fewer slots than parameters"),
    }
}

fn call_untyped(
    store: &mut impl AsStoreMut,
    func: &Function,
    sig: &Sig,
    slots: &mut [u64],
) -> Result<(), RuntimeError> {
    assert!(slots.len() >= sig.slots(), "fewer slots than the call needs");
    let params: Vec<_> = sig.params.iter().zip(slots.iter()).map(|(ty, slot)| to_value(*ty, *slot)).collect();
    if let Some(result) = func.call(store, &params)?.first() {
        slots[0] = from_value(result);
    }
    Ok(())
}

#[cold]
fn no_fuel() -> Stop {
    HostError::new("a fuel limit needs an engine with the profile `fuel`").into()
}

/// What metering added is not there, or a function has another type than the plan says: the plan is another module's.
#[cold]
fn unexpected(error: impl fmt::Display) -> Stop {
    HostError::new(format!("wasmer: {error}")).into()
}
