//! Guests that end themselves and host functions that give up, through the guest's frames and through re-entry.

use chassis_engine_api::{Instance, Stop};

use crate::case::engine_test;
use crate::guest::load;

const IMPORTS: &str = r#"(import "env" "log" (func $log (param i32))) (import "env" "exit" (func $exit (param i32)))
    (import "env" "fail" (func $fail (param i32))) (import "env" "store" (func $store (param i32 i32) (result i32)))
    (memory (export "memory") 1)"#;

engine_test! { "stops";
    fn an_exit_carries_its_code(engine) {
        let wat = format!(
            r#"(module {IMPORTS} (func $inner (param i32) (call $exit (local.get 0)) (call $log (i32.const 1)))
                (func (export "run") (param i32) (call $inner (local.get 0)) (call $log (i32.const 2)))
                (@custom "chassis.native" "exiting"))"#
        );
        for code in [0, 1, -1, i32::MAX, i32::MIN] {
            let mut guest = load(engine, &wat).start();
            let ended = guest.run(&[u64::from(code as u32)]);
            assert!(matches!(ended, Err(Stop::Exit(found)) if found == code), "{ended:?}");
            assert!(guest.log().is_empty());
        }
    }

    fn an_error_of_a_host_function_carries_its_words(engine) {
        let wat = format!(
            r#"(module {IMPORTS} (func $inner (param i32) (call $fail (local.get 0)) (call $log (i32.const 1)))
                (func (export "run") (param i32) (call $inner (local.get 0)) (call $log (i32.const 2)))
                (@custom "chassis.native" "failing"))"#
        );
        let mut guest = load(engine, &wat).start();
        for n in [7, 8] {
            let ended = guest.run(&[n]);
            assert!(matches!(&ended, Err(Stop::Host(error)) if error.to_string() == format!("failure {n}")), "{ended:?}");
        }
        assert!(guest.log().is_empty());
    }

    fn an_exit_passes_through_reentry(engine) {
        let wat = format!(
            r#"(module {IMPORTS} (func (export "alloc") (param i32) (result i32) (call $exit (i32.const 3)) (i32.const 0))
                (func (export "run") (drop (call $store (i32.const 1) (i32.const 1))) (call $log (i32.const 1)))
                (@custom "chassis.native" "exiting"))"#
        );
        let mut guest = load(engine, &wat).start();
        let ended = guest.run(&[]);
        assert!(matches!(ended, Err(Stop::Exit(3))), "{ended:?}");
        assert!(guest.log().is_empty());
    }

    fn the_first_host_function_that_fails_wins(engine) {
        let wat = format!(
            r#"(module {IMPORTS} (func (export "alloc") (param i32) (result i32) (call $fail (i32.const 3)) (i32.const 0))
                (func (export "run") (drop (call $store (i32.const 1) (i32.const 1))) (call $exit (i32.const 1)))
                (@custom "chassis.native" "failing"))"#
        );
        let mut guest = load(engine, &wat).start();
        let ended = guest.run(&[]);
        assert!(matches!(&ended, Err(Stop::Host(error)) if error.to_string() == "failure 3"), "{ended:?}");
    }

    fn the_state_and_the_memory_stay_readable(engine) {
        let wat = format!(
            r#"(module {IMPORTS} (func (export "run") (param i32)
                    (i32.store8 (i32.const 5) (i32.const 99)) (call $log (i32.const 4)) (call $exit (local.get 0)))
                (@custom "chassis.native" "writing"))"#
        );
        let mut guest = load(engine, &wat).start();
        assert!(matches!(guest.run(&[1]), Err(Stop::Exit(1))));
        assert_eq!((guest.byte(5), guest.log(), guest.instance.memory_bytes()), (99, vec![4], 1 << 16));
    }
}
