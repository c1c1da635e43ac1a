//! A Proxy-Wasm host whose engine can be swapped: the library for embedders.
//!
//! Re-exports the choice of engine, the host and the ABI. It never pulls in a command-line tool or an HTTP server: I/O is
//! the embedder's.
//!
//! # Engines
//!
//! | feature | what it adds |
//! |---|---|
//! | `wasmtime` (default) | Wasmtime: compiles to machine code, the default engine |
//! | `wasmer` | Wasmer: compiles to machine code, another one to compare with |
//! | `wasmedge` | WasmEdge: its interpreter; links with libwasmedge 0.17 (`cargo xtask with-wasmedge` brings it) |
//! | `wasmi` (default) | wasmi: an interpreter that runs anywhere |
//! | `wasmi-portable-dispatch` | wasmi in builds in which its instructions do not become tail calls, such as unoptimised ones: slower, but always safe |
//!
//! A feature makes an engine available and changes nothing else. [`default_engine`] is the first one that was compiled
//! in, in the order of the table; [`open`] takes any of them by its name, and says which feature is missing if it is
//! not there. Plugins on different engines stand side by side in one process. Built without any engine, this crate is
//! for engines of one's own.
//!
//! # A host
//!
//! This is `examples/host.rs`; `cargo run -p chassis --example host wasmi` runs it.
//!
//! ```no_run
#![doc = include_str!("../../examples/host.rs")]
//! ```
//!
//! # An engine of one's own
//!
//! Whatever implements [`engine_api::Engine`] runs plugins: [`proxy_wasm`] gives it the Proxy-Wasm functions.
//! `examples/own_engine` is one from end to end, in 200 lines. Code that is generic over [`engine_api::Engine`] finds
//! the engines as types here, each with its feature.
//!
//! # Which part is where
//!
//! - [`host`]: plugins, workers, streams, log lines;
//! - [`abi`]: what plugins and the host say to each other: header lists, statuses, services that answer host calls;
//! - [`engine_api`]: what an engine is, what it can do, and what a call may spend.
#![forbid(unsafe_code)]

pub use chassis_abi as abi;
pub use chassis_engine_api as engine_api;
pub use chassis_engine_api::Profile;
pub use chassis_engine_api::compile::CompilePolicy;
#[cfg(feature = "wasmedge")]
pub use chassis_engines::WasmedgeEngine;
#[cfg(feature = "wasmer")]
pub use chassis_engines::WasmerEngine;
#[cfg(feature = "wasmi")]
pub use chassis_engines::WasmiEngine;
#[cfg(feature = "wasmtime")]
pub use chassis_engines::WasmtimeEngine;
pub use chassis_engines::{
    ENGINES, EngineEntry, OpenError, ProxyWasmEngine, compiled_in, default_engine, open, proxy_wasm,
};
pub use chassis_host as host;
