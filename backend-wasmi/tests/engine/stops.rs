//! Traps, exits and host errors, and the state of an instance after them.

use chassis_engine_api::{Instance, Stop, TrapKind};

use crate::host::{State, run, start, with};

fn trap(wat: &str) -> TrapKind {
    match run(&mut start(wat)) {
        Err(Stop::Trap(trap)) => trap.kind,
        other => panic!("{wat}: {other:?}"),
    }
}

#[test]
fn each_trap_has_its_kind() {
    let cases = [
        ("(unreachable)", TrapKind::Unreachable),
        ("(drop (i32.load (i32.const 65536)))", TrapKind::MemoryOutOfBounds),
        ("(memory.fill (i32.const 65536) (i32.const 0) (i32.const 1))", TrapKind::MemoryOutOfBounds),
        ("(memory.init $d (i32.const 0) (i32.const 1) (i32.const 1))", TrapKind::MemoryOutOfBounds),
        ("(drop (table.get (i32.const 2)))", TrapKind::TableOutOfBounds),
        ("(table.fill (i32.const 1) (ref.null func) (i32.const 2))", TrapKind::TableOutOfBounds),
        ("(call_indirect (i32.const 2))", TrapKind::TableOutOfBounds),
        ("(call_indirect (i32.const 1))", TrapKind::NullFunction),
        ("(drop (call_indirect (result i32) (i32.const 0)))", TrapKind::BadSignature),
        ("(call $run)", TrapKind::StackOverflow),
        ("(drop (i32.div_u (i32.const 1) (i32.load (i32.const 0))))", TrapKind::DivisionByZero),
        ("(drop (i64.rem_s (i64.const 1) (i64.load (i32.const 0))))", TrapKind::DivisionByZero),
        ("(drop (i32.div_s (i32.const -2147483648) (i32.load (i32.const 8))))", TrapKind::IntegerOverflow),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", TrapKind::BadConversion),
        ("(drop (i32.trunc_f32_s (f32.const 1e30)))", TrapKind::IntegerOverflow),
    ];
    for (body, kind) in cases {
        let wat = format!(
            r#"(module (memory 1) (data (i32.const 8) "\ff\ff\ff\ff") (data $d "a")
                (table 2 funcref) (elem (i32.const 0) $run)
                (func $run (export "run") {body}))"#
        );
        assert_eq!(trap(&wat), kind, "{body}");
    }
}

#[test]
fn an_exit_and_a_host_error_pass_through_guest_frames_and_host_calls_unchanged() {
    let wat = r#"(module
        (import "env" "exit" (func $exit (param i32))) (import "env" "refuse" (func $refuse))
        (import "env" "reenter" (func $reenter (param i32) (result i32)))
        (func $inner (param i32) (result i32)
            (if (i32.eqz (local.get 0)) (then (call $refuse))) (call $exit (local.get 0)) (unreachable))
        (func (export "alloc") (param i32) (result i32) (call $inner (local.get 0)))
        (func (export "with") (param i32) (result i32) (call $reenter (local.get 0))))"#;
    let mut instance = start(wat);
    assert!(matches!(with(&mut instance, 42), Err(Stop::Exit(42))));
    assert!(matches!(with(&mut instance, -1), Err(Stop::Exit(-1))));
    match with(&mut instance, 0) {
        Err(Stop::Host(error)) => assert_eq!(error.to_string(), "refused"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trap_passes_through_a_host_call_and_the_instance_goes_on() {
    let wat = r#"(module
        (import "env" "reenter" (func $reenter (param i32) (result i32)))
        (global $calls (mut i32) (i32.const 0))
        (func (export "alloc") (param i32) (result i32) (i32.div_u (i32.const 100) (local.get 0)))
        (func (export "with") (param i32) (result i32)
            (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
            (i32.add (global.get $calls) (call $reenter (local.get 0)))))"#;
    let mut instance = start(wat);
    match with(&mut instance, 0) {
        Err(Stop::Trap(trap)) => assert_eq!(trap.kind, TrapKind::DivisionByZero),
        other => panic!("{other:?}"),
    }
    assert_eq!(with(&mut instance, 10).unwrap(), 12);
}

#[test]
fn a_host_function_may_survive_the_failure_of_its_own_call() {
    let wat = r#"(module
        (import "env" "reenter" (func $reenter (param i32) (result i32))) (import "env" "exit" (func $exit (param i32)))
        (func (export "alloc") (param i32) (result i32) (call $exit (i32.const 3)) (i32.const 1))
        (func (export "with") (param i32) (result i32)
            (drop (call $reenter (i32.const 0)))
            (i32.div_u (i32.const 1) (local.get 0))))"#;
    let mut instance = start(wat);
    instance.state().swallow = true;
    assert_eq!(with(&mut instance, 1).unwrap(), 1);
    // The exit that was swallowed must not come up again as the reason of a later trap.
    assert!(matches!(with(&mut instance, 0), Err(Stop::Trap(trap)) if trap.kind == TrapKind::DivisionByZero));
    assert_eq!(instance.state().swallowed, ["exit", "exit"]);
}

#[test]
fn a_panic_of_a_host_function_passes_through_and_leaves_the_instance_callable() {
    let wat = r#"(module
        (import "env" "burst" (func $burst)) (import "env" "reenter" (func $reenter (param i32) (result i32)))
        (func (export "alloc") (param i32) (result i32)
            (if (local.get 0) (then (call $burst))) (i32.const 5))
        (func (export "with") (param i32) (result i32) (call $reenter (local.get 0))))"#;
    let mut instance = start(wat);
    for _ in 0..100 {
        let burst = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| with(&mut instance, 1)));
        assert_eq!(*burst.unwrap_err().downcast::<&str>().unwrap(), "the host function burst");
    }
    assert_eq!(with(&mut instance, 0).unwrap(), 5);
    assert_eq!(*instance.state(), State::default());
}

#[test]
fn small_frames_go_800_deep_and_endless_recursion_ends() {
    let wat = r#"(module (func $down (export "with") (param i32) (result i32)
        (if (result i32) (local.get 0)
            (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
            (else (i32.const 0)))))"#;
    let mut instance = start(wat);
    assert_eq!(with(&mut instance, 800).unwrap(), 800);
    assert!(matches!(with(&mut instance, -1), Err(Stop::Trap(trap)) if trap.kind == TrapKind::StackOverflow));
    assert_eq!(with(&mut instance, 800).unwrap(), 800);
}

#[test]
fn endless_recursion_through_a_host_function_ends_too() {
    let wat = r#"(module
        (import "env" "reenter" (func $reenter (param i32) (result i32)))
        (func $deep (param i32) (result i32)
            (if (result i32) (local.get 0)
                (then (call $deep (i32.sub (local.get 0) (i32.const 1))))
                (else (call $reenter (i32.const 900)))))
        (func (export "alloc") (param i32) (result i32) (call $deep (local.get 0)))
        (func (export "with") (param i32) (result i32) (call $reenter (local.get 0))))"#;
    // As small a stack as a worker thread may have.
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
        let mut instance = start(wat);
        for _ in 0..3 {
            assert!(matches!(with(&mut instance, 1), Err(Stop::Trap(trap)) if trap.kind == TrapKind::StackOverflow));
        }
    });
    thread.unwrap().join().unwrap();
}
