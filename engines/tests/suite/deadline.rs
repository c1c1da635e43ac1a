//! Deadlines: every way of not returning ends in time, and not before.

use std::time::{Duration, Instant};

use chassis_engine_api::{Budget, Instance, Limits, Stop};

use crate::case::engine_test;
use crate::guest::{GENEROUS, failed, load, milliseconds};
use crate::host::State;
use crate::subject::Subject;

/// The deadline of most cases, in milliseconds.
const LIMIT: u64 = 30;

const IMPORTS: &str = r#"(import "env" "has" (func $has (param i32) (result i32)))
    (import "env" "store" (func $store (param i32 i32) (result i32))) (import "env" "spin" (func $spin (param i32)))
    (import "env" "log" (func $log (param i32))) (import "env" "swallow" (func $swallow))
    (memory (export "memory") 1)"#;

const QUICK_ALLOC: &str = r#"(func (export "alloc") (param i32) (result i32) (i32.const 1024))"#;
const ENDLESS_ALLOC: &str = r#"(func (export "alloc") (param i32) (result i32) (loop (br 0)) unreachable)"#;

engine_test! { "deadline";
    fn an_endless_loop_ends(engine) needs [Wasm, Deadline, Quiet] {
        ends(engine, &format!(r#"(module {IMPORTS} (func (export "run") (loop (br 0))))"#));
    }

    fn a_loop_that_writes_memory_ends(engine) needs [Wasm, Deadline, Quiet] {
        ends(
            engine,
            &format!(
                r#"(module {IMPORTS} (func (export "run") (local i32) (loop
                    (i32.store (i32.and (local.get 0) (i32.const 0xfffc)) (local.get 0))
                    (local.set 0 (i32.add (local.get 0) (i32.const 4))) (br 0))))"#
            ),
        );
    }

    fn a_loop_of_guest_calls_ends(engine) needs [Wasm, Deadline, Quiet] {
        let wat = format!(
            r#"(module {IMPORTS} (func $leaf (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
                (func (export "run") (local i32) (loop (local.set 0 (call $leaf (local.get 0))) (br 0))))"#
        );
        ends(engine, &wat);
    }

    /// No loop at all: 2 to the power of 60 calls.
    fn a_tree_of_calls_ends(engine) needs [Wasm, Deadline, Quiet] {
        let wat = format!(
            r#"(module {IMPORTS} (func $tree (param i32)
                (if (local.get 0) (then (call $tree (i32.sub (local.get 0) (i32.const 1)))
                    (call $tree (i32.sub (local.get 0) (i32.const 1))))))
                (func (export "run") (call $tree (i32.const 60))))"#
        );
        ends(engine, &wat);
    }

    fn a_loop_of_large_fills_ends(engine) needs [Wasm, Deadline, Quiet] {
        ends(
            engine,
            r#"(module (memory 256) (func (export "run") (loop
                (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x1000000)) (br 0))))"#,
        );
    }

    /// No loop and no call: each of them is short, all together take seconds.
    fn large_fills_in_a_row_end(engine) needs [Wasm, Deadline, Quiet] {
        let fills = "(memory.fill (i32.const 0) (i32.const 7) (i32.const 0x1000000))".repeat(3_000);
        ends(engine, &format!(r#"(module (memory 256) (func (export "run") {fills}))"#));
    }

    fn large_copies_in_a_row_end(engine) needs [Wasm, Deadline, Quiet] {
        let copies = "(memory.copy (i32.const 1) (i32.const 0) (i32.const 0xffffff))".repeat(3_000);
        let wat = format!(
            r#"(module (memory 256) (func $run (export "run") {copies} (if (memory.size) (then) (else (call $run)))))"#
        );
        ends(engine, &wat);
    }

    fn a_loop_of_large_copies_ends(engine) needs [Wasm, Deadline, Quiet] {
        ends(
            engine,
            r#"(module (memory 256) (func (export "run") (loop
                (memory.copy (i32.const 1) (i32.const 0) (i32.const 0xffffff)) (br 0))))"#,
        );
    }

    fn a_loop_of_memory_grows_ends(engine) needs [Wasm, Deadline, Quiet] {
        ends(
            engine,
            r#"(module (memory 1) (func (export "run") (loop (drop (memory.grow (i32.const 1))) (br 0))))"#,
        );
    }

    fn a_loop_of_table_fills_ends(engine) needs [Wasm, Deadline, Quiet] {
        ends(
            engine,
            r#"(module (table 10000 funcref) (func (export "run") (loop
                (table.fill (i32.const 0) (ref.null func) (i32.const 10000)) (br 0))))"#,
        );
    }

    fn a_loop_of_host_calls_ends(engine) needs [Deadline, Quiet] {
        let wat = format!(
            r#"(module {IMPORTS} (func (export "run") (loop (drop (call $has (i32.const 0))) (br 0)))
                (@custom "chassis.native" "asking without end"))"#
        );
        ends(engine, &wat);
    }

    fn a_loop_in_the_reentered_allocator_ends(engine) needs [Wasm, Deadline, Quiet] {
        let wat = format!(
            r#"(module {IMPORTS} {ENDLESS_ALLOC}
                (func (export "run") (drop (call $store (i32.const 1) (i32.const 1))) (call $log (i32.const 1))))"#
        );
        assert!(ends(engine, &wat).log.is_empty());
    }

    /// Each entry is short; together they spend one budget.
    fn reentry_does_not_renew_a_budget(engine) needs [Deadline, Quiet] {
        let wat = format!(
            r#"(module {IMPORTS} {QUICK_ALLOC} (func (export "run") (loop (call $swallow) (br 0)))
                (@custom "chassis.native" "storing without end"))"#
        );
        ends(engine, &wat);
    }

    fn an_allocator_that_works_for_long_spends_the_outer_budget(engine) needs [Wasm, Deadline, Quiet] {
        let wat = format!(
            r#"(module {IMPORTS} (func (export "alloc") (param i32) (result i32) (local i32)
                    (local.set 1 (i32.const 30000))
                    (loop (br_if 0 (local.tee 1 (i32.sub (local.get 1) (i32.const 1))))) (i32.const 1024))
                (func (export "run") (loop (call $swallow) (br 0))))"#
        );
        ends(engine, &wat);
    }

    fn a_deadline_that_a_host_function_swallows_comes_back(engine) needs [Wasm, Deadline, Quiet] {
        let wat = format!(r#"(module {IMPORTS} {ENDLESS_ALLOC} (func (export "run") (loop (call $swallow) (br 0))))"#);
        ends(engine, &wat);
    }

    fn a_host_function_that_takes_too_long_is_the_last(engine) needs [Wasm, Deadline, Quiet] {
        let wat = format!(
            r#"(module {IMPORTS} (func (export "run") (loop (call $spin (i32.const 60)) (call $log (i32.const 1)) (br 0))))"#
        );
        let state = ends_within(engine, &wat, LIMIT, Duration::from_millis(120));
        assert!(state.log.len() <= 2, "{} host calls of twice the deadline each", state.log.len());
    }

    fn a_loop_in_the_start_section_ends(engine) needs [Wasm, Deadline, Quiet] {
        let loaded = load(engine, &format!("(module {IMPORTS} (func $start (loop (br 0))) (start $start))"));
        let state = State { reply: 4, ..State::default() };
        let before = Instant::now();
        let failed = failed(loaded.start_with(state, &Limits::default(), milliseconds(LIMIT)));
        let elapsed = before.elapsed();
        assert!(matches!(failed.stop, Stop::Deadline), "{:?}", failed.stop);
        assert_in_time(engine, elapsed, LIMIT, Duration::ZERO);
        assert_eq!(failed.state.reply, 4);
    }

    fn a_loop_with_fuel_enough_ends(engine) in [Fuel] needs [Wasm, Deadline, Quiet] {
        let mut guest = load(engine, r#"(module (func (export "run") (loop (br 0))))"#).start();
        let before = Instant::now();
        let ended = guest.call_within("run", &[], Budget { fuel: Some(u64::MAX), ..milliseconds(LIMIT) });
        assert!(matches!(ended, Err(Stop::Deadline)), "{ended:?}");
        assert_in_time(engine, before.elapsed(), LIMIT, Duration::ZERO);
    }

    fn each_call_has_a_deadline_of_its_own(engine) needs [Wasm, Deadline, Quiet] {
        let wat = r#"(module (func (export "run") (param i32) (loop (br_if 0 (local.get 0)))))"#;
        let mut guest = load(engine, wat).start();
        for limit in [LIMIT, 5, 60] {
            let before = Instant::now();
            let ended = guest.call_within("run", &[1], milliseconds(limit));
            assert!(matches!(ended, Err(Stop::Deadline)), "{ended:?}");
            assert_in_time(engine, before.elapsed(), limit, Duration::ZERO);
            guest.call_within("run", &[0], milliseconds(limit)).unwrap();
        }
    }

    /// The clock sleeps while no guest runs; a call must not pay for the time between calls.
    fn time_between_calls_is_not_counted(engine) needs [Wasm, Deadline, Quiet] {
        let wat = r#"(module (func (export "run") (param i32) (result i32) (local.get 0)))"#;
        let mut guest = load(engine, wat).start();
        for pause in [0, 20, 150] {
            std::thread::sleep(Duration::from_millis(pause));
            for n in 0..1000 {
                assert_eq!(guest.call_within("run", &[n], milliseconds(1)).unwrap(), n);
            }
        }
    }

    fn many_deadlines_at_once_hold(engine) needs [Wasm, Deadline, Quiet] {
        let loaded = load(engine, r#"(module (func (export "run") (loop (br 0))))"#);
        let before = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let ended = loaded.start().call_within("run", &[], milliseconds(LIMIT));
                    assert!(matches!(ended, Err(Stop::Deadline)), "{ended:?}");
                });
            }
        });
        // Eight guests share the cores, and each may take four times its deadline if it does not get one.
        assert!(before.elapsed() < 5 * (Duration::from_millis(8 * LIMIT) * scale(engine) + SLACK));
    }

    fn a_call_without_a_deadline_takes_its_time(engine) needs [Wasm, Deadline, Quiet] {
        let wat = format!(r#"(module {IMPORTS} (func (export "run") (call $spin (i32.const 80)) (call $log (i32.const 1))))"#);
        let mut guest = load(engine, &wat).start();
        guest.call_within("run", &[], Budget::UNLIMITED).unwrap();
        assert_eq!(guest.log(), [1]);
    }

    /// After a call was stopped, other instances of the module go on as before.
    fn other_instances_are_unaffected(engine) needs [Wasm, Deadline, Quiet] {
        let wat = r#"(module (func (export "run") (param i32) (result i32) (loop (br_if 0 (local.get 0))) (i32.const 3)))"#;
        let loaded = load(engine, wat);
        let mut beside = loaded.start();
        assert!(matches!(loaded.start().call_within("run", &[1], milliseconds(10)), Err(Stop::Deadline)));
        assert_eq!(beside.call("run", &[0]).unwrap(), 3);
        assert_eq!(loaded.start().call_within("run", &[0], GENEROUS).unwrap(), 3);
    }
}

