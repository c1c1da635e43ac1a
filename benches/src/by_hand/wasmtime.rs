//! Wasmtime by hand.

use wasmtime::{
    Caller, Config, Engine, InstancePre, Linker, Memory, Module, OptLevel, Store, StoreLimits, StoreLimitsBuilder,
    TypedFunc, UpdateDeadline,
};

use super::{GIVING, HandMade, write};
use crate::work::{Run, Unable, each, repeated};

const STACK_BYTES: usize = 512 << 10;

struct Data {
    value: Vec<u8>,
    memory: Option<Memory>,
    malloc: Option<TypedFunc<u32, u32>>,
    limits: StoreLimits,
}

struct Guest {
    store: Store<Data>,
    call: TypedFunc<(u32, u32, u32), u32>,
}

impl HandMade for Guest {
    fn call(&mut self, times: u32) -> Result<u32, String> {
        self.store.set_epoch_deadline(1);
        self.call.call(&mut self.store, (2, times, 0)).map_err(words)
    }
}

pub(super) fn compile(module: &[u8]) -> Result<Run, Unable> {
    let (engine, module) = (engine()?, module.to_vec());
    Ok(each(move || Module::from_binary(&engine, &module).map_err(words)))
}

pub(super) fn load(module: &[u8]) -> Result<Run, Unable> {
    let engine = engine()?;
    let saved = Module::from_binary(&engine, module).and_then(|module| module.serialize()).map_err(words)?;
    Ok(each(move || deserialize(&engine, &saved)))
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, saved: &[u8]) -> Result<Module, String> {
    // SAFETY: the bytes come from this very engine's `serialize`, in `load`.
    unsafe { Module::deserialize(engine, saved) }.map_err(words)
}

pub(super) fn instantiate(module: &[u8]) -> Result<Run, Unable> {
    let engine = engine()?;
    let pre = link(&engine, module)?;
    Ok(repeated(move || instance(&engine, &pre, &[]).map(drop)))
}

pub(super) fn guest((module, value): (&[u8], &[u8])) -> Result<Box<dyn HandMade>, Unable> {
    let engine = engine()?;
    let pre = link(&engine, module)?;
    Ok(Box::new(instance(&engine, &pre, value)?))
}

fn engine() -> Result<Engine, String> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES)
        .memory_init_cow(true);
    Engine::new(&config).map_err(words)
}

fn link(engine: &Engine, module: &[u8]) -> Result<InstancePre<Data>, String> {
    let mut linker: Linker<Data> = Linker::new(engine);
    linker.func_wrap("env", "pthread_equal", |_: Caller<'_, Data>, a: u32, b: u32| u32::from(a == b)).map_err(words)?;
    for name in GIVING {
        linker.func_wrap("env", name, give).map_err(words)?;
    }
    let module = Module::from_binary(engine, module).map_err(words)?;
    linker.instantiate_pre(&module).map_err(words)
}

fn give(mut caller: Caller<'_, Data>, _: u32, _: u32, _: u32, pointer: u32, size: u32) -> wasmtime::Result<u32> {
    let len = caller.data().value.len();
    let (Some(malloc), Some(memory)) = (caller.data().malloc.clone(), caller.data().memory) else { return Ok(1) };
    let at = malloc.call(&mut caller, len as u32)?;
    let (bytes, data) = memory.data_and_store_mut(&mut caller);
    Ok(write(bytes, at, &data.value, pointer, size))
}

fn instance(engine: &Engine, pre: &InstancePre<Data>, value: &[u8]) -> Result<Guest, String> {
    let limits = StoreLimitsBuilder::new().memory_size(64 << 20).table_elements(10_000).build();
    let mut store = Store::new(engine, Data { value: value.to_vec(), memory: None, malloc: None, limits });
    store.limiter(|data| &mut data.limits);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
    store.set_epoch_deadline(1);
    let instance = pre.instantiate(&mut store).map_err(words)?;
    let memory = instance.get_memory(&mut store, "memory");
    let malloc = instance.get_typed_func(&mut store, "proxy_on_memory_allocate").ok();
    (store.data_mut().memory, store.data_mut().malloc) = (memory, malloc);
    let call = instance.get_typed_func(&mut store, "proxy_on_request_headers").map_err(words)?;
    Ok(Guest { store, call })
}

fn words(error: wasmtime::Error) -> String {
    format!("{error:#}")
}
