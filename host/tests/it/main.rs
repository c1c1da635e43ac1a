//! The host through its public interface, on real engines: each case is one test per engine, named
//! `<area>::<engine>::<case>`. Guests are Wasm text with a common prelude (`guest`).
#![allow(clippy::unwrap_used)]

/// Makes each case a test on each engine.
macro_rules! on_each_engine {
    ($($case:ident)*) => {
        mod wasmtime { $(#[test] fn $case() { super::$case("wasmtime"); })* }
        mod wasmi { $(#[test] fn $case() { super::$case("wasmi"); })* }
    };
}

mod guest;
mod rig;

mod answers;
mod chain;
mod crash;
mod lifecycle;
mod limits;
mod load;
mod log;
mod pause;
mod spare;
mod timers;
