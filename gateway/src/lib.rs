//! The reverse proxy of Chassis: configuration, listeners, routes, upstreams and, around each request, a chain of
//! Proxy-Wasm plugins.
//!
//! It never touches guest memory, names no engine, and hands no byte to an upstream that it has not judged.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod body;
mod callouts;
mod chain;
mod conditions;
pub mod config;
mod control;
mod endpoints;
pub mod head;
pub mod headers;
mod http2;
mod listen;
pub mod logs;
mod metrics;
mod path;
pub mod plugins;
mod proxy;
mod reload;
mod route;
mod server;
mod stall;
mod tcp;
mod tls;
mod upstream;
mod variables;
mod worker;

pub use endpoints::EndpointAddresses;
pub use metrics::Metrics;
pub use reload::{ReloadError, Reloader, Report};
pub use server::{ServeError, Server, Settings};
pub use tls::TlsError;
pub use upstream::{HealthChecks, NodeHealth, PoolLimits, UpstreamHealth};
