//! The same guests by hand, against each engine's own interface with the settings that its backend has: no ABI, no checks
//! of arguments, no streams. What Chassis adds is the difference.

#[cfg(feature = "wasmedge")]
mod wasmedge;
#[cfg(feature = "wasmer")]
mod wasmer;
#[cfg(feature = "wasmi")]
mod wasmi;
#[cfg(feature = "wasmtime")]
mod wasmtime;

use crate::work::{Run, Unable};

/// A guest by hand. It imports at most `env.pthread_equal`, which compares two numbers, and a function of five
/// parameters, which gives a value of the host into memory that the guest allocates.
pub(crate) trait HandMade {
    /// Calls `proxy_on_request_headers` with this as its second parameter.
    fn call(&mut self, times: u32) -> Result<u32, String>;
}

/// The names of the functions that give a value.
#[cfg(any(feature = "wasmtime", feature = "wasmer", feature = "wasmedge", feature = "wasmi"))]
const GIVING: [&str; 2] = ["proxy_get_header_map_value", "proxy_get_buffer_bytes"];

/// Writes a value, and where and how large it is; 0, or 6 if it does not fit.
#[cfg(any(feature = "wasmtime", feature = "wasmer", feature = "wasmedge", feature = "wasmi"))]
#[inline]
fn write(memory: &mut [u8], at: u32, value: &[u8], pointer: u32, size: u32) -> u32 {
    let mut put = |at: u32, bytes: &[u8]| {
        let place = memory.get_mut(at as usize..at as usize + bytes.len())?;
        place.copy_from_slice(bytes);
        Some(())
    };
    let written = put(at, value)
        .and_then(|()| put(pointer, &at.to_le_bytes()))
        .and_then(|()| put(size, &(value.len() as u32).to_le_bytes()));
    if written.is_some() { 0 } else { 6 }
}

macro_rules! dispatch {
    ($engine:expr, $function:ident($($argument:expr),*)) => {
        match $engine {
            #[cfg(feature = "wasmtime")]
            "wasmtime" => wasmtime::$function($($argument),*),
            #[cfg(feature = "wasmer")]
            "wasmer" => wasmer::$function($($argument),*),
            #[cfg(feature = "wasmedge")]
            "wasmedge" => wasmedge::$function($($argument),*),
            #[cfg(feature = "wasmi")]
            "wasmi" => wasmi::$function($($argument),*),
            _ => Err(not_meaningful($($argument),*)),
        }
    };
}

/// What an engine does that has no interface of its own.
fn not_meaningful<T>(_: T) -> Unable {
    Unable::NotMeaningful
}

/// Compiles a module.
pub(crate) fn compile(engine: &str, module: &[u8]) -> Result<Run, Unable> {
    dispatch!(engine, compile(module))
}

/// Loads a module's saved code.
pub(crate) fn load(engine: &str, module: &[u8]) -> Result<Run, Unable> {
    dispatch!(engine, load(module))
}

/// Makes an instance of a module without imports, and drops it.
pub(crate) fn instantiate(engine: &str, module: &[u8]) -> Result<Run, Unable> {
    dispatch!(engine, instantiate(module))
}

/// An instance that can be called, with the value that its host has.
pub(crate) fn guest(engine: &str, module: &[u8], value: &[u8]) -> Result<Box<dyn HandMade>, Unable> {
    let made = (module, value);
    dispatch!(engine, guest(made))
}
