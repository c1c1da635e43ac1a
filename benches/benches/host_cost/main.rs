//! What the host adds to the engine: an empty callback and a header read through a worker beside the same by hand, a
//! whole map beside one header, and a whole request on the native engine.
//!
//! Both sides of a line alternate in short rounds of one run, so that a busy machine disturbs both alike. Each line has
//! a promise; `--check` fails if one is missed by more than a factor of five, which is for machines that do other things
//! at the same time.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod by_hand;
#[path = "../../../host/tests/life/mod.rs"]
mod life;
mod through_host;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use chassis_backend_wasmtime::WasmtimeEngine;
use chassis_engine_api::Profile;

use crate::through_host::CONTEXTS;

/// One side of a comparison on Wasmtime.
trait Side {
    /// A callback that does nothing, once for each of [`CONTEXTS`].
    fn empty_callbacks(&mut self);
    /// A body callback that makes [`LOOP`] host calls, of the kind that the size of the body names.
    fn body(&mut self, size: u32);
}

/// How many host calls a body callback of the guest makes.
const LOOP: f64 = 1000.0;
const ONE_HEADER: u32 = 1;
const ALL_HEADERS: u32 = 2;

fn main() -> ExitCode {
    let guest = wat::parse_str(include_str!("guest.wat")).unwrap();
    let engine = WasmtimeEngine::new(Profile::Deadline).unwrap();
    let mut host = through_host::ThroughHost::new(engine.clone(), guest.clone());
    let mut other = through_host::ThroughHost::new(engine, guest.clone());
    let mut hand = by_hand::ByHand::new(&guest);
    let mut lives = life::Lives::new();

    println!("{:<28} {:>10} {:>24} {:>10} {:>8}", "", "ns", "beside", "ns", "ratio");
    let mut kept = true;
    let mut line = |name: &str, beside: &str, promise: f64, measure: &mut dyn FnMut() -> Rounds| {
        if !wanted(name) {
            return;
        }
        let Rounds { ours, other, ratio } = measure();
        println!("{name:<28} {ours:>10.1} {beside:>24} {other:>10.1} {ratio:>8.2}   promised {promise}");
        kept &= ratio <= promise * SLACK;
    };
    line("empty callback", "by hand", 1.5, &mut || {
        let contexts = CONTEXTS as f64;
        paired(&mut || host.empty_callbacks(), contexts, &mut || hand.empty_callbacks(), contexts)
    });
    line("get_header of 32 bytes", "by hand", 1.3, &mut || {
        paired(&mut || host.body(ONE_HEADER), LOOP, &mut || hand.body(ONE_HEADER), LOOP)
    });
    line("whole map of 10 headers", "get_header of 32 bytes", 2.5, &mut || {
        paired(&mut || host.body(ALL_HEADERS), LOOP, &mut || other.body(ONE_HEADER), LOOP)
    });
    line("request on native engine", "a microsecond", 1.0, &mut || against_a_microsecond(&mut || lives.live()));

    match kept || !std::env::args().any(|argument| argument == "--check") {
        true => ExitCode::SUCCESS,
        false => {
            println!("A promise is missed by more than a factor of {SLACK}.");
            ExitCode::FAILURE
        }
    }
}

/// Whether a line is asked for: all are, unless words on the command line name some.
fn wanted(line: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    words.peek().is_none() || words.any(|word| line.contains(&word))
}

const SLACK: f64 = 5.0;
/// How long one side of a round runs: short, so that some rounds are not disturbed.
const SLICE: Duration = Duration::from_micros(300);
const ROUNDS: usize = 2001;

/// Nanoseconds per call, and their ratio, of the quickest round of each side.
struct Rounds {
    ours: f64,
    other: f64,
    ratio: f64,
}

fn paired(ours: &mut dyn FnMut(), per: f64, other: &mut dyn FnMut(), other_per: f64) -> Rounds {
    let mut quickest = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        quickest.0 = quickest.0.min(nanos(ours) / per);
        quickest.1 = quickest.1.min(nanos(other) / other_per);
    }
    Rounds { ours: quickest.0, other: quickest.1, ratio: quickest.0 / quickest.1 }
}

fn against_a_microsecond(ours: &mut dyn FnMut()) -> Rounds {
    let quickest = (0..ROUNDS).map(|_| nanos(ours)).fold(f64::INFINITY, f64::min);
    Rounds { ours: quickest, other: 1000.0, ratio: quickest / 1000.0 }
}

fn nanos(call: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    let mut done = 0_u32;
    loop {
        for _ in 0..4 {
            call();
        }
        done += 4;
        let spent = start.elapsed();
        if spent >= SLICE {
            return spent.as_nanos() as f64 / f64::from(done);
        }
    }
}
