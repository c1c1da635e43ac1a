use std::collections::BTreeSet;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use chassis_engine_api::TrapKind;

use super::*;
use crate::metering::{NEED_ROOM, needs_room};

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

/// Each operator that traps in one of Wasmer's own functions on the guest's stack, so that it traps there.
const TRAPPING: [&str; 9] = [
    "unreachable",
    "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1))",
    "(memory.copy (i32.const 0) (i32.const 1) (i32.const -1))",
    "(memory.init $d (i32.const 0) (i32.const 1) (i32.const -1))",
    "(table.fill (i32.const 0) (ref.null func) (i32.const 99))",
    "(table.copy (i32.const 0) (i32.const 1) (i32.const 99))",
    "(table.init $e (i32.const 0) (i32.const 1) (i32.const 99))",
    "(drop (table.get (i32.const 99)))",
    "(table.set (i32.const 99) (ref.null func))",
];

/// What else runs on the guest's stack or begins there, and hardware traps, which need none of it.
const OTHERS: [&str; 9] = [
    "(drop (memory.size))",
    "(drop (memory.grow (i32.const 0)))",
    "(drop (table.size))",
    "(drop (table.grow (ref.null func) (i32.const 0)))",
    "(drop (ref.func $down))",
    "(data.drop $d)",
    "(elem.drop $e)",
    "(call $note (i32.const 1))",
    "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
];

#[test]
fn traps_in_wasmers_own_functions_point_at_their_operators() {
    for profile in [Profile::Deadline, Profile::Fuel] {
        each(profile, |engine| {
            for operator in TRAPPING {
                let wat = deep(operator);
                let trapping = offsets(&check(&wat), needs_room)[0];
                let budget = Budget { ticks: 1_000, fuel: (profile == Profile::Fuel).then_some(1 << 40) };
                let Err(Stop::Trap(trap)) = start(engine, &wat).call(WITH, &mut [0], budget) else { panic!() };
                assert_eq!(trap.backtrace[0].offset, Some(trapping), "{operator}");
            }
        });
    }
}

#[test]
fn every_operator_that_needs_room_is_tried_at_the_end_of_the_stack() {
    use wasmer::sys::wasmparser::{Parser, Payload};
    let mut tried = BTreeSet::new();
    for operator in TRAPPING {
        for payload in Parser::new(0).parse_all(check(&deep(operator)).bytes()) {
            let Payload::CodeSectionEntry(body) = payload.unwrap() else { continue };
            // The first function is the one with the operator.
            for operator in body.get_operators_reader().unwrap() {
                let operator = operator.unwrap();
                if needs_room(&operator) {
                    let name = format!("{operator:?}");
                    tried.extend(name.split(' ').next().map(str::to_owned));
                }
            }
            break;
        }
    }
    assert_eq!(tried, NEED_ROOM.iter().map(|&name| name.to_owned()).collect());
}

/// Whatever ends on the guest's stack when little of it is left, however little it is: nothing is left locked by which
/// the next thread that traps would hang, nor anything else in a state that the next call minds.
#[test]
fn what_ends_at_the_end_of_the_stack_leaves_nothing_locked() {
    each(Profile::Deadline, |engine| {
        for operator in TRAPPING.into_iter().chain(OTHERS) {
            let wat = deep(operator);
            let linked = link(engine, &wat);
            let overflows = |depth: u64| {
                let mut instance =
                    engine.instantiate(&linked, State::default(), &Limits::default(), ticks(1_000)).unwrap();
                match instance.call(WITH, &mut [depth], ticks(1_000)) {
                    Ok(_) => false,
                    Err(Stop::Trap(trap)) => trap.kind == TrapKind::StackOverflow,
                    Err(other) => panic!("{operator} {depth} deep: {other:?}"),
                }
            };
            let (mut fits, mut too_deep) = (1, 100_000);
            assert_eq!((overflows(fits), overflows(too_deep)), (false, true), "{operator}");
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
                let _ = done.send(is_alive(&mut another));
            });
            assert_eq!(wait.recv_timeout(Duration::from_secs(20)), Ok(true), "the next thread hangs: {operator}");
            assert!(is_alive(&mut start(engine, &wat)), "{operator}");
        }
    });
}

/// Whether an instance of [`deep`] can call the host and trap.
fn is_alive(instance: &mut WasmerInstance<State>) -> bool {
    let trapped = matches!(run(instance), Err(Stop::Trap(trap)) if trap.kind == TrapKind::Unreachable);
    trapped && instance.state().noted == [1]
}

/// `with` runs the operator as many calls deep as its argument says; `run` calls the host and traps.
fn deep(operator: &str) -> String {
    format!(
        r#"(module {IMPORTS} (memory 1) (data $d "x") (table 1 funcref) (elem $e func $down)
            (func $down (export "with") (param i32) (result i32)
                (if (i32.eqz (local.get 0)) (then {operator} (return (i32.const 0))))
                (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
            (func (export "run") (call $note (i32.const 1)) unreachable))"#
    )
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
