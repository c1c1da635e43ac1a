//! What is specific to this backend; what all engines must do alike is tested for all of them in one place.

mod aot;
mod calls;
mod limits;
mod stops;

use chassis_engine_api::{
    Budget, Caller, CheckedModule, Engine, Export, ExportSpec, Failed, FrontLimits, HostError, HostFn, HostModule,
    Instance, Limits, LinkPlan, Profile, Registrar, Sig, Stop, Ty,
};

use crate::{WasmtimeEngine, WasmtimeInstance, WasmtimeLinked};

/// What the host functions of these tests saw and should do.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) calls: Vec<(&'static str, Vec<u64>)>,
    pub(crate) answer: u64,
}

use Ty::{F32, F64, I32, I64};

/// One host function per entry, called `shape<N>`.
pub(crate) const SHAPES: [Sig; 26] = [
    Sig::new(&[], None),
    Sig::new(&[I32], None),
    Sig::new(&[I32; 2], None),
    Sig::new(&[I32; 3], None),
    Sig::new(&[], Some(I32)),
    Sig::new(&[I32], Some(I32)),
    Sig::new(&[I32; 2], Some(I32)),
    Sig::new(&[I32; 3], Some(I32)),
    Sig::new(&[I32; 4], Some(I32)),
    Sig::new(&[I32; 5], Some(I32)),
    Sig::new(&[I32; 6], Some(I32)),
    Sig::new(&[I32; 7], Some(I32)),
    Sig::new(&[I32; 8], Some(I32)),
    Sig::new(&[I32; 9], Some(I32)),
    Sig::new(&[I32; 10], Some(I32)),
    Sig::new(&[I32; 12], Some(I32)),
    Sig::new(&[I32, I64], Some(I32)),
    Sig::new(&[I32, I64, I32], Some(I32)),
    Sig::new(&[I64], Some(I64)),
    Sig::new(&[F64, F64], Some(F64)),
    Sig::new(&[F32], Some(F32)),
    Sig::new(&[I32, I64, F32, F64, I64, I32], None),
    Sig::new(&[I64; 16], Some(I64)),
    Sig::new(&[], Some(F64)),
    Sig::new(&[F32, F32, F64, I32], Some(F32)),
    Sig::new(&[I64, I64, I64], None),
];

struct Shape<const N: usize>;

const NAMES: [&str; SHAPES.len()] = [
    "shape0", "shape1", "shape2", "shape3", "shape4", "shape5", "shape6", "shape7", "shape8", "shape9", "shape10",
    "shape11", "shape12", "shape13", "shape14", "shape15", "shape16", "shape17", "shape18", "shape19", "shape20",
    "shape21", "shape22", "shape23", "shape24", "shape25",
];

impl<const N: usize> HostFn<State> for Shape<N> {
    const MODULE: &'static str = "host";
    const NAME: &'static str = NAMES[N];
    const SIG: Sig = SHAPES[N];

    fn call<C: Caller<State> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
        let params = slots[..Self::SIG.params.len()].to_vec();
        caller.state().calls.push((Self::NAME, params));
        if Self::SIG.result.is_some() {
            slots[0] = caller.state().answer;
        }
        Ok(())
    }
}

macro_rules! host_fn {
    ($type:ident, $name:literal, $sig:expr, |$caller:ident, $slots:ident| $body:expr) => {
        struct $type;

        impl HostFn<State> for $type {
            const MODULE: &'static str = "host";
            const NAME: &'static str = $name;
            const SIG: Sig = $sig;

            fn call<C: Caller<State> + ?Sized>($caller: &mut C, $slots: &mut [u64]) -> Result<(), Stop> {
                $body
            }
        }
    };
}

