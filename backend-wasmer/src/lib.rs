//! Wasmer behind the engine traits of Chassis.
//!
//! It compiles checked modules with Cranelift (or, with the feature `singlepass`, on demand with Wasmer's single-pass
//! compiler), links them with host functions, runs instances within their budgets, and saves compiled code. It never
//! looks at what a module is for: it knows neither Proxy-Wasm nor HTTP, opens no file and keeps no thread.
//!
//! How the promises of [`chassis_engine_api`] are met:
//!
//! - **Deadline**: guests count their own work. Code that does so is put into each function and each loop when a module
//!   is compiled; when some ten microseconds of work are done, the guest calls the host, which looks at the clock and
//!   ends the call or grants the next slice. Nothing is interrupted from outside, so no thread and no signal is needed.
//!   One bulk instruction is not divided: filling a whole memory of 64 MiB takes some 10 ms.
//! - **Fuel**: the same counter, with a count for each straight piece of code, in
//!   [`Profile::Fuel`](chassis_engine_api::Profile::Fuel) only. A budget of N units is enough exactly if the call needs
//!   no more than N. A bulk instruction is paid by its size before it looks at its bounds: one that would trap ends
//!   with [`Stop::Fuel`](chassis_engine_api::Stop::Fuel) where the budget does not pay for that size, on an engine that
//!   counts it as one instruction with the trap.
//! - **Start sections** run as a call after everything else is in place, so that they have a budget like any call.
//! - **Memory and tables**: tunables per instance lower what the module declares as maximum.
//! - **Depth**: guests run on stacks of their own, of 512 KiB, which Wasmer keeps for later calls; host functions run on
//!   the thread's. Calls may be nested in host functions 16 deep. To trap in `unreachable`, in a bulk operator or in
//!   `table.get` and `table.set`, Wasmer takes a lock of the whole process on the guest's stack. Before each of them the
//!   guest's code sees to it that 24 KiB of the stack are left: an overflow while the lock is held would stop every
//!   thread that traps later. So a guest that reaches `unreachable` with less than that ends by a stack overflow.
//! - **Traps**: Wasmer takes over SIGSEGV, SIGILL and SIGFPE, and hands on what is not a guest's.
//!
//! # Compilers
//!
//! [`WasmerEngine::with_compiler`] chooses one. [`Compiler::Cranelift`] is what the engine `wasmer` of the registry, of
//! the facade and of the command line has. The single-pass compiler is for embedders who depend on this crate with its
//! feature `singlepass` and hand the engine to the facade's `proxy_wasm`.
//!
//! # Memory
//!
//! Wasmer frees code with its engine only, so each module has an engine of its own. Linear memories reserve 8 GiB of
//! address space each.

// Wasmer's memories, its tunables and saved code can be reached in no other way; each block says why it may.
#![allow(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod caller;
mod capabilities;
mod compiler;
mod engine;
mod instance;
mod limiter;
mod link;
mod metering;
mod module;
mod shared;
mod slots;
mod stop;
#[cfg(test)]
mod tests;

pub use compiler::Compiler;
pub use engine::WasmerEngine;
pub use instance::WasmerInstance;
pub use link::WasmerLinked;
pub use module::WasmerModule;
