//! What a Proxy-Wasm plugin lives in: loading, one VM per worker and plugin, chains of plugins over a stream, recovery
//! from crashes.
//!
//! A [`Worker`] belongs to one thread. It takes events (headers, body, trailers, ticks), runs guests to completion and
//! says what may go on. I/O is the embedder's: this crate never opens a socket, parses a configuration file or names an
//! engine.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod callouts;
mod chain;
mod flow;
mod log;
mod plugin;
mod preparer;
mod properties;
mod services;
mod source;
mod stores;
mod vm;
mod worker;

pub use callouts::{CalloutFailure, CalloutKey, CalloutWork, GrpcAnswer, GrpcEvent, GrpcStatus, HttpAnswer};
pub use log::{LogLine, LogSink, Reason, escape};
pub use plugin::{FailPolicy, Plugin, PluginError, PluginLimits, PluginSpec, Problem};
pub use preparer::Preparer;
pub use properties::attribute;
pub use services::{HostServices, ServicesFactory};
pub use source::{SourceError, read_module};
pub use stores::{ForeignFunction, Stores};
pub use vm::StartError;
pub use worker::{
    CRASH_KINDS, Crash, DirectionProgress, Link, PluginId, PluginState, PluginStats, Progress, StartedPlugin,
    StreamKey, Totals, Worker, WorkerStats,
};
