//! Wasmtime by hand, with the settings that the backend has.

use std::hint::black_box;

use criterion::Criterion;
use wasmtime::{
    Caller, Config, Engine, Instance, InstancePre, Linker, Memory, Module, OptLevel, ResourceLimiter, Store, TypedFunc,
    UpdateDeadline,
};

use crate::through_trait::State;
use crate::{Calls, guest};

struct Data {
    state: State,
    memory: Option<Memory>,
    malloc: Option<TypedFunc<u32, u32>>,
    limiter: Limiter,
}

struct Limiter;

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 64 << 20)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 10_000)
    }
}

struct ByHand {
    store: Store<Data>,
    empty: TypedFunc<(u32, u32, u32), u32>,
    host_calls: TypedFunc<(u32, u32, u32), u32>,
    get_header: TypedFunc<(u32, u32, u32), u32>,
}

impl Calls for ByHand {
    fn empty(&mut self) {
        self.store.set_epoch_deadline(1);
        black_box(self.empty.call(&mut self.store, (1, 2, 3)).unwrap());
    }

    fn host_calls(&mut self) {
        self.store.set_epoch_deadline(1);
        black_box(self.host_calls.call(&mut self.store, (1, 2, 3)).unwrap());
    }

    fn get_header(&mut self) {
        self.store.set_epoch_deadline(1);
        black_box(self.get_header.call(&mut self.store, (1, 2, 3)).unwrap());
    }
}

fn engine() -> Engine {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .epoch_interruption(true)
        .max_wasm_stack(512 << 10)
        .gc_support(false)
        .memory_init_cow(true);
    Engine::new(&config).unwrap()
}

fn link(engine: &Engine) -> InstancePre<Data> {
    let mut linker: Linker<Data> = Linker::new(engine);
    linker.func_wrap("env", "nothing", |_: Caller<'_, Data>, a: u32, _: u32, _: u32| black_box(a) & 1).unwrap();
    linker.func_wrap("env", "get_header", get_header).unwrap();
    linker.instantiate_pre(&Module::new(engine, guest::module()).unwrap()).unwrap()
}

fn get_header(mut caller: Caller<'_, Data>, _: u32, _: u32, _: u32, pointer: u32, size: u32) -> wasmtime::Result<u32> {
    let len = caller.data().state.value.len();
    let malloc = caller.data().malloc.clone().unwrap();
    let at = malloc.call(&mut caller, len as u32)?;
    let memory = caller.data().memory.unwrap();
    let (bytes, data) = memory.data_and_store_mut(&mut caller);
    bytes[at as usize..at as usize + len].copy_from_slice(&data.state.value);
    bytes[pointer as usize..pointer as usize + 4].copy_from_slice(&at.to_le_bytes());
    bytes[size as usize..size as usize + 4].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(0)
}

fn instantiate(engine: &Engine, pre: &InstancePre<Data>) -> (Store<Data>, Instance) {
    let mut store = Store::new(engine, Data { state: State::new(), memory: None, malloc: None, limiter: Limiter });
    store.limiter(|data| &mut data.limiter);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
    store.set_epoch_deadline(1);
    let instance = pre.instantiate(&mut store).unwrap();
    let memory = instance.get_memory(&mut store, "memory");
    let malloc = instance.get_typed_func(&mut store, "malloc").ok();
    store.data_mut().memory = memory;
    store.data_mut().malloc = malloc;
    (store, instance)
}

/// An instance with its exports, ready to be called: what the trait's instances are too.
fn by_hand(engine: &Engine, pre: &InstancePre<Data>) -> ByHand {
    let (mut store, instance) = instantiate(engine, pre);
    let mut export = |name| instance.get_typed_func(&mut store, name).unwrap();
    let (empty, host_calls, get_header) = (export("empty"), export("host_calls"), export("get_header"));
    ByHand { store, empty, host_calls, get_header }
}

pub(crate) fn calls() -> Box<dyn Calls> {
    let engine = engine();
    Box::new(by_hand(&engine, &link(&engine)))
}

pub(crate) fn modules(criterion: &mut Criterion) {
    let engine = engine();
    let pre = link(&engine);
    criterion.bench_function("wasmtime/by_hand/instantiate", |b| b.iter(|| by_hand(&engine, &pre)));
    let bytes = guest::large_module();
    let mut group = criterion.benchmark_group("wasmtime/by_hand");
    group.sample_size(10);
    group.bench_function("compile", |b| b.iter(|| Module::new(&engine, &bytes).unwrap()));
    group.finish();
    let saved = Module::new(&engine, &bytes).unwrap().serialize().unwrap();
    criterion.bench_function("wasmtime/by_hand/load AOT", |b| b.iter(|| load(&engine, &saved)));
}

#[allow(unsafe_code)]
fn load(engine: &Engine, saved: &[u8]) -> Module {
    // SAFETY: the bytes come from this very engine's `serialize` above.
    unsafe { Module::deserialize(engine, saved) }.unwrap()
}
