use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chassis_engine_api::TrapKind;

use super::*;

/// The offsets of all operators that answer to `wanted`, in the bytes as they were given.
fn offsets(module: &CheckedModule, wanted: fn(&wasmer::sys::wasmparser::Operator<'_>) -> bool) -> Vec<u64> {
    use wasmer::sys::wasmparser::{Parser, Payload};
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(module.bytes()) {
        let Payload::CodeSectionEntry(body) = payload.unwrap() else { continue };
        for operator in body.get_operators_reader().unwrap().into_iter_with_offsets() {
            let (operator, offset) = operator.unwrap();
            if wanted(&operator) {
                found.push(offset as u64);
            }
        }
    }
    found
}

#[test]
fn frames_point_at_the_instructions_of_the_module_as_it_was_given() {
    use wasmer::sys::wasmparser::Operator;
    let wat = format!(
        r#"(module {IMPORTS} (memory 1) (func $start) (start $start)
            (func $_ZN5guest5inner17h0123456789abcdefE (local i32) (loop
                (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.lt_u (local.get 0) (i32.const 5))))
                unreachable)
            (func $outer (export "run") (call $note (i32.const 1)) (call 5) (call $note (i32.const 2))))"#
    );
    let module = check(&wat);
    let unreachable = offsets(&module, |operator| matches!(operator, Operator::Unreachable))[0];
    let call = offsets(&module, |operator| matches!(operator, Operator::Call { function_index: 5 }))[0];
    for profile in [Profile::Deadline, Profile::Fuel] {
        let engine = WasmerEngine::new(profile).unwrap();
        let Err(Stop::Trap(trap)) = run(&mut start(&engine, &wat)) else { panic!() };
        assert_eq!(trap.kind, TrapKind::Unreachable);
        let names: Vec<_> = trap.backtrace.iter().map(|frame| frame.name.as_deref()).collect();
        assert_eq!(names, [Some("guest::inner"), Some("outer")]);
        let offsets: Vec<_> = trap.backtrace.iter().map(|frame| frame.offset).collect();
        assert_eq!(offsets, [Some(unreachable), Some(call)]);
    }
}

#[test]
fn endless_recursion_ends_on_threads_with_little_stack() {
    each(Profile::Deadline, |engine| {
        let linked = link(engine, &format!(r#"(module {IMPORTS} (func $run (export "run") (call $run) (nop)))"#));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let thread = std::thread::Builder::new().stack_size(128 << 10);
                let recursing = thread.spawn_scoped(scope, || {
                    let state = State::default();
                    let mut instance = engine.instantiate(&linked, state, &Limits::default(), ticks(1_000)).unwrap();
                    for _ in 0..10 {
                        let Err(Stop::Trap(trap)) = run(&mut instance) else { panic!() };
                        assert_eq!(trap.kind, TrapKind::StackOverflow);
                    }
                });
                recursing.unwrap();
            }
        });
    });
}

#[test]
fn a_trap_in_a_re_entered_function_reaches_the_outer_caller() {
    each(Profile::Deadline, |engine| {
        let wat = format!(
            r#"(module {IMPORTS} (func (export "inner") (drop (i32.div_u (i32.const 1) (i32.const 0))))
                (func (export "run") (call $nest)))"#
        );
        let mut instance = start(engine, &wat);
        for _ in 0..3 {
            let Err(Stop::Trap(trap)) = run(&mut instance) else { panic!() };
            assert_eq!(trap.kind, TrapKind::DivisionByZero);
        }
    });
}

/// Guests that trap in Wasmer's own functions when little of the stack is left, however little it is: nothing is left
/// locked by which the next thread that traps would hang.
#[test]
fn a_trap_at_the_end_of_the_stack_leaves_nothing_locked() {
    each(Profile::Deadline, |engine| {
        for operator in [
            "(table.copy (i32.const 0) (i32.const 1) (i32.const 99))",
            "(table.set (i32.const 99) (ref.null func))",
            "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1))",
        ] {
            let wat = format!(
                r#"(module (memory 1) (table 1 funcref) (func $down (export "with") (param i32) (result i32)
                    (if (i32.eqz (local.get 0)) (then {operator}))
                    (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1))))))"#
            );
            let linked = link(engine, &wat);
            let overflows = |depth: u64| {
                let mut instance =
                    engine.instantiate(&linked, State::default(), &Limits::default(), ticks(1_000)).unwrap();
                let Err(Stop::Trap(trap)) = instance.call(WITH, &mut [depth], ticks(1_000)) else { panic!() };
                trap.kind == TrapKind::StackOverflow
            };
            let (mut fits, mut too_deep) = (1, 100_000);
            while too_deep - fits > 1 {
                let depth = (fits + too_deep) / 2;
                if overflows(depth) { too_deep = depth } else { fits = depth }
            }
            for depth in fits.saturating_sub(100)..fits + 100 {
                overflows(depth);
            }
            let (done, wait) = mpsc::channel();
            let another = start(engine, &wat);
            thread::spawn(move || {
                let mut another = another;
                let ended = another.call(WITH, &mut [0], ticks(1_000));
                let _ = done.send(matches!(ended, Err(Stop::Trap(_))));
            });
            assert_eq!(wait.recv_timeout(Duration::from_secs(20)), Ok(true), "the next thread hangs: {operator}");
        }
    });
}

#[test]
fn an_instance_whose_stack_overflowed_in_a_bulk_operator_can_be_called_again() {
    let wat = r#"(module (memory 1) (data $d "12345678") (table 1 funcref) (elem $e func $down)
        (func $down (export "run") (memory.init $d (i32.const 0) (i32.const 0) (i32.const 8))
            (table.init $e (i32.const 0) (i32.const 0) (i32.const 1)) (call $down) (nop))
        (func (export "with") (param i32) (result i32) (data.drop $d) (elem.drop $e) (i32.const 4)))"#;
    each(Profile::Deadline, |engine| {
        let mut instance = start(engine, wat);
        for _ in 0..3 {
            let Err(Stop::Trap(trap)) = run(&mut instance) else { panic!() };
            assert_eq!(trap.kind, TrapKind::StackOverflow);
        }
        let mut slots = [0];
        instance.call(WITH, &mut slots, ticks(1_000)).unwrap();
        assert_eq!(slots, [4]);
    });
}
