//! Instances on many threads, and moved between them.

use std::sync::Barrier;
use std::thread;

use chassis_engine_api::TrapKind;

use crate::case::engine_test;
use crate::guest::{Guest, assert_trap, load};
use crate::subject::Subject;

/// Counts in a global, keeps a sum in memory, re-enters itself, and traps when it is told to.
const WAT: &str = r#"(module (import "env" "store" (func $store (param i32 i32) (result i32)))
    (memory (export "memory") 1) (global $n (mut i32) (i32.const 0))
    (func (export "alloc") (param i32) (result i32) (i32.add (i32.const 1024) (global.get $n)))
    (func (export "run") (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then unreachable))
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (drop (call $store (i32.const 1) (local.get 0)))
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load8_u (i32.add (i32.const 1024) (global.get $n)))))
        (i32.load (i32.const 0))))"#;

engine_test! { "threads";
    fn an_instance_moves_between_calls(engine) needs [Wasm] {
        let mut guest = load(engine, WAT).start();
        for n in 1..=20 {
            guest = thread::spawn(move || {
                assert_eq!(guest.run(&[3]).unwrap(), 3 * n);
                guest
            })
            .join()
            .unwrap();
        }
        assert_eq!(guest.log().len(), 40);
    }

    fn an_instance_moves_after_a_trap(engine) needs [Wasm] {
        let loaded = load(engine, WAT);
        for _ in 0..10 {
            let mut guest = loaded.start();
            let guest = thread::spawn(move || {
                assert_trap(guest.run(&[0]), TrapKind::Unreachable);
                guest
            })
            .join()
            .unwrap();
            let mut guest = thread::spawn(move || still_works(guest)).join().unwrap();
            assert_trap(guest.run(&[0]), TrapKind::Unreachable);
            thread::spawn(move || drop(guest)).join().unwrap();
        }
    }

    fn many_instances_on_many_threads(engine) needs [Wasm] {
        const THREADS: usize = 8;
        let loaded = load(engine, WAT);
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    let mut guests: Vec<Guest<E>> = (0..20).map(|_| loaded.start()).collect();
                    for round in 1..=10 {
                        for (i, guest) in guests.iter_mut().enumerate() {
                            let value = i as u64 + 1;
                            assert_eq!(guest.run(&[value]).unwrap(), value * round);
                        }
                        let replaced = round as usize;
                        guests[replaced] = loaded.start();
                        (0..round).for_each(|n| {
                            let value = replaced as u64 + 1;
                            assert_eq!(guests[replaced].run(&[value]).unwrap(), value * (n + 1));
                        });
                    }
                    assert_trap(guests[0].run(&[0]), TrapKind::Unreachable);
                });
            }
        });
    }

    fn modules_are_compiled_on_many_threads(engine) needs [Wasm] {
        thread::scope(|scope| {
            for thread in 0..8_u64 {
                scope.spawn(move || {
                    for n in 0..5 {
                        let value = thread * 100 + n;
                        let wat = format!(r#"(module (func (export "run") (result i32) (i32.const {value})))"#);
                        assert_eq!(load(engine, &wat).start().run(&[]).unwrap(), value);
                    }
                });
            }
        });
    }

    fn instances_outlive_the_engine_and_the_module(engine) {
        let mut guest = {
            let engine = E::open(engine.profile());
            load(
                &engine,
                r#"(module (import "env" "log" (func $log (param i32))) (func (export "run") (param i32) (call $log (local.get 0)))
                    (@custom "chassis.native" "logging"))"#,
            )
            .start()
        };
        guest.run(&[2]).unwrap();
        assert_eq!(guest.log(), [2]);
    }

    fn a_thread_may_run_guests_of_several_instances_in_turn(engine) needs [Wasm] {
        let loaded = load(engine, WAT);
        let (mut one, mut two) = (loaded.start(), loaded.start());
        for n in 1..100 {
            assert_eq!(one.run(&[1]).unwrap(), n);
            assert_eq!(two.run(&[2]).unwrap(), 2 * n);
        }
    }
}

fn still_works<E: Subject>(mut guest: Guest<E>) -> Guest<E> {
    assert_eq!(guest.run(&[5]).unwrap(), 5);
    guest
}
