use std::time::{Duration, Instant};

use chassis_engine_api::{Outcome, TrapKind};

use super::*;

fn trap(body: &str) -> chassis_engine_api::Trap {
    let mut instance = start(&format!(
        r#"(module (memory (export "memory") 1) (table 2 funcref) (elem (i32.const 1) $other) (type $void (func))
            (func $other (param i32)) (func $deep (call $deep))
            (func $fails {body}) (func $_ZN5guest4main17h0123456789abcdefE (export "run") (call $fails)))"#
    ));
    match call(&mut instance, RUN) {
        Err(Stop::Trap(trap)) => *trap,
        other => panic!("{body}: {other:?}"),
    }
}

#[test]
fn traps_have_their_kind_and_the_guests_frames() {
    let cases = [
        ("unreachable", TrapKind::Unreachable),
        ("(drop (i32.load (i32.const 65533)))", TrapKind::MemoryOutOfBounds),
        ("(memory.fill (i32.const 65536) (i32.const 0) (i32.const 1))", TrapKind::MemoryOutOfBounds),
        ("(drop (table.get (i32.const 2)))", TrapKind::TableOutOfBounds),
        ("(call_indirect (type $void) (i32.const 2))", TrapKind::TableOutOfBounds),
        ("(call_indirect (type $void) (i32.const 0))", TrapKind::NullFunction),
        ("(call_indirect (type $void) (i32.const 1))", TrapKind::BadSignature),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", TrapKind::DivisionByZero),
        ("(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))", TrapKind::IntegerOverflow),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", TrapKind::BadConversion),
    ];
    for (body, kind) in cases {
        let trap = trap(body);
        assert_eq!(trap.kind, kind, "{body}");
        let names: Vec<_> = trap.backtrace.iter().map(|frame| frame.name.as_deref()).collect();
        assert_eq!(names, [Some("fails"), Some("guest::main")], "{body}");
        let functions: Vec<_> = trap.backtrace.iter().map(|frame| frame.function).collect();
        assert_eq!(functions, [2, 3], "{body}");
        assert!(trap.backtrace.iter().all(|frame| frame.offset.is_some_and(|offset| offset > 8)), "{body}");
    }
}

#[test]
fn a_fault_says_where() {
    let trap = trap("(drop (i32.load (i32.const 65536)))");
    assert_eq!(trap.message, "memory fault at wasm address 0x10000 in linear memory of size 0x10000");
}

#[test]
fn endless_recursion_ends_with_the_innermost_frames_and_800_calls_are_fine() {
    let trap = trap("(call $deep)");
    assert_eq!(trap.kind, TrapKind::StackOverflow);
    assert_eq!(trap.backtrace.len(), 20);
    assert_eq!(trap.backtrace[0].name.as_deref(), Some("deep"));

    let mut instance = start(
        r#"(module (func $down (param i32) (result i32)
                (if (result i32) (local.get 0) (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
                    (else (i32.const 0))))
            (func (export "run") (result i32) (call $down (i32.const 800))))"#,
    );
    assert_eq!(call(&mut instance, RUN_I32).unwrap(), 800);
}

#[test]
fn endless_recursion_through_a_host_function_ends_too() {
    let mut instance = start(
        r#"(module (import "host" "nested" (func $nested))
            (func (export "inner") (call $nested)) (func (export "run") (call $nested)))"#,
    );
    let Err(Stop::Trap(trap)) = call(&mut instance, RUN) else { panic!() };
    assert_eq!(trap.kind, TrapKind::StackOverflow);
}

#[test]
fn exit_and_host_errors_unwind_the_guest_unchanged() {
    let mut instance = start(
        r#"(module (import "host" "exit" (func $exit (param i32))) (import "host" "fail" (func $fail))
            (global $mode (mut i32) (i32.const 0))
            (func (export "run")
                (global.set $mode (i32.add (global.get $mode) (i32.const 1)))
                (if (i32.eq (global.get $mode) (i32.const 1)) (then (call $exit (i32.const -3))))
                (if (i32.eq (global.get $mode) (i32.const 2)) (then (call $fail)))))"#,
    );
    assert!(matches!(call(&mut instance, RUN), Err(Stop::Exit(-3))));
    let Err(Stop::Host(error)) = call(&mut instance, RUN) else { panic!() };
    assert_eq!(error, HostError::new("not today"));
    assert!(call(&mut instance, RUN).is_ok());
}

#[test]
fn what_ends_a_re_entrant_call_reaches_the_outer_caller_unchanged() {
    let guest = |inner: &str| {
        format!(
            r#"(module (import "host" "nested" (func $nested)) (import "host" "exit" (func $exit (param i32)))
                (func $bottom {inner}) (func $inner (export "inner") (call $bottom))
                (func $outer (export "run") (call $nested) unreachable))"#
        )
    };
    let Err(Stop::Trap(trap)) = call(&mut start(&guest("(drop (i32.rem_s (i32.const 1) (i32.const 0)))")), RUN) else {
        panic!()
    };
    assert_eq!(trap.kind, TrapKind::DivisionByZero);
    let names: Vec<_> = trap.backtrace.iter().map(|frame| frame.name.as_deref().unwrap_or("?")).collect();
    assert_eq!(names, ["bottom", "inner", "outer"]);
    assert!(matches!(call(&mut start(&guest("(call $exit (i32.const 9))")), RUN), Err(Stop::Exit(9))));
    let stop = timed(&mut start(&guest("(loop (br 0))")), 50);
    assert!(matches!(stop, Err(Stop::Deadline)), "{stop:?}");
}

