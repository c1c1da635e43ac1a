//! What the cross-engine suite does not look at: this backend's own parts, with each compiler that is built in.

mod aot;
mod ownership;
mod traps;
mod work;

use chassis_engine_api::{
    Budget, Caller, CheckedModule, Engine, Export, ExportSpec, Failed, FrontLimits, HostError, HostFn, HostModule,
    Instance, Limits, LinkPlan, Profile, Registrar, Sig, Stop, Ty,
};

use crate::{Compiler, WasmerEngine, WasmerInstance, WasmerLinked};

/// The host's state: what its functions noted, and something whose end can be seen.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) noted: Vec<u64>,
    pub(crate) _witness: Option<std::sync::Arc<()>>,
}

struct Note;

impl HostFn<State> for Note {
    const MODULE: &'static str = "host";
    const NAME: &'static str = "note";
    const SIG: Sig = Sig::new(&[Ty::I32], None);

    fn call<C: Caller<State> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
        caller.state().noted.push(slots[0]);
        Ok(())
    }
}

/// Calls `inner`, between two looks at the memory: notes its size before and after, and writes its last byte.
struct Nest;

impl HostFn<State> for Nest {
    const MODULE: &'static str = "host";
    const NAME: &'static str = "nest";
    const SIG: Sig = Sig::new(&[], None);

    fn call<C: Caller<State> + ?Sized>(caller: &mut C, _slots: &mut [u64]) -> Result<(), Stop> {
        let (memory, state) = caller.memory();
        state.noted.push(memory.len() as u64);
        caller.call(INNER, &mut [])?;
        let (memory, state) = caller.memory();
        state.noted.push(memory.len() as u64);
        if let Some(last) = memory.last_mut() {
            *last = 0x5a;
        }
        Ok(())
    }
}

struct Panics;

impl HostFn<State> for Panics {
    const MODULE: &'static str = "host";
    const NAME: &'static str = "panic";
    const SIG: Sig = Sig::new(&[], None);

    fn call<C: Caller<State> + ?Sized>(_caller: &mut C, _slots: &mut [u64]) -> Result<(), Stop> {
        std::panic::resume_unwind(Box::new("on purpose"))
    }
}

struct Fails;

impl HostFn<State> for Fails {
    const MODULE: &'static str = "host";
    const NAME: &'static str = "fail";
    const SIG: Sig = Sig::new(&[], None);

    fn call<C: Caller<State> + ?Sized>(_caller: &mut C, _slots: &mut [u64]) -> Result<(), Stop> {
        Err(HostError::new("not today").into())
    }
}

struct Host;

impl HostModule<State> for Host {
    fn register<R: Registrar<State>>(registrar: &mut R) {
        registrar.add::<Note>();
        registrar.add::<Nest>();
        registrar.add::<Panics>();
        registrar.add::<Fails>();
    }
}

pub(crate) const RUN: Export = Export(0);
const INNER: Export = Export(1);
pub(crate) const WITH: Export = Export(2);

static EXPORTS: [ExportSpec; 3] = [
    ExportSpec { name: "run", sig: Sig::new(&[], None) },
    ExportSpec { name: "inner", sig: Sig::new(&[], None) },
    ExportSpec { name: "with", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
];

/// What every module of these tests may import.
pub(crate) const IMPORTS: &str = r#"(import "host" "note" (func $note (param i32)))
    (import "host" "nest" (func $nest)) (import "host" "panic" (func $panic)) (import "host" "fail" (func $fail))"#;

pub(crate) const COMPILERS: &[Compiler] = &[
    Compiler::Cranelift,
    #[cfg(feature = "singlepass")]
    Compiler::Singlepass,
];

pub(crate) fn check(wat: &str) -> CheckedModule {
    CheckedModule::new(wat::parse_str(wat).unwrap(), &FrontLimits::default()).unwrap()
}

pub(crate) fn link(engine: &WasmerEngine, wat: &str) -> WasmerLinked<State> {
    let module = check(wat);
    let compiled = engine.compile(&module).unwrap();
    link_compiled(engine, &module, &compiled)
}

pub(crate) fn link_compiled(
    engine: &WasmerEngine,
    module: &CheckedModule,
    compiled: &crate::WasmerModule,
) -> WasmerLinked<State> {
    let plan = LinkPlan::new::<State, Host>(module.info(), &EXPORTS).unwrap();
    engine.link::<State, Host>(compiled, plan).unwrap()
}

pub(crate) fn try_start(
    engine: &WasmerEngine,
    wat: &str,
    state: State,
    budget: Budget,
) -> Result<WasmerInstance<State>, Failed<State>> {
    engine.instantiate(&link(engine, wat), state, &Limits::default(), budget)
}

pub(crate) fn start(engine: &WasmerEngine, wat: &str) -> WasmerInstance<State> {
    try_start(engine, wat, State::default(), ticks(10_000)).unwrap()
}

pub(crate) fn ticks(ticks: u32) -> Budget {
    Budget { ticks, fuel: None }
}

/// Runs `test` with each compiler.
pub(crate) fn each(profile: Profile, test: impl Fn(&WasmerEngine)) {
    for compiler in COMPILERS {
        test(&WasmerEngine::with_compiler(profile, *compiler));
    }
}

pub(crate) fn run(instance: &mut WasmerInstance<State>) -> Result<(), Stop> {
    instance.call(RUN, &mut [], ticks(10_000)).map(|_| ())
}
