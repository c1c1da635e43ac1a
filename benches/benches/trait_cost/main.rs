//! What the engine traits cost: each engine through them, and beside it the same work by hand against the engine's own
//! typed interface, with the same engine settings.
//!
//! `CHASSIS_BENCH_RATIO=1` prints the ratios of paired rounds instead of running Criterion: both sides alternate in short
//! rounds, so that a busy machine disturbs both alike.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

#[cfg(feature = "wasmer")]
mod by_hand_wasmer;
mod by_hand_wasmi;
mod by_hand_wasmtime;
mod guest;
mod ratio;
mod through_trait;

use criterion::{Criterion, criterion_group};

/// The three calls that a request consists of.
pub(crate) trait Calls {
    /// An export that does nothing.
    fn empty(&mut self);
    /// An export that calls a host function that does nothing, [`guest::LOOP`] times.
    fn host_calls(&mut self);
    /// An export that asks for a header of 32 bytes, [`guest::LOOP`] times: the host calls the guest's allocator, copies,
    /// and writes address and size.
    fn get_header(&mut self);
}

fn calls(criterion: &mut Criterion) {
    let mut sides: Vec<(&str, Box<dyn Calls>)> = vec![
        ("wasmtime/trait", through_trait::wasmtime()),
        ("wasmtime/by_hand", by_hand_wasmtime::calls()),
        #[cfg(feature = "wasmer")]
        ("wasmer/trait", through_trait::wasmer()),
        #[cfg(feature = "wasmer")]
        ("wasmer/by_hand", by_hand_wasmer::calls()),
        ("wasmi/trait", through_trait::wasmi()),
        ("wasmi/by_hand", by_hand_wasmi::calls()),
    ];
    for (name, side) in &mut sides {
        criterion.bench_function(&format!("{name}/empty"), |b| b.iter(|| side.empty()));
        criterion.bench_function(&format!("{name}/{} host calls", guest::LOOP), |b| b.iter(|| side.host_calls()));
        criterion.bench_function(&format!("{name}/{} get_header", guest::LOOP), |b| b.iter(|| side.get_header()));
    }
}

fn modules(criterion: &mut Criterion) {
    through_trait::modules(criterion);
    by_hand_wasmtime::modules(criterion);
    #[cfg(feature = "wasmer")]
    by_hand_wasmer::modules(criterion);
    by_hand_wasmi::modules(criterion);
}

criterion_group!(benches, calls, modules);

fn main() {
    if std::env::var_os("CHASSIS_BENCH_RATIO").is_some() {
        return ratio::print();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