/// Calls `run` with a deadline; the test fails if that is missed by far. A guest that is not given the CPU may take
/// four times its deadline.
fn timed(instance: &mut WasmtimeInstance<State>, ticks: u32) -> Result<Outcome, Stop> {
    let begin = Instant::now();
    let result = instance.call(RUN, &mut [0], Budget { ticks, fuel: None });
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(u64::from(ticks) * 4 + 100), "{took:?} of {ticks} ms");
    result
}

#[test]
fn a_loop_ends_at_its_deadline_in_every_profile() {
    for profile in Profile::ALL {
        let engine = engine(profile);
        let wat = r#"(module (func (export "run") (loop (br 0))))"#;
        let mut instance = try_start(&engine, wat, &Limits::default()).unwrap();
        // The clock belongs to the engine, which the instance keeps.
        drop(engine);
        for ticks in [1, 50] {
            let begin = Instant::now();
            let stop = timed(&mut instance, ticks);
            assert!(matches!(stop, Err(Stop::Deadline)), "{stop:?}");
            assert!(begin.elapsed() >= Duration::from_millis(u64::from(ticks) / 2), "{:?}", begin.elapsed());
        }
    }
}

#[test]
fn a_loop_of_host_calls_and_a_long_instruction_end_too() {
    let mut instance =
        start(r#"(module (import "host" "shape0" (func $f)) (func (export "run") (loop (call $f) (br 0))))"#);
    assert!(matches!(timed(&mut instance, 20), Err(Stop::Deadline)));
    let mut instance = start(
        r#"(module (memory (export "memory") 500)
            (func (export "run") (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 32768000)) (br 0))))"#,
    );
    assert!(matches!(timed(&mut instance, 20), Err(Stop::Deadline)));
}

#[test]
fn a_deadline_is_for_one_call() {
    let mut instance = start(
        r#"(module (global $n (mut i32) (i32.const 0))
            (func (export "run") (global.set $n (i32.add (global.get $n) (i32.const 1)))
                (if (i32.and (global.get $n) (i32.const 1)) (then (loop (br 0))))))"#,
    );
    for _ in 0..3 {
        assert!(matches!(timed(&mut instance, 5), Err(Stop::Deadline)));
        assert!(timed(&mut instance, 5).is_ok());
    }
}

#[test]
fn fuel_ends_a_call_and_is_new_for_the_next() {
    let engine = engine(Profile::Fuel);
    let mut instance = try_start(
        &engine,
        r#"(module (import "host" "nested" (func $nested)) (global $n (mut i32) (i32.const 0))
            (func (export "inner") (local $i i32)
                (loop (br_if 0 (i32.ne (i32.const 1000) (local.tee $i (i32.add (local.get $i) (i32.const 1)))))))
            (func (export "run") (call $nested) (global.set $n (i32.add (global.get $n) (i32.const 1))) (call $nested)))"#,
        &Limits::default(),
    )
    .unwrap();
    let mut with = |fuel| instance.call(RUN, &mut [0], Budget { ticks: 1_000, fuel });
    assert!(with(None).is_ok());
    // Enough for one of the two inner calls: what they spend is the outer call's.
    for _ in 0..2 {
        assert!(matches!(with(Some(10_000)), Err(Stop::Fuel)));
        assert!(with(Some(20_000)).is_ok());
    }
    assert!(matches!(with(Some(0)), Err(Stop::Fuel)));
}

#[test]
fn fuel_without_the_profile_is_refused_in_words() {
    let mut instance = start(r#"(module (func (export "run")))"#);
    let Err(Stop::Host(error)) = instance.call(RUN, &mut [0], Budget { ticks: 10, fuel: Some(5) }) else { panic!() };
    assert_eq!(error.to_string(), "a budget with fuel needs an engine of the fuel profile");
    assert!(call(&mut instance, RUN).is_ok());
}

#[test]
fn what_stops_the_start_section_comes_back_with_the_state() {
    let engine = engine(Profile::Deadline);
    let guest = |body: &str| {
        format!(
            r#"(module (import "host" "exit" (func $exit (param i32))) (import "host" "shape1" (func $note (param i32)))
                (func $start (call $note (i32.const 5)) {body}) (start $start))"#
        )
    };
    for (body, kind) in [("unreachable", "trap"), ("(call $exit (i32.const 0))", "exit"), ("(loop (br 0))", "deadline")]
    {
        let linked = link(&engine, &guest(body));
        let state = State { calls: Vec::new(), answer: 77 };
        let failed =
            engine.instantiate(&linked, state, &Limits::default(), Budget { ticks: 20, fuel: None }).unwrap_err();
        assert_eq!(failed.stop.kind(), kind);
        assert_eq!(failed.state.answer, 77);
        assert_eq!(failed.state.calls, [("shape1", vec![5])]);
    }
}
