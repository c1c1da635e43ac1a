//! A running instance: its store's data, its exports resolved once, and calls into it.

use chassis_engine_api::{
    Budget, Export, HostError, Instance, Limits, LinkPlan, Meter, Outcome, Sig, Stop, clock, for_each_export_shape,
};
use wasmi::{AsContext, AsContextMut, Error, Func, Memory, Store, StoreContextMut, StoreLimits, TypedFunc};

use crate::limiter;
use crate::slices::{self, Spending};
use crate::slots::{Slot, SlotResult, from_val, to_val};
use crate::stop::Parked;

/// An instance on wasmi.
#[derive(Debug)]
pub struct WasmiInstance<S> {
    store: Store<Data<S>>,
    metered: bool,
}

/// What a wasmi store carries besides the host's state.
#[derive(Debug)]
pub(crate) struct Data<S> {
    pub(crate) state: S,
    pub(crate) limits: StoreLimits,
    pub(crate) meter: Meter,
    pub(crate) spending: Spending,
    pub(crate) parked: Option<Parked>,
    /// How many guest calls are nested in host functions at this moment.
    pub(crate) nesting: u32,
    pub(crate) memory: Option<Memory>,
    handles: Box<[Option<Handle>]>,
}

impl<S> Data<S> {
    pub(crate) fn new(state: S, limits: &Limits) -> Self {
        Data {
            state,
            limits: limiter::store_limits(limits),
            meter: Meter::unlimited(),
            spending: Spending::default(),
            parked: None,
            nesting: 0,
            memory: None,
            handles: Box::default(),
        }
    }

    #[inline]
    pub(crate) fn handle(&self, export: Export) -> Option<Handle> {
        self.handles.get(usize::from(export.0)).copied().flatten()
    }
}

impl<S: Send + 'static> WasmiInstance<S> {
    /// Takes over a store in which `instance` was made; resolves what the plan says that it exports.
    pub(crate) fn new(
        mut store: Store<Data<S>>,
        instance: wasmi::Instance,
        plan: &LinkPlan,
        metered: bool,
    ) -> Result<Self, (Stop, S)> {
        let memory = if plan.has_memory() { instance.get_memory(&store, "memory") } else { None };
        match resolve(&store, instance, plan) {
            Ok(handles) => {
                let data = store.data_mut();
                data.memory = memory;
                data.handles = handles;
                Ok(WasmiInstance { store, metered })
            }
            Err(error) => Err((HostError::new(error.to_string()).into(), store.into_data().state)),
        }
    }

    /// Runs the start function, which is exported under this name.
    pub(crate) fn start(&mut self, instance: wasmi::Instance, name: &str, budget: Budget) -> Result<(), Stop> {
        let Some(func) = instance.get_func(&self.store, name) else {
            return Err(HostError::new("the start function is missing").into());
        };
        let start = Handle::new(&self.store, func, Sig::new(&[], None));
        let start = start.map_err(|error| HostError::new(error.to_string()))?;
        let _running = clock::enter();
        self.enter(budget, |ctx| start.call(ctx, &mut []))
    }

    pub(crate) fn into_state(self) -> S {
        self.store.into_data().state
    }

    #[inline]
    fn enter(
        &mut self,
        budget: Budget,
        call: impl FnOnce(&mut StoreContextMut<'_, Data<S>>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if budget.fuel.is_some() && !self.metered {
            return Err(HostError::new("a fuel limit needs an engine with the profile `fuel`").into());
        }
        let mut ctx = self.store.as_context_mut();
        slices::start(&mut ctx, &budget);
        let data = ctx.data_mut();
        data.meter = Meter::start(&budget);
        data.nesting = 0;
        call(&mut ctx)
    }
}

