//! Deadlines: whatever the guest does, it ends in time.

use std::time::{Duration, Instant};

use chassis_backend_wasmi::WasmiInstance;
use chassis_engine_api::{Budget, Instance, Stop};

use crate::host::{RUN, State, cpu_time, run, start};

/// Runs `run` with a deadline of 50 ms, which must end it within 150 ms: of CPU time, as a call that is not scheduled
/// is given longer.
fn ends(instance: &mut WasmiInstance<State>) {
    let begin = Instant::now();
    let (cpu, result) = cpu_time(|| instance.call(RUN, &mut [], Budget { ticks: 50, fuel: None }));
    assert!(matches!(result, Err(Stop::Deadline)), "{result:?}");
    assert!(begin.elapsed() > Duration::from_millis(45), "{:?}", begin.elapsed());
    assert!(cpu < Duration::from_millis(150), "{cpu:?}");
}

fn ends_wat(wat: &str) {
    ends(&mut start(wat));
}

#[test]
fn a_loop_ends_and_the_instance_can_be_called_again() {
    let wat = r#"(module (import "env" "note" (func $note (param i32))) (global $first (mut i32) (i32.const 1))
        (func (export "run")
            (call $note (i32.const 1))
            (if (global.get $first) (then (global.set $first (i32.const 0)) (loop $l (br $l))))))"#;
    let mut instance = start(wat);
    ends(&mut instance);
    run(&mut instance).unwrap();
    assert_eq!(instance.state().seen, [1, 1]);
}

#[test]
fn a_loop_in_the_allocator_that_a_host_function_calls_ends() {
    ends_wat(
        r#"(module (import "env" "reenter" (func $reenter (param i32) (result i32)))
        (func (export "alloc") (param i32) (result i32) (loop $l (br $l)) (unreachable))
        (func (export "run") (drop (call $reenter (i32.const 1)))))"#,
    );
}

#[test]
fn a_host_function_that_hides_it_gains_nothing() {
    let mut instance = start(
        r#"(module (import "env" "reenter" (func $reenter (param i32) (result i32)))
        (func (export "alloc") (param i32) (result i32) (loop $l (br $l)) (unreachable))
        (func (export "run") (loop $l (drop (call $reenter (i32.const 1))) (br $l))))"#,
    );
    instance.state().swallow = true;
    ends(&mut instance);
    assert_eq!(instance.state().swallowed, ["deadline"]);
}

#[test]
fn a_loop_of_host_calls_ends() {
    ends_wat(
        r#"(module (import "env" "reenter" (func $reenter (param i32) (result i32)))
        (func (export "alloc") (param i32) (result i32) (local.get 0))
        (func (export "run") (loop $l (drop (call $reenter (i32.const 1))) (br $l))))"#,
    );
}

#[test]
fn bulk_operations_end() {
    // 64 MiB is more than any slice pays for; 40 bytes cost nothing but the operator itself.
    for bytes in [64 << 20, 1 << 20, 4096, 40] {
        ends_wat(&format!(
            r#"(module (memory 1024) (func (export "run")
                (loop $l (memory.fill (i32.const 0) (i32.const 1) (i32.const {bytes})) (br $l))))"#
        ));
    }
    ends_wat(
        r#"(module (memory 1024) (func (export "run") (loop $l
            (memory.copy (i32.const 1) (i32.const 0) (i32.const 33554432)) (br $l))))"#,
    );
    ends_wat(
        r#"(module (table 10000 funcref) (func (export "run") (loop $l
            (table.copy (i32.const 0) (i32.const 1) (i32.const 9999)) (br $l))))"#,
    );
}

#[test]
fn refused_growth_leaves_no_fuel_over_to_run_on_with() {
    ends_wat(
        r#"(module (memory 1) (table 1 funcref) (func (export "run") (loop $l
            (drop (memory.grow (i32.const 65535)))
            (drop (table.grow (ref.null func) (i32.const -2)))
            (br $l))))"#,
    );
}

#[test]
fn calls_of_functions_with_very_many_locals_end() {
    let locals = "(local i64 i64 i64 i64 i64 i64 i64 i64 i64 i64)".repeat(999);
    ends_wat(&format!(r#"(module (func $wide {locals}) (func (export "run") (loop $l (call $wide) (br $l))))"#));
}

#[test]
fn recursion_without_end_in_a_loop_of_calls_ends() {
    // 2^40 calls, never more than 40 deep.
    ends_wat(
        r#"(module (func $tree (param i32)
                (if (local.get 0) (then
                    (call $tree (i32.sub (local.get 0) (i32.const 1)))
                    (call $tree (i32.sub (local.get 0) (i32.const 1))))))
            (func (export "run") (call $tree (i32.const 40))))"#,
    );
}

#[test]
fn work_over_many_slices_gives_the_right_result() {
    let wat = r#"(module (import "env" "note" (func $note (param i32))) (memory (export "memory") 1)
        (func (export "run") (local $i i32) (local $sum i64) (local $f f64)
            (loop $l
                (local.set $sum (i64.add (i64.mul (local.get $sum) (i64.const 31)) (i64.extend_i32_u (local.get $i))))
                (local.set $f (f64.add (local.get $f) (f64.const 0.5)))
                (i32.store8 (i32.and (local.get $i) (i32.const 1023)) (local.get $i))
                (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300000))))
            (call $note (i32.wrap_i64 (local.get $sum)))
            (call $note (i32.wrap_i64 (i64.shr_u (local.get $sum) (i64.const 32))))
            (call $note (i32.trunc_f64_u (local.get $f)))))"#;
    let mut instance = start(wat);
    run(&mut instance).unwrap();
    let sum = (0..300_000_u64).fold(0_u64, |sum, i| sum.wrapping_mul(31).wrapping_add(i));
    assert_eq!(instance.state().seen, [sum & 0xffff_ffff, sum >> 32, 150_000]);
}
