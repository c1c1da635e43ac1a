//! Start sections.

use std::time::{Duration, Instant};

use chassis_engine_api::{Budget, Instance, Profile, Stop, TrapKind};

use crate::host::{Setup, cpu_time, run, start, with};

#[test]
fn a_start_section_runs_with_memory_and_host_functions() {
    let wat = r#"(module
        (import "env" "note" (func $note (param i32))) (import "env" "grab" (func $grab (param i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "alloc") (param i32) (result i32) (drop (memory.grow (i32.const 1))) (i32.const 1024))
        (func $start (call $note (i32.const 11)) (drop (call $grab (i32.const 3))))
        (func (export "run") (call $note (i32.load8_u (i32.const 1026))))
        (start $start))"#;
    let mut instance = start(wat);
    run(&mut instance).unwrap();
    assert_eq!(instance.state().seen, [11, 65536, 131_072, 7]);
}

#[test]
fn an_endless_loop_in_a_start_section_ends_at_the_deadline_and_the_state_comes_back() {
    let wat = r#"(module (import "env" "note" (func $note (param i32)))
        (func $start (call $note (i32.const 1)) (loop $l (br $l))) (start $start))"#;
    let setup = Setup { budget: Budget { ticks: 50, fuel: None }, ..Setup::default() };
    let begin = Instant::now();
    let (cpu, failed) = cpu_time(|| setup.try_start(wat).unwrap_err());
    assert!(matches!(failed.stop, Stop::Deadline), "{:?}", failed.stop);
    assert_eq!(failed.state.seen, [1]);
    assert!(begin.elapsed() > Duration::from_millis(45), "{:?}", begin.elapsed());
    assert!(cpu < Duration::from_millis(150), "{cpu:?}");
}

#[test]
fn a_start_section_spends_the_fuel_of_its_budget() {
    let wat = r#"(module (func $start (loop $l (br $l))) (start $start))"#;
    let setup =
        Setup { profile: Profile::Fuel, budget: Budget { ticks: 5_000, fuel: Some(100_000) }, ..Setup::default() };
    assert!(matches!(setup.try_start(wat).unwrap_err().stop, Stop::Fuel));
}

#[test]
fn traps_and_exits_of_a_start_section_are_told_apart() {
    let wat = |body| {
        format!(
            r#"(module (import "env" "exit" (func $exit (param i32))) (import "env" "refuse" (func $refuse))
                (func $start {body}) (start $start))"#
        )
    };
    let failed = Setup::default().try_start(&wat("unreachable")).unwrap_err();
    assert!(matches!(failed.stop, Stop::Trap(trap) if trap.kind == TrapKind::Unreachable));
    let failed = Setup::default().try_start(&wat("(call $exit (i32.const 0))")).unwrap_err();
    assert!(matches!(failed.stop, Stop::Exit(0)));
    let failed = Setup::default().try_start(&wat("(call $refuse)")).unwrap_err();
    assert!(matches!(failed.stop, Stop::Host(_)));
}

#[test]
fn segments_that_do_not_fit_are_traps() {
    let failed = Setup::default().try_start(r#"(module (memory 1) (data (i32.const 65535) "ab"))"#).unwrap_err();
    assert!(matches!(failed.stop, Stop::Trap(trap) if trap.kind == TrapKind::MemoryOutOfBounds));
    let wat = "(module (table 1 funcref) (func $f) (elem (i32.const 1) $f))";
    let failed = Setup::default().try_start(wat).unwrap_err();
    assert!(matches!(failed.stop, Stop::Trap(trap) if trap.kind == TrapKind::TableOutOfBounds));
}

#[test]
fn a_start_section_works_with_any_other_exports() {
    // None, one with the name that would be given, an imported function, and many other sections around.
    start("(module (func $s) (start $s))");
    let wat = r#"(module (import "env" "note" (func $note (param i32)))
        (type $unused (func (param i64))) (table 3 funcref) (memory 1) (global i32 (i32.const 1))
        (func $s (call $note (i32.const 9)))
        (func (export "start")) (func (export "start_")) (func (export "with") (param i32) (result i32) (local.get 0))
        (start $s) (elem (i32.const 0) $s) (data (i32.const 0) "abc") (@custom "name" "x") (@custom "other" "y"))"#;
    let mut instance = start(wat);
    assert_eq!(with(&mut instance, 4).unwrap(), 4);
    assert_eq!(instance.state().seen, [9]);
    let wat = r#"(module (import "env" "refuse" (func $refuse)) (start $refuse))"#;
    assert!(matches!(Setup::default().try_start(wat).unwrap_err().stop, Stop::Host(_)));
}