impl<S: Send + 'static> Instance<S> for WasmiInstance<S> {
    #[inline]
    fn call_while(
        &mut self,
        _: &clock::Running,
        export: Export,
        slots: &mut [u64],
        budget: &Budget,
    ) -> Result<Outcome, Stop> {
        self.enter(*budget, |ctx| call(ctx, export, slots))?;
        Ok(Outcome::Done)
    }

    fn state(&mut self) -> &mut S {
        &mut self.store.data_mut().state
    }

    fn has(&self, export: Export) -> bool {
        self.store.data().handle(export).is_some()
    }

    fn memory(&mut self) -> (&mut [u8], &mut S) {
        match self.store.data().memory {
            Some(memory) => {
                let (bytes, data) = memory.data_and_store_mut(&mut self.store);
                (bytes, &mut data.state)
            }
            None => (&mut [], self.state()),
        }
    }

    fn memory_bytes(&self) -> u64 {
        self.store.data().memory.map_or(0, |memory| memory.data(&self.store).len() as u64)
    }
}

/// Calls an export, from outside or out of a host function.
///
/// # Panics
/// If the module does not export it, or `slots` is too short.
#[inline]
pub(crate) fn call<S>(ctx: &mut StoreContextMut<'_, Data<S>>, export: Export, slots: &mut [u64]) -> Result<(), Stop> {
    match ctx.data().handle(export) {
        Some(handle) => handle.call(ctx, slots),
        None => panic!("export {} is called, but the module does not have it", export.0),
    }
}

fn resolve<S>(
    store: &Store<Data<S>>,
    instance: wasmi::Instance,
    plan: &LinkPlan,
) -> Result<Box<[Option<Handle>]>, Error> {
    let exports = (0..=u8::MAX).map(Export).zip(plan.exports());
    let handles = exports.map(|(export, spec)| match instance.get_func(store, spec.name) {
        Some(func) if plan.has(export) => Handle::new(store, func, spec.sig).map(Some),
        _ => Ok(None),
    });
    handles.collect()
}

/// An exported function, typed where its shape is a usual one.
macro_rules! handle {
    ($($shape:ident ($($param:ident)*) -> ($($result:ident)?);)*) => {
        #[derive(Debug, Clone, Copy)]
        pub(crate) enum Handle {
            $($shape(TypedFunc<($($param,)*), result!($($result)?)>),)*
            Untyped(Func, Sig),
        }

        impl Handle {
            fn new(ctx: impl AsContext, func: Func, sig: Sig) -> Result<Self, Error> {
                $(
                    if sig.is(&[$(<$param as Slot>::TY),*], <result!($($result)?) as SlotResult>::TY) {
                        return Ok(Handle::$shape(func.typed(ctx)?));
                    }
                )*
                Ok(Handle::Untyped(func, sig))
            }

            #[inline]
            fn call<S>(self, ctx: &mut StoreContextMut<'_, Data<S>>, slots: &mut [u64]) -> Result<(), Stop> {
                match self {
                    $(Handle::$shape(func) => {
                        #[allow(unused_variables, unused_mut)]
                        let mut next = slots.iter().copied();
                        let params = ($(<$param as Slot>::from_slot(param(&mut next)),)*);
                        let call = func.call_resumable(ctx.as_context_mut(), params);
                        slices::run(ctx, call)?.into_slots(slots);
                        Ok(())
                    })*
                    Handle::Untyped(func, sig) => call_untyped(ctx, func, sig, slots),
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

fn call_untyped<S>(
    ctx: &mut StoreContextMut<'_, Data<S>>,
    func: Func,
    sig: Sig,
    slots: &mut [u64],
) -> Result<(), Stop> {
    assert!(slots.len() >= sig.slots(), "fewer slots than the call needs");
    let params: Vec<_> = sig.params.iter().zip(slots.iter()).map(|(ty, slot)| to_val(*ty, *slot)).collect();
    let mut results: Vec<_> = sig.result.iter().map(|ty| to_val(*ty, 0)).collect();
    let call = func.call_resumable(ctx.as_context_mut(), &params, &mut results);
    slices::run_untyped(ctx, call, &mut results)?;
    if let Some(result) = results.first() {
        slots[0] = from_val(result);
    }
    Ok(())
}
