//! A host function and an export for every shape: those that backends treat specially, and others.

use std::marker::PhantomData;

use chassis_engine_api::{Caller, HostFn, Registrar, Sig, Stop, Ty, for_each_export_shape, for_each_host_shape};

use crate::host::State;

/// The host function with parameters `P` and result `R`, both tuples. It notes its parameters and answers
/// [`State::reply`].
struct Shape<P, R>(PhantomData<fn() -> (P, R)>);

macro_rules! ty {
    (i32) => {
        Ty::I32
    };
    (i64) => {
        Ty::I64
    };
    (f32) => {
        Ty::F32
    };
    (f64) => {
        Ty::F64
    };
}

macro_rules! maybe {
    () => {
        None
    };
    ($ty:ident) => {
        Some(ty!($ty))
    };
}

macro_rules! shapes {
    ($list:ident $register:ident $(($($param:ident)*) -> ($($result:ident)?);)*) => {
        $(
            impl HostFn<State> for Shape<($($param,)*), ($($result,)?)> {
                const MODULE: &'static str = "shape";
                const NAME: &'static str = concat!("f", $(" ", stringify!($param),)* " ->" $(, " ", stringify!($result))?);
                const SIG: Sig = Sig::new(&[$(ty!($param)),*], maybe!($($result)?));

                fn call<C: Caller<State> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
                    answer(caller.state(), &Self::SIG, slots);
                    Ok(())
                }
            }
        )*

        /// The names and types of these host functions.
        pub(crate) const $list: &[(&str, Sig)] = &[$((
            <Shape<($($param,)*), ($($result,)?)> as HostFn<State>>::NAME,
            <Shape<($($param,)*), ($($result,)?)> as HostFn<State>>::SIG,
        )),*];

        fn $register<R: Registrar<State>>(registrar: &mut R) {
            $(registrar.add::<Shape<($($param,)*), ($($result,)?)>>();)*
        }
    };
}

fn answer(state: &mut State, sig: &Sig, slots: &mut [u64]) {
    assert!(slots.len() >= sig.slots(), "{} slots for {sig}", slots.len());
    state.log.extend(&slots[..sig.params.len()]);
    if sig.result.is_some() {
        slots[0] = state.reply;
    }
}

macro_rules! known_shapes {
    ($($shape:tt)*) => {
        shapes! { KNOWN register_known $($shape)* }
    };
}
for_each_host_shape!(known_shapes);

shapes! { OTHER register_other
    (i64) -> ();
    () -> (i64);
    () -> (f32);
    () -> (f64);
    (i64) -> (i64);
    (f32) -> (f32);
    (f64) -> (f64);
    (f64 f64) -> ();
    (i32 i32 i64 i32) -> (i32);
    (i64 i32 f32 f64) -> (i64);
    (i32 i64 i64 i32 i64 f64) -> (f64);
    (i32 i32 i32 i32 i32 i64 i64 i32 i32) -> (i32);
    (i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) -> (i32);
    (i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) -> ();
    (i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) -> (i32);
    (i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64 i64) -> (i64);
    (i32 f64 i64 f32 i32 f64 i64 f32 i32 f64 i64 f32 i32 f64 i64 f32) -> (f32);
}

macro_rules! exported_shapes {
    ($($kind:ident ($($param:ident)*) -> ($($result:ident)?);)*) => {
        /// The types of exports that are called with typed handles.
        pub(crate) const EXPORTED: &[Sig] = &[$(Sig::new(&[$(ty!($param)),*], maybe!($($result)?))),*];
    };
}
for_each_export_shape!(exported_shapes);

/// All types, each once.
pub(crate) fn all() -> Vec<Sig> {
    let mut all: Vec<Sig> = EXPORTED.to_vec();
    for (_, sig) in KNOWN.iter().chain(OTHER) {
        if !all.contains(sig) {
            all.push(*sig);
        }
    }
    all
}

pub(crate) fn register<R: Registrar<State>>(registrar: &mut R) {
    register_known(registrar);
    register_other(registrar);
}

/// A type in the text format: `(param i32 i64) (result i32)`.
pub(crate) fn text(sig: &Sig) -> String {
    let params: String = sig.params.iter().map(|ty| format!(" {ty}")).collect();
    let result: String = sig.result.iter().map(|ty| format!("(result {ty})")).collect();
    format!("(param{params}) {result}")
}

/// What is left of a slot that passes as a value of this type.
pub(crate) fn truncated(ty: Ty, slot: u64) -> u64 {
    if matches!(ty, Ty::I32 | Ty::F32) { slot & 0xffff_ffff } else { slot }
}
