//! A Proxy-Wasm host whose engine can be swapped: the library for embedders.
//!
//! Re-exports the choice of engine, the host and the ABI. It never pulls in a command-line tool or an HTTP server: I/O is
//! the embedder's.
//!
//! | feature | what it adds |
//! |---|---|
//! | `wasmtime` (default) | Wasmtime: compiles to machine code, the default engine |
//! | `wasmer` | Wasmer: compiles to machine code, another one to compare with |
//! | `wasmedge` | WasmEdge: its interpreter; links with libwasmedge 0.17 |
//! | `wasmi` (default) | wasmi: an interpreter that runs anywhere |
//! | `wasmi-portable-dispatch` | wasmi in builds in which its instructions do not become tail calls, such as unoptimised ones: slower, but always safe |
//!
//! A feature only makes an engine available. [`default_engine`] is the first one that was compiled in; which one runs
//! a plugin is decided by whoever loads it.
//!
//! ```
//! # use std::sync::Arc;
//! # use chassis::abi::{Identity, LogLevel};
//! # use chassis::host::{HostServices, Link, LogLine, LogSink, Plugin, PluginLimits, PluginSpec, Preparer, Worker};
//! # struct Stderr;
//! # impl LogSink for Stderr {
//! #     fn log(&self, line: &LogLine<'_>) {
//! #         eprintln!("{}: {}", line.plugin, line.message);
//! #     }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/wat/local-response.wat").into();
//! // Load a plugin on an engine.
//! let engine = chassis::open(chassis::default_engine().ok_or("no engine")?, Default::default())?;
//! let spec = PluginSpec {
//!     identity: Identity { name: "teapot".into(), ..Identity::default() },
//!     file,
//!     limits: PluginLimits::default(),
//!     fail_policy: Default::default(),
//! };
//! let plugin = Plugin::load(spec, &*engine, &chassis::CompilePolicy::InProcess)?;
//!
//! // Run it on this thread.
//! let sink: Arc<dyn LogSink> = Arc::new(Stderr);
//! let services = {
//!     let sink = sink.clone();
//!     Arc::new(move || Box::new(HostServices::new(sink.clone(), LogLevel::Info)) as Box<dyn chassis::abi::Services>)
//! };
//! let mut worker = Worker::new(services(), sink, Preparer::new(services)?);
//! let id = worker.add_plugin(plugin, vec!["".into()])?;
//! let request = [(":method", "GET"), (":path", "/"), (":authority", "localhost"), (":scheme", "http"), ("x-teapot", "1")];
//! let chain = Arc::from([Link { plugin: id, configuration: 0 }]);
//! let stream = worker.open(chain, request.into_iter().collect(), []);
//! worker.request_headers(stream, true);
//!
//! let progress = worker.progress(stream).ok_or("no stream")?;
//! assert!(progress.answered);
//! let response = worker.take_headers(stream, chassis::abi::Direction::Response);
//! assert_eq!(response.get(b":status").unwrap(), "418");
//! worker.close(stream);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub use chassis_abi as abi;
pub use chassis_engine_api as engine_api;
pub use chassis_engine_api::Profile;
pub use chassis_engine_api::compile::CompilePolicy;
pub use chassis_engines::{ENGINES, EngineEntry, OpenError, ProxyWasmEngine, compiled_in, default_engine, open};
pub use chassis_host as host;
