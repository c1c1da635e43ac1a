//! Host functions for Wasmer: a typed trampoline for each of the usual shapes, an untyped one for the rest. Wasmer's
//! functions belong to a store, so what is linked is how to make them.

use std::fmt;

use chassis_engine_api::{HostFn, HostModule, LinkPlan, Registrar, for_each_host_shape};
use wasmer::{Function, FunctionEnv, FunctionEnvMut, RuntimeError, Store, Value};

use crate::caller::enter;
use crate::module::WasmerModule;
use crate::shared::Shared;
use crate::slots::{Slot, SlotResult, fits, from_value, function_type, to_value};
use crate::stop::Unwinding;

/// A module with its host functions.
pub struct WasmerLinked<S: Send + 'static> {
    pub(crate) module: WasmerModule,
    /// By import.
    pub(crate) makers: Vec<Maker<S>>,
    pub(crate) plan: LinkPlan,
    pub(crate) metered: bool,
}

/// Makes a host function for one store.
pub(crate) type Maker<S> = fn(&mut Store, &FunctionEnv<()>, Shared<S>) -> Function;

impl<S: Send + 'static> WasmerLinked<S> {
    pub(crate) fn new<H: HostModule<S>>(module: &WasmerModule, plan: LinkPlan, metered: bool) -> Result<Self, String> {
        if let Some(spec) = plan.exports().iter().find(|spec| !fits(&spec.sig)) {
            return Err(format!("export {} has a type that cannot be called", spec.name));
        }
        if let Some(import) = plan.imports().iter().find(|import| !fits(&import.sig)) {
            return Err(format!("{}.{} has a type that no host function can have", import.module, import.name));
        }
        let mut collecting = Collecting { plan: &plan, makers: vec![None; plan.imports().len()] };
        H::register(&mut collecting);
        let makers: Option<Vec<Maker<S>>> = collecting.makers.into_iter().collect();
        let makers = makers.ok_or("the plan is that of another host")?;
        Ok(WasmerLinked { module: module.clone(), makers, plan, metered })
    }
}

impl<S: Send + 'static> fmt::Debug for WasmerLinked<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmerLinked").field("module", &self.module).finish_non_exhaustive()
    }
}

struct Collecting<'a, S: Send + 'static> {
    plan: &'a LinkPlan,
    makers: Vec<Option<Maker<S>>>,
}

impl<S: Send + 'static> Registrar<S> for Collecting<'_, S> {
    fn add<F: HostFn<S>>(&mut self) {
        for (import, maker) in self.plan.imports().iter().zip(&mut self.makers) {
            if import.module == F::MODULE && import.name == F::NAME && import.sig == F::SIG {
                *maker = Some(make::<S, F>);
            }
        }
    }
}

/// One arm per shape; only the arm of `F`'s own shape is compiled.
macro_rules! make {
    ($(($($param:ident)*) -> ($($result:ident)?);)*) => {
        fn make<S: Send + 'static, F: HostFn<S>>(
            store: &mut Store,
            env: &FunctionEnv<()>,
            shared: Shared<S>,
        ) -> Function {
            $(
                if const { F::SIG.is(&[$(<$param as Slot>::TY),*], <result!($($result)?) as SlotResult>::TY) } {
                    return wrap!(store env shared [a b c d e f g h i j k l] [] [$($param)*] result!($($result)?));
                }
            )*
            make_untyped::<S, F>(store, env, shared)
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

/// Gives each parameter a name, then makes the typed trampoline.
macro_rules! wrap {
    ($store:ident $env:ident $shared:ident [$name:ident $($names:ident)*] [$($named:tt)*] [$ty:ident $($types:ident)*]
        $result:ty) => {
        wrap!($store $env $shared [$($names)*] [$($named)* ($name $ty)] [$($types)*] $result)
    };
    ($store:ident $env:ident $shared:ident [$($unused:ident)*] [$(($name:ident $ty:ident))*] [] $result:ty) => {
        Function::new_typed_with_env(
            $store,
            $env,
            move |caller: FunctionEnvMut<'_, ()>, $($name: $ty),*| -> Result<$result, Unwinding> {
                // One more than the parameters: room for a result where there are none.
                let mut slots = [$($name.into_slot(),)* 0];
                enter::<S, F>(caller, $shared, &mut slots[..F::SIG.slots()])?;
                Ok(<$result as SlotResult>::from_slots(&slots))
            },
        )
    };
}

for_each_host_shape!(make);

fn make_untyped<S: Send + 'static, F: HostFn<S>>(
    store: &mut Store,
    env: &FunctionEnv<()>,
    shared: Shared<S>,
) -> Function {
    let trampoline = move |caller: FunctionEnvMut<'_, ()>, params: &[Value]| {
        let mut slots: Vec<u64> = params.iter().map(from_value).collect();
        slots.resize(F::SIG.slots(), 0);
        enter::<S, F>(caller, shared, &mut slots).map_err(|error| RuntimeError::user(Box::new(error)))?;
        Ok(F::SIG.result.map(|ty| to_value(ty, slots[0])).into_iter().collect())
    };
    Function::new_with_env(store, env, function_type(&F::SIG), trampoline)
}
