//! What Wasm forbids: one kind for it on every engine, and nobody else is harmed.

use chassis_engine_api::{Instance, Limits, Stop, Support, TrapKind};

use crate::case::engine_test;
use crate::guest::{GENEROUS, assert_trap, failed, load, trap};
use crate::host::State;
use crate::subject::Subject;

engine_test! { "traps";
    fn unreachable(engine) needs [Wasm] {
        traps(engine, "unreachable", TrapKind::Unreachable);
    }

    fn memory_out_of_bounds(engine) needs [Wasm] {
        for body in [
            "(drop (i32.load (i32.const 65533)))",
            "(drop (i32.load8_u (i32.const -1)))",
            "(drop (i64.load offset=0xffffffff (i32.const -1)))",
            "(i32.store16 (i32.const 65535) (i32.const 0))",
            "(drop (v128.load (i32.const 65521)))",
            "(memory.fill (i32.const 65535) (i32.const 0) (i32.const 2))",
            "(memory.fill (i32.const 65537) (i32.const 0) (i32.const 0))",
            "(memory.copy (i32.const 0) (i32.const 1) (i32.const 65536))",
            "(memory.init $data (i32.const 0) (i32.const 2) (i32.const 2))",
        ] {
            traps(engine, body, TrapKind::MemoryOutOfBounds);
        }
    }

    fn table_out_of_bounds(engine) needs [Wasm] {
        for body in [
            "(call_indirect (i32.const 3))",
            "(call_indirect (i32.const -1))",
            "(drop (table.get $table (i32.const 3)))",
            "(table.set $table (i32.const 3) (ref.null func))",
            "(table.fill $table (i32.const 2) (ref.null func) (i32.const 2))",
            "(table.copy (i32.const 0) (i32.const 1) (i32.const 3))",
            "(table.init $elements (i32.const 0) (i32.const 1) (i32.const 2))",
        ] {
            traps(engine, body, TrapKind::TableOutOfBounds);
        }
    }

    fn null_function(engine) needs [Wasm] {
        traps(engine, "(call_indirect (i32.const 0))", TrapKind::NullFunction);
    }

    fn bad_signature(engine) needs [Wasm] {
        traps(engine, "(drop (call_indirect (result i32) (i32.const 1)))", TrapKind::BadSignature);
        traps(engine, "(call_indirect (param i64) (i64.const 1) (i32.const 1))", TrapKind::BadSignature);
    }

    fn division_by_zero(engine) needs [Wasm] {
        for op in ["i32.div_s", "i32.div_u", "i32.rem_s", "i32.rem_u"] {
            traps(engine, &format!("(drop ({op} (i32.const 1) (i32.load (i32.const 0))))"), TrapKind::DivisionByZero);
        }
        traps(engine, "(drop (i64.rem_u (i64.const 1) (i64.const 0)))", TrapKind::DivisionByZero);
    }

    fn integer_overflow(engine) needs [Wasm] {
        for body in [
            "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
            "(drop (i64.div_s (i64.const 0x8000000000000000) (i64.const -1)))",
        ] {
            traps(engine, body, TrapKind::IntegerOverflow);
        }
    }

    fn bad_conversion(engine) needs [Wasm] {
        traps(engine, "(drop (i32.trunc_f32_s (f32.const nan)))", TrapKind::BadConversion);
        traps(engine, "(drop (i64.trunc_f64_u (f64.const -nan)))", TrapKind::BadConversion);
    }

    fn a_float_out_of_range_is_an_overflow(engine) needs [Wasm] {
        for body in [
            "(drop (i32.trunc_f32_s (f32.const 3e9)))",
            "(drop (i32.trunc_f64_u (f64.const -1)))",
            "(drop (i64.trunc_f64_s (f64.const inf)))",
        ] {
            traps(engine, body, TrapKind::IntegerOverflow);
        }
    }

    fn stack_overflow(engine) needs [Wasm, Depth] {
        traps(engine, "(call $run)", TrapKind::StackOverflow);
    }

    fn segments_that_do_not_fit_trap_at_the_start(engine) needs [Wasm] {
        for (wat, kind) in [
            (r#"(module (memory 1) (data (i32.const 65535) "ab"))"#, TrapKind::MemoryOutOfBounds),
            ("(module (table 2 funcref) (func $f) (elem (i32.const 1) $f $f))", TrapKind::TableOutOfBounds),
        ] {
            let state = State { reply: 7, ..State::default() };
            let failed = failed(load(engine, wat).start_with(state, &Limits::default(), GENEROUS));
            assert_trap::<()>(Err(failed.stop), kind);
            assert_eq!(failed.state.reply, 7);
        }
    }

    fn the_state_and_the_memory_stay_readable(engine) needs [Wasm] {
        let mut guest = load(
            engine,
            r#"(module (import "env" "log" (func $log (param i32))) (memory (export "memory") 1)
                (func (export "run") (i32.store8 (i32.const 9) (i32.const 5)) (call $log (i32.const 6)) unreachable))"#,
        )
        .start();
        assert_trap(guest.run(&[]), TrapKind::Unreachable);
        assert_eq!((guest.byte(9), guest.log()), (5, vec![6]));
        assert_trap(guest.run(&[]), TrapKind::Unreachable);
    }

    /// What a guest that traps changed is not seen by an instance that lives beside it, nor by one made afterwards.
    fn other_instances_are_unaffected(engine) needs [Wasm] {
        let loaded = load(
            engine,
            r#"(module (memory (export "memory") 1) (table 2 funcref) (global $g (mut i32) (i32.const 3))
                (data (i32.const 16) "x") (elem (i32.const 0) $two $two) (elem declare func $nine)
                (func $two (result i32) (i32.const 2)) (func $nine (result i32) (i32.const 9))
                (func $check (result i32)
                    (i32.add (i32.mul (global.get $g) (i32.const 1000))
                        (i32.add (i32.mul (call_indirect (result i32) (i32.const 1)) (i32.const 100))
                            (i32.add (i32.load8_u (i32.const 16)) (i32.load8_u (i32.const 60000))))))
                (func (export "run") (param i32) (result i32)
                    (if (local.get 0) (then
                        (global.set $g (i32.const 4)) (table.set (i32.const 1) (ref.func $nine))
                        (i32.store8 (i32.const 16) (i32.const 1)) (i32.store8 (i32.const 60000) (i32.const 1))
                        (drop (memory.grow (i32.const 2)))
                        (if (i32.ne (call $check) (i32.const 4902)) (then (return (i32.const 1))))
                        unreachable))
                    (call $check)))"#,
        );
        let fresh = 3200 + u64::from(b'x');
        let mut beside = loaded.start();
        for _ in 0..20 {
            let mut guest = loaded.start();
            assert_eq!(guest.run(&[0]).unwrap(), fresh);
            assert_trap(guest.run(&[1]), TrapKind::Unreachable);
            drop(guest);
            assert_eq!(beside.run(&[0]).unwrap(), fresh);
            assert_eq!(beside.instance.memory_bytes(), 1 << 16);
        }
    }

    fn memory_that_was_grown_is_zero_for_the_next_instance(engine) needs [Wasm] {
        let loaded = load(
            engine,
            r#"(module (memory (export "memory") 0)
                (func (export "run") (param i32) (result i32)
                    (drop (memory.grow (i32.const 3)))
                    (memory.fill (i32.const 70000) (local.get 0) (i32.const 70000))
                    (i32.load8_u (i32.const 139999))))"#,
        );
        for _ in 0..10 {
            assert_eq!(loaded.start().run(&[0xee]).unwrap(), 0xee);
            let mut guest = loaded.start();
            guest.run(&[0]).unwrap();
            assert!(guest.instance.memory().0.iter().all(|byte| *byte == 0));
        }
    }

    fn a_backtrace_names_the_frames(engine) needs [Wasm] {
        let mut guest = load(
            engine,
            r#"(module (import "env" "log" (func (param i32))) (func $inner unreachable) (func $middle (call $inner))
                (func $outer (export "run") (call $middle)))"#,
        )
        .start();
        let trap = trap(guest.run(&[]));
        let frames: Vec<_> = trap.backtrace.iter().map(|frame| (frame.function, frame.name.as_deref())).collect();
        match engine.capabilities().backtrace {
            Support::None(_) => assert!(frames.is_empty(), "more than it says: {frames:?}"),
            _ => assert_eq!(frames, [(1, Some("inner")), (2, Some("middle")), (3, Some("outer"))]),
        }
    }

    fn a_backtrace_of_endless_recursion_is_short(engine) needs [Wasm, Depth] {
        let mut guest = load(engine, r#"(module (func $run (export "run") (call $run)))"#).start();
        let trap = trap(guest.run(&[]));
        assert!(trap.backtrace.len() <= 200, "{} frames", trap.backtrace.len());
    }
}

/// A guest whose export runs `body` traps with `kind`, more than once and in a second instance too.
fn traps<E: Subject>(engine: &E, body: &str, kind: TrapKind) {
    let loaded = load(
        engine,
        &format!(
            r#"(module (import "env" "log" (func $log (param i32))) (memory 1) (data $data "abc")
                (table $table 3 funcref) (elem (i32.const 1) $log2) (elem $elements func $log2 $log2)
                (func $log2 (param i32)) (func $run (export "run") {body}))"#
        ),
    );
    for mut guest in [loaded.start(), loaded.start()] {
        for _ in 0..2 {
            let ended = guest.run(&[]);
            assert!(matches!(&ended, Err(Stop::Trap(trap)) if trap.kind == kind), "{body}: {ended:?}, not {kind}");
        }
    }
}
