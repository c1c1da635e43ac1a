//! The engines through the traits.

use std::hint::black_box;

#[cfg(feature = "wasmer")]
use chassis_backend_wasmer::WasmerEngine;
use chassis_backend_wasmi::WasmiEngine;
use chassis_backend_wasmtime::WasmtimeEngine;
use chassis_engine_api::{
    Budget, Caller, CheckedModule, Engine, Export, ExportSpec, FrontLimits, HostFn, HostModule, Instance, Limits,
    LinkPlan, Profile, Registrar, Sig, Stop, Ty,
};
use criterion::Criterion;

use crate::{Calls, guest};

const CALL: Sig = Sig::new(&[Ty::I32; 3], Some(Ty::I32));

static EXPORTS: &[ExportSpec] = &[
    ExportSpec { name: "empty", sig: CALL },
    ExportSpec { name: "host_calls", sig: CALL },
    ExportSpec { name: "get_header", sig: CALL },
    ExportSpec { name: "malloc", sig: Sig::new(&[Ty::I32], Some(Ty::I32)) },
];
const MALLOC: Export = Export(3);
const BUDGET: Budget = Budget { ticks: 50, fuel: None };

/// The state: what a host function has a look at.
pub(crate) struct State {
    pub(crate) value: Vec<u8>,
}

impl State {
    pub(crate) fn new() -> Self {
        State { value: guest::VALUE.to_vec() }
    }
}

struct Nothing;

impl HostFn<State> for Nothing {
    const MODULE: &'static str = "env";
    const NAME: &'static str = "nothing";
    const SIG: Sig = CALL;

    #[inline]
    fn call<C: Caller<State> + ?Sized>(_caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
        slots[0] = black_box(slots[0]) & 1;
        Ok(())
    }
}

struct GetHeader;

impl HostFn<State> for GetHeader {
    const MODULE: &'static str = "env";
    const NAME: &'static str = "get_header";
    const SIG: Sig = Sig::new(&[Ty::I32; 5], Some(Ty::I32));

    #[inline]
    fn call<C: Caller<State> + ?Sized>(caller: &mut C, slots: &mut [u64]) -> Result<(), Stop> {
        let (pointer, size) = (slots[3] as u32 as usize, slots[4] as u32 as usize);
        let len = caller.state().value.len();
        let mut allocated = [len as u64];
        caller.call(MALLOC, &mut allocated)?;
        let at = allocated[0] as u32;
        let (memory, state) = caller.memory();
        memory[at as usize..at as usize + len].copy_from_slice(&state.value);
        memory[pointer..pointer + 4].copy_from_slice(&at.to_le_bytes());
        memory[size..size + 4].copy_from_slice(&(len as u32).to_le_bytes());
        slots[0] = 0;
        Ok(())
    }
}

struct Host;

impl HostModule<State> for Host {
    fn register<R: Registrar<State>>(registrar: &mut R) {
        registrar.add::<Nothing>();
        registrar.add::<GetHeader>();
    }
}

struct Through<I>(I);

/// An instance of whichever engine.
struct AcrossTheEdge(Box<dyn Instance<State>>);

impl<I: Instance<State>> Calls for Through<I> {
    fn empty(&mut self) {
        call(&mut self.0, 0);
    }

    fn host_calls(&mut self) {
        call(&mut self.0, 1);
    }

    fn get_header(&mut self) {
        call(&mut self.0, 2);
    }
}

impl Calls for AcrossTheEdge {
    fn empty(&mut self) {
        call(&mut *self.0, 0);
    }

    fn host_calls(&mut self) {
        call(&mut *self.0, 1);
    }

    fn get_header(&mut self) {
        call(&mut *self.0, 2);
    }
}

#[inline]
fn call(instance: &mut (impl Instance<State> + ?Sized), export: u8) {
    let mut slots = [1, 2, 3];
    instance.call(Export(export), &mut slots, BUDGET).unwrap();
    black_box(slots[0]);
}

/// The engine known at compile time.
pub(crate) fn wasmtime() -> Box<dyn Calls> {
    calls(&WasmtimeEngine::new(Profile::Deadline).unwrap())
}

/// The engine known at compile time.
#[cfg(feature = "wasmer")]
pub(crate) fn wasmer() -> Box<dyn Calls> {
    calls(&WasmerEngine::new(Profile::Deadline).unwrap())
}

/// The engine known at compile time.
pub(crate) fn wasmi() -> Box<dyn Calls> {
    calls(&WasmiEngine::new(Profile::Deadline).unwrap())
}

/// The engine chosen at run time.
pub(crate) fn any_wasmtime() -> Box<dyn Calls> {
    Box::new(AcrossTheEdge(Box::new(instance(&WasmtimeEngine::new(Profile::Deadline).unwrap()))))
}

/// The engine chosen at run time.
#[cfg(feature = "wasmer")]
pub(crate) fn any_wasmer() -> Box<dyn Calls> {
    Box::new(AcrossTheEdge(Box::new(instance(&WasmerEngine::new(Profile::Deadline).unwrap()))))
}

/// The engine chosen at run time.
pub(crate) fn any_wasmi() -> Box<dyn Calls> {
    Box::new(AcrossTheEdge(Box::new(instance(&WasmiEngine::new(Profile::Deadline).unwrap()))))
}

fn checked(bytes: Vec<u8>) -> CheckedModule {
    CheckedModule::new(bytes, &FrontLimits::default()).unwrap()
}

fn link<E: Engine>(engine: &E, module: &CheckedModule) -> E::Linked<State> {
    let compiled = engine.compile(module).unwrap();
    let plan = LinkPlan::new::<State, Host>(module.info(), EXPORTS).unwrap();
    engine.link::<State, Host>(&compiled, plan).unwrap()
}

fn instantiate<E: Engine>(engine: &E, linked: &E::Linked<State>) -> E::Instance<State> {
    let made = engine.instantiate(linked, State::new(), &Limits::default(), BUDGET);
    made.map_err(|failed| failed.stop).unwrap()
}

fn calls<E: Engine>(engine: &E) -> Box<dyn Calls> {
    Box::new(Through(instance(engine)))
}

fn instance<E: Engine>(engine: &E) -> E::Instance<State> {
    instantiate(engine, &link(engine, &checked(guest::module())))
}

pub(crate) fn modules(criterion: &mut Criterion) {
    let wasmtime = WasmtimeEngine::new(Profile::Deadline).unwrap();
    modules_of(criterion, "wasmtime/trait", &wasmtime);
    #[cfg(feature = "wasmer")]
    modules_of(criterion, "wasmer/trait", &WasmerEngine::new(Profile::Deadline).unwrap());
    modules_of(criterion, "wasmi/trait", &WasmiEngine::new(Profile::Deadline).unwrap());
    let module = checked(guest::large_module());
    let artefact = wasmtime.save(&wasmtime.compile(&module).unwrap()).unwrap().unwrap();
    criterion.bench_function("wasmtime/trait/load AOT", |b| b.iter(|| wasmtime.load(&module, &artefact).unwrap()));
}

fn modules_of<E: Engine>(criterion: &mut Criterion, name: &str, engine: &E) {
    let linked = link(engine, &checked(guest::module()));
    criterion.bench_function(&format!("{name}/instantiate"), |b| b.iter(|| instantiate(engine, &linked)));
    let module = checked(guest::large_module());
    let mut group = criterion.benchmark_group(name.to_owned());
    group.sample_size(10);
    group.bench_function("compile", |b| b.iter(|| engine.compile(&module).unwrap()));
    group.finish();
}
