//! Wasmer by hand, with the compiler that the backend has, and without any limit: Wasmer has no deadline to offer.

use std::hint::black_box;

use criterion::Criterion;
use wasmer::sys::Cranelift;
use wasmer::{
    Engine, Extern, Function, FunctionEnv, FunctionEnvMut, Instance, Memory, Module, RuntimeError, Store, TypedFunction,
};

use crate::through_trait::State;
use crate::{Calls, guest};

struct Data {
    state: State,
    memory: Option<Memory>,
    malloc: Option<TypedFunction<u32, u32>>,
}

type Call = TypedFunction<(u32, u32, u32), u32>;

struct ByHand {
    store: Store,
    empty: Call,
    host_calls: Call,
    get_header: Call,
}

impl Calls for ByHand {
    fn empty(&mut self) {
        black_box(self.empty.call(&mut self.store, 1, 2, 3).unwrap());
    }

    fn host_calls(&mut self) {
        black_box(self.host_calls.call(&mut self.store, 1, 2, 3).unwrap());
    }

    fn get_header(&mut self) {
        black_box(self.get_header.call(&mut self.store, 1, 2, 3).unwrap());
    }
}

fn engine() -> Engine {
    Cranelift::new().into()
}

fn nothing(_: FunctionEnvMut<'_, Data>, a: u32, _: u32, _: u32) -> u32 {
    black_box(a) & 1
}

fn get_header(
    mut caller: FunctionEnvMut<'_, Data>,
    _: u32,
    _: u32,
    _: u32,
    pointer: u32,
    size: u32,
) -> Result<u32, RuntimeError> {
    let (data, mut store) = caller.data_and_store_mut();
    let (Some(malloc), Some(memory)) = (&data.malloc, &data.memory) else { return Ok(1) };
    let value = &data.state.value;
    let at = malloc.call(&mut store, value.len() as u32)?;
    let view = memory.view(&store);
    let written = view
        .write(u64::from(at), value)
        .and_then(|()| view.write(u64::from(pointer), &at.to_le_bytes()))
        .and_then(|()| view.write(u64::from(size), &(value.len() as u32).to_le_bytes()));
    written.map_err(|error| RuntimeError::new(error.to_string()))?;
    Ok(0)
}

/// An instance with its exports, ready to be called: what the trait's instances are too.
fn by_hand(engine: &Engine, module: &Module) -> ByHand {
    let mut store = Store::new(engine.clone());
    let env = FunctionEnv::new(&mut store, Data { state: State::new(), memory: None, malloc: None });
    let imports: [Extern; 2] = [
        Function::new_typed_with_env(&mut store, &env, nothing).into(),
        Function::new_typed_with_env(&mut store, &env, get_header).into(),
    ];
    let instance = Instance::new_by_index(&mut store, module, &imports).unwrap();
    let memory = instance.exports.get_memory("memory").unwrap().clone();
    let malloc = instance.exports.get_typed_function(&store, "malloc").unwrap();
    let data = env.as_mut(&mut store);
    (data.memory, data.malloc) = (Some(memory), Some(malloc));
    let export = |name| instance.exports.get_typed_function(&store, name).unwrap();
    let (empty, host_calls, get_header) = (export("empty"), export("host_calls"), export("get_header"));
    ByHand { store, empty, host_calls, get_header }
}

pub(crate) fn calls() -> Box<dyn Calls> {
    let engine = engine();
    let module = Module::new(&engine, guest::module()).unwrap();
    Box::new(by_hand(&engine, &module))
}

pub(crate) fn modules(criterion: &mut Criterion) {
    let engine = engine();
    let module = Module::new(&engine, guest::module()).unwrap();
    criterion.bench_function("wasmer/by_hand/instantiate", |b| b.iter(|| by_hand(&engine, &module)));
    let bytes = guest::large_module();
    let mut group = criterion.benchmark_group("wasmer/by_hand");
    group.sample_size(10);
    group.bench_function("compile", |b| b.iter(|| Module::new(&self::engine(), &bytes).unwrap()));
    group.finish();
}
