//! How deeply calls may nest: 800 small frames on every engine, and never without end.

use chassis_engine_api::TrapKind;

use crate::case::engine_test;
use crate::guest::{assert_trap, load};

engine_test! { "depth";
    fn eight_hundred_small_frames_succeed(engine) needs [Wasm] {
        let mut guest = load(
            engine,
            r#"(module (func $down (export "run") (param i32) (result i32)
                (if (result i32) (local.get 0)
                    (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
                    (else (i32.const 0)))))"#,
        )
        .start();
        for _ in 0..3 {
            assert_eq!(guest.run(&[799]).unwrap(), 799);
        }
    }

    fn endless_recursion_ends(engine) needs [Wasm, Depth] {
        let loaded = load(engine, r#"(module (func $down (export "run") (param i32) (result i32)
            (if (result i32) (local.get 0) (then (i32.add (i32.const 1) (call $down (local.get 0)))) (else (i32.const 5)))))"#);
        for _ in 0..3 {
            let mut guest = loaded.start();
            assert_trap(guest.run(&[1]), TrapKind::StackOverflow);
            assert_eq!(guest.run(&[0]).unwrap(), 5);
        }
    }

    fn endless_recursion_with_large_frames_ends(engine) needs [Wasm, Depth] {
        let locals = "i64 ".repeat(2_000);
        let sets: String = (0..2_000).map(|i| format!("(local.set {i} (i64.load (i32.const {i})))")).collect();
        let gets: String = (0..2_000).map(|i| format!("(i64.store (i32.const {i}) (local.get {i}))")).collect();
        let wat = format!(r#"(module (memory 1) (func $down (export "run") (local {locals}) {sets} (call $down) {gets}))"#);
        assert_trap(load(engine, &wat).start().run(&[]), TrapKind::StackOverflow);
    }

    fn endless_recursion_through_a_table_ends(engine) needs [Wasm, Depth] {
        let wat = r#"(module (table 2 funcref) (elem (i32.const 0) $a $b)
            (func $a (export "run") (call_indirect (i32.const 1))) (func $b (call_indirect (i32.const 0)) (nop)))"#;
        assert_trap(load(engine, wat).start().run(&[]), TrapKind::StackOverflow);
    }

    fn endless_recursion_in_a_reentered_function_ends(engine) needs [Wasm, Depth] {
        let wat = r#"(module (import "env" "store" (func $store (param i32 i32) (result i32))) (memory (export "memory") 1)
            (func $alloc (export "alloc") (param i32) (result i32) (i32.add (i32.const 1) (call $alloc (local.get 0))))
            (func (export "run") (drop (call $store (i32.const 1) (i32.const 1)))))"#;
        assert_trap(load(engine, wat).start().run(&[]), TrapKind::StackOverflow);
    }

    fn endless_nesting_through_the_host_ends(engine) needs [Depth] {
        let loaded = load(
            engine,
            r#"(module (import "env" "nest" (func $nest (param i32) (result i32)))
                (func (export "nest") (export "run") (param i32) (result i32) (call $nest (local.get 0)))
                (@custom "chassis.native" "nesting without end"))"#,
        );
        for _ in 0..2 {
            let mut guest = loaded.start();
            for _ in 0..2 {
                assert_trap(guest.run(&[1]), TrapKind::StackOverflow);
            }
        }
    }

    /// Frames of the guest and entries multiply: each entry goes 700 frames deep before it nests.
    fn deep_frames_in_nested_entries_end(engine) needs [Wasm, Depth] {
        let wat = r#"(module (import "env" "nest" (func $nest (param i32) (result i32)))
            (func $down (param i32) (result i32)
                (if (result i32) (local.get 0)
                    (then (i32.add (i32.const 1) (call $down (i32.sub (local.get 0) (i32.const 1)))))
                    (else (call $nest (i32.const 0)))))
            (func (export "nest") (export "run") (param i32) (result i32) (call $down (i32.const 700))))"#;
        assert_trap(load(engine, wat).start().run(&[1]), TrapKind::StackOverflow);
    }

    fn endless_nesting_ends_on_a_small_stack(engine) needs [Depth] {
        let loaded = load(
            engine,
            r#"(module (import "env" "nest" (func $nest (param i32) (result i32)))
                (func (export "nest") (export "run") (param i32) (result i32) (call $nest (local.get 0)))
                (@custom "chassis.native" "nesting without end"))"#,
        );
        // A thread of 2 MiB, which is what Rust gives by default, whatever RUST_MIN_STACK says here.
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        let ended = thread.spawn(move || assert_trap(loaded.start().run(&[1]), TrapKind::StackOverflow)).unwrap().join();
        assert!(ended.is_ok());
    }

    fn a_function_with_many_parameters_recurses(engine) needs [Wasm, Depth] {
        let params = "i64 ".repeat(90);
        let gets: String = (0..90).map(|i| format!("(local.get {i})")).collect();
        let zeros = "(i64.const 0)".repeat(90);
        let wat = format!(
            r#"(module (func $down (param {params}) {gets} (call $down) (nop)) (func (export "run") {zeros} (call $down)))"#
        );
        assert_trap(load(engine, &wat).start().run(&[]), TrapKind::StackOverflow);
    }
}
