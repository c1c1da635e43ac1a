//! Fuzz targets: what takes bytes of guests, clients, servers or operators, given any bytes.
//!
//! Each target is a function that panics when something is wrong. `cargo xtask fuzz` runs them under libFuzzer; tests give
//! them the inputs below `corpus`. This crate opens no socket and no file but the one in which it counts.
#![forbid(unsafe_code)]

pub mod calls;
pub mod config;
pub mod grpc;
pub mod head;
pub mod module;
pub mod pairs;
pub mod property_path;

mod arguments;
mod counts;
mod input;
mod world;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder below `corpus`.
    pub name: &'static str,
    /// Gives it an input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 7] = [
    Target { name: "calls", run: calls::run },
    Target { name: "config", run: config::run },
    Target { name: "grpc", run: grpc::run },
    Target { name: "head", run: head::run },
    Target { name: "module", run: module::run },
    Target { name: "pairs", run: pairs::run },
    Target { name: "property_path", run: property_path::run },
];
