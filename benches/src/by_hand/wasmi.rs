//! wasmi by hand: fuel in slices, as its backend's deadline needs.

use wasmi::{
    AsContextMut, Caller, CompilationMode, Config, Engine, Linker, Memory, Module, Store, TypedFunc, TypedResumableCall,
};

use super::{GIVING, HandMade, write};
use crate::work::{Run, Unable, each, repeated};

/// What the backend gives a call at a time.
const FUEL: u64 = 16_384;

struct Data {
    value: Vec<u8>,
    memory: Option<Memory>,
    malloc: Option<TypedFunc<u32, u32>>,
}

struct Guest {
    store: Store<Data>,
    call: TypedFunc<(u32, u32, u32), u32>,
}

impl HandMade for Guest {
    fn call(&mut self, times: u32) -> Result<u32, String> {
        self.store.set_fuel(FUEL).map_err(words)?;
        let mut call = self.call.call_resumable(&mut self.store, (2, times, 0)).map_err(words)?;
        loop {
            call = match call {
                TypedResumableCall::Finished(result) => return Ok(result),
                TypedResumableCall::OutOfFuel(paused) => {
                    let fuel = FUEL.max(paused.required_fuel());
                    self.store.set_fuel(fuel).map_err(words)?;
                    paused.resume(&mut self.store).map_err(words)?
                }
                TypedResumableCall::HostTrap(_) => return Err("a host function failed".to_owned()),
            }
        }
    }
}

pub(super) fn compile(module: &[u8]) -> Result<Run, Unable> {
    let (engine, module) = (engine(), module.to_vec());
    Ok(each(move || Module::new(&engine, &module).map_err(words)))
}

pub(super) fn load(_module: &[u8]) -> Result<Run, Unable> {
    Err(Unable::NotMeaningful)
}

pub(super) fn instantiate(module: &[u8]) -> Result<Run, Unable> {
    let engine = engine();
    let linker = linker(&engine)?;
    let module = Module::new(&engine, module).map_err(words)?;
    Ok(repeated(move || instance(&engine, &linker, &module, &[]).map(drop)))
}

pub(super) fn guest((module, value): (&[u8], &[u8])) -> Result<Box<dyn HandMade>, Unable> {
    let engine = engine();
    let linker = linker(&engine)?;
    let module = Module::new(&engine, module).map_err(words)?;
    Ok(Box::new(instance(&engine, &linker, &module, value)?))
}

fn engine() -> Engine {
    let mut config = Config::default();
    config.consume_fuel(true).compilation_mode(CompilationMode::Eager).ignore_custom_sections(true);
    Engine::new(&config)
}

fn linker(engine: &Engine) -> Result<Linker<Data>, String> {
    let mut linker = Linker::new(engine);
    let equal = |_: Caller<'_, Data>, a: u32, b: u32| u32::from(a == b);
    linker.func_wrap("env", "pthread_equal", equal).map_err(|error| error.to_string())?;
    for name in GIVING {
        linker.func_wrap("env", name, give).map_err(|error| error.to_string())?;
    }
    Ok(linker)
}

fn give(mut caller: Caller<'_, Data>, _: u32, _: u32, _: u32, pointer: u32, size: u32) -> Result<u32, wasmi::Error> {
    let len = caller.data().value.len();
    let (Some(malloc), Some(memory)) = (caller.data().malloc, caller.data().memory) else { return Ok(1) };
    let mut call = malloc.call_resumable(&mut caller, len as u32)?;
    let at = loop {
        call = match call {
            TypedResumableCall::Finished(at) => break at,
            TypedResumableCall::OutOfFuel(paused) => {
                let fuel = FUEL.max(paused.required_fuel());
                caller.as_context_mut().set_fuel(fuel)?;
                paused.resume(&mut caller)?
            }
            TypedResumableCall::HostTrap(_) => return Ok(1),
        };
    };
    let (bytes, data) = memory.data_and_store_mut(&mut caller);
    Ok(write(bytes, at, &data.value, pointer, size))
}

fn instance(engine: &Engine, linker: &Linker<Data>, module: &Module, value: &[u8]) -> Result<Guest, String> {
    let mut store = Store::new(engine, Data { value: value.to_vec(), memory: None, malloc: None });
    store.set_fuel(FUEL).map_err(words)?;
    let instance = linker.instantiate_and_start(&mut store, module).map_err(words)?;
    store.data_mut().memory = instance.get_memory(&store, "memory");
    store.data_mut().malloc = instance.get_typed_func(&store, "proxy_on_memory_allocate").ok();
    let call = instance.get_typed_func(&store, "proxy_on_request_headers").map_err(words)?;
    Ok(Guest { store, call })
}

fn words(error: wasmi::Error) -> String {
    error.to_string()
}
