//! Host functions for wasmi: a typed trampoline for each of the usual shapes, an untyped one for the rest.

use chassis_engine_api::{HostFn, HostModule, LinkPlan, Registrar, for_each_host_shape};
use wasmi::errors::LinkerError;
use wasmi::{Engine, Error, Linker, Val};

use crate::caller::enter;
use crate::instance::Data;
use crate::slots::{Slot, SlotResult, fits, from_val, func_type, to_val};

/// A linker with those functions of `H` that the module imports.
pub(crate) fn linker<S: Send + 'static, H: HostModule<S>>(
    engine: &Engine,
    plan: &LinkPlan,
) -> Result<Linker<Data<S>>, String> {
    if let Some(import) = plan.imports().iter().find(|import| !fits(&import.sig)) {
        return Err(format!("{}.{} has a type that no host function can have", import.module, import.name));
    }
    let mut adder = Adder { linker: Linker::new(engine), plan, failed: None };
    H::register(&mut adder);
    match adder.failed {
        None => Ok(adder.linker),
        Some(error) => Err(error.to_string()),
    }
}

struct Adder<'a, S> {
    linker: Linker<Data<S>>,
    plan: &'a LinkPlan,
    failed: Option<LinkerError>,
}

impl<S: Send + 'static> Registrar<S> for Adder<'_, S> {
    fn add<F: HostFn<S>>(&mut self) {
        if !self.plan.wants::<S, F>() {
            return;
        }
        if let Err(error) = define::<S, F>(&mut self.linker) {
            self.failed.get_or_insert(error);
        }
    }
}

/// One arm per shape; only the arm of `F`'s own shape is compiled.
macro_rules! define {
    ($(($($param:ident)*) -> ($($result:ident)?);)*) => {
        fn define<S: Send + 'static, F: HostFn<S>>(linker: &mut Linker<Data<S>>) -> Result<(), LinkerError> {
            $(
                if const { F::SIG.is(&[$(<$param as Slot>::TY),*], <result!($($result)?) as SlotResult>::TY) } {
                    return wrap!(linker [a b c d e f g h i j k l] [] [$($param)*] result!($($result)?));
                }
            )*
            define_untyped::<S, F>(linker)
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
    ($linker:ident [$name:ident $($names:ident)*] [$($named:tt)*] [$ty:ident $($types:ident)*] $result:ty) => {
        wrap!($linker [$($names)*] [$($named)* ($name $ty)] [$($types)*] $result)
    };
    ($linker:ident [$($unused:ident)*] [$(($name:ident $ty:ident))*] [] $result:ty) => {
        $linker
            .func_wrap(
                F::MODULE,
                F::NAME,
                |caller: wasmi::Caller<'_, Data<S>>, $($name: $ty),*| -> Result<$result, Error> {
                    // One more than the parameters: room for a result where there are none.
                    let mut slots = [$($name.into_slot(),)* 0];
                    enter::<S, F>(caller, &mut slots[..F::SIG.slots()])?;
                    Ok(<$result as SlotResult>::from_slots(&slots))
                },
            )
            .map(|_| ())
    };
}

for_each_host_shape!(define);

fn define_untyped<S: Send + 'static, F: HostFn<S>>(linker: &mut Linker<Data<S>>) -> Result<(), LinkerError> {
    let trampoline = |caller: wasmi::Caller<'_, Data<S>>, params: &[Val], results: &mut [Val]| {
        let mut slots: Vec<u64> = params.iter().map(from_val).collect();
        slots.resize(F::SIG.slots(), 0);
        enter::<S, F>(caller, &mut slots)?;
        if let (Some(result), Some(ty)) = (results.first_mut(), F::SIG.result) {
            *result = to_val(ty, slots[0]);
        }
        Ok(())
    };
    linker.func_new(F::MODULE, F::NAME, func_type(&F::SIG), trampoline).map(|_| ())
}