host_fn!(Exit, "exit", Sig::new(&[I32], None), |_caller, slots| Err(Stop::Exit(slots[0] as u32 as i32)));
host_fn!(Fail, "fail", Sig::new(&[], None), |_caller, _slots| Err(HostError::new("not today").into()));
host_fn!(Panics, "panic", Sig::new(&[], None), |_caller, _slots| panic!("a host function's own mistake"));
host_fn!(Nested, "nested", Sig::new(&[], None), |caller, slots| caller.call(INNER, slots));
// Asks the guest for room, writes the state's answer there and returns where.
host_fn!(Give, "give", Sig::new(&[I32], Some(I32)), |caller, slots| {
    let before = caller.memory().0.len();
    caller.call(ALLOC, slots)?;
    let at = slots[0] as usize;
    let (memory, state) = caller.memory();
    memory[at..at + 8].copy_from_slice(&state.answer.to_le_bytes());
    let after = memory.len() as u64;
    state.calls.push(("give", vec![before as u64, after]));
    Ok(())
});

pub(crate) struct Host;

impl HostModule<State> for Host {
    fn register<R: Registrar<State>>(registrar: &mut R) {
        macro_rules! shapes {
            ($($n:literal)*) => { $(registrar.add::<Shape<$n>>();)* };
        }
        shapes!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25);
        registrar.add::<Exit>();
        registrar.add::<Fail>();
        registrar.add::<Panics>();
        registrar.add::<Nested>();
        registrar.add::<Give>();
        // Twice, as hosts may do.
        registrar.add::<Fail>();
    }
}

pub(crate) const RUN: Export = Export(0);
pub(crate) const RUN_I32: Export = Export(1);
pub(crate) const RUN_I64: Export = Export(2);
pub(crate) const RUN_F32: Export = Export(3);
pub(crate) const RUN_F64: Export = Export(4);
pub(crate) const ALLOC: Export = Export(5);
pub(crate) const INNER: Export = Export(6);
pub(crate) const MIXED: Export = Export(7);
pub(crate) const WIDE: Export = Export(8);
pub(crate) const FIVE: Export = Export(9);

const fn export(name: &'static str, params: &'static [Ty], result: Option<Ty>) -> ExportSpec {
    ExportSpec { name, sig: Sig::new(params, result) }
}

pub(crate) static EXPORTS: [ExportSpec; 10] = [
    export("run", &[], None),
    export("run", &[], Some(I32)),
    export("run", &[], Some(I64)),
    export("run", &[], Some(F32)),
    export("run", &[], Some(F64)),
    export("alloc", &[I32], Some(I32)),
    export("inner", &[], None),
    export("mixed", &[I64, F64, F32, I32], Some(F64)),
    export("wide", &[I64; 16], Some(I64)),
    export("five", &[I32; 5], None),
];

pub(crate) fn engine(profile: Profile) -> WasmtimeEngine {
    WasmtimeEngine::new(profile).unwrap()
}

pub(crate) fn check(wat: &str) -> CheckedModule {
    CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap()
}

pub(crate) fn link(engine: &WasmtimeEngine, wat: &str) -> WasmtimeLinked<State> {
    let module = check(wat);
    let plan = LinkPlan::new::<State, Host>(module.info(), &EXPORTS).unwrap();
    engine.link::<State, Host>(&engine.compile(&module).unwrap(), plan).unwrap()
}

pub(crate) fn try_start(
    engine: &WasmtimeEngine,
    wat: &str,
    limits: &Limits,
) -> Result<WasmtimeInstance<State>, Failed<State>> {
    let state = State { calls: Vec::new(), answer: 42 };
    engine.instantiate(&link(engine, wat), state, limits, Budget { ticks: 1_000, fuel: None })
}

pub(crate) fn start(wat: &str) -> WasmtimeInstance<State> {
    try_start(&engine(Profile::Deadline), wat, &Limits::default()).unwrap()
}

/// Calls an export without parameters and returns what it left in the slot.
pub(crate) fn call(instance: &mut WasmtimeInstance<State>, export: Export) -> Result<u64, Stop> {
    let mut slots = [0];
    instance.call(export, &mut slots, Budget { ticks: 1_000, fuel: None })?;
    Ok(slots[0])
}
