//! Panics of host functions: they pass through the guest, and the process lives on.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, UnwindSafe, catch_unwind};
use std::sync::Once;

use chassis_engine_api::Instance;

use crate::case::engine_test;
use crate::guest::load;
use crate::host::PANIC;

const WAT: &str = r#"(module (import "env" "panic" (func $panic)) (import "env" "store" (func $store (param i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "alloc") (param i32) (result i32) (call $panic) (i32.const 0))
    (func (export "run") (param i32)
        (if (i32.eq (local.get 0) (i32.const 1)) (then (call $panic)))
        (if (i32.eq (local.get 0) (i32.const 2)) (then (drop (call $store (i32.const 1) (i32.const 1))))))
    (@custom "chassis.native" "panicking"))"#;

engine_test! { "panics";
    fn a_panic_passes_through_the_guest(engine) {
        panics(engine, 1);
    }

    fn a_panic_passes_through_reentry(engine) {
        panics(engine, 2);
    }

    fn a_panic_in_the_start_section_passes_through(engine) needs [Wasm] {
        let loaded = load(engine, r#"(module (import "env" "panic" (func $panic)) (func $start (call $panic)) (start $start))"#);
        for _ in 0..3 {
            let panicked = quietly(AssertUnwindSafe(|| loaded.start()));
            assert_eq!(panicked.err().and_then(words), Some(PANIC));
        }
    }

    fn a_panic_on_another_thread_harms_none_but_its_instance(engine) {
        let loaded = load(engine, WAT);
        let mut guest = loaded.start();
        let in_thread = loaded.clone();
        let ended = std::thread::spawn(move || {
            QUIET.set(true);
            in_thread.start().run(&[1])
        });
        assert_eq!(ended.join().err().and_then(words), Some(PANIC));
        guest.run(&[0]).unwrap();
    }
}

fn panics<E: crate::subject::Subject>(engine: &E, way: u64) {
    let loaded = load(engine, WAT);
    let mut beside = loaded.start();
    for _ in 0..3 {
        let mut guest = loaded.start();
        guest.run(&[0]).unwrap();
        let panicked = quietly(AssertUnwindSafe(|| guest.run(&[way])));
        assert_eq!(panicked.err().and_then(words), Some(PANIC));
        assert!(guest.instance.state().log.is_empty() || way == 2);
        drop(guest);
        beside.run(&[0]).unwrap();
        loaded.start().run(&[0]).unwrap();
    }
}

fn words(payload: Box<dyn Any + Send>) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic that is meant to be, without its message on stderr.
pub(crate) fn quietly<T>(run: impl FnOnce() -> T + UnwindSafe) -> std::thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(run);
    QUIET.set(false);
    result
}
