//! Cancelling: what is over ends, and nothing else.

use std::time::Instant;

use chassis_engine_api::{Instance, Stop};

use crate::host::{IMPORTS, run, run_for, start};

#[test]
fn a_cancellation_that_came_too_late_is_not_the_next_calls() {
    // The host function outlasts the deadline; the guest then returns, without a place at which it would hear of it.
    let wat = format!(
        r#"(module {IMPORTS} (func (export "run") (param i32) (result i32) (call $spin (local.get 0)) (i32.const 5)))"#
    );
    let mut instance = start(&wat);
    for _ in 0..20 {
        let ended = run_for(&mut instance, 5, 1);
        assert!(matches!(ended, Ok(5) | Err(Stop::Deadline)), "{ended:?}");
        assert_eq!(run(&mut instance, 0).unwrap(), 5);
    }
}

#[test]
fn a_panic_after_the_deadline_leaves_nothing_for_the_next_call() {
    let wat = format!(
        r#"(module {IMPORTS} (func $run (export "run") (param i32) (result i32)
            (if (local.get 0) (then (call $burst (local.get 0)) (drop (call $run (i32.const 0))))) (i32.const 5)))"#
    );
    let mut instance = start(&wat);
    for _ in 0..20 {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_for(&mut instance, 5, 1)));
        assert!(panicked.is_err());
        assert_eq!(run(&mut instance, 0).unwrap(), 5);
    }
}

#[test]
fn a_cancellation_that_a_host_function_hides_comes_again() {
    let wat = format!(
        r#"(module {IMPORTS} (func (export "alloc") (param i32) (result i32) (loop (br 0)) unreachable)
            (func (export "run") (param i32) (result i32) (call $swallow (i32.const 0)) (loop (br 0)) unreachable))"#
    );
    let mut instance = start(&wat);
    let ended = run_for(&mut instance, 0, 20);
    assert!(matches!(ended, Err(Stop::Deadline)), "{ended:?}");
    assert_eq!(instance.state().seen, [0]);
}

const ENDLESS: &str =
    r#"(module (func (export "run") (param i32) (result i32) (loop (br_if 0 (local.get 0))) (i32.const 1)))"#;

#[test]
fn an_instance_that_a_host_function_calls_has_its_own_deadline() {
    let wat = format!(
        r#"(module {IMPORTS} (func (export "run") (param i32) (result i32)
            (call $other (i32.const 1)) (call $other (i32.const 0)) (i32.const 7)))"#
    );
    let mut instance = start(&wat);
    instance.state().other = Some((Box::new(start(ENDLESS)), 20));
    assert_eq!(run(&mut instance, 0).unwrap(), 7);
    assert_eq!(instance.state().seen, [0, 1]);
}

#[test]
fn the_outer_call_is_watched_while_an_inner_one_runs() {
    let wat = format!(
        r#"(module {IMPORTS} (func (export "run") (param i32) (result i32)
            (call $other (i32.const 1)) (call $note (i32.const 9)) (i32.const 7)))"#
    );
    let mut instance = start(&wat);
    instance.state().other = Some((Box::new(start(ENDLESS)), 200));
    let begin = Instant::now();
    let ended = run_for(&mut instance, 0, 10);
    assert!(matches!(ended, Err(Stop::Deadline)), "{ended:?} after {:?}", begin.elapsed());
    assert_eq!(instance.state().seen, [0]);
}
