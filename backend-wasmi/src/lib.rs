//! The wasmi engine behind the traits of `chassis-engine-api`.
//!
//! wasmi interprets: modules load within milliseconds and instances are cheap, on any platform that Rust runs on,
//! while guest code runs ten to twenty times slower than compiled code. This crate never generates machine code, has
//! no `unsafe` of its own and knows nothing of Proxy-Wasm.
//!
//! wasmi cannot be interrupted from outside. Every guest call is therefore resumable and gets its fuel in small
//! slices; between two slices the deadline is looked at. The same counter serves the fuel limit of a
//! [`Budget`](chassis_engine_api::Budget), which is exact.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod caller;
mod dispatch;
mod engine;
mod instance;
mod limiter;
mod link;
mod rewrite;
mod slices;
mod slots;
mod stop;

pub use engine::{WASMI_VERSION, WasmiEngine, WasmiLinked, WasmiModule};
pub use instance::WasmiInstance;
