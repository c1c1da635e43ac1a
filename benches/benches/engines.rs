//! The measurements of `chassis bench engines` with Criterion, which keeps its own history and compares with it.
//!
//! A name is `GROUP/NAME/SUBJECT`, as `call/callback/wasmtime`; give a part of one to run less:
//! `cargo bench -p chassis-benches --bench engines -- call/`.
#![allow(missing_docs, clippy::print_stderr)]

use std::time::Duration;

use chassis_benches::{Measurement, Prepared, Subject, Unable, measurements, prepare, subjects};
use chassis_engines::compiled_in;
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
    let mut prepared: Option<Result<Prepared, Unable>> = None;
    criterion.bench_function(&name, |bencher| {
        let run = prepared.get_or_insert_with(|| {
            let made = prepare(measurement, subject);
            if let Err(Unable::Because(reason)) = &made {
                eprintln!("{name}: not measured: {reason}");
            }
            made
        });
        // Criterion wants a number of everything that it was told of.
        let Ok(run) = run else { return bencher.iter_custom(|times| Duration::from_nanos(times)) };
        bencher.iter_custom(|times| match run.run(times) {
            Ok(spent) => spent,
            Err(reason) => panic!("{name}: {reason}"),
        });
    });
}
