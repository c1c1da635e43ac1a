//! Host functions that call the guest which is waiting for them.

use chassis_engine_api::{Instance, Stop, TrapKind};

use crate::case::engine_test;
use crate::guest::{assert_trap, load};

/// Gives places one after the other, from 1024.
const ALLOC: &str = r#"(global $top (mut i32) (i32.const 1024))
    (func (export "alloc") (param i32) (result i32)
        (global.get $top) (global.set $top (i32.add (global.get $top) (local.get 0))))"#;

const STORE: &str =
    r#"(import "env" "store" (func $store (param i32 i32) (result i32))) (memory (export "memory") 1 4)"#;

engine_test! { "reentry";
    fn a_host_function_calls_the_allocator(engine) {
        let wat = format!(
            r#"(module {STORE} {ALLOC}
                (func (export "run") (param i32 i32) (result i32) (local.get 0) (local.get 1) (call $store))
                (@custom "chassis.native" "allocating"))"#
        );
        let mut guest = load(engine, &wat).start();
        assert_eq!(guest.run(&[10, 0xaa]).unwrap(), 1024);
        assert_eq!(guest.run(&[6, 0xbb]).unwrap(), 1034);
        let (memory, _) = guest.instance.memory();
        assert_eq!(memory[1024..1041], *b"\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xbb\xbb\xbb\xbb\xbb\xbb\0");
        assert_eq!(guest.log(), [1 << 16; 4]);
    }

    fn the_host_sees_memory_that_grew_meanwhile(engine) {
        let wat = format!(
            r#"(module {STORE}
                (func (export "alloc") (param i32) (result i32)
                    (i32.mul (memory.grow (i32.const 1)) (i32.const 65536)))
                (func (export "run") (result i32)
                    (i32.load8_u (call $store (i32.const 65536) (i32.const 200))))
                (@custom "chassis.native" "growing"))"#
        );
        let mut guest = load(engine, &wat).start();
        for pages in 1..4 {
            assert_eq!(guest.run(&[]).unwrap(), 200);
            assert_eq!(guest.log(), [pages << 16, (pages + 1) << 16]);
            assert_eq!(guest.instance.memory_bytes(), (pages + 1) << 16);
            assert_eq!(guest.byte((pages as usize + 1) * 65_536 - 1), 200);
        }
        // The fourth time the memory is at its maximum, so that the place is -65536.
        assert!(matches!(guest.run(&[]), Err(Stop::Host(_))));
    }

    fn entries_nest(engine) {
        let mut guest = load(
            engine,
            r#"(module (import "env" "nest" (func $nest (param i32) (result i32)))
                (func $go (export "nest") (export "run") (param i32) (result i32)
                    (if (result i32) (local.get 0)
                        (then (i32.add (local.get 0) (call $nest (i32.sub (local.get 0) (i32.const 1)))))
                        (else (i32.const 1000))))
                (@custom "chassis.native" "nesting"))"#,
        )
        .start();
        assert_eq!(guest.run(&[2]).unwrap(), 1003);
        assert_eq!(guest.run(&[10]).unwrap(), 1055);
    }

    fn the_host_knows_what_the_guest_exports(engine) {
        let wat = format!(
            r#"(module (import "env" "has" (func $has (param i32) (result i32))) {ALLOC}
                (func (export "run") (param i32) (result i32) (call $has (local.get 0)))
                (@custom "chassis.native" "asking"))"#
        );
        let mut guest = load(engine, &wat).start();
        assert_eq!(guest.run(&[0]).unwrap(), 1);
        assert_eq!(guest.run(&[1]).unwrap(), 0);
    }

    fn the_calling_function_keeps_its_values(engine) needs [Wasm] {
        // The re-entered function has many locals and changes them, the memory and a global.
        let wat = format!(
            r#"(module {STORE} (global $g (mut i64) (i64.const 1))
                (func (export "alloc") (param i32) (result i32) (local i64 i64 i64 i64 f64 f64 f64 f64 v128)
                    (local.set 1 (i64.const -1)) (local.set 4 (i64.const -2)) (local.set 5 (f64.const 1e300))
                    (local.set 9 (v128.const i64x2 -1 -1)) (global.set $g (i64.const 5))
                    (i64.store (i32.const 8) (i64.add (local.get 1) (local.get 4)))
                    (i32.const 2048))
                (func (export "run") (param i64 i32 f32 f64) (result i64) (local v128)
                    (local.set 4 (v128.const i64x2 3 4))
                    (drop (call $store (i32.const 1) (i32.const 1)))
                    (i64.add (local.get 0) (i64.add (i64.extend_i32_u (local.get 1))
                        (i64.add (i64.trunc_f64_s (local.get 3)) (i64.add (i64.extend_i32_u (i32.reinterpret_f32 (local.get 2)))
                            (i64.add (i64x2.extract_lane 0 (local.get 4)) (i64.add (global.get $g) (i64.load (i32.const 8))))))))))"#
        );
        let mut guest = load(engine, &wat).start();
        let sum = guest.run(&[1 << 40, 20, 7, 300_f64.to_bits()]).unwrap();
        assert_eq!(sum, (1 << 40) + 20 + 7 + 300 + 3 + 5 - 3);
    }

    fn a_trap_inside_ends_the_outer_call(engine) needs [Wasm] {
        let wat = format!(
            r#"(module (import "env" "log" (func $log (param i32))) {STORE}
                (func (export "alloc") (param i32) (result i32) (i32.div_u (i32.const 1) (i32.const 0)))
                (func (export "run") (drop (call $store (i32.const 1) (i32.const 1))) (call $log (i32.const 1))))"#
        );
        let mut guest = load(engine, &wat).start();
        assert_trap(guest.run(&[]), TrapKind::DivisionByZero);
        assert!(guest.log().is_empty());
    }

    fn a_host_function_that_swallows_a_trap_goes_on(engine) needs [Wasm] {
        let mut guest = load(
            engine,
            r#"(module (import "env" "log" (func $log (param i32))) (import "env" "swallow" (func $swallow))
                (func (export "alloc") (param i32) (result i32) unreachable)
                (func (export "run") (call $swallow) (call $swallow) (call $log (i32.const 1))))"#,
        )
        .start();
        guest.run(&[]).unwrap();
        assert_eq!(guest.log(), [1]);
    }
}
