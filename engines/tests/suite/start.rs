//! Start sections: code that runs while an instance is made.

use chassis_engine_api::{Instance, Limits, Stop, TrapKind};

use crate::case::engine_test;
use crate::guest::{GENEROUS, assert_trap, checked, failed, load};
use crate::host::State;

const IMPORTS: &str = r#"(import "env" "log" (func $log (param i32))) (import "env" "exit" (func $exit (param i32)))
    (import "env" "fail" (func $fail (param i32))) (import "env" "size" (func $size))
    (import "env" "has" (func $has (param i32) (result i32)))
    (import "env" "store" (func $store (param i32 i32) (result i32))) (memory (export "memory") 2)"#;

engine_test! { "start";
    fn it_runs_once_before_all_calls(engine) needs [Wasm] {
        let wat = format!(
            r#"(module {IMPORTS} (global $n (mut i32) (i32.const 5)) (data (i32.const 0) "\07")
                (func $start (global.set $n (i32.add (global.get $n) (i32.const 1)))
                    (call $log (i32.load8_u (i32.const 0))) (i32.store8 (i32.const 1) (i32.const 8)))
                (start $start) (func (export "run") (result i32) (global.get $n)))"#
        );
        let mut guest = load(engine, &wat).start();
        assert_eq!((guest.run(&[]).unwrap(), guest.log(), guest.byte(1)), (6, vec![7], 8));
    }

    fn the_state_that_it_changed_is_the_instances(engine) needs [Wasm] {
        let wat = format!(r#"(module {IMPORTS} (func $start (call $log (i32.const 2))) (start $start))"#);
        let state = State { log: vec![1], reply: 9 };
        let mut guest = load(engine, &wat).start_with(state, &Limits::default(), GENEROUS).ok().unwrap();
        assert_eq!(*guest.instance.state(), State { log: vec![1, 2], reply: 9 });
    }

    fn a_host_function_sees_the_memory_and_the_exports(engine) needs [Wasm] {
        let wat = format!(
            r#"(module {IMPORTS} (func (export "alloc") (param i32) (result i32) (i32.const 3000))
                (func $start (call $size) (call $log (call $has (i32.const 0))) (call $log (call $has (i32.const 1)))
                    (call $log (call $store (i32.const 4) (i32.const 0xcc))))
                (start $start))"#
        );
        let mut guest = load(engine, &wat).start();
        assert_eq!(guest.log(), [2 << 16, 1, 0, 2 << 16, 2 << 16, 3000]);
        assert_eq!(guest.byte(3003), 0xcc);
    }

    fn it_may_be_an_import(engine) needs [Wasm] {
        let wat = format!(r#"(module {IMPORTS} (start $size))"#);
        assert_eq!(load(engine, &wat).start().log(), [2 << 16]);
    }

    fn it_may_be_an_export(engine) needs [Wasm] {
        let wat = format!(r#"(module {IMPORTS} (func $start (export "run") (call $log (i32.const 1))) (start $start))"#);
        let mut guest = load(engine, &wat).start();
        guest.run(&[]).unwrap();
        assert_eq!(guest.log(), [1, 1]);
    }

    fn whatever_ends_it_comes_back_with_the_state(engine) needs [Wasm] {
        let ended = |body: &str| {
            let wat = format!(
                r#"(module {IMPORTS} (func (export "alloc") (param i32) (result i32) (call $exit (i32.const 5)) unreachable)
                    (func $start (call $log (i32.const 1)) {body} (call $log (i32.const 2))) (start $start))"#
            );
            let state = State { reply: 3, ..State::default() };
            let failed = failed(load(engine, &wat).start_with(state, &Limits::default(), GENEROUS));
            assert_eq!(failed.state, State { log: vec![1], reply: 3 });
            failed.stop
        };
        assert_trap::<()>(Err(ended("unreachable")), TrapKind::Unreachable);
        assert_trap::<()>(Err(ended("(drop (i32.load (i32.const -1)))")), TrapKind::MemoryOutOfBounds);
        assert!(matches!(ended("(call $exit (i32.const 4))"), Stop::Exit(4)));
        assert!(matches!(ended("(call $fail (i32.const 4))"), Stop::Host(error) if error.to_string() == "failure 4"));
        assert!(matches!(ended("(drop (call $store (i32.const 1) (i32.const 1)))"), Stop::Exit(5)));
    }

    fn endless_recursion_in_it_ends(engine) needs [Wasm, Depth] {
        let loaded = load(engine, "(module (func $start (call $start) (nop)) (start $start))");
        assert_trap::<()>(Err(failed(loaded.start_within(&Limits::default())).stop), TrapKind::StackOverflow);
    }

    fn memory_grows_in_it_to_the_limit(engine) needs [Wasm, Memory] {
        let wat = format!(
            r#"(module {IMPORTS} (func $start (call $log (memory.grow (i32.const 1))) (call $log (memory.grow (i32.const 1))))
                (start $start))"#
        );
        let limits = Limits { memory_bytes: 3 << 16, ..Limits::default() };
        let mut guest = load(engine, &wat).start_within(&limits).ok().unwrap();
        assert_eq!((guest.log(), guest.instance.memory_bytes()), (vec![2, 0xffff_ffff], 3 << 16));
    }

    fn an_engine_that_cannot_run_it_says_so(engine) {
        let module = checked(r#"(module (func $start) (start $start) (@custom "chassis.native" "idle"))"#);
        match engine.compile(&module) {
            Ok(_) => assert_ne!(engine.capabilities().name, "native"),
            Err(error) => assert!(error.to_string().contains("start section"), "{error}"),
        }
    }
}
