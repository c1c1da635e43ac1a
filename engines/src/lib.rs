//! The registry of the Wasm engines that were compiled in, each joined with the Proxy-Wasm host functions.
//!
//! A cargo feature only makes an engine available here; which one runs is decided at run time, by name. This is the only
//! crate that looks at those features, and it never changes what an engine does.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chassis_abi::VmState;
#[cfg(feature = "wasmedge")]
pub use chassis_backend_wasmedge::WasmedgeEngine;
#[cfg(feature = "wasmer")]
pub use chassis_backend_wasmer::WasmerEngine;
#[cfg(feature = "wasmi")]
pub use chassis_backend_wasmi::WasmiEngine;
#[cfg(feature = "wasmtime")]
pub use chassis_backend_wasmtime::WasmtimeEngine;
use chassis_engine_api::{AnyEngine, Engine, EngineError, Profile};
use thiserror::Error;

/// An engine that is ready for Proxy-Wasm modules.
pub type ProxyWasmEngine = Arc<dyn AnyEngine<VmState>>;

/// Every engine that Chassis has a backend for, in the order in which the default is chosen.
pub const ENGINES: [EngineEntry; 4] = [
    EngineEntry { name: "wasmtime", available: cfg!(feature = "wasmtime"), open: open_wasmtime },
    EngineEntry { name: "wasmer", available: cfg!(feature = "wasmer"), open: open_wasmer },
    EngineEntry { name: "wasmedge", available: cfg!(feature = "wasmedge"), open: open_wasmedge },
    EngineEntry { name: "wasmi", available: cfg!(feature = "wasmi"), open: open_wasmi },
];

/// A backend, compiled in or not.
#[derive(Debug, Clone, Copy)]
pub struct EngineEntry {
    /// The engine's name, which is also the name of its cargo feature.
    pub name: &'static str,
    available: bool,
    open: fn(Profile) -> Option<Result<ProxyWasmEngine, EngineError>>,
}

impl EngineEntry {
    /// Whether it was compiled in.
    pub fn is_available(&self) -> bool {
        self.available
    }
}

/// The names of the engines that were compiled in, the default first.
pub fn compiled_in() -> Vec<&'static str> {
    ENGINES.iter().filter(|entry| entry.available).map(|entry| entry.name).collect()
}

/// The engine that runs when none is named; `None` if none was compiled in.
pub fn default_engine() -> Option<&'static str> {
    compiled_in().first().copied()
}

/// The engine of this name. All callers of a process share one per profile.
///
/// # Errors
/// [`OpenError`]; says which cargo feature would help.
pub fn open(name: &str, profile: Profile) -> Result<ProxyWasmEngine, OpenError> {
    let entry =
        ENGINES.iter().find(|entry| entry.name == name).ok_or_else(|| OpenError::Unknown { name: name.into() })?;
    // An engine brings tables, threads and signal handlers of its own, so there is never a second equal one.
    static OPENED: Mutex<Option<HashMap<(&str, Profile), ProxyWasmEngine>>> = Mutex::new(None);
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let opened = opened.get_or_insert_default();
    if let Some(engine) = opened.get(&(entry.name, profile)) {
        return Ok(engine.clone());
    }
    let engine = (entry.open)(profile).ok_or(OpenError::NotCompiledIn { name: entry.name })??;
    opened.insert((entry.name, profile), engine.clone());
    Ok(engine)
}

/// Joins an engine with the Proxy-Wasm functions and callbacks: one that is not of this list, or one with settings of
/// its own.
pub fn proxy_wasm<E: Engine>(engine: E) -> ProxyWasmEngine {
    chassis_engine_api::erase::<E, chassis_abi::ProxyWasm, VmState>(engine, chassis_abi::EXPORTS)
}

/// Why there is no such engine.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No backend has this name: the user's mistake.
    #[error("there is no engine `{name}`; known are {}", ENGINES.map(|entry| entry.name).join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// It was left out when this program was built.
    #[error("engine `{name}` was not compiled in; build with `--features {name}`")]
    NotCompiledIn {
        /// The name.
        name: &'static str,
    },
    /// It could not be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

cfg_if::cfg_if! {
    if #[cfg(feature = "wasmtime")] {
        fn open_wasmtime(profile: Profile) -> Option<Result<ProxyWasmEngine, EngineError>> {
            Some(chassis_backend_wasmtime::WasmtimeEngine::new(profile).map(proxy_wasm))
        }
    } else {
        fn open_wasmtime(_profile: Profile) -> Option<Result<ProxyWasmEngine, EngineError>> {
            None
        }
    }
}

cfg_if::cfg_if! {
    if #[cfg(feature = "wasmer")] {
        fn open_wasmer(profile: Profile) -> Option<Result<ProxyWasmEngine, EngineError>> {
            Some(chassis_backend_wasmer::WasmerEngine::new(profile).map(proxy_wasm))
        }
    } else {
        fn open_wasmer(_profile: Profile) -> Option<Result<ProxyWasmEngine, EngineError>> {
            None
        }
    }
}

cfg_if::cfg_if! {
    if #[cfg(feature = "wasmedge")] {
        fn open_wasmedge(profile: Profile) -> Option<Result<ProxyWasmEngine, EngineError>> {
            Some(chassis_backend_wasmedge::WasmedgeEngine::new(profile).map(proxy_wasm))
        }
    } else {
        fn open_wasmedge(_profile: Profile) -> Option<Result<ProxyWasmEngine, EngineError>> {
            None
        }
    }
}

cfg_if::cfg_if! {
    if #[cfg(feature = "wasmi")] {
        fn open_wasmi(profile: Profile) -> Option<Result<ProxyWasmEngine, EngineError>> {
            Some(chassis_backend_wasmi::WasmiEngine::new(profile).map(proxy_wasm))
        }
    } else {
        fn open_wasmi(_profile: Profile) -> Option<Result<ProxyWasmEngine, EngineError>> {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_the_first_that_is_there() {
        assert_eq!(default_engine(), compiled_in().first().copied());
        for name in compiled_in() {
            assert_eq!(open(name, Profile::Deadline).unwrap().capabilities().name, name);
        }
    }

    #[test]
    fn a_missing_engine_names_what_would_help() {
        let error = open("v8", Profile::Deadline).err().unwrap().to_string();
        assert_eq!(error, "there is no engine `v8`; known are wasmtime, wasmer, wasmedge, wasmi");
        let error = OpenError::NotCompiledIn { name: "wasmi" }.to_string();
        assert!(error.contains("--features wasmi"));
    }
}
