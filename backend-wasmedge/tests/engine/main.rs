//! What is particular to WasmEdge: cancelled calls, the counted stack, the counted tables, modules that are hard to read.
#![allow(clippy::unwrap_used)]

mod deadlines;
mod depth;
mod host;
mod modules;
mod tables;
