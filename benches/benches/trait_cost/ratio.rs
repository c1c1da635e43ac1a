//! Ratios of paired rounds.

use std::time::{Duration, Instant};

#[cfg(feature = "wasmer")]
use crate::by_hand_wasmer;
use crate::{Calls, by_hand_wasmi, by_hand_wasmtime, guest, through_trait};

/// How long one side of a round runs.
const SLICE: Duration = Duration::from_millis(3);
const ROUNDS: usize = 301;

type Call = fn(&mut dyn Calls);

/// Prints, per engine and call: nanoseconds through the trait and by hand, and the median ratio.
pub(crate) fn print() {
    let calls: [(&str, Call, u32); 3] = [
        ("empty callback", |side| side.empty(), 1),
        ("host call", |side| side.host_calls(), guest::LOOP),
        ("get_header of 32 bytes", |side| side.get_header(), guest::LOOP),
    ];
    println!("{:<9} {:<13} {:<23} {:>9} {:>9} {:>6}", "engine", "dispatch", "call", "trait ns", "hand ns", "ratio");
    for (engine, dispatch, mut through, mut by_hand) in [
        ("wasmtime", "static", through_trait::wasmtime(), by_hand_wasmtime::calls()),
        ("wasmtime", "dynamic", through_trait::any_wasmtime(), by_hand_wasmtime::calls()),
        #[cfg(feature = "wasmer")]
        ("wasmer", "static", through_trait::wasmer(), by_hand_wasmer::calls()),
        #[cfg(feature = "wasmer")]
        ("wasmer", "dynamic", through_trait::any_wasmer(), by_hand_wasmer::calls()),
        ("wasmi", "static", through_trait::wasmi(), by_hand_wasmi::calls()),
        ("wasmi", "dynamic", through_trait::any_wasmi(), by_hand_wasmi::calls()),
    ] {
        for (name, call, per) in calls {
            let mut rounds: Vec<(f64, f64)> = Vec::with_capacity(ROUNDS);
            for _ in 0..ROUNDS {
                let a = nanos(&mut *through, call) / f64::from(per);
                rounds.push((a, nanos(&mut *by_hand, call) / f64::from(per)));
            }
            let a = median(rounds.iter().map(|(a, _)| *a));
            let b = median(rounds.iter().map(|(_, b)| *b));
            let ratio = median(rounds.iter().map(|(a, b)| a / b));
            println!("{engine:<9} {dispatch:<13} {name:<23} {a:>9.1} {b:>9.1} {ratio:>6.2}");
        }
    }
}

fn nanos(side: &mut dyn Calls, call: Call) -> f64 {
    let start = Instant::now();
    let mut done = 0_u32;
    loop {
        for _ in 0..16 {
            call(side);
        }
        done += 16;
        let spent = start.elapsed();
        if spent >= SLICE {
            return spent.as_nanos() as f64 / f64::from(done);
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
