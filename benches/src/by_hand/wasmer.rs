//! Wasmer by hand, with the compiler that its backend has. It has no limits here: Wasmer offers no deadline, and the
//! backend's way to one is its own.

use wasmer::sys::Cranelift;
use wasmer::{
    Engine, Exports, Function, FunctionEnv, FunctionEnvMut, Imports, Instance, Memory, Module, RuntimeError, Store,
    TypedFunction,
};

use super::{GIVING, HandMade};
use crate::work::{Run, Unable, each, repeated};

struct Data {
    value: Vec<u8>,
    memory: Option<Memory>,
    malloc: Option<TypedFunction<u32, u32>>,
}

struct Guest {
    store: Store,
    call: TypedFunction<(u32, u32, u32), u32>,
}

impl HandMade for Guest {
    fn call(&mut self, times: u32) -> Result<u32, String> {
        self.call.call(&mut self.store, 2, times, 0).map_err(words)
    }
}

pub(super) fn compile(module: &[u8]) -> Result<Run, Unable> {
    let (engine, module) = (engine(), module.to_vec());
    Ok(each(move || Module::new(&engine, &module).map_err(words)))
}

pub(super) fn load(module: &[u8]) -> Result<Run, Unable> {
    let engine = engine();
    let saved = Module::new(&engine, module).map_err(words)?.serialize().map_err(words)?;
    Ok(each(move || deserialize(&engine, &saved)))
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, saved: &[u8]) -> Result<Module, String> {
    // SAFETY: the bytes come from this very engine's `serialize`, in `load`.
    unsafe { Module::deserialize(engine, saved) }.map_err(words)
}

pub(super) fn instantiate(module: &[u8]) -> Result<Run, Unable> {
    let engine = engine();
    let module = Module::new(&engine, module).map_err(words)?;
    Ok(repeated(move || instance(&engine, &module, &[]).map(drop)))
}

pub(super) fn guest((module, value): (&[u8], &[u8])) -> Result<Box<dyn HandMade>, Unable> {
    let engine = engine();
    let module = Module::new(&engine, module).map_err(words)?;
    Ok(Box::new(instance(&engine, &module, value)?))
}

fn engine() -> Engine {
    Cranelift::new().into()
}

fn equal(_: FunctionEnvMut<'_, Data>, a: u32, b: u32) -> u32 {
    u32::from(a == b)
}

fn give(
    mut caller: FunctionEnvMut<'_, Data>,
    _: u32,
    _: u32,
    _: u32,
    pointer: u32,
    size: u32,
) -> Result<u32, RuntimeError> {
    let (data, mut store) = caller.data_and_store_mut();
    let (Some(malloc), Some(memory)) = (&data.malloc, &data.memory) else { return Ok(1) };
    let value = &data.value;
    let at = malloc.call(&mut store, value.len() as u32)?;
    let view = memory.view(&store);
    let written = view
        .write(u64::from(at), value)
        .and_then(|()| view.write(u64::from(pointer), &at.to_le_bytes()))
        .and_then(|()| view.write(u64::from(size), &(value.len() as u32).to_le_bytes()));
    written.map_err(|error| RuntimeError::new(error.to_string()))?;
    Ok(0)
}

fn instance(engine: &Engine, module: &Module, value: &[u8]) -> Result<Guest, String> {
    let mut store = Store::new(engine.clone());
    let env = FunctionEnv::new(&mut store, Data { value: value.to_vec(), memory: None, malloc: None });
    let mut functions = Exports::new();
    for import in module.imports() {
        let function = match import.name() {
            "pthread_equal" => Function::new_typed_with_env(&mut store, &env, equal),
            name if GIVING.contains(&name) => Function::new_typed_with_env(&mut store, &env, give),
            name => return Err(format!("by hand there is no {name}")),
        };
        functions.insert(import.name(), function);
    }
    let mut imports = Imports::new();
    imports.register_namespace("env", functions);
    let instance = Instance::new(&mut store, module, &imports).map_err(words)?;
    let memory = instance.exports.get_memory("memory").map_err(words)?.clone();
    let malloc = instance.exports.get_typed_function(&store, "proxy_on_memory_allocate").map_err(words)?;
    let data = env.as_mut(&mut store);
    (data.memory, data.malloc) = (Some(memory), Some(malloc));
    let call = instance.exports.get_typed_function(&store, "proxy_on_request_headers").map_err(words)?;
    Ok(Guest { store, call })
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
