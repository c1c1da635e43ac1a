//! The measurements of `chassis bench engines` with Criterion, which keeps its own history and compares with it.
//!
//! A name is `GROUP/NAME/SUBJECT`, as `call/callback/wasmtime`; give a part of one to run less:
//! `cargo bench -p chassis-benches --bench engines -- call/`.
#![allow(missing_docs, clippy::print_stderr)]

use std::time::Duration;

use chassis_benches::{Measurement, Prepared, Subject, measurements, prepare, subjects};
use chassis_engine_api::Profile;
use chassis_engines::{compiled_in, open};
use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600))
        .configure_from_args();
    for measurement in measurements(None) {
        for subject in subjects(&compiled_in()).into_iter().filter(|subject| measurement.is_meaningful(*subject)) {
            bench(&mut criterion, &measurement, subject);
        }
    }
    criterion.final_summary();
}

/// What is left out of a run by its filter is never made ready.
fn bench(criterion: &mut Criterion, measurement: &Measurement, subject: Subject) {
    let name = format!("{}/{}", measurement.id, subject.name());
    // Criterion wants a number of everything that it is told of, so that it is not told of what has none.
    if let Some(reason) = cannot(measurement, subject) {
        eprintln!("{name}: not measured: {reason}");
        return;
    }
    let mut prepared: Option<Prepared> = None;
    criterion.bench_function(&name, |bencher| {
        let run = prepared.get_or_insert_with(|| match prepare(measurement, subject) {
            Ok(prepared) => prepared,
            Err(unable) => panic!("{name}: {unable:?}"),
        });
        bencher.iter_custom(|times| match run.run(times) {
            Ok(spent) => spent,
            Err(reason) => panic!("{name}: {reason}"),
        });
    });
}

/// Why an engine says that it cannot do it: only saving code is something that not every engine can.
fn cannot(measurement: &Measurement, subject: Subject) -> Option<String> {
    let engine = open(subject.engine, Profile::Deadline).ok().filter(|_| measurement.id == "module/load")?;
    let aot = engine.capabilities().aot;
    aot.reason().filter(|_| !aot.is_some()).map(str::to_owned)
}
