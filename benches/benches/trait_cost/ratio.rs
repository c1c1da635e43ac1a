//! Ratios of paired rounds.

use std::time::{Duration, Instant};

use crate::{Calls, by_hand_wasmi, by_hand_wasmtime, guest, through_trait};

/// How long one side of a round runs.
const SLICE: Duration = Duration::from_millis(3);
const ROUNDS: usize = 301;

type Call = fn(&mut dyn Calls);

/// Prints, per engine and call: nanoseconds through the trait and by hand, and the median ratio.
pub fn print() {
    let calls: [(&str, Call, u32); 3] = [
        ("empty callback", |side| side.empty(), 1),
        ("host call", |side| side.host_calls(), guest::LOOP),
        ("get_header of 32 bytes", |side| side.get_header(), guest::LOOP),
    ];
    println!("{:<10} {:<24} {:>10} {:>10} {:>7}", "engine", "call", "trait ns", "by hand", "ratio");
    for (engine, mut through, mut by_hand) in [
        ("wasmtime", through_trait::wasmtime(), by_hand_wasmtime::calls()),
        ("wasmi", through_trait::wasmi(), by_hand_wasmi::calls()),
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
            println!("{engine:<10} {name:<24} {a:>10.1} {b:>10.1} {ratio:>7.2}");
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
