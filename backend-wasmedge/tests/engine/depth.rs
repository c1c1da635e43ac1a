//! The stack that functions count, as WasmEdge's own grows as long as there is memory.

use chassis_engine_api::{Instance, Stop, TrapKind};

use crate::host::{IMPORTS, run, start};

/// Recurses as deep as its parameter says.
const DOWN: &str = r#"(module (func $down (export "run") (param i32) (result i32)
    (if (result i32) (local.get 0)
        (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
        (else (i32.const 0)))))"#;

fn overflows(ended: Result<u64, Stop>) {
    assert!(matches!(&ended, Err(Stop::Trap(trap)) if trap.kind == TrapKind::StackOverflow), "{ended:?}");
}

#[test]
fn small_frames_nest_thousands_deep_and_no_deeper() {
    let mut instance = start(DOWN);
    assert_eq!(run(&mut instance, 4_000).unwrap(), 4_000);
    overflows(run(&mut instance, 10_000));
    assert_eq!(run(&mut instance, 4_000).unwrap(), 4_000);
}

#[test]
fn however_a_function_is_left_its_part_comes_back() {
    let wat = r#"(module (func $leaf (result i32 i64) (i32.const 1) (i64.const 2))
        (func $many (param i32) (result i32 i64)
            (if (i32.eq (local.get 0) (i32.const 0)) (then (return (i32.const 1) (i64.const 2))))
            (br_if 0 (i32.const 1) (i64.const 2) (i32.eq (local.get 0) (i32.const 1))) drop drop
            (loop (result i32 i64)
                (br_if 1 (i32.const 1) (i64.const 2) (i32.eq (local.get 0) (i32.const 2))) drop drop
                (br_table 1 1 (i32.const 1) (i64.const 2) (i32.eq (local.get 0) (i32.const 3))))
            drop drop (call $leaf))
        (func (export "run") (param i32) (result i32) (local $n i32)
            (loop
                (call $many (i32.rem_u (local.get $n) (i32.const 5))) drop drop
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if 0 (i32.lt_u (local.get $n) (local.get 0))))
            (i32.const 1)))"#;
    // Each round would take some twenty of 131,072 values if it gave nothing back.
    assert_eq!(run(&mut start(wat), 100_000).unwrap(), 1);
}

#[test]
fn a_nested_call_that_overflows_costs_the_outer_one_nothing() {
    let wat = format!(
        r#"(module {IMPORTS} (func $alloc (export "alloc") (param i32) (result i32)
                (i32.add (i32.const 1) (call $alloc (local.get 0))))
            (func $down (param i32) (result i32)
                (if (result i32) (local.get 0)
                    (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
                    (else (i32.const 0))))
            (func (export "run") (param i32) (result i32)
                (call $swallow (i32.const 0)) (call $swallow (i32.const 0)) (call $down (local.get 0))))"#
    );
    let mut instance = start(&wat);
    assert_eq!(run(&mut instance, 3_000).unwrap(), 3_000);
    assert_eq!(instance.state().seen, [0, 0]);
}

#[test]
fn an_unreachable_that_is_the_guests_own_is_no_overflow() {
    let wat = r#"(module (func $f (export "run") (param i32) (result i32)
        (if (local.get 0) (then (return (call $f (i32.const 0))))) unreachable))"#;
    let ended = run(&mut start(wat), 1);
    assert!(matches!(&ended, Err(Stop::Trap(trap)) if trap.kind == TrapKind::Unreachable), "{ended:?}");
}
