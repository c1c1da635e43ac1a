//! The host functions: one row each, and what they do.

mod buffers;
mod callouts;
mod contexts;
mod dispatch;
mod foreign;
mod grpc;
mod log;
mod maps;
mod metrics;
pub(crate) mod output;
mod properties;
mod queues;
mod reserved;
mod rows;
mod shared_data;
mod streams;
mod wasi;
mod wasi_rows;

pub use rows::{ProxyWasm, TABLE};

use crate::call::Fault;
use crate::status::{Errno, Status};

/// What a Proxy-Wasm host function comes to.
pub(crate) type Outcome = Result<Status, Fault>;
/// What a WASI function comes to.
pub(crate) type WasiOutcome = Result<Errno, Fault>;
