//! Wasmtime behind the engine traits of Chassis.
//!
//! It compiles checked modules with Cranelift, links them with host functions, runs instances within their budgets,
//! and saves compiled code. It never looks at what a module is for: it knows neither Proxy-Wasm nor HTTP, opens no
//! file and starts no thread of its own (Wasmtime compiles on a shared thread pool).
//!
//! How the promises of [`chassis_engine_api`] are met:
//!
//! - **Deadline**: epochs, which the process clock advances each tick; each host call looks at the clock as well.
//!   One bulk instruction is not interrupted: filling a whole memory of 64 MiB takes some 10 ms.
//! - **Fuel**: Wasmtime's own, in [`Profile::Fuel`](chassis_engine_api::Profile::Fuel) only, as counting costs speed.
//! - **Memory and tables**: a limiter per instance.
//! - **Depth**: guest frames, those of host functions between them included, get 512 KiB of the calling thread's
//!   stack. Threads that run guests need that much and what their host functions use on top; 2 MiB is plenty.
//! - **Traps**: Wasmtime takes over SIGSEGV, SIGBUS, SIGILL and SIGFPE, and hands on what is not a guest's.
//!
//! Linear memories reserve 4 GiB of address space each, so that no load or store needs a bounds check. In
//! [`Profile::Stream`](chassis_engine_api::Profile::Stream) the address space for all instances is reserved at once,
//! see [`POOL_SIZES`].

// Values cross to and from compiled code in untyped form, and saved code is loaded back; each block says why it may.
#![allow(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod caller;
mod capabilities;
mod config;
mod engine;
mod instance;
mod limiter;
mod link;
mod stop;
#[cfg(test)]
mod tests;
mod values;

pub use config::POOL_SIZES;
pub use engine::{WasmtimeEngine, WasmtimeModule};
pub use instance::WasmtimeInstance;
pub use link::WasmtimeLinked;