const SLACK: Duration = Duration::from_millis(100);

fn scale<E: Subject>(engine: &E) -> u32 {
    engine.capabilities().deadline_scale
}

/// The guest's `run` ends at its deadline. Answers the state.
#[track_caller]
fn ends<E: Subject>(engine: &E, wat: &str) -> State {
    ends_within(engine, wat, LIMIT, Duration::ZERO)
}

#[track_caller]
fn ends_within<E: Subject>(engine: &E, wat: &str, limit: u64, extra: Duration) -> State {
    let mut guest = load(engine, wat).start();
    let before = Instant::now();
    let ended = guest.call_within("run", &[], milliseconds(limit));
    let elapsed = before.elapsed();
    assert!(matches!(ended, Err(Stop::Deadline)), "{ended:?}");
    assert_in_time(engine, elapsed, limit, extra);
    std::mem::take(guest.instance.state())
}

#[track_caller]
fn assert_in_time<E: Subject>(engine: &E, elapsed: Duration, limit: u64, extra: Duration) {
    let limit = Duration::from_millis(limit);
    // A call may begin within a tick, which then counts as a whole one; so does the one in which it ends.
    assert!(elapsed + Duration::from_millis(2) >= limit, "stopped after {elapsed:?} of {limit:?}");
    let latest = 5 * (limit * scale(engine) + SLACK) + extra;
    assert!(elapsed <= latest, "stopped after {elapsed:?}, {latest:?} would be in time");
}
