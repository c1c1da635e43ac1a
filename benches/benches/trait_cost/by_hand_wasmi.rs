//! wasmi by hand, with the settings that the backend has: fuel on, typed calls.

use std::hint::black_box;

use criterion::Criterion;
use wasmi::{
    AsContextMut, Caller, CompilationMode, Config, Engine, Linker, Memory, Module, Store, TypedFunc, TypedResumableCall,
};

use crate::through_trait::State;
use crate::{Calls, guest};

/// What the backend gives a call at a time.
const FUEL: u64 = 16_384;

struct Data {
    state: State,
    memory: Option<Memory>,
    malloc: Option<TypedFunc<u32, u32>>,
}

type Callback = TypedFunc<(u32, u32, u32), u32>;

struct ByHand {
    store: Store<Data>,
    empty: Callback,
    host_calls: Callback,
    get_header: Callback,
}

impl ByHand {
    #[inline]
    fn call(&mut self, callback: Callback) {
        self.store.set_fuel(FUEL).unwrap();
        let mut call = callback.call_resumable(&mut self.store, (1, 2, 3)).unwrap();
        loop {
            call = match call {
                TypedResumableCall::Finished(result) => {
                    black_box(result);
                    return;
                }
                TypedResumableCall::OutOfFuel(paused) => {
                    self.store.set_fuel(FUEL).unwrap();
                    paused.resume(&mut self.store).unwrap()
                }
                TypedResumableCall::HostTrap(_) => unreachable!("no host function fails here"),
            }
        }
    }
}

impl Calls for ByHand {
    fn empty(&mut self) {
        self.call(self.empty);
    }

    fn host_calls(&mut self) {
        self.call(self.host_calls);
    }

    fn get_header(&mut self) {
        self.call(self.get_header);
    }
}

fn engine() -> Engine {
    let mut config = Config::default();
    config.consume_fuel(true).compilation_mode(CompilationMode::Eager).ignore_custom_sections(true);
    Engine::new(&config)
}

fn linker(engine: &Engine) -> Linker<Data> {
    let mut linker = Linker::new(engine);
    linker.func_wrap("env", "nothing", |_: Caller<'_, Data>, a: u32, _: u32, _: u32| black_box(a) & 1).unwrap();
    linker.func_wrap("env", "get_header", get_header).unwrap();
    linker
}

fn get_header(
    mut caller: Caller<'_, Data>,
    _: u32,
    _: u32,
    _: u32,
    pointer: u32,
    size: u32,
) -> Result<u32, wasmi::Error> {
    let len = caller.data().state.value.len();
    let malloc = caller.data().malloc.unwrap();
    let mut call = malloc.call_resumable(&mut caller, len as u32)?;
    let at = loop {
        call = match call {
            TypedResumableCall::Finished(at) => break at,
            TypedResumableCall::OutOfFuel(paused) => {
                caller.as_context_mut().set_fuel(FUEL)?;
                paused.resume(&mut caller)?
            }
            TypedResumableCall::HostTrap(_) => unreachable!("the allocator calls no host function"),
        };
    };
    let memory = caller.data().memory.unwrap();
    let (bytes, data) = memory.data_and_store_mut(&mut caller);
    bytes[at as usize..at as usize + len].copy_from_slice(&data.state.value);
    bytes[pointer as usize..pointer as usize + 4].copy_from_slice(&at.to_le_bytes());
    bytes[size as usize..size as usize + 4].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(0)
}

fn by_hand(engine: &Engine, linker: &Linker<Data>, module: &Module) -> ByHand {
    let mut store = Store::new(engine, Data { state: State::new(), memory: None, malloc: None });
    store.set_fuel(FUEL).unwrap();
    let instance = linker.instantiate_and_start(&mut store, module).unwrap();
    let export = |store: &Store<Data>, name| instance.get_typed_func(store, name).unwrap();
    let (empty, host_calls) = (export(&store, "empty"), export(&store, "host_calls"));
    let get_header = export(&store, "get_header");
    store.data_mut().memory = instance.get_memory(&store, "memory");
    store.data_mut().malloc = instance.get_typed_func(&store, "malloc").ok();
    ByHand { store, empty, host_calls, get_header }
}

pub(crate) fn calls() -> Box<dyn Calls> {
    let engine = engine();
    let module = Module::new(&engine, guest::module()).unwrap();
    Box::new(by_hand(&engine, &linker(&engine), &module))
}

pub(crate) fn modules(criterion: &mut Criterion) {
    let engine = engine();
    let linker = linker(&engine);
    let module = Module::new(&engine, guest::module()).unwrap();
    criterion.bench_function("wasmi/by_hand/instantiate", |b| b.iter(|| by_hand(&engine, &linker, &module)));
    let bytes = guest::large_module();
    let mut group = criterion.benchmark_group("wasmi/by_hand");
    group.sample_size(10);
    group.bench_function("compile", |b| b.iter(|| Module::new(&engine, &bytes).unwrap()));
    group.finish();
}
