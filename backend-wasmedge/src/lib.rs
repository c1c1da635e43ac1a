//! WasmEdge behind the engine traits of Chassis.
//!
//! It runs checked modules in WasmEdge's interpreter: it links them with host functions and runs instances within their
//! budgets. It never compiles to machine code (see below) and never looks at what a module is for: it knows neither
//! Proxy-Wasm nor HTTP. It needs the shared library libwasmedge 0.17; `cargo xtask with-wasmedge -- COMMAND` brings it.
//!
//! How the promises of [`chassis_engine_api`] are met:
//!
//! - **Deadline**: the process clock cancels calls that are over (`watch.rs`); the guest hears of it at its next branch or
//!   call, and each host call looks at the clock as well. One bulk instruction is not interrupted: filling a whole
//!   memory of 64 MiB takes some 10 ms.
//! - **Fuel**: WasmEdge's cost limit, one unit an instruction, in [`Profile::Fuel`](chassis_engine_api::Profile::Fuel)
//!   only, as counting costs speed.
//! - **Memory**: WasmEdge's own limit, of each instance's own executor.
//! - **Tables and depth**: WasmEdge has no limits for them; the module's own code is changed to keep them (`rewrite`).
//!   The guest's stack lies on the heap and takes about 2 MiB at most.
//!
//! Making an instance starts a thread of WasmEdge's for a moment, without which calls could not be cancelled. Where the
//! system starts none, the instance is refused.
//!
//! WasmEdge's own compiler is not offered. Code that it made sets handlers for SIGSEGV and others at each call and
//! leaves the default ones behind, so that a trap in another engine would end the process; and endless recursion in it
//! ends the process too, as it overruns the thread's stack, where no handler can run. Tests show both.

// The C interface is used as it is; each block says why it may be.
#![allow(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod caller;
mod capabilities;
mod engine;
mod instance;
mod limiter;
mod link;
mod machine;
mod raw;
mod rewrite;
mod stop;
mod values;
mod watch;

pub use engine::{WasmedgeEngine, WasmedgeModule};
pub use instance::WasmedgeInstance;
pub use link::WasmedgeLinked;
