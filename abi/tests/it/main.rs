//! The ABI through its public interface, on the native engine: guests are Rust closures, no Wasm runs.
#![allow(clippy::unwrap_used)]

mod bodies;
mod callouts;
mod contexts;
mod entry;
mod enums;
mod grpc;
mod local_response;
mod maps;
mod observer;
mod phases;
mod pointers;
mod properties;
mod random;
mod rig;
mod sharing;
mod shelf;
mod statuses;
mod tcp;
mod wasi;
