//! A guest that does not get the CPU is not killed for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chassis_engine_api::{Stop, clock};

use crate::case::engine_test;
use crate::guest::{Guest, load, milliseconds};
use crate::subject::Subject;

/// The deadline, in milliseconds of wall time.
const LIMIT: u64 = 50;
/// The CPU time that a call takes.
const WORK: Duration = Duration::from_millis(15);
/// How long the case may go on until it saw enough starved calls.
const PATIENCE: Duration = Duration::from_secs(4);

engine_test! { "starved";
    fn a_guest_that_waits_for_the_cpu_is_not_killed(engine) in [Deadline] needs [Wasm, Deadline, Quiet] {
        let loaded = load(
            engine,
            r#"(module (func (export "run") (param i32)
                (loop (local.set 0 (i32.sub (local.get 0) (i32.const 1))) (br_if 0 (local.get 0)))))"#,
        );
        let rounds = rounds_for(WORK, &mut loaded.start());
        let done = AtomicBool::new(false);
        let cores = thread::available_parallelism().unwrap().get();
        let calls: Vec<Call> = thread::scope(|scope| {
            for _ in 0..4 * cores {
                scope.spawn(|| while !done.load(Ordering::Relaxed) { std::hint::spin_loop() });
            }
            let guests: Vec<_> = (0..3).map(|_| scope.spawn(|| starve(&mut loaded.start(), rounds))).collect();
            let ended: Vec<_> = guests.into_iter().map(|guest| guest.join()).collect();
            done.store(true, Ordering::Relaxed);
            ended.into_iter().flat_map(|calls| calls.unwrap()).collect()
        });
        // At four deadlines a call is over whatever it got; that is a promise too. They are counted in ticks, which come
        // late on a machine as busy as this one, so on the wall it may seem less.
        let limit = Duration::from_millis(LIMIT);
        let early = calls.iter().filter(|call| !call.returned && (call.ticks < 4 * LIMIT || call.wall < 2 * limit));
        assert_eq!(early.count(), 0, "killed early: {calls:?}");
        assert!(starved(&calls) > 0, "no call lasted longer than its deadline, so nothing was shown: {calls:?}");
    }
}

#[derive(Debug)]
#[allow(dead_code)]
struct Call {
    returned: bool,
    wall: Duration,
    cpu: Duration,
    ticks: u64,
}

/// Calls until three calls returned after their deadline, or patience ends.
fn starve<E: Subject>(guest: &mut Guest<E>, rounds: u64) -> Vec<Call> {
    let begin = Instant::now();
    let mut calls: Vec<Call> = Vec::new();
    while begin.elapsed() < PATIENCE && (calls.len() < 5 || starved(&calls) < 3) {
        let (wall, cpu, tick) = (Instant::now(), cpu_time(), clock::now());
        let ended = guest.call_within("run", &[rounds], milliseconds(LIMIT));
        assert!(matches!(ended, Ok(_) | Err(Stop::Deadline)), "{ended:?}");
        let (wall, cpu, ticks) = (wall.elapsed(), cpu_time() - cpu, clock::now() - tick);
        calls.push(Call { returned: ended.is_ok(), wall, cpu, ticks });
    }
    calls
}

/// How many calls returned after their deadline.
fn starved(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.returned && call.wall > Duration::from_millis(LIMIT)).count()
}

/// How many rounds of the loop take so much CPU time.
fn rounds_for<E: Subject>(work: Duration, guest: &mut Guest<E>) -> u64 {
    let mut rounds = 10_000;
    loop {
        let before = cpu_time();
        guest.run(&[rounds]).unwrap();
        let took = cpu_time() - before;
        if took >= Duration::from_millis(5) {
            return (u128::from(rounds) * work.as_nanos() / took.as_nanos()).max(1) as u64;
        }
        rounds *= 2;
    }
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
